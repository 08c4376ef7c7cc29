// Table: reading, beside the writer and without a lock. table.h has the contracts.
#include <algorithm>
#include <array>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/table/table_impl.h"

namespace kvstore::table {
namespace {

// Steps back to the version visible at `seq`; to nullptr when there is none so old. False: an entry underfoot was
// unlinked, and the walk must begin anew at the slot.
bool step_back(const Entry*& entry, Seq seq) noexcept {
  while (entry != nullptr && entry->seq() > seq) {
    const Entry::Link link = entry->link();
    if (link.is_unlinked()) return false;
    entry = link.older();
  }
  return true;
}

// In windows, so that the misses of one window overlap: all its buckets are on their way before the first is
// looked into, all its entries before the first is compared.
template <typename Find>
void find_in_windows(const KeyHash& hash, const Buckets& buckets, std::span<const std::string_view> keys,
                     std::span<const Entry*> out, Find find) noexcept {
  KV_ASSERT(out.size() == keys.size());
  constexpr size_t kWindow = 32;
  std::array<uint64_t, kWindow> hashes;
  for (size_t begin = 0; begin < keys.size(); begin += kWindow) {
    const size_t count = std::min(kWindow, keys.size() - begin);
    for (size_t i = 0; i < count; ++i) buckets.prefetch_home(hashes[i] = hash(keys[begin + i]));
    for (size_t i = 0; i < count; ++i) buckets.prefetch_entry(hashes[i]);
    for (size_t i = 0; i < count; ++i) out[begin + i] = find(keys[begin + i], hashes[i]);
  }
}

}  // namespace

Table::ReadGuard::ReadGuard(const Table& table) noexcept : table_(table) {
  const Epoch::Ticket ticket = table.impl_->epoch.enter();
  slot_ = ticket.slot;
  phase_ = ticket.phase;
}

Table::ReadGuard::~ReadGuard() { table_.impl_->epoch.leave({slot_, phase_}); }

Seq Table::published() const noexcept { return impl_->published.load(std::memory_order_acquire); }

void Table::prefetch_bucket(uint64_t hash) const noexcept { impl_->buckets.prefetch_home(hash); }

void Table::prefetch_entry(std::string_view, uint64_t hash) const noexcept { impl_->buckets.prefetch_entry(hash); }

// The answer is right for some instant during the call:
//   no such key     it was never linked, or a published deletion took it out
//   newest <= seq   visible when `seq` was the published number
//   newest > seq    linked but maybe not yet published: the version before it counts. But the way back may
//                   skip versions: publish() unlinks those that no pin needs, and the walk could end at one held for an
//                   old pin. It unlinks only after storing its number, so an unchanged number proves that
//                   nothing was missing on the way.
// A reader starts over only when a commit on its very key was published since it began: lock-free.
const Entry* Table::find(std::string_view key, uint64_t hash) const noexcept {
  const Impl& my = *impl_;
  for (;;) {
    const Seq seq = my.published.load(std::memory_order_acquire);
    const Entry* entry = my.buckets.find(key, hash).entry;
    if (entry == nullptr || entry->seq() <= seq) return my.note_use(present(entry));
    if (step_back(entry, seq) && my.published.load(std::memory_order_acquire) == seq) {
      return my.note_use(present(entry));
    }
  }
}

// Each key reads the published number anew, in order: whoever sees one key after a batch sees the keys that
// follow after it, too.
void Table::find_many(std::span<const std::string_view> keys, std::span<const Entry*> out) const noexcept {
  find_in_windows(impl_->hash, impl_->buckets, keys, out,
                  [this](std::string_view key, uint64_t hash) { return find(key, hash); });
}

Table::Pin::Pin(const Table& table)
    : table_(&table), record_(table.impl_->versions.pin(table.impl_->published)), seq_(record_->seq) {
  KV_ASSERT(seq_ <= table.published());
}

Table::Pin::Pin(const Pin& other) noexcept : table_(other.table_), record_(other.record_), seq_(other.seq_) {
  KV_ASSERT(table_ == nullptr || record_->seq == seq_);
  if (table_ != nullptr) table_->impl_->versions.pin_again(record_);
}

Table::Pin::Pin(Pin&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), record_(other.record_), seq_(other.seq_) {}

Table::Pin& Table::Pin::operator=(Pin other) noexcept {
  std::swap(table_, other.table_);
  std::swap(record_, other.record_);
  std::swap(seq_, other.seq_);
  return *this;
}

Table::Pin::~Pin() {
  if (table_ != nullptr) table_->impl_->versions.unpin(record_);
}

// Why the pointers stay good without a guard: a version visible at the pin is either the newest of its key, or
// superseded after the pin was born and then attached to a pin (versions.h). Neither is unlinked while it lives, nor is
// one swept that was found through it (table_sweep.cc). So here, unlike in find() without a pin, the way back cannot
// miss the version it is after.
const Entry* Table::Impl::find_at(Seq seq, std::string_view key, uint64_t key_hash) const noexcept {
  for (;;) {
    const Entry* entry = buckets.find(key, key_hash).entry;
    if (step_back(entry, seq)) return present(entry);
  }
}

const Entry* Table::find(const Pin& pin, std::string_view key, uint64_t hash) const noexcept {
  KV_ASSERT(pin.table_ == this);
  const ReadGuard guard(*this);
  return impl_->note_use(impl_->find_at(pin.seq(), key, hash));
}

void Table::find_many(const Pin& pin, std::span<const std::string_view> keys,
                      std::span<const Entry*> out) const noexcept {
  KV_ASSERT(pin.table_ == this);
  const ReadGuard guard(*this);
  find_in_windows(impl_->hash, impl_->buckets, keys, out, [this, &pin](std::string_view key, uint64_t hash) {
    return impl_->note_use(impl_->find_at(pin.seq(), key, hash));
  });
}

Seq Table::collect(const Pin& pin, const Filter& filter, std::vector<const Entry*>& out) const {
  KV_ASSERT(pin.table_ == this);
  Seq highest = 0;
  for (size_t shard = 0; shard < kShards; ++shard) {
    const ReadGuard guard(*this);  // anew for each shard, so that none is held for long
    highest = std::max(highest, impl_->collect_shard(shard, pin.seq(), filter, out));
  }
  return highest;
}

void Table::collect_shard(const Pin& pin, size_t shard, int64_t now_us, std::vector<const Entry*>& out) const {
  KV_ASSERT(pin.table_ == this);
  KV_ASSERT(shard < kShards);
  const ReadGuard guard(*this);
  impl_->collect_shard(shard, pin.seq(), Filter{.now_us = now_us}, out);
}

// Walks one array, the one that was current at the beginning. A key with a version visible at the pin keeps its slot
// in it, so it is met exactly once.
Seq Table::Impl::collect_shard(size_t shard, Seq seq, const Filter& filter, std::vector<const Entry*>& out) const {
  Seq highest = 0;
  const BucketArray walked = buckets.array(shard);
  for (size_t index = 0; index < walked.count; ++index) {
    for (const Bucket* bucket = &walked.buckets[index]; bucket != nullptr;
         bucket = bucket->overflow.load(std::memory_order_acquire)) {
      for (const Slot& slot : bucket->slots) {
        const SlotWord word = slot.load();
        if (word.empty() || !filter.matches(word.entry()->key())) continue;
        const Entry* entry = word.entry();
        highest = std::max(highest, entry->seq());
        if (!step_back(entry, seq)) {
          entry = find_at(seq, word.entry()->key(), Buckets::hash_of(shard, walked, index, word));
        }
        if (present(entry) == nullptr || (filter.now_us != 0 && entry->is_expired(filter.now_us))) continue;
        KV_ASSERT(entry->seq() <= seq);  // nobody is shown what came after
        out.push_back(entry);
      }
    }
  }
  return highest;
}

TableStats Table::stats() const noexcept {
  return {.entries = impl_->entries.get(),
          .key_bytes = impl_->key_bytes.get(),
          .value_bytes = impl_->value_bytes.get(),
          .memory_bytes = impl_->arena.held_bytes(),
          .used_bytes = impl_->arena.used_bytes(),
          .versions_held = impl_->versions.held_count(),
          .versions_held_bytes = impl_->versions.held_bytes(),
          .expiring = impl_->expiring.get()};
}

PinStats Table::pin_stats() const noexcept { return impl_->versions.pin_stats(); }

}  // namespace kvstore::table
