// Arena: the table's memory. Blocks of some 200 size classes are cut from slabs, slabs from the units of a
// ChunkPool; blocks over 32 KiB come from malloc, which is good at those.
//
// Memory finds its way back: a slab without blocks in use returns its units for any other use. A store whose
// values change in size does not keep the memory of their former sizes.
//
// For the writer only, but for prepare() and held_bytes(). No call throws.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "kvstore/table/chunks.h"

namespace kvstore::table {

class Arena {
 public:
  Arena() noexcept = default;
  ~Arena();  // frees every block; arrays of kChunkBytes and more must have been freed
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // A block of at least `bytes`, aligned to 8, and to 64 when bytes is a multiple of 64 up to 32 KiB. Not
  // zeroed. nullptr when memory has run out. Needs: bytes > 0.
  [[nodiscard]] void* allocate(size_t bytes) noexcept;
  // Needs: the same `bytes` as were asked for.
  void free(void* block, size_t bytes) noexcept;

  // The same for arrays of a multiple of 64 bytes: aligned to 64, on huge pages at any size. Up to 32 KiB they
  // share the blocks' slabs, above that they are rounded to kUnitBytes.
  [[nodiscard]] void* allocate_array(size_t bytes) noexcept;
  void free_array(void* array, size_t bytes) noexcept;

  // Returns the blocks kept at hand to their slabs, where a few hundred of them can hold as many chunks, and free
  // memory to the kernel.
  void trim() noexcept;

  // Touches memory ahead of its need, see ChunkPool::prepare(). Any thread.
  bool prepare() noexcept { return chunks_.prepare(); }
  void end_demand() noexcept { chunks_.end_demand(); }
  // See ChunkPool::on_taken().
  void on_taken(std::function<void()> call) noexcept { chunks_.on_taken(std::move(call)); }

  // From here on allocating fails rather than take more than this from the system, as if memory had run out.
  void set_limit(uint64_t bytes) noexcept {
    limit_bytes_ = bytes;
    limit_chunks();
  }

  // Memory taken from the system. Any thread.
  [[nodiscard]] uint64_t held_bytes() const noexcept {
    return chunks_.held_bytes() + big_bytes_.load(std::memory_order_relaxed);
  }
  // ... of it what is handed out, rounded up as it is. Any thread.
  [[nodiscard]] uint64_t used_bytes() const noexcept { return used_bytes_.load(std::memory_order_relaxed); }
  // Blocks and arrays handed out and not back yet: finds leaks.
  [[nodiscard]] uint64_t live_count() const noexcept { return live_count_; }

 private:
  // Classes: every 8 bytes up to 1 KiB, from there 16 steps a doubling, so at most 1/16 is wasted.
  static constexpr size_t kFineBytesMax = 1024;
  static constexpr size_t kFineClasses = kFineBytesMax / 8;
  static constexpr size_t kSteps = 16;
  static constexpr size_t kDoublings = 5;
  static constexpr size_t kSmallBytesMax = kFineBytesMax << kDoublings;
  static constexpr size_t kClasses = kFineClasses + kDoublings * kSteps;
  static_assert(kClasses <= size_t{UINT8_MAX} + 1);  // Slab::class_index

  struct SizeClass {
    FreeBlock* cache = nullptr;  // the blocks freed last, reused first, while they are warm
    uint32_t cache_count = 0;
    Slab* roomy = nullptr;  // slabs with room
  };
  // A block from malloc carries this in front, so that the destructor finds it.
  struct Big {
    Big* previous;
    Big* next;
  };
  static_assert(sizeof(Big) % 8 == 0);  // what stands behind it is aligned as malloc's block is

  static size_t class_of(size_t bytes) noexcept;
  static size_t class_bytes(size_t class_index) noexcept;

  void note_taken(size_t bytes) noexcept;
  void note_back(size_t bytes) noexcept;
  FreeBlock* take_back(void* block, size_t class_index) noexcept;
  void* take_from_slab(size_t class_index) noexcept;
  void return_to_slab(FreeBlock* block) noexcept;
  void shrink_cache(SizeClass& size_class, uint32_t keep) noexcept;
  void push_roomy(Slab* slab) noexcept;
  void remove_roomy(Slab* slab) noexcept;
  void* allocate_big(size_t bytes) noexcept;
  void free_big(void* block, size_t bytes) noexcept;
  // What big blocks leave of the limit is the chunks'.
  void limit_chunks() noexcept {
    const uint64_t bigs = big_bytes_.load(std::memory_order_relaxed);
    chunks_.set_limit(limit_bytes_ > bigs ? limit_bytes_ - bigs : 0);
  }

  std::array<SizeClass, kClasses> classes_{};
  ChunkPool chunks_;
  Big* bigs_ = nullptr;
  std::atomic<uint64_t> big_bytes_{0};
  uint64_t limit_bytes_ = UINT64_MAX;
  std::atomic<uint64_t> used_bytes_{0};
  uint64_t live_count_ = 0;
};

}  // namespace kvstore::table
