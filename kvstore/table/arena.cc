#include "kvstore/table/arena.h"

#include <bit>
#include <cstdlib>
#include <new>

#include "kvstore/base/assert.h"
#include "kvstore/table/poison.h"

namespace kvstore::table {
namespace {

// Large enough that little is lost at a slab's end, small enough that few blocks hold few units.
constexpr size_t slab_units(size_t block_bytes) noexcept {
  return block_bytes <= 1024 ? 1 : block_bytes <= 8192 ? 4 : 16;
}

constexpr uint32_t slab_capacity(size_t block_bytes) noexcept {
  return static_cast<uint32_t>(slab_units(block_bytes) * kUnitBytes / block_bytes);
}
static_assert(slab_capacity(8) <= UINT16_MAX);  // Slab::used and fresh
static_assert(slab_capacity(size_t{32} << 10) >= 2);

// How many freed blocks a class keeps at hand. Enough for what one step of the epoch sets free, so that an
// overwrite finds a warm block and leaves the slabs alone; few of the larger ones, each of which keeps a slab.
constexpr uint32_t cache_limit(size_t block_bytes) noexcept {
  constexpr size_t kBytesMax = size_t{32} << 10;
  return static_cast<uint32_t>(kBytesMax / block_bytes);
}

char* slab_begin(Slab* slab) noexcept {
  Chunk* chunk = Chunk::of(slab);
  return chunk->unit(static_cast<size_t>(slab - chunk->slabs.data()));
}

Slab* slab_of(const void* block) noexcept {
  Chunk* chunk = Chunk::of(block);
  KV_DASSERT(chunk->unit_index(block) > 0);  // the first unit is the chunk's own
  Slab* unit = &chunk->slabs[chunk->unit_index(block)];
  return unit - unit->units_back;
}

}  // namespace

Arena::~Arena() {
  while (bigs_ != nullptr) {
    Big* next = bigs_->next;
    std::free(bigs_);
    bigs_ = next;
  }
}

void* Arena::allocate(size_t bytes) noexcept {
  KV_DASSERT(bytes > 0);
  if (bytes > kSmallBytesMax) return allocate_big(bytes);
  const size_t class_index = class_of(bytes);
  SizeClass& size_class = classes_[class_index];
  void* block = nullptr;
  if (size_class.cache != nullptr) {
    KV_ASSERT(size_class.cache_count > 0);
    block = size_class.cache;
    size_class.cache = size_class.cache->next;
    --size_class.cache_count;
  } else {
    block = take_from_slab(class_index);
    if (block == nullptr) return nullptr;
  }
  KV_DASSERT(class_bytes(class_index) >= bytes);
  KV_DASSERT(reinterpret_cast<uintptr_t>(block) % 8 == 0);
  note_taken(class_bytes(class_index));
  unpoison(block, bytes);
  return block;
}

void Arena::free(void* block, size_t bytes) noexcept {
  if (bytes > kSmallBytesMax) return free_big(block, bytes);
  SizeClass& size_class = classes_[class_of(bytes)];
  FreeBlock* freed = take_back(block, class_of(bytes));
  freed->next = size_class.cache;
  size_class.cache = freed;
  const uint32_t limit = cache_limit(class_bytes(class_of(bytes)));
  if (++size_class.cache_count > limit) shrink_cache(size_class, limit / 2);
}

void Arena::trim() noexcept {
  for (SizeClass& size_class : classes_) shrink_cache(size_class, 0);
  chunks_.release_idle();
}

void* Arena::allocate_array(size_t bytes) noexcept {
  KV_DASSERT(bytes > 0 && bytes % 64 == 0);
  if (bytes <= kSmallBytesMax) return allocate(bytes);
  const size_t units = (bytes + kUnitBytes - 1) / kUnitBytes;
  void* array = units <= kUnitRunMax ? chunks_.take(units) : chunks_.map(units * kUnitBytes);
  KV_ASSERT(reinterpret_cast<uintptr_t>(array) % 64 == 0);
  if (array != nullptr) note_taken(units * kUnitBytes);
  return array;
}

// Past the cache: every shard will soon want its next larger array, and nobody one of this size.
void Arena::free_array(void* array, size_t bytes) noexcept {
  if (bytes <= kSmallBytesMax) return return_to_slab(take_back(array, class_of(bytes)));
  const size_t units = (bytes + kUnitBytes - 1) / kUnitBytes;
  note_back(units * kUnitBytes);
  auto* begin = static_cast<char*>(array);
  units <= kUnitRunMax ? chunks_.give_back(begin, units) : chunks_.unmap(begin, units * kUnitBytes);
}

size_t Arena::class_of(size_t bytes) noexcept {
  if (bytes <= kFineBytesMax) return (bytes - 1) / 8;
  const size_t doubling =
      static_cast<size_t>(std::bit_width(bytes - 1)) - static_cast<size_t>(std::bit_width(kFineBytesMax - 1)) - 1;
  const size_t base = kFineBytesMax << doubling;
  return kFineClasses + doubling * kSteps + (bytes - 1 - base) / (base / kSteps);
}

size_t Arena::class_bytes(size_t class_index) noexcept {
  if (class_index < kFineClasses) return (class_index + 1) * 8;
  const size_t base = kFineBytesMax << (class_index - kFineClasses) / kSteps;
  return base + ((class_index - kFineClasses) % kSteps + 1) * (base / kSteps);
}

// Written by one thread at a time, hence no read-modify-write.
void Arena::note_taken(size_t bytes) noexcept {
  ++live_count_;
  used_bytes_.store(used_bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
}

void Arena::note_back(size_t bytes) noexcept {
  KV_ASSERT(live_count_ > 0);
  KV_ASSERT(used_bytes() >= bytes);
  --live_count_;
  used_bytes_.store(used_bytes_.load(std::memory_order_relaxed) - bytes, std::memory_order_relaxed);
}

FreeBlock* Arena::take_back(void* block, size_t class_index) noexcept {
  KV_DASSERT(slab_of(block)->class_index == class_index);
  note_back(class_bytes(class_index));
  unpoison(block, sizeof(FreeBlock));  // a block may be smaller
  poison(static_cast<char*>(block) + sizeof(FreeBlock), class_bytes(class_index) - sizeof(FreeBlock));
  return new (block) FreeBlock{nullptr};
}

void* Arena::take_from_slab(size_t class_index) noexcept {
  SizeClass& size_class = classes_[class_index];
  const size_t block_bytes = class_bytes(class_index);
  if (size_class.roomy == nullptr) {
    const size_t units = slab_units(block_bytes);
    char* begin = chunks_.take(units);
    if (begin == nullptr) return nullptr;
    Chunk* chunk = Chunk::of(begin);
    Slab* slab = &chunk->slabs[chunk->unit_index(begin)];
    *slab = Slab{};
    slab->class_index = static_cast<uint8_t>(class_index);
    for (size_t unit = 1; unit < units; ++unit) slab[unit].units_back = static_cast<uint8_t>(unit);
    poison(begin, units * kUnitBytes);
    push_roomy(slab);
  }
  Slab* slab = size_class.roomy;
  KV_ASSERT(slab != nullptr);
  KV_ASSERT(slab->class_index == class_index);
  KV_ASSERT(slab->used < slab_capacity(block_bytes));
  void* block = nullptr;
  if (slab->free != nullptr) {
    block = slab->free;
    slab->free = slab->free->next;
  } else {
    KV_ASSERT(slab->used == slab->fresh);  // none has come back, so all that were ever handed out are out
    block = slab_begin(slab) + slab->fresh++ * block_bytes;
  }
  if (++slab->used == slab_capacity(block_bytes)) remove_roomy(slab);
  return block;
}

void Arena::return_to_slab(FreeBlock* block) noexcept {
  Slab* slab = slab_of(block);
  const size_t block_bytes = class_bytes(slab->class_index);
  KV_ASSERT(slab->used > 0);
  KV_ASSERT(slab->used <= slab->fresh);
  if (slab->used == slab_capacity(block_bytes)) push_roomy(slab);
  block->next = slab->free;
  slab->free = block;
  if (--slab->used > 0) return;
  remove_roomy(slab);
  char* begin = slab_begin(slab);
  const size_t units = slab_units(block_bytes);
  unpoison(begin, units * kUnitBytes);
  chunks_.give_back(begin, units);
}

void Arena::shrink_cache(SizeClass& size_class, uint32_t keep) noexcept {
  while (size_class.cache_count > keep) {
    FreeBlock* surplus = size_class.cache;
    KV_ASSERT(surplus != nullptr);  // the list is as long as its count
    size_class.cache = surplus->next;
    --size_class.cache_count;
    return_to_slab(surplus);
  }
}

void Arena::push_roomy(Slab* slab) noexcept {
  Slab*& first = classes_[slab->class_index].roomy;
  KV_ASSERT(slab->units_back == 0);
  KV_ASSERT(first == nullptr || first->previous == nullptr);
  slab->previous = nullptr;
  slab->next = first;
  if (first != nullptr) first->previous = slab;
  first = slab;
}

void Arena::remove_roomy(Slab* slab) noexcept {
  KV_ASSERT(slab->previous != nullptr || classes_[slab->class_index].roomy == slab);
  (slab->previous != nullptr ? slab->previous->next : classes_[slab->class_index].roomy) = slab->next;
  if (slab->next != nullptr) slab->next->previous = slab->previous;
}

void* Arena::allocate_big(size_t bytes) noexcept {
  KV_ASSERT(bytes > kSmallBytesMax);
  if (held_bytes() + sizeof(Big) + bytes > limit_bytes_) return nullptr;
  auto* big = static_cast<Big*>(std::malloc(sizeof(Big) + bytes));
  if (big == nullptr) return nullptr;
  big->previous = nullptr;
  big->next = bigs_;
  if (bigs_ != nullptr) bigs_->previous = big;
  bigs_ = big;
  big_bytes_.store(big_bytes_.load(std::memory_order_relaxed) + sizeof(Big) + bytes, std::memory_order_relaxed);
  limit_chunks();
  note_taken(sizeof(Big) + bytes);
  return big + 1;
}

void Arena::free_big(void* block, size_t bytes) noexcept {
  Big* big = static_cast<Big*>(block) - 1;
  KV_ASSERT(big->previous != nullptr || bigs_ == big);
  KV_ASSERT(big_bytes_.load(std::memory_order_relaxed) >= sizeof(Big) + bytes);
  (big->previous != nullptr ? big->previous->next : bigs_) = big->next;
  if (big->next != nullptr) big->next->previous = big->previous;
  big_bytes_.store(big_bytes_.load(std::memory_order_relaxed) - sizeof(Big) - bytes, std::memory_order_relaxed);
  limit_chunks();
  note_back(sizeof(Big) + bytes);
  std::free(big);
}

}  // namespace kvstore::table
