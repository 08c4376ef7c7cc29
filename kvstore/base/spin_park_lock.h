// SpinParkLock: a mutual exclusion lock for critical sections of a few hundred nanoseconds. Spins briefly,
// then parks in the kernel, so it neither pays a system call for a short wait nor burns an oversubscribed
// core for a long one. Three states as in U. Drepper, "Futexes Are Tricky" (2011), mutex2.
// BasicLockable: use it with std::lock_guard and std::unique_lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "kvstore/base/latency.h"

namespace kvstore::base {

class SpinParkLock {
 public:
  SpinParkLock() = default;
  // Records in `parked`, which outlives the lock, how long each thread waited that had to park. The clock is
  // read then and only then, beside two system calls.
  explicit SpinParkLock(LatencyHistogram& parked) noexcept : parked_(&parked) {}

  void lock() noexcept {
    uint32_t expected = kFree;
    if (state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire)) return;
    lock_contended();
  }
  bool try_lock() noexcept {
    uint32_t expected = kFree;
    return state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire);
  }
  void unlock() noexcept {
    if (state_.exchange(kFree, std::memory_order_release) == kParked) state_.notify_one();
  }

 private:
  static constexpr uint32_t kFree = 0, kHeld = 1, kParked = 2;  // kParked: held, and somebody may be asleep
  void lock_contended() noexcept;
  std::atomic<uint32_t> state_{kFree};
  LatencyHistogram* const parked_ = nullptr;
};

}  // namespace kvstore::base
