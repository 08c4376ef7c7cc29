// LogWalk: the one reader of a store. It goes through the snapshot, if there is one, and the segments in order,
// decodes, judges every line by the recovery table (format/verdict.h), and hands out what it accepts; opening, verifying
// and `kvctl log` differ only in what they do with it and with the place where the walk stops.
//
// It never writes and needs no lock. Beside a live writer a line may be under way while it is read, and
// blocks are read one after the other while the writer goes on; so nothing is called torn or damaged
// before it was read a second time, from the end of the last accepted record. That is enough: the
// writer fills the log strictly forward, so whatever stood before a byte that was seen is there now.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/format/verdict.h"
#include "kvstore/options.h"
#include "kvstore/status.h"
#include "kvstore/wal/chunk.h"
#include "kvstore/wal/owner_file.h"
#include "kvstore/wal/snapshot_reader.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::wal {

// Where the walk stands: behind everything it accepted.
struct WalkEnd {
  // What the next opening cuts, since no sync promised it: the rest of the last segment, a whole next segment that does not
  // go on where the log ends. Their kept_as is empty. None: nothing but blank lines stands behind the last record.
  std::vector<CutReport> cuts{};
  std::string previous_segment{};  // name of the one before the last; empty: there is none
  std::string segment{};           // name of the last segment; empty: the store has none yet
  format::Seq first_seq = 0;       // of that segment
  uint64_t offset = 0;             // in it, behind the last accepted line
  bool newline_missing = false;    // the last accepted line lacks its '\n'
  // A rotation was under way: the segment before the last has all its records, but maybe not the end it should have, and
  // it may not be on disk.
  struct Unsettled {
    std::string segment{};
    uint64_t offset = 0;  // behind its last good line
    format::Seq last_seq = 0;
    bool closing_line_missing = false;  // else it stands before the offset, and only what follows it has to go
  };
  std::optional<Unsettled> unsettled{};
};

// How long a reader begins anew beside a writer whose compactions are faster. Not so many times alone: while a thread waits
// for a processor, a writer compacts a small store as often as that.
class WalkAttempts {
 public:
  [[nodiscard]] bool may_begin_anew() noexcept;
  [[nodiscard]] Status outrun(const std::string& dir) const;  // why it may not

 private:
  int begun_times_ = 1;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

class LogWalk {
 public:
  enum class Start : uint8_t {
    kState,  // the newest snapshot, then the segments behind it: what the state is made of
    // The same, for somebody beside a writer who may compact. The files are held open from the beginning (not when they are
    // more than 64, or descriptors lack), so that the walk comes to its end, though they are removed meanwhile. The state is
    // that of an instant after the call of open().
    kInstant,
    kHistory,  // the oldest segment that is left: all records there are
  };

  // Fails with kNotAStore when `dir` has neither segment nor LOCK, kCorruption when files are missing at the beginning,
  // or the log is, though LOCK or a snapshot vouches for records. threads: see ChunkPipeline.
  static Result<LogWalk> open(env::Env& env, const std::string& dir, unsigned threads, Start start = Start::kState);
  LogWalk(LogWalk&&) noexcept;
  ~LogWalk();

  // The next accepted entries or records, or nullopt at the end, described by end(). kCorruption and kUnsupported name
  // file, line, byte, cause and next step; the walk then stays there. kCompacted: beside a live writer, whose compaction
  // has removed files before the walk came to them; a new walk finds the new snapshot. (kInstant: hardly ever,
  // as where there are too many files to hold.) Called again after the end it looks for more.
  Result<std::optional<Records>> next();
  // Needs: next() has returned nullopt.
  [[nodiscard]] const WalkEnd& end() const noexcept;

  [[nodiscard]] const std::string& store_uuid() const noexcept;  // empty before the first header
  [[nodiscard]] const Owner& owner() const noexcept;             // as LOCK says; empty when there is none
  [[nodiscard]] const std::vector<Segment>& segments() const noexcept;
  // The snapshot the walk began with, nullopt without one and under kHistory.
  [[nodiscard]] const std::optional<SnapshotReader::Summary>& base() const noexcept;
  [[nodiscard]] format::Seq last_seq() const noexcept;  // of the last accepted record
  [[nodiscard]] int64_t last_ts_us() const noexcept;
  [[nodiscard]] format::Seq synced_seq() const noexcept;   // highest voucher seen, LOCK's included
  [[nodiscard]] uint64_t bytes_accepted() const noexcept;  // bytes of accepted lines of every kind, in segments
  [[nodiscard]] uint64_t bytes_read() const noexcept;      // the same with those of the snapshot, for progress

  struct Impl;  // log_walk_impl.h

 private:
  explicit LogWalk(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvstore::wal
