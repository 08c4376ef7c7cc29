#include "kvstore/table/buckets.h"

#include <bit>
#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::table {
namespace {

// Above 5.25 entries a bucket an array grows. With a Poisson spread 15 % of the home buckets then overflow.
constexpr uint64_t grow_limit(size_t count) noexcept { return uint64_t{21} * count / 4; }
// Below 1.25 it shrinks. Far from the other limit, so that a store that breathes is left alone.
constexpr uint64_t shrink_limit(size_t count) noexcept { return uint64_t{5} * count / 4; }

// The sizes: 8, 16, 24, 32, 48, 64, 96 and so on, powers of two and one and a half times that.
constexpr size_t larger(size_t count) noexcept {
  if (count == BucketArray::kCountMin) return 2 * count;
  return std::has_single_bit(count) ? count / 2 * 3 : count / 3 * 4;
}
constexpr size_t smaller(size_t count) noexcept {
  if (count == 2 * BucketArray::kCountMin) return BucketArray::kCountMin;
  return std::has_single_bit(count) ? count / 4 * 3 : count / 3 * 2;
}
static_assert(larger(16) == 24 && larger(24) == 32 && smaller(32) == 24 && smaller(24) == 16);
static_assert(shrink_limit(larger(64)) < grow_limit(64));   // what has just grown does not shrink at once
static_assert(shrink_limit(64) < grow_limit(smaller(64)));  // ... nor what has just shrunk grow

// Spare overflow buckets kept when none is needed.
constexpr size_t kReserveIdle = 16;

// Puts the word into the first empty slot of the chain. nullptr: there is none; else the slot. *last: the chain's end.
Slot* first_empty(Bucket* bucket, Bucket** last) noexcept {
  for (; bucket != nullptr; bucket = bucket->overflow.load(std::memory_order_relaxed)) {
    for (Slot& slot : bucket->slots) {
      if (slot.load().empty()) return &slot;
    }
    *last = bucket;
  }
  return nullptr;
}

}  // namespace

Buckets::~Buckets() {
  trim_reserve(0);
  while (reserve_ != nullptr) {
    Bucket* next = reserve_->overflow.load(std::memory_order_relaxed);
    arena_.free(reserve_, sizeof(Bucket));
    reserve_ = next;
  }
  for (size_t shard = 0; shard < kShards; ++shard) free_buckets(arena_, array(shard));
}

void Buckets::prefetch_entry(uint64_t hash) const noexcept {
  const Bucket* bucket = home(hash);
  if (bucket == nullptr) return;
  const uint64_t tag = SlotWord::tag_of(hash);
  for (const Slot& slot : bucket->slots) {
    const SlotWord word = slot.load();
    if (word.matches(tag)) prefetch(word.entry());
  }
}

bool Buckets::reserve(uint64_t hash, size_t inserts) noexcept {
  const size_t shard = hash >> (64 - kShardBits);
  if (array(shard).buckets == nullptr) {
    const BucketArray first = make_array(BucketArray::kCountMin);
    if (first.buckets == nullptr) return false;
    publish(shard, first, 0);
  }
  while (reserve_count_ < inserts) {
    void* memory = arena_.allocate(sizeof(Bucket));
    if (memory == nullptr) return false;
    Bucket* bucket = new (memory) Bucket;
    bucket->overflow.store(reserve_, std::memory_order_relaxed);
    reserve_ = bucket;
    ++reserve_count_;
  }
  return true;
}

void Buckets::trim_reserve(size_t inserts) noexcept {
  while (reserve_count_ > inserts + kReserveIdle) {
    Bucket* bucket = reserve_;
    reserve_ = bucket->overflow.load(std::memory_order_relaxed);
    arena_.free(bucket, sizeof(Bucket));
    --reserve_count_;
  }
}

void Buckets::insert(Entry* entry, uint64_t hash) noexcept {
  const size_t shard = hash >> (64 - kShardBits);
  KV_ASSERT(array(shard).buckets != nullptr);             // reserve() has seen to it
  KV_DASSERT(find(entry->key(), hash).entry == nullptr);  // else one of the two would be found by chance
  Shard& state = states_[shard];
  Bucket* last = nullptr;
  Slot* slot = first_empty(home(hash), &last);
  if (slot == nullptr) {
    KV_ASSERT(reserve_ != nullptr);
    KV_ASSERT(reserve_count_ > 0);
    KV_ASSERT(last != nullptr);
    Bucket* bucket = reserve_;
    reserve_ = bucket->overflow.load(std::memory_order_relaxed);
    --reserve_count_;
    bucket->overflow.store(nullptr, std::memory_order_relaxed);
    bucket->slots[0].store(SlotWord(entry, hash));
    last->overflow.store(bucket, std::memory_order_release);
    ++state.overflow;
  } else {
    slot->store(SlotWord(entry, hash));
  }
  ++state.entries;
  const size_t count = array(shard).count;
  KV_ASSERT(state.entries <= std::tuple_size_v<decltype(Bucket::slots)> * (count + state.overflow));
  if (state.entries > state.grow_at) {
    // Without memory to grow, the next attempt comes after an eighth more entries.
    if (count == BucketArray::kCountMax || !resize(shard, larger(count))) state.grow_at += state.entries / 8;
  } else if (state.overflow > state.rebuild_at) {
    // Keys came and went until most chains had once been long. Built anew they are short again.
    if (!resize(shard, count)) state.rebuild_at += state.overflow;
  }
}

