#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "kvstore/base/spin_park_lock.h"

namespace kvstore::base {
namespace {

using namespace std::chrono_literals;

// Runs fn(index) in `count` threads. A lost wake-up shows as threads that never return, so this one stops waiting.
void run_threads(int count, const std::function<void(int)>& fn) {
  std::mutex mutex;
  std::condition_variable all_done;
  int done = 0;
  std::vector<std::thread> threads;
  for (int index = 0; index < count; ++index) {
    threads.emplace_back([&, index] {
      fn(index);
      const std::lock_guard guard(mutex);
      ++done;
      all_done.notify_one();
    });
  }
  std::unique_lock guard(mutex);
  if (!all_done.wait_for(guard, 30s, [&] { return done == count; })) {
    std::fprintf(stderr, "%d of %d threads hang: a wake-up was lost\n", count - done, count);
    std::abort();
  }
  guard.unlock();
  for (std::thread& thread : threads) thread.join();
}

struct Guarded {
  SpinParkLock lock;
  uint64_t first = 0, second = 0;  // equal whenever nobody holds the lock; plain, so that TSan watches them

  void step() {
    const std::lock_guard guard(lock);
    ++first;
    EXPECT_EQ(first, second + 1);
    ++second;
  }
};

TEST(SpinParkLock, LetsOneThreadInAtATime) {
  Guarded guarded;
  run_threads(4, [&](int) {
    for (int i = 0; i < 50'000; ++i) guarded.step();
  });
  EXPECT_EQ(guarded.second, 200'000u);
}

TEST(SpinParkLock, ManyMoreThreadsThanCoresAllFinish) {
  // A holder that is put to sleep inside makes all others park: the case in which pure spinning collapses.
  Guarded guarded;
  run_threads(16, [&](int index) {
    for (int i = 0; i < 2'000; ++i) {
      guarded.step();
      if (i % 100 == index) {
        const std::lock_guard guard(guarded.lock);
        std::this_thread::yield();
      }
    }
  });
  EXPECT_EQ(guarded.second, 32'000u);
}

TEST(SpinParkLock, WakesEverySleeper) {
  // All sleep in the lock before it is given back, so each must be woken by the one before it.
  for (int round = 0; round < 20; ++round) {
    SpinParkLock lock;
    int entered = 0;
    std::atomic<int> arriving{0};
    run_threads(8, [&](int) {
      if (arriving.fetch_add(1) == 0) {
        const std::lock_guard guard(lock);
        while (arriving.load() < 8) std::this_thread::yield();
        std::this_thread::sleep_for(2ms);
        ++entered;
        return;
      }
      const std::lock_guard guard(lock);
      ++entered;
    });
    EXPECT_EQ(entered, 8);
  }
}

TEST(SpinParkLock, RecordsHowLongThoseWaitedWhoHadToPark) {
  LatencyHistogram parked;
  SpinParkLock lock(parked);
  for (int i = 0; i < 100; ++i) const std::lock_guard guard(lock);
  EXPECT_EQ(parked.snapshot().count, 0u);
  lock.lock();
  std::atomic<bool> is_there{false};
  std::thread waiting([&] {
    is_there = true;
    const std::lock_guard guard(lock);
  });
  while (!is_there) std::this_thread::yield();
  std::this_thread::sleep_for(200ms);
  lock.unlock();
  waiting.join();
  const LatencyStats waits = parked.snapshot();
  EXPECT_EQ(waits.count, 1u);
  EXPECT_GT(waits.max_ns, 1'000'000u);
}

TEST(SpinParkLock, WhoeverArrivesWhileOthersWakeIsNotForgotten) {
  // Lock and unlock in step with one another from many threads that sleep and wake all the time.
  Guarded guarded;
  run_threads(8, [&](int index) {
    for (int i = 0; i < 300; ++i) {
      {
        const std::lock_guard guard(guarded.lock);
        if ((i + index) % 16 == 0) std::this_thread::sleep_for(50us);
      }
      guarded.step();
    }
  });
  EXPECT_EQ(guarded.second, 2'400u);
}

TEST(SpinParkLock, TryLockNeitherWaitsNorLies) {
  SpinParkLock lock;
  ASSERT_TRUE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock());
  std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
  lock.unlock();
  ASSERT_TRUE(lock.try_lock());
  lock.unlock();
}

}  // namespace
}  // namespace kvstore::base
