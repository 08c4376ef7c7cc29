// ChunkPool: memory from the kernel in chunks of 2 MiB, aligned, so that it can back them with huge pages (that alone
// makes a table of 10M entries 1.5 times faster), handed out in runs of 16 KiB units.
//
// The first unit of a chunk holds its bookkeeping, which is thereby found from any address inside by masking.
//
// The first chunk of a pool does without huge pages: a small store touches, and so occupies, only what it uses.
// It gets them once it is full. A chunk that is all but empty loses them again in release_idle(), and with them
// the memory of its free units: otherwise a few small blocks would keep two megabytes each.
//
// The first touch of a chunk is the dearest thing a writer can meet here: 0.1 ms to zero it, several milliseconds on
// a virtual machine whose host has to find the memory first. prepare() lets another thread have that trouble.
//
// Not thread-safe but for prepare() and held_bytes(). No call throws; no call that is given must, either.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace kvstore::table {

inline constexpr size_t kChunkBytes = size_t{2} << 20;
inline constexpr size_t kUnitBytes = size_t{16} << 10;
inline constexpr size_t kUnitCount = kChunkBytes / kUnitBytes;
inline constexpr size_t kUnitRunMax = kUnitCount / 4 * 3;  // 1.5 MiB: what is larger gets a mapping of its own
static_assert(kUnitRunMax < kUnitCount);                   // a run fits into a chunk beside its bookkeeping

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

using UnitMap = std::array<uint64_t, kUnitCount / 64>;

struct Chunk {
  Chunk* previous = nullptr;
  Chunk* next = nullptr;
  uint32_t free_count = 0;
  bool huge = false;      // asked for huge pages, so it counts as occupied as a whole
  bool is_extra = false;  // mapped beyond the limit, by who has none
  UnitMap free_map{};     // a set bit: a free unit
  UnitMap touched_map{};  // ... a unit that occupies memory, or may; for chunks that are not huge
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
  // Returns memory to the kernel: that of free units in chunks that are mostly free, and chunks that were prepared
  // when none was needed since the last call.
  void release_idle() noexcept;

  // Memory in a mapping of its own, aligned to kChunkBytes. Needs: a multiple of kUnitBytes.
  [[nodiscard]] char* map(size_t bytes) noexcept;
  void unmap(char* begin, size_t bytes) noexcept;

  // Maps and touches one chunk ahead of its need. Returns false when enough are ready: none for a small pool, one or more for
  // a large one, as long as the owner goes on taking them. Any thread; needs: the pool outlives the call.
  bool prepare() noexcept;
  // Gives back what is ready, and keeps nothing ready until the next chunk is taken: a load has ended.
  void end_demand() noexcept;
  // Has `call` called whenever a chunk was taken and prepare() may have something to do; it must be cheap.
  void on_taken(std::function<void()> call) noexcept { on_taken_ = std::move(call); }

  // From here on take() and map() fail rather than hold more than this, as if memory had run out. What is held already
  // stays, and so does what release_idle() leaves of it. From kUnlimited on there is no limit: what is mapped then
  // beyond the last limit is not for those who have one.
  static constexpr uint64_t kUnlimited = uint64_t{1} << 62;
  void set_limit(uint64_t bytes) noexcept {
    limit_bytes_ = bytes;
    if (!is_unlimited()) limit_of_others_ = bytes;
  }

  // Memory taken from the system. Any thread.
  [[nodiscard]] uint64_t held_bytes() const noexcept;

 private:
  struct ChunkList {
    Chunk* first = nullptr;
    Chunk* last = nullptr;
    void push_back(Chunk* chunk) noexcept;
    void push_front(Chunk* chunk) noexcept;
    void remove(Chunk* chunk) noexcept;
  };
  Chunk* add_chunk() noexcept;
  char* take_ready() noexcept;
  void drop_ready() noexcept;
  void note_touched(Chunk* chunk, size_t begin, size_t count) noexcept;
  void add_held(int64_t bytes) noexcept;
  [[nodiscard]] bool is_unlimited() const noexcept { return limit_bytes_ >= kUnlimited; }
  [[nodiscard]] bool may_use(const Chunk* chunk, size_t begin, size_t count) const noexcept;
  // By what is mapped, touched or not: what release_idle() gave back may be wanted again.
  [[nodiscard]] bool may_map(uint64_t more) const noexcept { return mapped_bytes_ + more <= limit_bytes_; }

  // With free units. The front is used until it is full, so that the chunks behind it can run empty.
  ChunkList open_;
  ChunkList full_;
  size_t empty_count_ = 0;  // chunks without a unit in use, at most one of which is kept
  std::atomic<uint64_t> held_bytes_{0};
  uint64_t mapped_bytes_ = 0;
  uint64_t limit_bytes_ = UINT64_MAX;
  uint64_t limit_of_others_ = UINT64_MAX;  // the last one that was a limit

  static constexpr size_t kReadyMax = 8;
  std::array<std::atomic<char*>, kReadyMax> ready_{};  // prepared chunks
  std::function<void()> on_taken_{};
  std::atomic<uint64_t> chunk_count_{0};  // chunks of the owner's
  std::atomic<bool> in_demand_{false};    // the owner has added a chunk since release_idle()
};

}  // namespace kvstore::table
