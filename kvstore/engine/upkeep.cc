#include "kvstore/engine/upkeep.h"

#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/thread_name.h"

namespace kvstore::engine {

void Upkeep::start(const char* name, std::function<std::chrono::milliseconds()> work) {
  KV_ASSERT(!thread_.joinable());
  KV_ASSERT(work != nullptr);
  work_ = std::move(work);
  thread_ = std::thread([this, name] {
    base::name_this_thread(name);
    run();
  });
}

void Upkeep::wake() {
  {
    const std::lock_guard lock(mutex_);
    awake_ = true;
  }
  woken_.notify_one();
}

void Upkeep::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  woken_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Upkeep::run() {
  std::chrono::milliseconds pause{0};
  std::unique_lock lock(mutex_);
  for (;;) {
    woken_.wait_for(lock, pause, [this] { return stopping_ || awake_; });
    if (stopping_) return;
    awake_ = false;
    lock.unlock();
    pause = work_();
    KV_ASSERT(pause.count() >= 0);
    lock.lock();
  }
}

}  // namespace kvstore::engine
