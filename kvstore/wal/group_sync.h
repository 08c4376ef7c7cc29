// GroupSync: concurrent committers share one sync. The first to wait becomes the leader and syncs; whoever
// comes meanwhile waits for the next sync, which one of them leads. So with many writers every sync covers
// all that was appended while the one before it ran. Thread-safe.
//
// A leader first waits for those who took part in the sync before: they were woken just now and are about to come back with
// their next record, and would else have to wait for two syncs, this one and their own. So writers that do nothing else share
// every sync, where they would fall into two groups that take turns. It waits no longer than a sync takes, a millisecond at
// most: once, when the others do not come back. A writer that is alone never waits.
#pragma once

#include <chrono>
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
  enum class For : uint8_t { kCommit, kUpkeep };  // shared() counts commits
  Status wait_for(format::Seq seq, For whom = For::kCommit) noexcept;
  // How many calls found their record covered by somebody else's sync.
  [[nodiscard]] uint64_t shared() const;

 private:
  Status lead(std::unique_lock<std::mutex>& lock, format::Seq seq) noexcept;

  // Of a disk that takes long, others need not be waited for as long.
  static constexpr std::chrono::milliseconds kGatherMax{1};

  LogWriter& log_;
  mutable std::mutex mutex_;
  std::condition_variable synced_;
  std::condition_variable all_there_;
  bool has_leader_ = false;
  uint64_t round_ = 0;     // syncs begun
  uint64_t arrived_ = 0;   // calls that wait for a sync which has not begun
  uint64_t expected_ = 0;  // ... and how many there will be soon: those of the sync before, and who came meanwhile
  std::chrono::steady_clock::duration last_sync_{0};  // how long it took
  uint64_t shared_ = 0;
};

}  // namespace kvstore::wal
