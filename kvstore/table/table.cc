#include "kvstore/table/table.h"

#include <atomic>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/table/arena.h"
#include "kvstore/table/buckets.h"
#include "kvstore/table/epoch.h"
#include "kvstore/table/hash.h"
#include "kvstore/table/limbo.h"
#include "kvstore/table/versions.h"

namespace kvstore::table {
namespace {

constexpr size_t kLinkedIdle = 4096;  // capacity kept for the list of a commit's entries: a giant batch leaves nothing

// A counter with one writer and any number of readers.
class Gauge {
 public:
  void add(uint64_t change) noexcept { value_.store(get() + change, std::memory_order_relaxed); }
  void subtract(uint64_t change) noexcept { add(~change + 1); }
  [[nodiscard]] uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

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

const Entry* present(const Entry* entry) noexcept {
  return entry == nullptr || entry->is_tombstone() ? nullptr : entry;
}

}  // namespace

struct Table::Impl {
  explicit Impl(uint64_t hash_seed) noexcept
      : hash(hash_seed), limbo(arena, epoch), buckets(arena, limbo), versions(arena) {}

  struct Linked {
    Entry* entry;
    uint64_t hash;
  };

  void count_in(const Entry* entry) noexcept;
  void count_out(const Entry* entry) noexcept;
  void drop_if_idle_tombstone(Entry* head, uint64_t entry_hash) noexcept;
  void give_up(Entry* version, uint64_t version_hash) noexcept;
  bool drain(size_t steps_max) noexcept;
  void collect_shard(size_t shard, Seq seq, std::string_view prefix, std::vector<const Entry*>& out) const;

  // The published number changes with every commit, so it has a cache line to itself.
  alignas(128) std::atomic<Seq> published{0};

  alignas(128) KeyHash hash;
  alignas(128) Arena arena;
  Epoch epoch;
  Limbo limbo;
  Buckets buckets;
  Versions versions;

