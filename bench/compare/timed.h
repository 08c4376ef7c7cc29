// Clocks around loops, the same for every row.
#pragma once

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "bench/compare/peer.h"

namespace bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Timed {
  uint64_t steps = 0;  // of all threads
  double rate = 0;     // steps a second: the sum of the threads' own
  double seconds = 0;  // the longest thread's
};

// Each session gets a thread, which calls make(thread) for its step, waits for the others, and then calls step(0), step(1), ...
// until it has made `steps_max` steps or `seconds_max` are over. A session's flush() is part of its time.
template <typename Make>
Timed timed(std::vector<std::unique_ptr<Session>>& sessions, uint64_t steps_max, double seconds_max, Make make) {
  std::vector<Timed> each(sessions.size());
  std::barrier start(static_cast<std::ptrdiff_t>(sessions.size()));
  auto work = [&](unsigned thread) {
    auto step = make(thread);
    start.arrive_and_wait();
    const Clock::time_point begin = Clock::now();
    uint64_t i = 0;
    double seconds = 0;
    // The clock is read after so many steps, as many as take it about 50 us: often enough for slow ones, and free.
    for (uint64_t stride = 1; i < steps_max && seconds < seconds_max;) {
      const uint64_t end = std::min(i + stride, steps_max);
      while (i < end) step(i++);
      const double now = seconds_since(begin);
      if (now - seconds < 50e-6) stride *= 2;
      seconds = now;
    }
    sessions[thread]->flush();
    seconds = seconds_since(begin);
    each[thread] = {i, static_cast<double>(i) / seconds, seconds};
  };
  std::vector<std::thread> threads;
  for (unsigned t = 1; t < sessions.size(); ++t) threads.emplace_back(work, t);
  work(0);
  for (std::thread& thread : threads) thread.join();
  Timed all;
  for (const Timed& one : each) {
    all.steps += one.steps;
    all.rate += one.rate;
    all.seconds = std::max(all.seconds, one.seconds);
  }
  return all;
}

inline std::vector<std::unique_ptr<Session>> sessions_of(Database& database, unsigned threads) {
  std::vector<std::unique_ptr<Session>> sessions;
  for (unsigned t = 0; t < threads; ++t) sessions.push_back(database.session());
  return sessions;
}

}  // namespace bench
