// The recovery table: what happens to a line, given what is known about it. Pure data, walked in full by
// a test, printed in FORMAT.md ("Recovery").
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace kvstore::format {

// Everything recovery may know about one non-blank line, in the order it finds out.
struct LineFacts {
  bool newline = false;      // ends in '\n'; without it an intact line still counts: its bytes are whole
  bool sealed = false;       // has the shape of a seal at its end
  bool crc_ok = false;       // the seal matches the bytes
  bool well_formed = false;  // reads as a line of this format
  bool known_op = false;     // and every op in it is one we can apply
  bool next_seq = false;     // carries the sequence number that is expected here
  bool vouched = false;      // the expected sequence number was promised by a voucher that still stands
};

enum class Verdict : uint8_t {
  kAccept,       // replay it
  kCut,          // never promised: cut the log here, keep the bytes in lost+found/, report
  kCorrupt,      // promised, or intact but impossible: refuse to open
  kUnsupported,  // intact, but from a newer version: refuse to open, suggest an upgrade
};

// One row: facts that must be true, must be false, or do not matter. The first row that fits decides.
enum class Need : uint8_t { kNo, kYes, kAny };
struct VerdictRow {
  Need newline, sealed, crc_ok, well_formed, known_op, next_seq, vouched;
  Verdict verdict;
  std::string_view why;
};

inline constexpr Need N = Need::kNo, Y = Need::kYes, x = Need::kAny;
inline constexpr std::array<VerdictRow, 9> kVerdictTable = {{
    // newline sealed crc well_formed known_op next_seq vouched
    {x, N, x, x, x, x, N, Verdict::kCut, "torn: no seal, and no sync promised it"},
    {x, N, x, x, x, x, Y, Verdict::kCorrupt, "no seal where a sync promised a record"},
    {x, Y, N, x, x, x, N, Verdict::kCut, "torn: checksum differs, and no sync promised it"},
    {x, Y, N, x, x, x, Y, Verdict::kCorrupt, "checksum differs where a sync promised a record"},
    {x, Y, Y, N, x, x, x, Verdict::kCorrupt, "intact bytes that are no log line: no crash writes such a line"},
    {x, Y, Y, Y, N, x, x, Verdict::kUnsupported, "intact, but an operation this version does not know"},
    {x, Y, Y, Y, Y, N, N, Verdict::kCut, "out of order: a power cut lost the line before it, which no sync promised"},
    {x, Y, Y, Y, Y, N, Y, Verdict::kCorrupt, "out of order: a promised record is missing before it"},
    {x, Y, Y, Y, Y, Y, x, Verdict::kAccept, "intact and next in order"},
}};

[[nodiscard]] Verdict judge(const LineFacts& facts) noexcept;
// The row's reason, for reports.
[[nodiscard]] std::string_view why(const LineFacts& facts) noexcept;

}  // namespace kvstore::format
