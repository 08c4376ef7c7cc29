// Background: two threads that keep the disk out of the commits' way. One syncs the log every sync_interval while there
// is something to sync (P2), and finishes rotations. The other keeps written space ahead of the writers; it is a thread of
// its own because a sync may take long, and the space is used up meanwhile.
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
  // Not running until start(), so that the log may be opened with the want_… calls as its callbacks.
  Background() = default;
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void start(wal::LogWriter& log, wal::GroupSync& group, std::chrono::milliseconds sync_interval,
             std::function<void(const Status&, bool)> on_error, Logger logger);
  // Any thread, cheap: the space ahead runs low.
  void want_room();
  // Any thread, cheap: a rotation waits for its syncs.
  void want_sync();
  // Returns when the threads have ended; nothing is synced on the way out. Idempotent.
  void stop();

 private:
  void run_syncs();
  void run_extensions();

  wal::LogWriter* log_ = nullptr;
  wal::GroupSync* group_ = nullptr;
  std::chrono::milliseconds sync_interval_{0};
  std::function<void(const Status&, bool)> on_error_;
  Logger logger_;

  std::mutex mutex_;
  std::condition_variable sync_wake_;
  std::condition_variable room_wake_;
  bool sync_wanted_ = false;
  bool room_wanted_ = false;
  bool stopping_ = false;
  std::thread syncs_;
  std::thread extensions_;
};

}  // namespace kvstore::engine
