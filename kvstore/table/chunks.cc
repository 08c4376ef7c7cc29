#include "kvstore/table/chunks.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "kvstore/base/assert.h"
#include "kvstore/table/poison.h"

namespace kvstore::table {
namespace {

// How many chunks with free units are searched for a long run before a new chunk is taken, at some 20 ns each.
constexpr size_t kChunksSearchedMax = 64;

// How many chunks are kept ready: none while a chunk more would show in what a small store occupies, then one, and one more
// for each so many. At a million entries of 100 bytes that is one of 76, 2 bytes an entry.
constexpr uint64_t kPrepareFrom = 16;
constexpr uint64_t kCountPerReady = 128;

constexpr uint64_t bits_below(size_t count) noexcept { return count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

bool is_set(const UnitMap& map, size_t unit) noexcept { return (map[unit / 64] >> (unit % 64) & 1) != 0; }

// The index of the first run of `count` set bits, kUnitCount when there is none.
size_t find_run(const UnitMap& map, size_t count) noexcept {
  __extension__ using Bits = unsigned __int128;
  static_assert(kUnitCount == 128);
  // Bit i of `starts` says: a run of `length` begins at i. Two runs of one length make a run of up to twice that.
  Bits starts = static_cast<Bits>(map[1]) << 64 | map[0];
  size_t length = 1;
  for (; 2 * length <= count; length *= 2) starts &= starts >> length;
  starts &= starts >> (count - length);
  if (const auto low = static_cast<uint64_t>(starts); low != 0) return static_cast<size_t>(std::countr_zero(low));
  return 64 + static_cast<size_t>(std::countr_zero(static_cast<uint64_t>(starts >> 64)));
}

// Sets or clears `count` bits from `begin` on.
void fill_run(UnitMap& map, size_t begin, size_t count, bool value) noexcept {
  KV_ASSERT(begin + count <= kUnitCount);
  for (size_t word = begin / 64; count > 0; ++word) {
    const size_t from = begin % 64;
    const size_t here = count < 64 - from ? count : 64 - from;
    const uint64_t mask = bits_below(here) << from;
    KV_ASSERT(value ? (map[word] & mask) == 0 : (map[word] & mask) == mask);  // no unit is freed or taken twice
    map[word] = value ? map[word] | mask : map[word] & ~mask;
    begin += here;
    count -= here;
  }
}

uint64_t occupied_bytes(const Chunk* chunk) noexcept {
  if (chunk->huge) return kChunkBytes;
  uint64_t units = 0;
  for (const uint64_t word : chunk->touched_map) units += static_cast<uint64_t>(std::popcount(word));
  return units * kUnitBytes;
}

uint64_t untouched_bytes(const Chunk* chunk, size_t begin, size_t count) noexcept {
  uint64_t bytes = 0;
  for (size_t unit = begin; unit < begin + count; ++unit) bytes += is_set(chunk->touched_map, unit) ? 0 : kUnitBytes;
  return bytes;
}

// mmap, aligned to kChunkBytes: maps a chunk too much and gives the ends back.
char* map_aligned(size_t bytes) noexcept {
  const size_t reserved = bytes + kChunkBytes;
  void* mapped = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t begin = (address + kChunkBytes - 1) & ~(kChunkBytes - 1);
  if (begin > address) ::munmap(mapped, begin - address);
  const uintptr_t end = address + reserved;
  if (end > begin + bytes) ::munmap(reinterpret_cast<void*>(begin + bytes), end - (begin + bytes));
  return reinterpret_cast<char*>(begin);
}

void unmap_chunk(Chunk* chunk) noexcept {
  unpoison(chunk, kChunkBytes);
  ::munmap(chunk, kChunkBytes);
}

// A hint: without huge pages all works, only slower.
void want_huge_pages([[maybe_unused]] char* begin, [[maybe_unused]] size_t bytes) noexcept {
#ifdef MADV_HUGEPAGE
  ::madvise(begin, bytes, MADV_HUGEPAGE);
#endif
}

// With huge pages the first touch of memory that was given back would bring all of it back.
bool no_huge_pages([[maybe_unused]] char* begin, [[maybe_unused]] size_t bytes) noexcept {
#ifdef MADV_NOHUGEPAGE
  return ::madvise(begin, bytes, MADV_NOHUGEPAGE) == 0;
#else
  return true;
#endif
}

// Gives the memory behind these addresses back; they stay usable, their content is lost.
bool drop_content([[maybe_unused]] char* begin, [[maybe_unused]] size_t bytes) noexcept {
#ifdef MADV_DONTNEED
  return ::madvise(begin, bytes, MADV_DONTNEED) == 0;
#else
  return false;
#endif
}

}  // namespace

ChunkPool::~ChunkPool() {
  for (ChunkList* list : {&open_, &full_}) {
    for (Chunk* chunk = list->first; chunk != nullptr;) {
      Chunk* next = chunk->next;
      unmap_chunk(chunk);
      chunk = next;
    }
  }
  drop_ready();
}

char* ChunkPool::take(size_t count) noexcept {
  KV_ASSERT(count >= 1 && count <= kUnitRunMax);
  size_t searched = 0;
  Chunk* chunk = open_.first;
  size_t begin = kUnitCount;
  // What has no such run goes to the back, so that another search looks at others. A new chunk comes to the front: behind
  // as many chunks without a run as are searched it would not be found again, and call after call would add one.
  for (const Chunk* const last = open_.last; chunk != nullptr && searched < kChunksSearchedMax; ++searched) {
    begin = find_run(chunk->free_map, count);
    if (begin != kUnitCount && may_use(chunk, begin, count)) break;
    begin = kUnitCount;
    const bool was_last = chunk == last;
    open_.remove(chunk);
    open_.push_back(chunk);
    chunk = was_last ? nullptr : open_.first;
  }
  if (begin == kUnitCount) {
    chunk = add_chunk();
    if (chunk == nullptr) return nullptr;
    begin = find_run(chunk->free_map, count);
    KV_ASSERT(begin + count <= kUnitCount);  // a new chunk has any run that may be asked for
    if (!may_use(chunk, begin, count)) return nullptr;
  }
  KV_ASSERT(begin > 0);  // the first unit is the chunk's own
  KV_ASSERT(chunk->free_count >= count);
  if (chunk->free_count == kUnitCount - 1) {
    KV_ASSERT(empty_count_ > 0);
    --empty_count_;
  }
  fill_run(chunk->free_map, begin, count, false);
  chunk->free_count -= static_cast<uint32_t>(count);
  note_touched(chunk, begin, count);
  if (chunk->free_count == 0) {
    open_.remove(chunk);
    full_.push_back(chunk);
    if (!chunk->huge) {
      want_huge_pages(chunk->unit(0), kChunkBytes);
      chunk->huge = true;
    }
  }
  return chunk->unit(begin);
}

bool ChunkPool::may_use(const Chunk* chunk, size_t begin, size_t count) const noexcept {
  if (is_unlimited()) return true;
  // A chunk beyond the limit was for whoever has none; let others fill it, and the next one would need another.
  if (chunk->is_extra && mapped_bytes_ > limit_bytes_) return false;
  // What was given back and is touched again counts anew, and other memory may have taken its place meanwhile.
  const uint64_t more = chunk->huge ? 0 : untouched_bytes(chunk, begin, count);
  return more == 0 || held_bytes_.load(std::memory_order_relaxed) + more <= limit_bytes_;
}

void ChunkPool::give_back(char* begin, size_t count) noexcept {
  Chunk* chunk = Chunk::of(begin);
  KV_ASSERT(chunk->unit(chunk->unit_index(begin)) == begin);
  KV_ASSERT(empty_count_ <= 1);
  if (chunk->free_count == 0) {
    full_.remove(chunk);
    open_.push_back(chunk);
  }
  fill_run(chunk->free_map, chunk->unit_index(begin), count, true);
  chunk->free_count += static_cast<uint32_t>(count);
  KV_ASSERT(chunk->free_count < kUnitCount);  // never the first one
  if (chunk->free_count < kUnitCount - 1) return;
  // One empty chunk is kept, so that a store that breathes does not map and unmap all day.
  if (empty_count_ == 0) {
    ++empty_count_;
    return;
  }
  open_.remove(chunk);
  add_held(-static_cast<int64_t>(occupied_bytes(chunk)));
  chunk_count_.store(chunk_count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  KV_ASSERT(mapped_bytes_ >= kChunkBytes);
  mapped_bytes_ -= kChunkBytes;
  unmap_chunk(chunk);
}

void ChunkPool::release_idle() noexcept {
  if (!in_demand_.exchange(false, std::memory_order_relaxed)) drop_ready();
  for (Chunk* chunk = open_.first; chunk != nullptr; chunk = chunk->next) {
    if (chunk->free_count < kUnitCount / 4 * 3) continue;
    const uint64_t occupied_before = occupied_bytes(chunk);
    if (chunk->huge) {
      if (!no_huge_pages(chunk->unit(0), kChunkBytes)) continue;
      chunk->huge = false;
      chunk->touched_map.fill(~uint64_t{0});
    }
    for (size_t unit = 0; unit < kUnitCount;) {
      size_t count = 0;
      while (unit + count < kUnitCount && is_set(chunk->free_map, unit + count) &&
             is_set(chunk->touched_map, unit + count)) {
        ++count;
      }
      if (count > 0 && drop_content(chunk->unit(unit), count * kUnitBytes)) {
        fill_run(chunk->touched_map, unit, count, false);
      }
      unit += count + 1;  // the one behind the run is in use, or untouched
    }
    add_held(static_cast<int64_t>(occupied_bytes(chunk) - occupied_before));
  }
}

char* ChunkPool::map(size_t bytes) noexcept {
  KV_ASSERT(bytes % kUnitBytes == 0);
  if (!may_map(bytes)) return nullptr;
  char* begin = map_aligned(bytes);
  if (begin == nullptr) return nullptr;
  want_huge_pages(begin, bytes);
  add_held(static_cast<int64_t>(bytes));
  mapped_bytes_ += bytes;
  return begin;
}

void ChunkPool::unmap(char* begin, size_t bytes) noexcept {
  KV_ASSERT(mapped_bytes_ >= bytes);
  ::munmap(begin, bytes);
  add_held(-static_cast<int64_t>(bytes));
  mapped_bytes_ -= bytes;
}

bool ChunkPool::prepare() noexcept {
  if (!in_demand_.load(std::memory_order_relaxed)) return false;
  const uint64_t count = chunk_count_.load(std::memory_order_relaxed);
  if (count < kPrepareFrom) return false;
  const uint64_t wanted = std::min<uint64_t>(kReadyMax, 1 + count / kCountPerReady);
  for (size_t index = 0; index < wanted; ++index) {
    if (ready_[index].load(std::memory_order_relaxed) != nullptr) continue;
    char* memory = map_aligned(kChunkBytes);
    if (memory == nullptr) return false;
    want_huge_pages(memory, kChunkBytes);
    constexpr size_t kPageBytes = 4096;
    for (size_t at = 0; at < kChunkBytes; at += kPageBytes) *const_cast<volatile char*>(memory + at) = 0;
    char* expected = nullptr;
    if (!ready_[index].compare_exchange_strong(expected, memory, std::memory_order_release)) {
      ::munmap(memory, kChunkBytes);  // another thread was faster
    }
    return true;
  }
  return false;
}

void ChunkPool::end_demand() noexcept {
  in_demand_.store(false, std::memory_order_relaxed);
  drop_ready();
}

void ChunkPool::drop_ready() noexcept {
  for (std::atomic<char*>& slot : ready_) {
    char* memory = slot.exchange(nullptr, std::memory_order_acquire);
    if (memory != nullptr) ::munmap(memory, kChunkBytes);
  }
}

char* ChunkPool::take_ready() noexcept {
  for (std::atomic<char*>& slot : ready_) {
    if (slot.load(std::memory_order_relaxed) == nullptr) continue;
    char* memory = slot.exchange(nullptr, std::memory_order_acquire);
    if (memory != nullptr) return memory;
  }
  return nullptr;
}

uint64_t ChunkPool::held_bytes() const noexcept {
  uint64_t bytes = held_bytes_.load(std::memory_order_relaxed);
  for (const std::atomic<char*>& slot : ready_) {
    if (slot.load(std::memory_order_relaxed) != nullptr) bytes += kChunkBytes;
  }
  return bytes;
}

Chunk* ChunkPool::add_chunk() noexcept {
  const uint64_t count = chunk_count_.load(std::memory_order_relaxed);
  const bool huge = count > 0;
  // What is ready is touched as a whole. The first chunk is not, and comes before anything is prepared.
  char* memory = huge ? take_ready() : nullptr;
  if (memory == nullptr) {
    if (!may_map(kChunkBytes)) return nullptr;
    memory = map_aligned(kChunkBytes);
    if (memory == nullptr) return nullptr;
    if (huge) want_huge_pages(memory, kChunkBytes);
  }
  mapped_bytes_ += kChunkBytes;
  in_demand_.store(true, std::memory_order_relaxed);
  chunk_count_.store(count + 1, std::memory_order_relaxed);
  KV_ASSERT(reinterpret_cast<uintptr_t>(memory) % kChunkBytes == 0);  // Chunk::of() masks
  Chunk* chunk = new (memory) Chunk;
  chunk->huge = huge;
  chunk->is_extra = mapped_bytes_ > limit_of_others_;
  chunk->free_count = kUnitCount - 1;
  fill_run(chunk->free_map, 1, kUnitCount - 1, true);
  open_.push_front(chunk);
  ++empty_count_;
  if (huge) add_held(kChunkBytes);
  note_touched(chunk, 0, 1);
  if (count >= kPrepareFrom && on_taken_) on_taken_();
  return chunk;
}

void ChunkPool::note_touched(Chunk* chunk, size_t begin, size_t count) noexcept {
  if (chunk->huge) return;
  for (size_t unit = begin; unit < begin + count; ++unit) {
    if (is_set(chunk->touched_map, unit)) continue;
    fill_run(chunk->touched_map, unit, 1, true);
    add_held(kUnitBytes);
  }
}

// Written by one thread at a time, hence no read-modify-write.
void ChunkPool::add_held(int64_t bytes) noexcept {
  KV_ASSERT(bytes >= 0 || held_bytes_.load(std::memory_order_relaxed) >= static_cast<uint64_t>(-bytes));
  held_bytes_.store(held_bytes_.load(std::memory_order_relaxed) + static_cast<uint64_t>(bytes),
                    std::memory_order_relaxed);
}

void ChunkPool::ChunkList::push_back(Chunk* chunk) noexcept {
  chunk->next = nullptr;
  chunk->previous = last;
  (last != nullptr ? last->next : first) = chunk;
  last = chunk;
}

void ChunkPool::ChunkList::push_front(Chunk* chunk) noexcept {
  chunk->previous = nullptr;
  chunk->next = first;
  (first != nullptr ? first->previous : last) = chunk;
  first = chunk;
}

void ChunkPool::ChunkList::remove(Chunk* chunk) noexcept {
  KV_ASSERT(chunk->previous != nullptr || first == chunk);
  KV_ASSERT(chunk->next != nullptr || last == chunk);
  (chunk->previous != nullptr ? chunk->previous->next : first) = chunk->next;
  (chunk->next != nullptr ? chunk->next->previous : last) = chunk->previous;
}

}  // namespace kvstore::table
