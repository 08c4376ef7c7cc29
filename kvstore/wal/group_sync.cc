#include "kvstore/wal/group_sync.h"

#include <algorithm>
#include <utility>

#include "kvstore/base/assert.h"

namespace kvstore::wal {

using SteadyClock = std::chrono::steady_clock;

Status GroupSync::wait_for(format::Seq seq) noexcept {
  KV_ASSERT(seq <= log_.last_seq());
  std::unique_lock lock(mutex_);
  bool led = false;
  if (log_.synced_seq() < seq) {
    ++arrived_;
    if (arrived_ >= expected_) all_there_.notify_one();
  }
  while (log_.synced_seq() < seq) {
    if (log_.is_broken()) return log_.broken();
    if (has_leader_) {
      synced_.wait(lock);
      continue;
    }
    has_leader_ = led = true;
    all_there_.wait_for(lock, last_sync_, [this] { return arrived_ >= expected_; });
    const uint64_t covered = std::exchange(arrived_, 0);
    lock.unlock();
    const SteadyClock::time_point begin = SteadyClock::now();
    Status result = log_.sync();
    lock.lock();
    KV_ASSERT(has_leader_);
    has_leader_ = false;
    last_sync_ = std::min<SteadyClock::duration>(SteadyClock::now() - begin, kGatherMax);
    expected_ = covered + arrived_;
    synced_.notify_all();
    if (!result.ok()) return result;
  }
  if (!led) ++shared_;
  return {};
}

uint64_t GroupSync::shared() const {
  const std::lock_guard lock(mutex_);
  return shared_;
}

}  // namespace kvstore::wal
