#include "kvstore/table/chunks.h"

#include <sys/mman.h>

#include <bit>
#include <new>

#include "kvstore/base/assert.h"
#include "kvstore/table/poison.h"

namespace kvstore::table {
namespace {

// How many chunks with free units are searched for a long run before a new chunk is taken: fragmentation
// costs a little memory rather than a long search.
constexpr size_t kChunksSearchedMax = 8;

constexpr uint64_t bits_below(size_t count) noexcept { return count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// The index of the first run of `count` set bits, kUnitCount when there is none.
size_t find_run(const std::array<uint64_t, kUnitCount / 64>& map, size_t count) noexcept {
  if (count == 1) {
    for (size_t word = 0; word < map.size(); ++word) {
      if (map[word] != 0) return word * 64 + static_cast<size_t>(std::countr_zero(map[word]));
    }
    return kUnitCount;
  }
  size_t run = 0;
  for (size_t unit = 0; unit < kUnitCount; ++unit) {
    run = (map[unit / 64] >> (unit % 64) & 1) != 0 ? run + 1 : 0;
    if (run == count) return unit + 1 - count;
  }
  return kUnitCount;
}

// Sets or clears `count` bits from `begin` on.
void fill_run(std::array<uint64_t, kUnitCount / 64>& map, size_t begin, size_t count, bool value) noexcept {
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

}  // namespace

ChunkPool::~ChunkPool() {
  for (ChunkList* list : {&open_, &full_}) {
    for (Chunk* chunk = list->first; chunk != nullptr;) {
      Chunk* next = chunk->next;
      unmap_chunk(chunk);
      chunk = next;
    }
  }
}

char* ChunkPool::take(size_t count) noexcept {
  KV_ASSERT(count >= 1 && count <= kUnitRunMax);
  size_t searched = 0;
  Chunk* chunk = open_.first;
  size_t begin = kUnitCount;
  for (; chunk != nullptr && searched < kChunksSearchedMax; chunk = chunk->next, ++searched) {
    begin = find_run(chunk->free_map, count);
    if (begin != kUnitCount) break;
  }
  if (begin == kUnitCount) {
    chunk = add_chunk();
    if (chunk == nullptr) return nullptr;
    begin = find_run(chunk->free_map, count);
  }
  if (chunk->free_count == kUnitCount - 1) --empty_count_;
  fill_run(chunk->free_map, begin, count, false);
  chunk->free_count -= static_cast<uint32_t>(count);
  if (chunk->free_count == 0) {
    open_.remove(chunk);
    full_.push(chunk);
  }
  note_touched(chunk, begin + count);
  return chunk->unit(begin);
}

void ChunkPool::give_back(char* begin, size_t count) noexcept {
  Chunk* chunk = Chunk::of(begin);
  if (chunk->free_count == 0) {
    full_.remove(chunk);
    open_.push(chunk);
  }
  fill_run(chunk->free_map, chunk->unit_index(begin), count, true);
  chunk->free_count += static_cast<uint32_t>(count);
  if (chunk->free_count < kUnitCount - 1) return;
  // One empty chunk is kept, so that a store that breathes does not map and unmap all day.
  if (empty_count_ == 0) {
    ++empty_count_;
    return;
  }
  open_.remove(chunk);
  add_held(-static_cast<int64_t>(chunk->held_bytes));
  unmap_chunk(chunk);
}

char* ChunkPool::map(size_t bytes) noexcept {
  char* begin = map_aligned(bytes);
  if (begin == nullptr) return nullptr;
  want_huge_pages(begin, bytes);
  add_held(static_cast<int64_t>(bytes));
  return begin;
}

void ChunkPool::unmap(char* begin, size_t bytes) noexcept {
  ::munmap(begin, bytes);
  add_held(-static_cast<int64_t>(bytes));
}

Chunk* ChunkPool::add_chunk() noexcept {
  const bool huge = open_.first != nullptr || full_.first != nullptr;
  char* memory = map_aligned(kChunkBytes);
  if (memory == nullptr) return nullptr;
  if (huge) want_huge_pages(memory, kChunkBytes);
  Chunk* chunk = new (memory) Chunk;
  chunk->huge = huge;
  chunk->free_count = kUnitCount - 1;
  fill_run(chunk->free_map, 1, kUnitCount - 1, true);
  open_.push(chunk);
  ++empty_count_;
  note_touched(chunk, 1);
  return chunk;
}

// With huge pages the first touch occupies the whole chunk, without them only what was touched.
void ChunkPool::note_touched(Chunk* chunk, size_t end_unit) noexcept {
  const uint64_t bytes = chunk->huge ? kChunkBytes : end_unit * kUnitBytes;
  if (bytes <= chunk->held_bytes) return;
  add_held(static_cast<int64_t>(bytes - chunk->held_bytes));
  chunk->held_bytes = bytes;
}

// Written by one thread at a time, hence no read-modify-write.
void ChunkPool::add_held(int64_t bytes) noexcept {
  held_bytes_.store(held_bytes_.load(std::memory_order_relaxed) + static_cast<uint64_t>(bytes),
                    std::memory_order_relaxed);
}

void ChunkPool::ChunkList::push(Chunk* chunk) noexcept {
  chunk->previous = nullptr;
  chunk->next = first;
  if (first != nullptr) first->previous = chunk;
  first = chunk;
}

void ChunkPool::ChunkList::remove(Chunk* chunk) noexcept {
  (chunk->previous != nullptr ? chunk->previous->next : first) = chunk->next;
  if (chunk->next != nullptr) chunk->next->previous = chunk->previous;
}

}  // namespace kvstore::table
