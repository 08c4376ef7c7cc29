// LogWalk: the one reader of a store's log. It goes through the segments in order, decodes, judges every
// line by the recovery table (format/verdict.h), and hands out accepted records; opening, verifying and
// `kvctl log` differ only in what they do with them and with the place where the walk stops.
//
// It never writes and needs no lock. Beside a live writer a line may be under way while it is read, and
// blocks are read one after the other while the writer goes on; so nothing is called torn or damaged
// before it was read a second time, from the end of the last accepted record. That is enough: the
// writer fills the log strictly forward, so whatever stood before a byte that was seen is there now.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/format/verdict.h"
#include "kvstore/options.h"
#include "kvstore/status.h"
#include "kvstore/wal/chunk.h"
#include "kvstore/wal/owner_file.h"

namespace kvstore::wal {

struct Segment {
  std::string name{};               // in the store's directory
  format::Seq first_seq = 0;      // from the name; the header must agree
};

// Accepted records of one chunk. Good until the next call of the walk.
struct Records {
  const Chunk* chunk = nullptr;
  std::span<const LineRef> lines{};  // kRecord only, in sequence
  std::string_view path{};           // of the file they stand in
};

// Where the walk stands: behind everything it accepted.
struct WalkEnd {
  enum class Kind : uint8_t {
    kClean,   // nothing but blank lines behind the last record
    kTorn,    // an unpromised rest stands behind it: see torn
  };
  Kind kind = Kind::kClean;
  CutReport torn{};              // kTorn: what the next opening cuts; kept_as is empty
  std::string segment{};         // name of the last segment; empty: the store has none yet
  uint64_t offset = 0;         // in it, behind the last accepted line
  bool newline_missing = false;  // the last accepted line lacks its '\n'
  // A rotation was cut short: the segment before the last has all its records, but not the end it should have.
  std::string unsettled_segment{};
  uint64_t unsettled_offset = 0;      // behind its last good line
  bool closing_line_missing = false;  // else it stands before the offset, and only what follows it has to go
};

class LogWalk {
 public:
  // Fails with kNotAStore when `dir` has neither segment nor LOCK, kCorruption when the first segment is gone
  // or the log is, though LOCK vouches for records. threads: see ChunkPipeline.
  static Result<LogWalk> open(env::Env& env, const std::string& dir, unsigned threads);
  LogWalk(LogWalk&&) noexcept;
  LogWalk& operator=(LogWalk&&) noexcept;
  ~LogWalk();

  // The next accepted records, or nullopt at the end, described by end(). kCorruption and kUnsupported name file,
  // line, byte, cause and next step; the walk then stays there. Called again after the end it looks for more.
  Result<std::optional<Records>> next();
  // Needs: next() has returned nullopt.
  [[nodiscard]] const WalkEnd& end() const noexcept;

  [[nodiscard]] const std::string& store_uuid() const noexcept;  // empty before the first header
  [[nodiscard]] const Owner& owner() const noexcept;             // as LOCK says; empty when there is none
  [[nodiscard]] const std::vector<Segment>& segments() const noexcept;
  [[nodiscard]] format::Seq last_seq() const noexcept;     // of the last accepted record
  [[nodiscard]] int64_t last_ts_us() const noexcept;
  [[nodiscard]] format::Seq synced_seq() const noexcept;   // highest voucher seen, LOCK's included
  [[nodiscard]] uint64_t bytes_accepted() const noexcept;  // bytes of accepted lines of every kind

 private:
  struct Impl;
  explicit LogWalk(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

// The segments in `dir`, in order. kNotAStore when the directory does not exist.
Result<std::vector<Segment>> list_segments(env::Env& env, const std::string& dir);

// The 1-based number of the line that starts at `offset`.
Result<uint64_t> line_number_at(env::File& file, uint64_t offset);

}  // namespace kvstore::wal
