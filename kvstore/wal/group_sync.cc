#include "kvstore/wal/group_sync.h"

#include "kvstore/base/assert.h"

namespace kvstore::wal {

Status GroupSync::wait_for(format::Seq seq) noexcept {
  KV_ASSERT(seq <= log_.last_seq());
  std::unique_lock lock(mutex_);
  bool led = false;
  while (log_.synced_seq() < seq) {
    if (log_.is_broken()) return log_.broken();
    if (has_leader_) {
      synced_.wait(lock);
      continue;
    }
    has_leader_ = led = true;
    lock.unlock();
    Status result = log_.sync();
    lock.lock();
    KV_ASSERT(has_leader_);
    has_leader_ = false;
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