  size_t staged = 0;           // staged, not yet linked or discarded
  std::vector<Linked> linked;  // linked, not yet published
  Gauge entries, key_bytes, value_bytes;
};

// ---- writing ----------------------------------------------------------------------------------------

Table::Table(uint64_t hash_seed) : impl_(std::make_unique<Impl>(hash_seed)) {}

Table::~Table() { KV_ASSERT(impl_->staged == 0); }

uint64_t Table::hash(std::string_view key) const noexcept { return impl_->hash(key); }

Entry* Table::stage(const format::Op& op, uint64_t hash) {
  Impl& my = *impl_;
  const size_t staged_after = my.staged + 1;
  const size_t linked_after = my.linked.size() + staged_after;
  if (my.linked.capacity() < linked_after) my.linked.reserve(2 * linked_after);
  if (!my.buckets.reserve(hash, staged_after) || !my.versions.reserve(linked_after)) throw std::bad_alloc();
  void* memory = my.arena.allocate(Entry::footprint(op));
  if (memory == nullptr) throw std::bad_alloc();
  ++my.staged;
  return Entry::make(memory, op);
}

void Table::discard(Entry* staged) noexcept {
  KV_ASSERT(impl_->staged > 0);
  --impl_->staged;
  impl_->arena.free(staged, staged->footprint());
}

void Table::link(Entry* staged, uint64_t hash, Seq seq) noexcept {
  Impl& my = *impl_;
  KV_ASSERT(seq > my.published.load(std::memory_order_relaxed));
  const Buckets::Found found = my.buckets.find(staged->key(), hash);
  if (found.entry == nullptr && staged->is_tombstone()) return discard(staged);
  KV_ASSERT(my.staged > 0);
  --my.staged;
  staged->set_seq(seq);
  my.count_in(staged);
  my.linked.push_back({staged, hash});
  if (found.entry == nullptr) {
    my.buckets.insert(staged, hash);
    return;
  }
  my.count_out(found.entry);
  if (found.entry->seq() == seq) {
    // An earlier entry of this very commit: nobody will ever see it. publish() knows it by its mark.
    staged->set_older(found.entry->older());
    found.slot->store(SlotWord(staged, hash));
    my.limbo.retire(found.entry);
  } else {
    staged->set_older(found.entry);
    found.slot->store(SlotWord(staged, hash));
  }
}

// Order matters: first the number, then the unlinking. A reader that finds an older version gone thereby knows
// that the published number has moved on, and looks again.
void Table::publish(Seq seq) noexcept {
  Impl& my = *impl_;
  KV_ASSERT(seq >= my.published.load(std::memory_order_relaxed));
  my.published.store(seq, std::memory_order_seq_cst);
  PinRecord* pin = my.linked.empty() ? nullptr : my.versions.newest_pin_below(seq);
  for (const Impl::Linked& linked : my.linked) {
    Entry* entry = linked.entry;
    if (entry->link().is_unlinked()) continue;  // replaced within the commit
    KV_ASSERT(entry->seq() == seq);
    if (Entry* older = entry->older(); older != nullptr) {
      if (pin != nullptr && pin->seq >= older->seq()) {
        my.versions.hold(pin, older, linked.hash);
      } else {
        entry->set_older(older->older());
        my.limbo.retire(older);
      }
    }
    my.drop_if_idle_tombstone(entry, linked.hash);
  }
  // Old debts are paid in steps in proportion to the work of this commit, so that no commit pays for all. More
  // than one step an operation, so that they do get paid.
  const size_t operations = my.linked.size();
  my.linked.clear();
  if (my.staged == 0 && my.linked.capacity() > kLinkedIdle) std::vector<Impl::Linked>().swap(my.linked);
  my.drain(8 + 2 * operations);
  my.limbo.turn(8 + 2 * operations, 1);
  my.buckets.trim_reserve(my.staged);
  my.versions.trim_reserve(my.staged);
}

bool Table::tidy(size_t versions_max) noexcept {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  const bool drained = my.drain(versions_max);
  const bool freed = !my.limbo.tidy(versions_max, 1 + versions_max / 64);
  my.arena.trim();
  return !(drained && freed);
}

void Table::load(const format::Op& op, uint64_t hash, Seq seq) {
  Impl& my = *impl_;
  const Buckets::Found found = my.buckets.find(op.key, hash);
  if (op.kind == format::Op::Kind::kDel) {
    if (found.entry == nullptr) return;
    my.count_out(found.entry);
    my.buckets.remove(found.slot, hash);
    my.arena.free(found.entry, found.entry->footprint());
    return;
  }
  if (found.entry == nullptr && !my.buckets.reserve(hash, 1)) throw std::bad_alloc();
  void* memory = my.arena.allocate(Entry::footprint(op));
  if (memory == nullptr) throw std::bad_alloc();
  Entry* entry = Entry::make(memory, op);
  entry->set_seq(seq);
  my.count_in(entry);
  if (found.entry == nullptr) {
    my.buckets.insert(entry, hash);
  } else {
    my.count_out(found.entry);
    found.slot->store(SlotWord(entry, hash));
    my.arena.free(found.entry, found.entry->footprint());
  }
  my.limbo.turn(0, 1);
}

void Table::finish_load(Seq seq) noexcept {
  impl_->published.store(seq, std::memory_order_seq_cst);
  impl_->buckets.trim_reserve(0);
  impl_->limbo.settle();
}

void Table::expect(uint64_t entries) { impl_->buckets.expect(entries); }

bool Table::prepare_memory() noexcept { return impl_->arena.prepare(); }

const Entry* Table::newest(std::string_view key, uint64_t hash) const noexcept {
  return present(impl_->buckets.find(key, hash).entry);
}

void Table::Impl::count_in(const Entry* entry) noexcept {
  if (entry->is_tombstone()) return;
  entries.add(1);
  key_bytes.add(entry->key().size());
  value_bytes.add(entry->value().size());
}

void Table::Impl::count_out(const Entry* entry) noexcept {
  if (entry->is_tombstone()) return;
  entries.subtract(1);
  key_bytes.subtract(entry->key().size());
  value_bytes.subtract(entry->value().size());
}

// A tombstone with nothing behind it says no more than an empty slot.
void Table::Impl::drop_if_idle_tombstone(Entry* head, uint64_t entry_hash) noexcept {
  if (!head->is_tombstone() || head->older() != nullptr) return;
  const Buckets::Found found = buckets.find(head->key(), entry_hash);
  KV_ASSERT(found.entry == head);
  buckets.remove(found.slot, entry_hash);
  limbo.retire(head);
}

// Takes a version that nobody needs out of its chain. It is not the newest: that one is never held.
void Table::Impl::give_up(Entry* version, uint64_t version_hash) noexcept {
  Entry* head = buckets.find(version->key(), version_hash).entry;
  KV_ASSERT(head != nullptr && head != version);
  Entry* newer = head;
  while (newer->older() != version) newer = newer->older();
  newer->set_older(version->older());
  limbo.retire(version);
  drop_if_idle_tombstone(head, version_hash);
}

// Returns whether nothing is left to drain.
bool Table::Impl::drain(size_t steps_max) noexcept {
  for (size_t step = 0; step < steps_max; ++step) {
    const Versions::Step done = versions.drain_step();
    if (!done.worked) return true;
    if (done.version != nullptr) give_up(done.version, done.hash);
  }
  return false;
}

// ---- reading ----------------------------------------------------------------------------------------

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
    if (entry == nullptr || entry->seq() <= seq) return present(entry);
    if (step_back(entry, seq) && my.published.load(std::memory_order_acquire) == seq) return present(entry);
  }
}

