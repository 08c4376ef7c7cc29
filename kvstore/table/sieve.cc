#include "kvstore/table/sieve.h"

#include <algorithm>
#include <bitset>
#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::table {
namespace {

// How many items an insertion looks at while the queue is littered. A fifth of the items is stale then, so 8 give back
// more than the one that is added, and one pass over the queue adds an eighth: it stays below 1.5 items a key.
constexpr size_t kCleanedEach = 8;

// Limits of one search, which runs under the store's commit lock, at some 50 ns a step. SIEVE itself would go on as long as it
// finds marks: after hours without an eviction that is once around the whole table. Behind this many in a row
// the next entry goes, marked or not.
constexpr size_t kMarksMax = 256;
constexpr size_t kStepsMax = 1024;

}  // namespace

Sieve::~Sieve() {
  for (Block* list : {oldest_, reserve_}) {
    while (list != nullptr) {
      Block* next = list->newer;
      arena_.free(list, sizeof(Block));
      list = next;
    }
  }
}

bool Sieve::reserve(size_t inserts) noexcept {
  const size_t room = newest_ == nullptr ? 0 : kItems - newest_->count;
  while (room + reserve_count_ * kItems < inserts) {
    void* memory = arena_.allocate(sizeof(Block));
    if (memory == nullptr) return false;
    auto* block = new (memory) Block;
    block->newer = reserve_;
    reserve_ = block;
    ++reserve_count_;
  }
  return true;
}

void Sieve::trim_reserve(size_t inserts) noexcept {
  while (reserve_count_ > 1 + inserts / kItems) {
    Block* block = reserve_;
    reserve_ = block->newer;
    --reserve_count_;
    arena_.free(block, sizeof(Block));
  }
}

void Sieve::append(const Entry* entry, uint64_t hash, uint64_t live) noexcept {
  if (newest_ == nullptr || newest_->count == kItems) {
    KV_ASSERT(reserve_ != nullptr);
    KV_ASSERT(reserve_count_ > 0);
    Block* block = reserve_;
    reserve_ = block->newer;
    --reserve_count_;
    block->older = newest_;
    block->newer = nullptr;
    (newest_ != nullptr ? newest_->newer : oldest_) = block;
    newest_ = block;
  }
  KV_ASSERT(newest_->count < kItems);
  KV_ASSERT(newest_->newer == nullptr);
  newest_->places[newest_->count] = place_of(hash);
  newest_->generations[newest_->count] = entry->generation();
  ++newest_->count;
  ++items_;
  KV_ASSERT(items_ >= live);  // each key that lives stands in the queue
  if (!is_littered(live)) return;
  cleaning_due_ += kCleanedEach;
  if (cleaning_due_ < kItems) return;
  cleaning_due_ -= kItems;
  clean_next();
}

const Entry* Sieve::victim() noexcept {
  size_t marks = 0;
  for (size_t step = 0; step < kStepsMax; ++step) {
    if (hand_.block == nullptr) {
      if (items_ == 0) return nullptr;
      KV_ASSERT(oldest_ != nullptr);
      hand_ = {oldest_, 0};
      clean(oldest_);
    }
    KV_ASSERT(hand_.index <= hand_.block->count);
    if (hand_.index == hand_.block->count) {
      hand_ = {hand_.block->newer, 0};
      if (hand_.block != nullptr) clean(hand_.block);
      continue;
    }
    Entry* entry = find(*hand_.block, hand_.index++);
    // Behind the newest the hand returns at once: what is inserted from here on is not next, but last.
    if (hand_.block == newest_ && hand_.index == newest_->count) hand_ = {};
    if (entry == nullptr) continue;
    if (!entry->is_visited() || marks == kMarksMax) return entry;
    entry->clear_visited();
    ++marks;
  }
  return nullptr;
}

bool Sieve::tidy(uint64_t live, size_t blocks_max) noexcept {
  for (size_t count = 0; count < blocks_max && is_littered(live); ++count) clean_next();
  return is_littered(live);
}

Entry* Sieve::find(const Block& block, size_t index) const noexcept {
  const uint8_t generation = block.generations[index];
  return buckets_.find_if(hash_of(block.places[index]), [generation](const Entry* entry) {
    return entry->generation() == generation && !entry->is_tombstone();
  });
}

void Sieve::clean_next() noexcept {
  Block* block = to_clean_ != nullptr ? to_clean_ : oldest_;
  if (block == nullptr) return;
  to_clean_ = block->newer;
  clean(block);
}

// Drops stale items, and joins what is left with the block before it if that has room. Not so in the newest block: its
// room is what reserve() has counted on, and its last item may not be linked yet.
void Sieve::clean(Block* block) noexcept {
  if (block == newest_) return;
  KV_ASSERT(block->count <= kItems);
  for (size_t i = 0; i < block->count; ++i) buckets_.prefetch_home(hash_of(block->places[i]));
  for (size_t i = 0; i < block->count; ++i) buckets_.prefetch_entry(hash_of(block->places[i]));
  Block* into = block;
  size_t kept = 0;
  std::bitset<kItems> is_stale;
  for (size_t i = 0; i < block->count; ++i) is_stale[i] = find(*block, i) == nullptr;
  const size_t left = block->count - is_stale.count();
  if (block->older != nullptr && block->older->count + left <= kItems) {
    into = block->older;
    kept = into->count;
  }
  const size_t count = block->count;
  const bool holds_hand = hand_.block == block;
  const size_t hand_index = hand_.index;
  for (size_t i = 0; i <= count; ++i) {
    if (holds_hand && hand_index == i) hand_ = {into, kept};
    if (i == count || is_stale[i]) continue;
    into->places[kept] = block->places[i];
    into->generations[kept] = block->generations[i];
    ++kept;
  }
  KV_ASSERT(kept <= kItems);
  KV_ASSERT(items_ >= is_stale.count());
  into->count = static_cast<uint8_t>(kept);
  items_ -= is_stale.count();
  if (into != block) {
    remove(block);
  } else if (left == 0) {
    if (holds_hand) hand_ = {block->newer, 0};
    remove(block);
  }
}

void Sieve::remove(Block* block) noexcept {
  KV_ASSERT(block != newest_ && block->newer != nullptr);
  if (to_clean_ == block) to_clean_ = block->newer;
  (block->older != nullptr ? block->older->newer : oldest_) = block->newer;
  block->newer->older = block->older;
  arena_.free(block, sizeof(Block));
}

uint64_t Sieve::check(std::vector<uint64_t>& codes) const {
  uint64_t blocks = reserve_count_;
  bool hand_is_inside = hand_.block == nullptr;
  const Block* before = nullptr;
  for (const Block* block = oldest_; block != nullptr; block = block->newer) {
    ++blocks;
    KV_ASSERT(block->older == before);
    KV_ASSERT(block->count > 0 && block->count <= kItems);
    if (hand_.block == block) {
      hand_is_inside = true;
      KV_ASSERT(hand_.index <= block->count);
    }
    for (size_t i = 0; i < block->count; ++i) {
      codes.push_back(code_of(hash_of(block->places[i]), block->generations[i]));
    }
    before = block;
  }
  KV_ASSERT(newest_ == before);
  KV_ASSERT(hand_is_inside);
  KV_ASSERT(codes.size() == items_);
  std::sort(codes.begin(), codes.end());
  return blocks;
}

}  // namespace kvstore::table
