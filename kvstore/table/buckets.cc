#include "kvstore/table/buckets.h"

#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::table {
namespace {

// Entries a bucket on average at which an array doubles. With a Poisson spread 15 % of the home buckets then have
// an overflow bucket.
constexpr uint64_t grow_limit(unsigned bits) noexcept { return (uint64_t{21} << bits) / 4; }
// ... and below which it halves. Far from the other, so that a store that breathes is left alone.
constexpr uint64_t shrink_limit(unsigned bits) noexcept { return (uint64_t{5} << bits) / 4; }

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
    if (word.matches(tag)) __builtin_prefetch(word.entry());
  }
}

bool Buckets::reserve(uint64_t hash, size_t inserts) noexcept {
  const size_t shard = hash >> (64 - kShardBits);
  if (array(shard).buckets == nullptr) {
    const BucketArray first = make_array(kArrayBitsMin);
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
  Shard& state = states_[shard];
  Bucket* last = nullptr;
  Slot* slot = first_empty(home(hash), &last);
  if (slot == nullptr) {
    KV_ASSERT(reserve_ != nullptr);
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
  const unsigned bits = array(shard).bits;
  if (state.entries > state.grow_at) {
    // Without memory to grow, the next attempt comes after an eighth more entries.
    if (bits == kArrayBitsMax || !resize(shard, bits + 1)) state.grow_at += state.entries / 8;
  } else if (state.overflow > state.rebuild_at) {
    // Keys came and went until most chains had once been long. Built anew they are short again.
    if (!resize(shard, bits)) state.rebuild_at += state.overflow;
  }
}

void Buckets::remove(Slot* slot, uint64_t hash) noexcept {
  const size_t shard = hash >> (64 - kShardBits);
  slot->store(SlotWord());
  Shard& state = states_[shard];
  KV_ASSERT(state.entries > 0);
  --state.entries;
  const unsigned bits = array(shard).bits;
  if (bits > kArrayBitsMin && state.entries < shrink_limit(bits)) resize(shard, bits - 1);
}

void Buckets::expect(uint64_t entries) noexcept {
  const uint64_t entries_each = entries / kShards;
  unsigned bits = kArrayBitsMin;
  while (bits < kArrayBitsMax && grow_limit(bits) < entries_each) ++bits;
  for (size_t shard = 0; shard < kShards; ++shard) {
    if (bits > kArrayBitsMin && array(shard).bits < bits && !resize(shard, bits)) return;
  }
}

BucketArray Buckets::make_array(unsigned bits) noexcept {
  BucketArray array{nullptr, bits};
  void* memory = arena_.allocate_array(sizeof(Bucket) << bits);
  if (memory == nullptr) return array;
  array.buckets = static_cast<Bucket*>(memory);
  for (size_t index = 0; index < array.count(); ++index) new (array.buckets + index) Bucket;
  return array;
}

// False: memory has run out, and all is as it was.
bool Buckets::resize(size_t shard, unsigned bits) noexcept {
  const BucketArray old = array(shard);
  Limbo::ArrayNote* note = nullptr;
  if (old.buckets != nullptr && (note = limbo_.make_note()) == nullptr) return false;
  const BucketArray fresh = make_array(bits);
  bool complete = fresh.buckets != nullptr;
  uint64_t overflow = 0;
  for (size_t index = 0; complete && index < old.count(); ++index) {
    for (const Bucket* bucket = &old.buckets[index]; complete && bucket != nullptr;
         bucket = bucket->overflow.load(std::memory_order_relaxed)) {
      for (const Slot& slot : bucket->slots) {
        const SlotWord word = slot.load();
        if (word.empty()) continue;
        Bucket* last = nullptr;
        Slot* to = first_empty(&fresh.buckets[word.low_hash(index) & (fresh.count() - 1)], &last);
        if (to == nullptr) {
          void* memory = arena_.allocate(sizeof(Bucket));
          complete = memory != nullptr;
          if (!complete) break;
          ++overflow;
          Bucket* added = new (memory) Bucket;
          last->overflow.store(added, std::memory_order_relaxed);
          to = added->slots.data();
        }
        to->store(word);
      }
    }
  }
  if (!complete) {
    free_buckets(arena_, fresh);
    if (note != nullptr) limbo_.drop_note(note);
    return false;
  }
  publish(shard, fresh, overflow);
  if (note != nullptr) limbo_.retire(note, old);
  return true;
}

void Buckets::publish(size_t shard, BucketArray fresh, uint64_t overflow) noexcept {
  states_[shard].overflow = overflow;
  states_[shard].grow_at = grow_limit(fresh.bits);
  states_[shard].rebuild_at = overflow + fresh.count() / 4 + 1;
  shards_[shard].store(reinterpret_cast<uint64_t>(fresh.buckets) | fresh.bits, std::memory_order_release);
}

uint64_t Buckets::check() const {
  uint64_t blocks = reserve_count_;
  for (size_t shard = 0; shard < kShards; ++shard) {
    const BucketArray walked = array(shard);
    KV_ASSERT(walked.buckets == nullptr || (walked.bits >= kArrayBitsMin && walked.bits <= kArrayBitsMax));
    if (walked.buckets != nullptr) ++blocks;
    uint64_t entries = 0;
    uint64_t overflow = 0;
    for (size_t index = 0; index < walked.count(); ++index) {
      const Bucket* home = &walked.buckets[index];
      for (const Bucket* bucket = home; bucket != nullptr; bucket = bucket->overflow.load(std::memory_order_relaxed)) {
        if (bucket != home) ++overflow;
        for (const Slot& slot : bucket->slots) {
          const SlotWord word = slot.load();
          if (word.empty()) continue;
          ++entries;
          KV_ASSERT(word.entry() != nullptr);
          const uint64_t mask = walked.count() - 1;
          KV_ASSERT((word.low_hash(index) & mask) == index);  // the tag agrees with the place
          // ... and nothing of the same key stands before it.
          KV_ASSERT(find(word.entry()->key(), hash_of(shard, index, word)).slot == &slot);
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
