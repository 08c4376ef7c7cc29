// Replaces operator new and delete for the whole program (never inlined: GCC would take malloc and delete for a
// mismatch): counts a thread's allocations, and refuses memory where a
// test asks for it. Include it in exactly one file of a program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace kvstore::testing {

struct AllocationCount {
  uint64_t calls = 0;
  uint64_t bytes = 0;
  AllocationCount operator-(const AllocationCount& before) const noexcept {
    return {calls - before.calls, bytes - before.bytes};
  }
};

inline thread_local AllocationCount allocations;  // of this thread, so far
inline thread_local uint64_t allocations_allowed = UINT64_MAX;
inline thread_local uint64_t refusals_left = 0;  // once those are used up
inline thread_local uint64_t refusals = 0;       // by the MemoryRunsOut at hand

// While it lives, this thread gets `allowed` more allocations, then std::bad_alloc for the next `refused` ones.
class MemoryRunsOut {
 public:
  explicit MemoryRunsOut(uint64_t allowed = 0, uint64_t refused = UINT64_MAX) noexcept {
    allocations_allowed = allowed;
    refusals_left = refused;
    refusals = 0;
  }
  ~MemoryRunsOut() { allocations_allowed = UINT64_MAX; }
  [[nodiscard]] static bool has_refused() noexcept { return refusals != 0; }
  MemoryRunsOut(const MemoryRunsOut&) = delete;
  MemoryRunsOut& operator=(const MemoryRunsOut&) = delete;
};

inline std::atomic<int64_t> allocations_until_refusal_elsewhere{INT64_MAX};
inline thread_local bool is_spared = false;

// While it lives, all threads but this one get `allowed` more allocations together, then one std::bad_alloc.
class MemoryRunsOutElsewhere {
 public:
  explicit MemoryRunsOutElsewhere(uint64_t allowed) noexcept {
    is_spared = true;
    allocations_until_refusal_elsewhere = static_cast<int64_t>(allowed);
  }
  ~MemoryRunsOutElsewhere() {
    allocations_until_refusal_elsewhere = INT64_MAX;
    is_spared = false;
  }
  MemoryRunsOutElsewhere(const MemoryRunsOutElsewhere&) = delete;
  MemoryRunsOutElsewhere& operator=(const MemoryRunsOutElsewhere&) = delete;
  [[nodiscard]] static bool has_refused() noexcept { return allocations_until_refusal_elsewhere < 0; }
};

inline void* allocate(size_t size, size_t alignment) {
  if (!is_spared && allocations_until_refusal_elsewhere != INT64_MAX && allocations_until_refusal_elsewhere-- == 0) {
    throw std::bad_alloc();
  }
  if (allocations_allowed > 0) {
    --allocations_allowed;
  } else if (refusals_left > 0) {
    --refusals_left;
    ++refusals;
    throw std::bad_alloc();
  }
  ++allocations.calls;
  allocations.bytes += size;
  const size_t rounded = (size + alignment - 1) / alignment * alignment;  // as aligned_alloc wants it
  void* const bytes =
      alignment <= alignof(std::max_align_t) ? std::malloc(size) : std::aligned_alloc(alignment, rounded);
  return bytes != nullptr ? bytes : throw std::bad_alloc();
}

}  // namespace kvstore::testing

// Not for clang-tidy, which sees definitions in a header, and through them leaks in GoogleTest's allocations.
#if !defined(__clang_analyzer__)
[[gnu::noinline]] void* operator new(size_t size) { return kvstore::testing::allocate(size, 1); }
[[gnu::noinline]] void* operator new[](size_t size) { return kvstore::testing::allocate(size, 1); }
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  return kvstore::testing::allocate(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](size_t size, std::align_val_t alignment) {
  return kvstore::testing::allocate(size, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return kvstore::testing::allocate(size, 1);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* bytes) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete[](void* bytes) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete(void* bytes, size_t) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete[](void* bytes, size_t) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete(void* bytes, std::align_val_t) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete[](void* bytes, std::align_val_t) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete(void* bytes, size_t, std::align_val_t) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete[](void* bytes, size_t, std::align_val_t) noexcept { std::free(bytes); }
[[gnu::noinline]] void operator delete(void* bytes, const std::nothrow_t&) noexcept { std::free(bytes); }
#endif