// In windows, so that the misses of one window overlap: all its buckets are on their way before the first is
// looked into, all its entries before the first is compared. Each key reads the published number anew, in
// order: whoever sees one key after a batch sees the keys that follow after it, too.
void Table::find_many(std::span<const std::string_view> keys, std::span<const Entry*> out) const {
  KV_ASSERT(out.size() == keys.size());
  constexpr size_t kWindow = 32;
  std::array<uint64_t, kWindow> hashes;
  for (size_t begin = 0; begin < keys.size(); begin += kWindow) {
    const size_t count = std::min(kWindow, keys.size() - begin);
    for (size_t i = 0; i < count; ++i) impl_->buckets.prefetch_home(hashes[i] = hash(keys[begin + i]));
    for (size_t i = 0; i < count; ++i) impl_->buckets.prefetch_entry(hashes[i]);
    for (size_t i = 0; i < count; ++i) out[begin + i] = find(keys[begin + i], hashes[i]);
  }
}

Table::Pin::Pin(const Table& table) : table_(&table), record_(table.impl_->versions.pin(table.impl_->published)) {
  seq_ = record_->seq;
}

Table::Pin::Pin(Pin&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), record_(other.record_), seq_(other.seq_) {}

Table::Pin& Table::Pin::operator=(Pin&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(record_, other.record_);
  std::swap(seq_, other.seq_);
  return *this;
}

Table::Pin::~Pin() {
  if (table_ != nullptr) table_->impl_->versions.unpin(record_);
}

// Why the pointers stay good without a guard: a version visible at the pin is either the newest of its key, or
// superseded after the pin was born and then attached to a pin (versions.h). Neither is unlinked while it lives. So
// here, unlike in find(), the way back cannot miss the version it is after.
void Table::collect(const Pin& pin, std::string_view prefix, std::vector<const Entry*>& out) const {
  KV_ASSERT(pin.table_ == this);
  for (size_t shard = 0; shard < Buckets::kShards; ++shard) {
    const ReadGuard guard(*this);
    impl_->collect_shard(shard, pin.seq(), prefix, out);
  }
}

// Walks one array, the one that was current at the beginning. A key with a version visible at the pin keeps its slot
// in it, so it is met exactly once.
void Table::Impl::collect_shard(size_t shard, Seq seq, std::string_view prefix, std::vector<const Entry*>& out) const {
  const BucketArray walked = buckets.array(shard);
  for (size_t index = 0; index < walked.count; ++index) {
    for (const Bucket* bucket = &walked.buckets[index]; bucket != nullptr;
         bucket = bucket->overflow.load(std::memory_order_acquire)) {
      for (const Slot& slot : bucket->slots) {
        const SlotWord word = slot.load();
        if (word.empty() || !word.entry()->key().starts_with(prefix)) continue;
        const Entry* entry = word.entry();
        while (!step_back(entry, seq)) {
          entry = buckets.find(word.entry()->key(), Buckets::hash_of(shard, walked, index, word)).entry;
        }
        if (present(entry) != nullptr) out.push_back(entry);
      }
    }
  }
}

TableStats Table::stats() const noexcept {
  return {.entries = impl_->entries.get(),
          .key_bytes = impl_->key_bytes.get(),
          .value_bytes = impl_->value_bytes.get(),
          .memory_bytes = impl_->arena.held_bytes(),
          .versions_held = impl_->versions.held_count()};
}

// ---- checking ---------------------------------------------------------------------------------------

void Table::check() const {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  KV_ASSERT(my.limbo.settle());  // nobody is inside, so everything in limbo can go
  TableStats counted;
  uint64_t blocks = my.buckets.check() + my.versions.block_count();
  const Seq published_seq = published();
  for (size_t shard = 0; shard < Buckets::kShards; ++shard) {
    const BucketArray walked = my.buckets.array(shard);
    for (size_t index = 0; index < walked.count; ++index) {
      for (const Bucket* bucket = &walked.buckets[index]; bucket != nullptr;
           bucket = bucket->overflow.load(std::memory_order_relaxed)) {
        for (const Slot& slot : bucket->slots) {
          if (slot.load().empty()) continue;
          const Entry* head = slot.load().entry();
          KV_ASSERT(head->seq() <= published_seq);
          KV_ASSERT(!head->is_tombstone() || head->older() != nullptr);  // idle tombstones are dropped
          if (!head->is_tombstone()) {
            ++counted.entries;
            counted.key_bytes += head->key().size();
            counted.value_bytes += head->value().size();
          }
          ++blocks;
          for (const Entry* newer = head; newer->older() != nullptr; newer = newer->older()) {
            ++counted.versions_held;
            KV_ASSERT(newer->older()->seq() < newer->seq());
            KV_ASSERT(newer->older()->key() == head->key());
          }
        }
      }
    }
  }
  blocks += counted.versions_held;
  const TableStats told = stats();
  KV_ASSERT(counted.entries == told.entries);
  KV_ASSERT(counted.key_bytes == told.key_bytes);
  KV_ASSERT(counted.value_bytes == told.value_bytes);
  KV_ASSERT(counted.versions_held == told.versions_held);
  KV_ASSERT(blocks == my.arena.live_count());  // nothing leaks
}

}  // namespace kvstore::table
