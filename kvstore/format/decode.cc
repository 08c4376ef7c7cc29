#include "kvstore/format/decode.h"

#include <fmt/format.h>

#include <optional>

#include "kvstore/base/crc32c.h"
#include "kvstore/format/digits.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/readers.h"
#include "kvstore/version.h"

namespace kvstore::format {
namespace {

constexpr std::string_view kSealOpening = R"(,"crc":")";
constexpr std::string_view kSealClosing = R"("})";
constexpr size_t kCrcDigits = 8;
static_assert(kSealOpening.size() + kCrcDigits + kSealClosing.size() == kSealBytes);

// Whether the text ends like a seal, whatever stands where its digits belong.
bool is_sealed(std::string_view text) noexcept {
  return text.size() >= kSealBytes && text.substr(text.size() - kSealBytes).starts_with(kSealOpening) &&
         text.ends_with(kSealClosing);
}

bool is_blank(std::string_view text) noexcept { return text.find_first_not_of(kBlankBytes) == std::string_view::npos; }

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
  if (!is_sealed(line)) [[unlikely]] {
    result.kind = is_blank(line) ? LineKind::kBlank : LineKind::kUnsealed;
    return result;
  }
  const std::string_view digits = line.substr(line.size() - kSealBytes + kSealOpening.size(), kCrcDigits);
  const uint32_t computed = base::crc32c(line.substr(0, line.size() - kSealBytes));
  if (load_text(digits.data()) != hex_digits(computed)) [[unlikely]] {
    const std::optional<uint32_t> stored = read_hex_digits(digits);
    result.kind = stored ? LineKind::kBadCrc : LineKind::kUnsealed;
    result.crc_stored = stored.value_or(0);
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
    case LineKind::kEntry:
      return "an intact entry of a snapshot";
    case LineKind::kSegmentHeader:
      return "an intact segment header";
    case LineKind::kSegmentEnd:
      return "an intact segment end";
    case LineKind::kSnapshotHeader:
      return "an intact snapshot header";
    case LineKind::kSnapshotEnd:
      return "an intact snapshot end";
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
