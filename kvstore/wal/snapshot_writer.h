// SnapshotWriter: writes a snapshot file, the exact state after one record, one line a live key.
//
// In this order, so that the name never points at bytes that may still vanish:
//   write header and entries to <name>.tmp -> footer -> sync -> rename -> sync directory
// A crash leaves the temporary file, which the next opening removes, or the whole snapshot.
//
// Not thread-safe. It keeps little unsynced: a log sync beside it never has to wait for more than a few megabytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kvstore/base/buffer.h"
#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/status.h"

namespace kvstore::wal {

class SnapshotWriter {
 public:
  struct Settings {
    std::string dir{};
    std::string store{};       // uuid
    format::Seq last_seq = 0;  // > 0
    int64_t created_us = 0;    // entries that had expired by then are the caller's to leave out
  };
  // kIoError, kNoSpace. Throws std::bad_alloc, like add() and finish().
  static Result<std::unique_ptr<SnapshotWriter>> create(env::Env& env, Settings settings);
  ~SnapshotWriter();  // removes the temporary file unless finish() has renamed it
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  // Adds a live key. Needs: op is a put; seq <= last_seq; each key once. After a failure: only destruction.
  Status add(const format::Op& op, format::Seq seq);
  // Needs: the segment for last_seq + 1 has its name, and that name is on disk. OK: the snapshot survives a power cut. A
  // failure of the last step, syncing the directory, leaves a whole snapshot that may or may not survive one.
  Status finish();

  [[nodiscard]] uint64_t bytes() const noexcept { return written_ + block_.size(); }
  [[nodiscard]] uint64_t entries() const noexcept { return entries_; }

 private:
  SnapshotWriter(env::Env& env, Settings settings) : env_(env), settings_(std::move(settings)) {}
  Status flush();

  env::Env& env_;
  const Settings settings_;
  std::string path_;
  std::string temporary_;
  std::unique_ptr<env::File> file_;  // null: not created, or renamed
  base::Buffer block_;
  uint64_t written_ = 0;
  uint64_t synced_ = 0;
  uint64_t entries_ = 0;
  uint32_t whole_crc_ = 0;  // of everything written
};

}  // namespace kvstore::wal
