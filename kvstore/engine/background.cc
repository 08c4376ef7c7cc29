#include "kvstore/engine/background.h"

#include <algorithm>
#include <utility>

namespace kvstore::engine {

Background::~Background() { stop(); }

void Background::start(wal::LogWriter& log, wal::GroupSync& group, std::chrono::milliseconds sync_interval,
                       std::function<void(const Status&)> on_error, Logger logger) {
  log_ = &log;
  group_ = &group;
  sync_interval_ = std::max(sync_interval, std::chrono::milliseconds(1));
  on_error_ = std::move(on_error);
  logger_ = std::move(logger);
  thread_ = std::thread([this] { run(); });
}

void Background::want_room() {
  {
    const std::lock_guard lock(mutex_);
    room_wanted_ = true;
  }
  wake_.notify_one();
}

void Background::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Background::run() {
  using SteadyClock = std::chrono::steady_clock;
  SteadyClock::time_point next_sync = SteadyClock::now() + sync_interval_;
  bool reported = false;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_until(lock, next_sync, [this] { return stopping_ || room_wanted_; });
    if (stopping_) break;
    const bool extend = std::exchange(room_wanted_, false);
    lock.unlock();
    if (extend) log_->extend();
    if (SteadyClock::now() >= next_sync) {
      const Status synced = group_->wait_for(log_->last_seq());
      if (!synced.ok() && !reported) {
        reported = true;
        logger_->error("background sync: {}", synced.message());
        if (on_error_) on_error_(synced);
      }
      next_sync = SteadyClock::now() + sync_interval_;
    }
    lock.lock();
  }
}

}  // namespace kvstore::engine
