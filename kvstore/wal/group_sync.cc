#include "kvstore/wal/group_sync.h"

#include <algorithm>
#include <utility>

#include "kvstore/base/assert.h"

namespace kvstore::wal {

using SteadyClock = std::chrono::steady_clock;

Status GroupSync::wait_for(format::Seq seq, For whom) noexcept {
  KV_ASSERT(seq <= log_.last_seq());
  std::unique_lock lock(mutex_);
  if (log_.synced_seq() >= seq) {
    shared_ += whom == For::kCommit ? 1 : 0;
    return {};
  }
  const uint64_t round = round_;
  ++arrived_;
  if (arrived_ >= expected_) all_there_.notify_one();
  bool led = false;
  Status failed;
  while (failed.ok() && log_.synced_seq() < seq) {
    if (log_.is_broken()) {
      failed = log_.broken();
    } else if (has_leader_) {
      synced_.wait(lock);
    } else {
      has_leader_ = led = true;
      failed = lead(lock, seq);
      has_leader_ = false;
      synced_.notify_all();
    }
  }
  // A sync that had begun before this call came may have covered its record all the same.
  if (round == round_) --arrived_;
  if (failed.ok() && !led && whom == For::kCommit) ++shared_;
  return failed;
}

// Needs: `lock` is held, as it is when this returns, and the caller is the leader.
Status GroupSync::lead(std::unique_lock<std::mutex>& lock, format::Seq seq) noexcept {
  all_there_.wait_for(lock, last_sync_, [this] { return arrived_ >= expected_; });
  if (log_.synced_seq() >= seq) return {};  // by a rotation meanwhile
  const uint64_t covered = std::exchange(arrived_, 0);
  ++round_;
  lock.unlock();
  const SteadyClock::time_point begin = SteadyClock::now();
  Status result = log_.sync();
  lock.lock();
  last_sync_ = std::min<SteadyClock::duration>(SteadyClock::now() - begin, kGatherMax);
  expected_ = result.ok() ? covered + arrived_ : 0;
  return result;
}

uint64_t GroupSync::shared() const {
  const std::lock_guard lock(mutex_);
  return shared_;
}

}  // namespace kvstore::wal
