// Line -> record: checks the seal first, then reads. Our own spelling takes a fast path; every other
// legal JSON spelling of the same record (member order, white space, escapes, unknown members) takes a
// slower one with the same result, exact to the byte. Never throws on bad input, never reads outside
// the line, uses memory in proportion to the line. Pure; a Decoder is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/scratch.h"
#include "kvstore/format/record.h"

namespace kvstore::format {

// What a blank line is made of, its end included.
inline constexpr std::string_view kBlankBytes = " \t\r\n";

enum class LineKind : uint8_t {
  kRecord,
  kEntry,  // of a snapshot: a put without a time
  kSegmentHeader,
  kSegmentEnd,
  kSnapshotHeader,
  kSnapshotEnd,
  kOwner,
  kBlank,      // nothing but spaces, tabs, carriage returns: filler, skipped everywhere
  kUnsealed,   // does not end in a well-shaped seal
  kBadCrc,     // sealed, but the bytes do not match
  kMalformed,  // intact bytes that are no line of this format: duplicate members, wrong types, bad JSON
  kUnknownOp,  // intact, well-formed, but an "op" (or "kvstore" kind, or format number) we do not know
};

struct Line {
  LineKind kind = LineKind::kBlank;
  // kRecord (and, for kUnknownOp, as much of it as could be read). kEntry has the key's version as stamp.seq
  // and one operation, a put; the rest is 0 or empty.
  Stamp stamp{};
  std::string_view by{};
  bool is_batch = false;
  size_t op_begin = 0;  // in the ops vector the line was decoded into
  size_t op_count = 0;
  // The other kinds, one at a time:
  SegmentHeader header{};
  SegmentEnd end{};
  SnapshotHeader snapshot{};
  SnapshotEnd snapshot_end{};
  OwnerLine owner{};
  // kBadCrc: both figures, for the report.
  uint32_t crc_stored = 0;
  uint32_t crc_computed = 0;
};

// Decodes one line (without its '\n'). Operations are appended to `ops`; their views, and those in the
// result, point into `line` or `scratch` and live as long as both. On anything but kRecord and kEntry
// `ops` is left as it was. Throws std::bad_alloc only.
[[nodiscard]] Line decode(std::string_view line, std::vector<Op>& ops, base::Scratch& scratch);

// Why the line is not a record, for reports: "crc mismatch (stored 9ab1c0de, computed 77c012fa)",
// "not sealed: does not end in ,\"crc\":\"xxxxxxxx\"}", "malformed: duplicate member \"key\" at column 41".
[[nodiscard]] std::string explain(std::string_view line, const Line& decoded);

}  // namespace kvstore::format
