// SnapshotReader: reads a snapshot file and believes nothing in it that does not check out: the header, every line,
// their count, the checksum over the whole, the footer. A snapshot got its name only once all of it was on disk, so
// whatever is wrong with one is damage, and never the trace of a crash. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/status.h"
#include "kvstore/wal/chunk.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::wal {

class SnapshotReader {
 public:
  // What the header and the footer say.
  struct Summary {
    std::string store{};
    format::Seq last_seq = 0;
    int64_t created_us = 0;
    uint64_t entries = 0;
    uint64_t bytes = 0;  // size of the file
  };

  // Looks at header and footer. kCorruption and kUnsupported name file, line, byte, cause and next step; kIoError
  // carries errno, ENOENT when a compaction has replaced the snapshot meanwhile. threads: see ChunkPipeline.
  static Result<SnapshotReader> open(env::Env& env, const std::string& dir, const SnapshotFile& file, unsigned threads);
  SnapshotReader(SnapshotReader&&) noexcept;
  ~SnapshotReader();

  // The next entries, or nullopt once the whole file has been checked: until then what was handed out is a loan.
  Result<std::optional<Records>> next();
  [[nodiscard]] const Summary& summary() const noexcept;

 private:
  struct Impl;
  explicit SnapshotReader(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvstore::wal
