#include "kvstore/format/verdict.h"

#include <cstddef>

namespace kvstore::format {
namespace {

constexpr bool fits(Need need, bool fact) { return need == Need::kAny || (need == Need::kYes) == fact; }

constexpr bool fits(const VerdictRow& row, const LineFacts& facts) {
  return fits(row.newline, facts.newline) && fits(row.sealed, facts.sealed) && fits(row.crc_ok, facts.crc_ok) &&
         fits(row.well_formed, facts.well_formed) && fits(row.known_op, facts.known_op) &&
         fits(row.next_seq, facts.next_seq) && fits(row.vouched, facts.vouched);
}

// Every line has one verdict and every row says something: each of the 128 combinations of facts fits
// exactly one row (so their order does not matter), and each row fits some combination.
constexpr bool table_is_a_partition() {
  std::array<bool, kVerdictTable.size()> reached{};
  for (unsigned bits = 0; bits < 128; ++bits) {
    const auto bit = [bits](unsigned index) { return (bits >> index & 1) != 0; };
    const LineFacts facts{bit(0), bit(1), bit(2), bit(3), bit(4), bit(5), bit(6)};
    size_t fitting = 0;
    for (size_t row = 0; row < kVerdictTable.size(); ++row) {
      if (!fits(kVerdictTable[row], facts)) continue;
      reached[row] = true;
      ++fitting;
    }
    if (fitting != 1) return false;
  }
  for (const bool reached_row : reached) {
    if (!reached_row) return false;
  }
  return true;
}
static_assert(table_is_a_partition());

const VerdictRow& row_for(const LineFacts& facts) noexcept {
  size_t row = 0;
  while (!fits(kVerdictTable[row], facts)) ++row;  // ends: see the static_assert
  return kVerdictTable[row];
}

}  // namespace

Verdict judge(const LineFacts& facts) noexcept { return row_for(facts).verdict; }
std::string_view why(const LineFacts& facts) noexcept { return row_for(facts).why; }

}  // namespace kvstore::format
