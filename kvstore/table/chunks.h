// ChunkPool: memory from the kernel in chunks of 2 MiB, aligned, so that it can back them with huge pages (that alone
// makes a table of 10M entries 1.5 times faster), handed out in runs of 16 KiB units.
//
// The first unit of a chunk holds its bookkeeping, which is thereby found from any address inside by masking.
// The first chunk of a pool does without huge pages: a small store touches, and so occupies, only what it uses.
//
// Not thread-safe but for held_bytes(). No call throws.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace kvstore::table {

inline constexpr size_t kChunkBytes = size_t{2} << 20;
inline constexpr size_t kUnitBytes = size_t{16} << 10;
inline constexpr size_t kUnitCount = kChunkBytes / kUnitBytes;
inline constexpr size_t kUnitRunMax = kUnitCount / 2;  // 1 MiB: what is larger takes whole chunks

// A free block of a slab.
struct FreeBlock {
  FreeBlock* next;
};

// The Arena's bookkeeping for one slab; it sits at the index of the slab's first unit.
struct Slab {
  FreeBlock* free = nullptr;  // blocks that came back
  Slab* previous = nullptr;   // in the class's list of slabs with room
  Slab* next = nullptr;
  uint16_t used = 0;   // blocks handed out
  uint16_t fresh = 0;  // index of the first block never handed out
  uint8_t class_index = 0;
  uint8_t units_back = 0;  // in every unit: how many units before it its slab begins
};

struct Chunk {
  Chunk* previous = nullptr;
  Chunk* next = nullptr;
  uint64_t held_bytes = 0;  // how much of it counts as taken from the system
  uint32_t free_count = 0;
  bool huge = false;
  std::array<uint64_t, kUnitCount / 64> free_map{};  // a set bit: a free unit
  std::array<Slab, kUnitCount> slabs{};

  static Chunk* of(const void* inside) noexcept {
    return reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(inside) & ~(kChunkBytes - 1));
  }
  [[nodiscard]] char* unit(size_t index) noexcept { return reinterpret_cast<char*>(this) + index * kUnitBytes; }
  [[nodiscard]] size_t unit_index(const void* inside) const noexcept {
    return static_cast<size_t>(static_cast<const char*>(inside) - reinterpret_cast<const char*>(this)) / kUnitBytes;
  }
};
static_assert(sizeof(Chunk) <= kUnitBytes);

class ChunkPool {
 public:
  ChunkPool() noexcept = default;
  ~ChunkPool();  // gives every chunk back, handed out or not
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  // A run of `count` units, nullptr when memory has run out. Needs: 1 <= count <= kUnitRunMax.
  [[nodiscard]] char* take(size_t count) noexcept;
  void give_back(char* begin, size_t count) noexcept;

  // Memory of its own mapping, aligned to kChunkBytes, for arrays of whole chunks.
  [[nodiscard]] char* map(size_t bytes) noexcept;
  void unmap(char* begin, size_t bytes) noexcept;

  // Memory taken from the system. Any thread.
  [[nodiscard]] uint64_t held_bytes() const noexcept { return held_bytes_.load(std::memory_order_relaxed); }

 private:
  struct ChunkList {
    Chunk* first = nullptr;
    void push(Chunk* chunk) noexcept;
    void remove(Chunk* chunk) noexcept;
  };
  Chunk* add_chunk() noexcept;
  void note_touched(Chunk* chunk, size_t end_unit) noexcept;
  void add_held(int64_t bytes) noexcept;

  ChunkList open_;  // with free units
  ChunkList full_;
  size_t empty_count_ = 0;  // chunks without a unit in use, at most one of which is kept
  std::atomic<uint64_t> held_bytes_{0};
};

}  // namespace kvstore::table
