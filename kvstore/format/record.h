// What a log line means. The bytes are FORMAT.md's business and encode.h's and decode.h's work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvstore::format {

using Seq = uint64_t;  // sequence number of a commit, 1-based, gapless; 0: none

inline constexpr size_t kKeyBytesMax = size_t{64} << 10;          // keys have 1 .. 64 KiB, as bytes, not as spelled
inline constexpr size_t kValueBytesMax = size_t{64} << 20;        // values have 0 .. 64 MiB
inline constexpr uint64_t kIntegerMax = (uint64_t{1} << 53) - 1;  // the largest integer JSON readers agree on

// One operation. Views point into the line, or into the Scratch it was decoded with.
struct Op {
  enum class Kind : uint8_t {
    kPut,
    kDel,
    kEvict,  // a del by the store itself, which had reached its memory limit
  };
  Kind kind = Kind::kPut;
  bool is_json = false;  // the value is the text of a JSON document
  std::string_view key;
  std::string_view value;                                                     // empty for kDel and kEvict
  int64_t expires_us = 0;                                                     // microseconds since the epoch; 0: never
  [[nodiscard]] bool removes() const noexcept { return kind != Kind::kPut; }  // kDel or kEvict: the key is gone
  bool operator==(const Op&) const = default;
};

// What only the commit lock can know.
struct Stamp {
  Seq seq = 0;
  int64_t ts_us = 0;
  Seq synced = 0;  // the voucher: last sequence number known to be on disk; 0: not written
  bool operator==(const Stamp&) const = default;
};

// First line of a segment.
struct SegmentHeader {
  uint32_t format = 0;
  std::string_view store;  // the store's uuid, 36 characters
  Seq first_seq =
      0;  // of the first record in this file; the file's name says the same, and vouches for every earlier one
  int64_t created_us = 0;
};

// Last line of a sealed segment: names the file that follows.
struct SegmentEnd {
  Seq last_seq = 0;       // of the last record in this file (or before it, when it has none)
  std::string_view next;  // file name of the next segment
};

// First line of a snapshot.
struct SnapshotHeader {
  uint32_t format = 0;
  std::string_view store;
  Seq last_seq = 0;        // the snapshot is the state after this record; vouches for all records up to it
  int64_t created_us = 0;  // entries that had expired by then were left out
};

// Last line of a snapshot: without it, it is none.
struct SnapshotEnd {
  uint64_t entries = 0;   // lines between header and end
  Seq last_seq = 0;       // as in the header
  std::string_view next;  // file name of the segment that begins with last_seq + 1
  uint32_t whole = 0;     // CRC32C of all bytes of the file before this line
};

// The only line of LOCK.
struct OwnerLine {
  uint32_t format = 0;
  std::string_view store;
  int64_t pid = 0;  // 0: closed cleanly
  std::string_view host;
  int64_t started_us = 0;
  Seq closed_seq = 0;  // last synced sequence number at the last clean close
};

}  // namespace kvstore::format
