// The recovery table: what happens to a line, given what is known about it. Pure data, walked in full by
// a test, printed in FORMAT.md ("Recovery").
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace kvstore::format {

// Everything recovery may know about one non-blank line, in the order it finds out. A fact that could not
// be looked at (what does an unsealed line contain?) is false.
struct LineFacts {
  bool newline = false;      // ends in '\n'. Decides nothing, see below
  bool sealed = false;       // has the shape of a seal at its end
  bool crc_ok = false;       // the seal matches the bytes
  bool well_formed = false;  // reads as a line of this format, of a kind that can stand here at all: a header only
                             // as a segment's first line, the owner only in LOCK, a snapshot's lines only in one
  bool known_op = false;     // and every op in it is one we can apply; also: its kind and format number
  bool next_seq = false;     // belongs exactly here: a record with the expected number; a header that is its
                             // file's first line and names the expected number; an end after the record it names
  bool vouched = false;      // the expected sequence number was promised by a voucher that still stands; always
                             // true where a header is due, because a segment gets its name only after its header
                             // has been synced
};

enum class Verdict : uint8_t {
  kAccept,       // replay it
  kCut,          // never promised: cut the log here, keep the bytes in lost+found/, report
  kCorrupt,      // promised, or intact but impossible: refuse to open
  kUnsupported,  // intact, but from a newer version: refuse to open, suggest an upgrade
};

// One row: facts that must be true, must be false, or do not matter. Exactly one row fits any line.
enum class Need : uint8_t { kNo, kYes, kAny };
struct VerdictRow {
  Need newline, sealed, crc_ok, well_formed, known_op, next_seq, vouched;
  Verdict verdict;
  std::string_view why;
};

// The newline decides nothing in any row, and must not: the filler ahead of the log is made of newlines, so
// a torn line may well end in one, and a whole line at the very end of a file may have lost its own.
inline constexpr std::array<VerdictRow, 9> kVerdictTable = [] {
  constexpr Need n = Need::kNo, Y = Need::kYes, x = Need::kAny;
  using enum Verdict;
  return std::array<VerdictRow, 9>{{
      // newline, sealed, crc_ok, well_formed, known_op, next_seq, vouched
      {x, n, x, x, x, x, n, kCut, "torn: it does not end in a seal, and no sync promised a record here"},
      {x, n, x, x, x, x, Y, kCorrupt, "damaged: it does not end in a seal, where a sync promised a record"},
      {x, Y, n, x, x, x, n, kCut, "torn: its checksum differs, and no sync promised a record here"},
      {x, Y, n, x, x, x, Y, kCorrupt, "damaged: its checksum differs, where a sync promised a record"},
      {x, Y, Y, n, x, x, x, kCorrupt, "impossible: its bytes are intact, but no version writes such a line"},
      {x, Y, Y, Y, n, x, x, kUnsupported, "newer: intact, but of a kind or operation unknown to this version"},
      {x, Y, Y, Y, Y, n, n, kCut, "out of order: a line is missing here, and no sync promised it"},
      {x, Y, Y, Y, Y, n, Y, kCorrupt, "out of order: a line is missing here, though a sync promised it"},
      {x, Y, Y, Y, Y, Y, x, kAccept, "intact, and next in order"},
  }};
}();

[[nodiscard]] Verdict judge(const LineFacts& facts) noexcept;
// The row's reason, for reports.
[[nodiscard]] std::string_view why(const LineFacts& facts) noexcept;

}  // namespace kvstore::format
