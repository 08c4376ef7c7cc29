#include "kvstore/engine/background.h"

#include <algorithm>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/thread_name.h"

namespace kvstore::engine {

namespace {

constexpr std::chrono::hours kSyncIntervalMax{24 * 365};

}  // namespace

Background::~Background() { stop(); }

void Background::start(wal::LogWriter& log, wal::GroupSync& group, std::chrono::milliseconds sync_interval,
                       std::function<void(const Status&, bool)> on_error, Logger logger) {
  KV_ASSERT(!syncs_.joinable() && !extensions_.joinable());
  KV_ASSERT(!stopping_);  // it starts once
  log_ = &log;
  group_ = &group;
  // Not so long that now plus that much would overflow.
  sync_interval_ = std::clamp<std::chrono::milliseconds>(sync_interval, std::chrono::milliseconds(1), kSyncIntervalMax);
  on_error_ = std::move(on_error);
  logger_ = std::move(logger);
  KV_ASSERT(logger_ != nullptr);
  syncs_ = std::thread([this] {
    base::name_this_thread("kvstore-sync");
    run_syncs();
  });
  extensions_ = std::thread([this] {
    base::name_this_thread("kvstore-room");
    run_extensions();
  });
}

void Background::want_room() {
  {
    const std::lock_guard lock(mutex_);
    room_wanted_ = true;
  }
  room_wake_.notify_one();
}

void Background::want_sync() {
  {
    const std::lock_guard lock(mutex_);
    sync_wanted_ = true;
  }
  sync_wake_.notify_one();
}

void Background::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  sync_wake_.notify_one();
  room_wake_.notify_one();
  KV_ASSERT(syncs_.get_id() != std::this_thread::get_id());  // a callback that closes the store would wait for itself
  if (syncs_.joinable()) syncs_.join();
  if (extensions_.joinable()) extensions_.join();
}

void Background::run_extensions() {
  std::unique_lock lock(mutex_);
  for (;;) {
    room_wake_.wait(lock, [this] { return stopping_ || room_wanted_; });
    if (stopping_) return;
    room_wanted_ = false;
    lock.unlock();
    log_->extend();
    lock.lock();
  }
}

void Background::run_syncs() {
  using SteadyClock = std::chrono::steady_clock;
  SteadyClock::time_point next_sync = SteadyClock::now() + sync_interval_;
  bool reported_broken = false;
  bool reported_trouble = false;
  std::unique_lock lock(mutex_);
  for (;;) {
    sync_wake_.wait_until(lock, next_sync, [this] { return stopping_ || sync_wanted_; });
    if (stopping_) return;
    const bool rotated = std::exchange(sync_wanted_, false);
    lock.unlock();
    Status synced;
    if (rotated) synced = log_->finish_rotation();
    if (synced.ok() && SteadyClock::now() >= next_sync)
      synced = group_->wait_for(log_->last_seq(), wal::GroupSync::For::kUpkeep);
    if (rotated && synced.ok()) want_room();  // the segment that is done with can go, and the next one be made
    // A full disk may keep a rotation from being finished and breaks nothing: that is for the log, each time anew.
    const bool is_broken = log_->is_broken();
    if (is_broken) synced = log_->broken();  // with the first cause, which may be another call's
    const bool is_news = !synced.ok() && (is_broken ? !reported_broken : !reported_trouble);
    reported_trouble = !synced.ok();
    if (is_news) {
      reported_broken = is_broken;
      logger_->error("background sync: {}", synced.message());
      on_error_(synced, reported_broken);
    }
    if (SteadyClock::now() >= next_sync) next_sync = SteadyClock::now() + sync_interval_;
    lock.lock();
  }
}

}  // namespace kvstore::engine
