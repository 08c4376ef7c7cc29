// GroupSync: concurrent committers share one sync. The first to wait becomes the leader and syncs; whoever
// comes meanwhile waits for the next sync, which one of them leads. So with many writers every sync covers
// all that was appended while the one before it ran. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "kvstore/format/record.h"
#include "kvstore/status.h"
#include "kvstore/wal/log_writer.h"

namespace kvstore::wal {

class GroupSync {
 public:
  explicit GroupSync(LogWriter& log) noexcept : log_(log) {}

  // Returns when the record `seq` survives a power cut, or with the failure that broke the log.
  // Needs: seq has been appended. Never throws: a leader that left that way would leave the others waiting for ever.
  Status wait_for(format::Seq seq) noexcept;
  // How many calls found their record covered by somebody else's sync.
  [[nodiscard]] uint64_t shared() const;

 private:
  LogWriter& log_;
  mutable std::mutex mutex_;
  std::condition_variable synced_;
  bool has_leader_ = false;
  uint64_t shared_ = 0;
};

}  // namespace kvstore::wal
