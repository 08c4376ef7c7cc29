// Sieve: which entry to evict when memory is short. SIEVE (Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi, "SIEVE is
// Simpler than LRU", NSDI 2024): keys stand in a queue in the order of their insertion. A read marks its entry and moves
// nothing. A hand goes from the oldest key to the newest: a marked entry loses its mark and stays, one without is
// the victim, and the hand goes on from there; from the newest it returns to the oldest. So readers take no lock, and
// a scan of cold keys drives out little but itself.
//
// The queue has five bytes a key, in blocks of 60: shard and place of its hash (bucket.h), and the generation, eight
// bits that each insertion gets in turn and that stand in the entry, too. An overwrite hands mark and generation on to
// the new entry, so the key keeps its place in the queue. An item stands for the newest entry in its bucket that has the
// item's tag and generation. That can be another key's: of 10M keys about one in 10 thousand takes the turn of
// another. Then the wrong one of two unmarked or unread keys goes first; nothing else depends on it.
//
// Deleting does not touch the queue. The item is stale from then on (no such entry, or one of another generation: the key is
// back and stands further behind) and is dropped when its block is cleaned: when the hand enters it, and, so that
// keys that come and go do not pile up stale items, block by block on insertions, once a fifth of all items is
// stale. Blocks that have become small are joined. No call does more than a fixed amount of work.
//
// For the writer only. Readers mark entries, which is Entry's business.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvstore/table/arena.h"
#include "kvstore/table/buckets.h"
#include "kvstore/table/entry.h"

namespace kvstore::table {

class Sieve {
 public:
  Sieve(Arena& arena, const Buckets& buckets) noexcept : arena_(arena), buckets_(buckets) {}
  ~Sieve();
  Sieve(const Sieve&) = delete;
  Sieve& operator=(const Sieve&) = delete;

  // Sets aside what `inserts` calls of append() need. False when memory has run out.
  [[nodiscard]] bool reserve(size_t inserts) noexcept;
  // Gives back what is set aside for more than `inserts`.
  void trim_reserve(size_t inserts) noexcept;

  // To be put into the entry of a key that was absent, before it is linked and appended.
  [[nodiscard]] uint8_t next_generation() noexcept { return ++generation_; }
  // Puts a key at the new end of the queue. `live`: keys in the table, this one included. Needs: reserve().
  void append(const Entry* entry, uint64_t hash, uint64_t live) noexcept;
  // The next entry to evict. Its place in the queue stays until it is deleted; the hand has passed it. nullptr: none was
  // found in a thousand steps (many keys were deleted of late: the next call goes on), or there is none.
  [[nodiscard]] const Entry* victim() noexcept;
  // Drops stale items where they are many, at most `blocks_max` blocks' worth. Returns whether there is more to do.
  bool tidy(uint64_t live, size_t blocks_max) noexcept;

  // Asserts that the blocks hang together. Returns the blocks of the arena in use here and appends, sorted, what
  // code_of() says of each item.
  uint64_t check(std::vector<uint64_t>& codes) const;
  [[nodiscard]] static uint64_t code_of(uint64_t hash, uint8_t generation) noexcept {
    return uint64_t{place_of(hash)} << 8 | generation;
  }

 private:
  static constexpr size_t kItems = 60;
  static_assert(Buckets::kShardBits + kPlaceBits <= 32);  // both go into a word of `places`
  struct Block {
    Block* older = nullptr;
    Block* newer = nullptr;
    std::array<uint32_t, kItems> places;
    std::array<uint8_t, kItems> generations;
    uint8_t count = 0;
  };
  static_assert(sizeof(Block) == 320);  // five cache lines, a size the arena has
  struct Hand {
    Block* block = nullptr;  // nullptr: before the oldest
    size_t index = 0;        // up to and with block->count
  };

  [[nodiscard]] static uint32_t place_of(uint64_t hash) noexcept {
    return static_cast<uint32_t>(hash >> (64 - Buckets::kShardBits) << kPlaceBits | (hash & kPlaceMask));
  }
  [[nodiscard]] static uint64_t hash_of(uint32_t place) noexcept {
    return uint64_t{place} >> kPlaceBits << (64 - Buckets::kShardBits) | (place & kPlaceMask);
  }
  [[nodiscard]] Entry* find(const Block& block, size_t index) const noexcept;
  [[nodiscard]] bool is_littered(uint64_t live) const noexcept { return items_ > live + live / 4 + 4 * kItems; }
  void clean_next() noexcept;
  void clean(Block* block) noexcept;
  void remove(Block* block) noexcept;

  Arena& arena_;
  const Buckets& buckets_;
  Block* oldest_ = nullptr;
  Block* newest_ = nullptr;
  Block* to_clean_ = nullptr;  // nullptr: the oldest
  Hand hand_;
  Block* reserve_ = nullptr;  // spare blocks, linked by `newer`
  size_t reserve_count_ = 0;
  uint64_t items_ = 0;
  size_t cleaning_due_ = 0;  // items that insertions have paid for and clean_next() has not looked at yet
  uint8_t generation_ = 0;
};

}  // namespace kvstore::table
