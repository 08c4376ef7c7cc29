// A segment that is being written: the inside of LogWriter, shared by log_writer.cc and log_rotation.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/wal/log_writer.h"

namespace kvstore::wal {

// Space is added in steps that double from the first to the last, so that a store of ten keys stays small
// on disk while a busy one extends rarely.
inline constexpr uint64_t kFirstStepBytes = uint64_t{64} << 10;
inline constexpr uint64_t kLastStepBytes = uint64_t{4} << 20;

static_assert(kFirstStepBytes <= kLastStepBytes);
// Every segment keeps room for its closing line, so that sealing never needs a disk that has space.
inline constexpr size_t kClosingLineBytesMax = 160;
static_assert(kClosingLineBytesMax < kFirstStepBytes);

// A segment that is full while the one before it is not on disk yet stays the active one, and grows to so many times
// segment_bytes at most; then commits wait.
inline constexpr uint64_t kStretchMax = 4;

struct LogWriter::ActiveSegment {
  std::string path;           // of one that still is the next segment: that which it is to get
  bool is_renamed = true;     // sync_mutex_; its name may not be on disk yet
  bool has_name = true;       // sync_mutex_
  std::string closing_line;   // of a full one
  format::Seq first_seq = 0;  // of the first record in it, there already or still to come
  std::unique_ptr<env::File> file;
  bool counts_names = true;  // its file system does, see File::has_name()
  char* mapping = nullptr;   // commit lock; null under LogIo::kWrite
  std::atomic<uint64_t> capacity{
      0};                    // where the segment counts as full; writes: commit lock, or nobody appends any more
  uint64_t stretch_end = 0;  // how far capacity may move; the mapping's size. Writes: commit lock and extend_mutex
  uint64_t tail = 0;         // end of the last line; commit lock
  std::atomic<uint64_t> low_water{0};   // when tail passes it, more space is asked for
  std::atomic<uint64_t> filled_end{0};  // the file holds written bytes up to here
  std::mutex extend_mutex;              // one extends at a time
  uint64_t step = kFirstStepBytes;      // extend_mutex
  uint64_t writeback_end = 0;           // extend_mutex; the kernel was asked to write up to here
};

}  // namespace kvstore::wal
