// Upkeep: a thread of the store's that calls one function again and again, and sleeps in between for as long as that
// function says, or until somebody wakes it. One compacts and sweeps, one makes memory ready for the table.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace kvstore::engine {

class Upkeep {
 public:
  Upkeep() = default;
  ~Upkeep() { stop(); }

  // `name`: the thread's, a literal of at most 15 characters. `work` must not throw. Throws std::system_error when the thread
  // cannot be started.
  void start(const char* name, std::function<std::chrono::milliseconds()> work);
  // Any thread; cheap.
  void wake();
  // Returns once `work` has returned for the last time.
  void stop();

 private:
  void run();

  std::function<std::chrono::milliseconds()> work_;
  std::mutex mutex_;
  std::condition_variable woken_;
  bool awake_ = true;  // the first call comes at once
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace kvstore::engine
