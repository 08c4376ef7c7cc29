// Bucket and slot: the words that make up the hash index. buckets.h has the whole picture.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kvstore/base/assert.h"
#include "kvstore/table/arena.h"
#include "kvstore/table/entry.h"

namespace kvstore::table {

// Of a key's hash the lowest kPlaceBits decide where in its shard the key belongs: the position in the array is
// this fraction of the array's size. The lower kTagBits of them stand in the slot as well.
inline constexpr unsigned kPlaceBits = 22;
inline constexpr unsigned kTagBits = 19;  // 16 above a 48-bit address, and its 3 low bits, which are zero
inline constexpr unsigned kStepBits = kPlaceBits - kTagBits;
inline constexpr uint64_t kTagMask = (uint64_t{1} << kTagBits) - 1;
inline constexpr uint64_t kPlaceMask = (uint64_t{1} << kPlaceBits) - 1;
static_assert(kTagBits == 16 + 3 && alignof(Entry) == 8);

// What a slot holds: 0 when empty, else an entry's address and its key's tag. A tag can be 0, so only the
// whole word tells whether a slot is empty.
class SlotWord {
 public:
  SlotWord() = default;
  explicit SlotWord(uint64_t bits) noexcept : bits_(bits) {}
  SlotWord(const Entry* entry, uint64_t hash) noexcept : bits_(reinterpret_cast<uint64_t>(entry) << 16 | tag_of(hash)) {
    KV_DASSERT(this->entry() == entry);
  }
  [[nodiscard]] static uint64_t tag_of(uint64_t hash) noexcept { return hash & kTagMask; }
  [[nodiscard]] uint64_t bits() const noexcept { return bits_; }
  [[nodiscard]] bool empty() const noexcept { return bits_ == 0; }
  [[nodiscard]] bool matches(uint64_t tag) const noexcept { return ((bits_ ^ tag) & kTagMask) == 0 && bits_ != 0; }
  [[nodiscard]] Entry* entry() const noexcept { return reinterpret_cast<Entry*>(bits_ >> kTagBits << 3); }
  [[nodiscard]] uint64_t tag() const noexcept { return bits_ & kTagMask; }

 private:
  uint64_t bits_ = 0;
};

class Slot {
 public:
  [[nodiscard]] SlotWord load() const noexcept { return SlotWord(word_.load(std::memory_order_acquire)); }
  void store(SlotWord word) noexcept { word_.store(word.bits(), std::memory_order_release); }

 private:
  std::atomic<uint64_t> word_{0};
};

struct alignas(64) Bucket {
  std::array<Slot, 7> slots{};
  std::atomic<Bucket*> overflow{nullptr};
};
static_assert(sizeof(Bucket) == 64);

// Home buckets in a row; a multiple of kCountMin, at most kCountMax, or none at all.
struct BucketArray {
  static constexpr size_t kCountMin = size_t{1} << kStepBits;
  static constexpr size_t kCountMax = size_t{1} << kPlaceBits;

  Bucket* buckets = nullptr;
  size_t count = 0;

  // Needs: place <= kPlaceMask.
  [[nodiscard]] size_t index_of(uint64_t place) const noexcept {
    KV_DASSERT(place <= kPlaceMask);
    return place * count >> kPlaceBits;
  }
  [[nodiscard]] Bucket* home(uint64_t hash) const noexcept { return buckets + index_of(hash & kPlaceMask); }
  // The lowest place in the bucket after this one, kPlaceMask + 1 behind the last.
  [[nodiscard]] uint64_t first_place_behind(size_t index) const noexcept {
    return (((index + 1) << kPlaceBits) + count - 1) / count;
  }
  // What home() looked at in the hash of an entry in this slot. The tag lacks the place's upper kStepBits; since
  // count is a multiple of kCountMin, they are the eighth of the array that the bucket lies in.
  [[nodiscard]] uint64_t place_of(size_t bucket_index, SlotWord word) const noexcept {
    KV_DASSERT(bucket_index < count);
    KV_DASSERT(!word.empty());
    return bucket_index / (count / kCountMin) << kTagBits | word.tag();
  }
};

// Frees the home buckets and every overflow bucket, not the entries.
inline void free_buckets(Arena& arena, BucketArray array) noexcept {
  if (array.buckets == nullptr) return;
  for (size_t index = 0; index < array.count; ++index) {
    Bucket* bucket = array.buckets[index].overflow.load(std::memory_order_relaxed);
    while (bucket != nullptr) {
      Bucket* next = bucket->overflow.load(std::memory_order_relaxed);
      arena.free(bucket, sizeof(Bucket));
      bucket = next;
    }
  }
  arena.free_array(array.buckets, array.count * sizeof(Bucket));
}

}  // namespace kvstore::table
