// Background: the store's one thread. It syncs the log every sync_interval while there is something to
// sync (P2), and keeps written space ahead of the writers.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "kvstore/engine/logging.h"
#include "kvstore/wal/group_sync.h"
#include "kvstore/wal/log_writer.h"

namespace kvstore::engine {

class Background {
 public:
  // Not running until start(), so that the log may be opened with want_room() as its callback.
  Background() = default;
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void start(wal::LogWriter& log, wal::GroupSync& group, std::chrono::milliseconds sync_interval,
             std::function<void(const Status&)> on_error, Logger logger);
  // Any thread, cheap: the space ahead runs low.
  void want_room();
  // Returns when the thread has ended; nothing is synced on the way out. Idempotent.
  void stop();

 private:
  void run();

  wal::LogWriter* log_ = nullptr;
  wal::GroupSync* group_ = nullptr;
  std::chrono::milliseconds sync_interval_{0};
  std::function<void(const Status&)> on_error_;
  Logger logger_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool room_wanted_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace kvstore::engine
