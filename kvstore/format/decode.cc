#include "kvstore/format/decode.h"

#include <fmt/format.h>

#include <algorithm>

#include "kvstore/base/crc32c.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/readers.h"
#include "kvstore/version.h"

namespace kvstore::format {
namespace {

constexpr std::string_view kSealOpening = R"(,"crc":")";
constexpr std::string_view kSealClosing = R"("})";
constexpr size_t kCrcDigits = 8;
static_assert(kSealOpening.size() + kCrcDigits + kSealClosing.size() == kSealBytes);

constexpr int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

// The number in the seal, which has one spelling: eight lower-case digits. False: no seal.
bool read_seal(std::string_view text, uint32_t* crc) noexcept {
  if (text.size() < kSealBytes) return false;
  const std::string_view seal = text.substr(text.size() - kSealBytes);
  if (!seal.starts_with(kSealOpening) || !seal.ends_with(kSealClosing)) return false;
  uint32_t value = 0;
  int seen = 0;
  for (const char c : seal.substr(kSealOpening.size(), kCrcDigits)) {
    const int digit = hex_digit(c);
    seen |= digit;  // negative once any digit was
    value = value << 4 | (static_cast<uint32_t>(digit) & 15);
  }
  *crc = value;
  return seen >= 0;
}

bool is_blank(std::string_view text) noexcept {
  return std::ranges::all_of(text, [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

// A part of a line for a sentence: whole when short, cut at a byte of plain ASCII otherwise.
std::string excerpt(std::string_view part) {
  constexpr size_t kShown = 40;
  if (part.size() <= kShown) return std::string(part);
  size_t size = kShown;
  while (size > 0 && (static_cast<unsigned char>(part[size]) & 0xc0) == 0x80) --size;
  return std::string(part.substr(0, size)) + "...";
}

}  // namespace

Line decode(std::string_view line, std::vector<Op>& ops, base::Scratch& scratch) {
  Line result;
  uint32_t stored = 0;
  if (!read_seal(line, &stored)) [[unlikely]] {
    result.kind = is_blank(line) ? LineKind::kBlank : LineKind::kUnsealed;
    return result;
  }
  const uint32_t computed = base::crc32c(line.substr(0, line.size() - kSealBytes));
  if (computed != stored) [[unlikely]] {
    result.kind = LineKind::kBadCrc;
    result.crc_stored = stored;
    result.crc_computed = computed;
    return result;
  }
  if (read_canonical(line, &result, &ops, &scratch)) [[likely]]
    return result;
  Problem problem;
  read_general(line, &result, &ops, &scratch, &problem);
  return result;
}

std::string explain(std::string_view line, const Line& decoded) {
  switch (decoded.kind) {
    case LineKind::kRecord:
      return "an intact record";
    case LineKind::kSegmentHeader:
      return "an intact segment header";
    case LineKind::kSegmentEnd:
      return "an intact segment end";
    case LineKind::kOwner:
      return "an intact owner line";
    case LineKind::kBlank:
      return "blank";
    case LineKind::kUnsealed: {
      const bool zeros = !line.empty() && line.find_first_not_of('\0') == std::string_view::npos;
      return fmt::format(R"(not sealed: does not end in ,"crc":"xxxxxxxx"}}{})",
                         zeros ? fmt::format("; it is {} zero bytes", line.size()) : "");
    }
    case LineKind::kBadCrc:
      return fmt::format("crc mismatch (stored {:08x}, computed {:08x})", decoded.crc_stored, decoded.crc_computed);
    case LineKind::kMalformed:
    case LineKind::kUnknownOp:
      break;
  }
  // The reason was not worth carrying along: it is found again by reading again.
  Line again;
  std::vector<Op> ops;
  base::Scratch scratch;
  Problem problem;
  read_general(line, &again, &ops, &scratch, &problem);
  const std::string subject = problem.subject.empty() ? ""
                              : problem.is_bare_name  ? fmt::format(R"( "{}")", problem.subject)
                                                      : fmt::format(" {}", excerpt(problem.subject));
  if (decoded.kind == LineKind::kUnknownOp) {
    return fmt::format("{}{} at column {}: written by a newer version than format {}", problem.what, subject,
                       problem.offset + 1, kFormatVersion);
  }
  return fmt::format("malformed: {}{} at column {}", problem.what, subject, problem.offset + 1);
}

}  // namespace kvstore::format
