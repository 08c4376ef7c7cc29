#include "kvstore/base/spin_park_lock.h"

namespace kvstore::base {
namespace {

constexpr int kSpinCount = 20;

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void SpinParkLock::lock_contended() noexcept {
  for (int i = 0; i < kSpinCount; ++i) {
    // Reads first: an exchange would take the cache line away from the holder with every turn.
    if (state_.load(std::memory_order_relaxed) == kFree && try_lock()) return;
    pause();
  }
  // From here on this thread takes the lock as kParked only: it cannot know whether others are still
  // asleep, and one notify too many is cheap where one too few is a hang.
  while (state_.exchange(kParked, std::memory_order_acquire) != kFree) {
    state_.wait(kParked, std::memory_order_relaxed);
  }
}

}  // namespace kvstore::base
