#include "tests/support/crash_tally.h"

#include <fmt/format.h>

#include <numeric>

namespace kvstore::testing {

std::optional<CrashModel> crash_model_named(std::string_view name) noexcept {
  for (const CrashModel model : kCrashModels) {
    if (name == name_of(model)) return model;
  }
  return std::nullopt;
}

uint64_t CrashTally::violations() const noexcept {
  uint64_t sum = 0;
  for (const Row& row : rows) sum = std::accumulate(row.violations.begin(), row.violations.end(), sum);
  return sum;
}

uint64_t CrashTally::states() const noexcept {
  return std::accumulate(rows.begin(), rows.end(), uint64_t{0},
                         [](uint64_t sum, const Row& row) { return sum + row.states; });
}

void CrashTally::add(const CrashTally& other) noexcept {
  for (size_t i = 0; i < rows.size(); ++i) {
    Row& to = rows[i];
    const Row& from = other.rows[i];
    to.states += from.states;
    to.distinct += from.distinct;
    to.intact += from.intact;
    to.cut += from.cut;
    to.recovering += from.recovering;
    to.repairing += from.repairing;
    for (size_t v = 0; v < kViolationCount; ++v) to.violations[v] += from.violations[v];
  }
}

std::string CrashTally::table() const {
  constexpr std::array<std::string_view, 4> kTitles = {"kill -9", "power cut, ext4-like", "power cut, names reordered",
                                                       "power cut, bare POSIX"};
  std::string text = fmt::format("{:<27}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}", "model", "states", "distinct", "intact", "cut",
                                 "again", "repair");
  for (size_t v = 1; v < kViolationCount; ++v) text += fmt::format("  {}", kViolationNames[v]);
  text += "\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    text += fmt::format("{:<27}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}", kTitles[i], row.states, row.distinct, row.intact,
                        row.cut, row.recovering, row.repairing);
    for (size_t v = 1; v < kViolationCount; ++v)
      text += fmt::format("  {:>{}}", row.violations[v], kViolationNames[v].size());
    text += "\n";
  }
  return text;
}

}  // namespace kvstore::testing
