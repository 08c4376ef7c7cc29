// Buckets: the hash index, from a key to the newest of its entries. One writer, lock-free readers.
//
//   hash    63      56                       22      19               0
//           +--------+-----------------------+-------+----------------+
//           | shard  |                       |       |      tag       |
//           +--------+-----------------------+-------+----------------+
//                                            `- place in the array ---'
//
// 256 shards, so that growing one pauses the writer for 1/256 of the work. A shard is an array of buckets, each
// one cache line: seven slots and a link to an overflow bucket. A slot is one word, an entry's address and
// 19 bits of its key's hash, the tag. A key has one home bucket, so a lookup reads one line, rarely two;
// deleting just empties the slot; nothing is ever moved within an array, so a reader cannot miss what is there.
//
// The home bucket is the place, taken as a fraction of 2^22, times the number of buckets. So an array may
// have other sizes than powers of two. It grows by a half and by a third in turn: in steps of a factor
// of two it would be half empty after each, and the last few bytes an entry costs are these.
//
// Why the tag overlaps the place: with the bucket's position they give back all of it, so an array grows and
// shrinks without a look at any entry. The price: in an array of 2^b buckets only 22 - b bits of the tag
// still tell the keys of a bucket apart. At 10M entries those are 9 bits, and one lookup in a hundred compares
// a key in vain. Beyond 2^22 buckets a shard (5 billion entries in all) chains get longer instead.
//
// Resizing builds a new array, publishes it with one store, and retires the old one. A reader still inside the
// old array finds there all that was linked before the swap. What it may count on, what was published
// when it began, was: the writer publishes after linking, so whoever knows of a later link knows the new array.
//
// Hashes come from the caller; any function of the key will do.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kvstore/table/arena.h"
#include "kvstore/table/bucket.h"
#include "kvstore/table/entry.h"
#include "kvstore/table/limbo.h"

namespace kvstore::table {

class Buckets {
 public:
  static constexpr unsigned kShardBits = 8;
  static constexpr size_t kShards = size_t{1} << kShardBits;

  Buckets(Arena& arena, Limbo& limbo) noexcept : arena_(arena), limbo_(limbo) {}
  ~Buckets();  // frees the buckets, not the entries
  Buckets(const Buckets&) = delete;
  Buckets& operator=(const Buckets&) = delete;

  // ---- any thread, inside an epoch (or the writer) ------------------------------------------------
  struct Found {
    Slot* slot = nullptr;    // for the writer
    Entry* entry = nullptr;  // nullptr: no such key
  };
  [[nodiscard]] Found find(std::string_view key, uint64_t hash) const noexcept {
    const uint64_t tag = SlotWord::tag_of(hash);
    for (Bucket* bucket = home(hash); bucket != nullptr; bucket = bucket->overflow.load(std::memory_order_acquire)) {
      for (Slot& slot : bucket->slots) {
        const SlotWord word = slot.load();
        if (!word.matches(tag)) continue;
        prefetch(word.entry());
        if (word.entry()->key() == key) return {&slot, word.entry()};
      }
    }
    return {};
  }
  // The first entry with the tag of this hash, in its bucket, that satisfies the predicate; nullptr: none.
  template <typename Predicate>
  [[nodiscard]] Entry* find_if(uint64_t hash, Predicate predicate) const noexcept {
    const uint64_t tag = SlotWord::tag_of(hash);
    for (Bucket* bucket = home(hash); bucket != nullptr; bucket = bucket->overflow.load(std::memory_order_acquire)) {
      for (const Slot& slot : bucket->slots) {
        const SlotWord word = slot.load();
        if (word.matches(tag) && predicate(word.entry())) return word.entry();
      }
    }
    return nullptr;
  }
  void prefetch_home(uint64_t hash) const noexcept { __builtin_prefetch(home(hash)); }
  // Needs the home bucket, so prefetch that first, some time before.
  void prefetch_entry(uint64_t hash) const noexcept;
  // A shard's array as it is now, for walking it. While inside the epoch it stays readable.
  [[nodiscard]] BucketArray array(size_t shard) const noexcept {
    const uint64_t word = shards_[shard].load(std::memory_order_acquire);
    return {reinterpret_cast<Bucket*>(word >> kCountBits << 6), (word & kCountMask) * BucketArray::kCountMin};
  }
  // As much of the hash as finding the key of that slot again takes.
  [[nodiscard]] static uint64_t hash_of(size_t shard, BucketArray array, size_t bucket_index, SlotWord word) noexcept {
    return static_cast<uint64_t>(shard) << (64 - kShardBits) | array.place_of(bucket_index, word);
  }

  // ---- the writer -------------------------------------------------------------------------------
  // Sets aside what insert() will need for a key with this hash, `inserts` such keys being under way. False
  // when memory has run out.
  [[nodiscard]] bool reserve(uint64_t hash, size_t inserts) noexcept;
  // Gives back what is set aside for more than `inserts`.
  void trim_reserve(size_t inserts) noexcept;
  // Needs: the key is not there, reserve() was called.
  void insert(Entry* entry, uint64_t hash) noexcept;
  void remove(Slot* slot, uint64_t hash) noexcept;
  // Sizes every shard for this many entries in all. Does what memory allows.
  void expect(uint64_t entries) noexcept;

  // Asserts that every slot stands in its bucket and every count is right. Returns the number of blocks of the
  // arena in use here. Needs: no array of this in limbo.
  [[nodiscard]] uint64_t check() const;

 private:
  // A shard's array in one word: a 48-bit address without its 6 low bits, which are zero, and the count in units of
  // BucketArray::kCountMin.
  static constexpr unsigned kCountBits = 22;
  static constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;
  static_assert(BucketArray::kCountMax / BucketArray::kCountMin <= kCountMask);
  static_assert(kShardBits + kPlaceBits <= 64);  // shard and place are different bits of a hash

  struct Shard {  // the writer's own
    uint64_t entries = 0;
    uint64_t overflow = 0;    // overflow buckets
    uint64_t grow_at = 0;     // more entries than this: the array grows
    uint64_t rebuild_at = 0;  // more overflow buckets than this: the array is built anew
  };

  // All of a small entry at once. Where its value lies stands in its first line, so without this the value's lines
  // would be asked for only when that one has arrived: a third miss in a row, a fifth of a cold find.
  static void prefetch(const Entry* entry) noexcept {
    const auto* bytes = reinterpret_cast<const char*>(entry);
    for (size_t at = 0; at <= 128; at += 64) __builtin_prefetch(bytes + at);
  }
  [[nodiscard]] Bucket* home(uint64_t hash) const noexcept {
    const BucketArray found = array(hash >> (64 - kShardBits));
    return found.buckets == nullptr ? nullptr : found.home(hash);
  }
  [[nodiscard]] BucketArray make_array(size_t count) noexcept;
  bool resize(size_t shard, size_t count) noexcept;
  void publish(size_t shard, BucketArray fresh, uint64_t overflow) noexcept;

  Arena& arena_;
  Limbo& limbo_;
  // What every reader reads must not share cache lines with what the writer writes all the time.
  alignas(128) std::array<std::atomic<uint64_t>, kShards> shards_{};  // each a BucketArray
  alignas(128) std::array<Shard, kShards> states_{};
  Bucket* reserve_ = nullptr;  // spare overflow buckets, linked by `overflow`
  size_t reserve_count_ = 0;
};

}  // namespace kvstore::table