void Buckets::remove(Slot* slot, uint64_t hash) noexcept {
  const size_t shard = hash >> (64 - kShardBits);
  slot->store(SlotWord());
  Shard& state = states_[shard];
  KV_ASSERT(state.entries > 0);
  --state.entries;
  const size_t count = array(shard).count;
  if (count > BucketArray::kCountMin && state.entries < shrink_limit(count)) resize(shard, smaller(count));
}

void Buckets::expect(uint64_t entries) noexcept {
  const uint64_t entries_each = entries / kShards;
  size_t count = BucketArray::kCountMin;
  while (count < BucketArray::kCountMax && grow_limit(count) < entries_each) count = larger(count);
  if (count == BucketArray::kCountMin) return;
  for (size_t shard = 0; shard < kShards; ++shard) {
    if (array(shard).count < count && !resize(shard, count)) return;
  }
}

BucketArray Buckets::make_array(size_t count) noexcept {
  auto* buckets = static_cast<Bucket*>(arena_.allocate_array(count * sizeof(Bucket)));
  if (buckets == nullptr) return {};
  for (size_t index = 0; index < count; ++index) new (buckets + index) Bucket;
  return {buckets, count};
}

// False: memory has run out, and all is as it was.
bool Buckets::resize(size_t shard, size_t count) noexcept {
  KV_ASSERT(count % BucketArray::kCountMin == 0);
  KV_ASSERT(count >= BucketArray::kCountMin && count <= BucketArray::kCountMax);
  const BucketArray old = array(shard);
  Limbo::ArrayNote* note = nullptr;
  if (old.buckets != nullptr && (note = limbo_.make_note()) == nullptr) return false;
  const BucketArray fresh = make_array(count);
  bool complete = fresh.buckets != nullptr;
  uint64_t overflow = 0;
  uint64_t moved = 0;
  for (size_t index = 0; complete && index < old.count; ++index) {
    for (const Bucket* bucket = &old.buckets[index]; complete && bucket != nullptr;
         bucket = bucket->overflow.load(std::memory_order_relaxed)) {
      for (const Slot& slot : bucket->slots) {
        const SlotWord word = slot.load();
        if (word.empty()) continue;
        Bucket* last = nullptr;
        Slot* to = first_empty(fresh.home(old.place_of(index, word)), &last);
        if (to == nullptr) {
          void* memory = arena_.allocate(sizeof(Bucket));
          complete = memory != nullptr;
          if (!complete) break;
          ++overflow;
          Bucket* added = new (memory) Bucket;
          KV_ASSERT(last != nullptr);
          last->overflow.store(added, std::memory_order_relaxed);
          to = added->slots.data();
        }
        to->store(word);
        ++moved;
      }
    }
  }
  if (!complete) {
    free_buckets(arena_, fresh);
    if (note != nullptr) limbo_.drop_note(note);
    return false;
  }
  KV_ASSERT(moved <= states_[shard].entries);  // fewer: a sweep has emptied slots that it has not removed yet
  publish(shard, fresh, overflow);
  if (note != nullptr) limbo_.retire(note, old);
  return true;
}

void Buckets::publish(size_t shard, BucketArray fresh, uint64_t overflow) noexcept {
  states_[shard].overflow = overflow;
  states_[shard].grow_at = grow_limit(fresh.count);
  states_[shard].rebuild_at = overflow + fresh.count / 4 + 1;
  const uint64_t address = reinterpret_cast<uint64_t>(fresh.buckets);
  shards_[shard].store(address >> 6 << kCountBits | fresh.count / BucketArray::kCountMin, std::memory_order_release);
  KV_ASSERT(array(shard).buckets == fresh.buckets && array(shard).count == fresh.count);
}

uint64_t Buckets::check() const {
  uint64_t blocks = reserve_count_;
  for (size_t shard = 0; shard < kShards; ++shard) {
    const BucketArray walked = array(shard);
    KV_ASSERT(walked.buckets == nullptr ||
              (walked.count >= BucketArray::kCountMin && walked.count <= BucketArray::kCountMax));
    if (walked.buckets != nullptr) ++blocks;
    uint64_t entries = 0;
    uint64_t overflow = 0;
    for (size_t index = 0; index < walked.count; ++index) {
      const Bucket* home = &walked.buckets[index];
      for (const Bucket* bucket = home; bucket != nullptr; bucket = bucket->overflow.load(std::memory_order_relaxed)) {
        if (bucket != home) ++overflow;
        for (const Slot& slot : bucket->slots) {
          const SlotWord word = slot.load();
          if (word.empty()) continue;
          ++entries;
          KV_ASSERT(word.entry() != nullptr);
          KV_ASSERT(walked.home(walked.place_of(index, word)) == home);  // the tag agrees with the place
          // ... and nothing of the same key stands before it.
          KV_ASSERT(find(word.entry()->key(), hash_of(shard, walked, index, word)).slot == &slot);
        }
      }
    }
    KV_ASSERT(entries == states_[shard].entries);
    KV_ASSERT(overflow == states_[shard].overflow);
    blocks += overflow;
  }
  return blocks;
}

}  // namespace kvstore::table
