// Table: writing. table_impl.h has the parts, table.h the contracts.
#include "kvstore/table/table.h"

#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/table/table_impl.h"

namespace kvstore::table {
namespace {

constexpr size_t kLinkedIdle = 4096;  // capacity kept for the list of a commit's entries: a giant batch leaves nothing

}  // namespace

Table::Table(uint64_t hash_seed) : impl_(std::make_unique<Impl>(hash_seed)) {}

Table::~Table() { KV_ASSERT(impl_->staged == 0); }

uint64_t Table::hash(std::string_view key) const noexcept { return impl_->hash(key); }

void Table::limit_memory(uint64_t bytes) noexcept {
  KV_ASSERT(bytes == 0 || bytes > kChunkBytes);
  impl_->memory_limit = bytes == 0 ? UINT64_MAX : bytes - kChunkBytes;  // what a deletion may need when all is full
  impl_->arena.set_limit(impl_->memory_limit);
}

Entry* Table::stage(const format::Op& op, uint64_t hash) {
  Impl& my = *impl_;
  if (my.memory_limit != UINT64_MAX) my.arena.set_limit(op.removes() ? UINT64_MAX : my.memory_limit);
  const size_t staged_after = my.staged + 1;
  const size_t linked_after = my.linked.size() + staged_after;
  if (my.linked.capacity() < linked_after) my.linked.reserve(2 * linked_after);
  if (!my.versions.reserve(linked_after)) throw std::bad_alloc();
  if (!op.removes()) {  // a tombstone only ever replaces
    if (!my.buckets.reserve(hash, staged_after)) throw std::bad_alloc();
    if (my.tracks_use && !my.sieve.reserve(staged_after)) throw std::bad_alloc();
  }
  void* memory = my.arena.allocate(Entry::footprint(op));
  if (memory == nullptr) throw std::bad_alloc();
  ++my.staged;
  return Entry::make(memory, op);
}

void Table::discard(Entry* staged) noexcept {
  KV_ASSERT(impl_->staged > 0);
  --impl_->staged;
  impl_->arena.free(staged, staged->footprint());
  if (impl_->staged == 0 && impl_->linked.empty()) impl_->trim_reserves();  // the next commit may be long in coming
}

void Table::link(Entry* staged, uint64_t hash, Seq seq) noexcept {
  KV_ASSERT(seq <= format::kIntegerMax);
  Impl& my = *impl_;
  KV_ASSERT(seq > my.published.load(std::memory_order_relaxed));
  const Buckets::Found found = my.buckets.find(staged->key(), hash);
  if (found.entry == nullptr && staged->is_tombstone()) return discard(staged);
  KV_ASSERT(my.staged > 0);
  --my.staged;
  KV_ASSERT(found.entry == nullptr || found.entry->seq() <= seq);
  KV_ASSERT(my.linked.empty() || my.linked.back().entry->seq() == seq);  // one commit at a time
  KV_ASSERT(my.linked.size() < my.linked.capacity());                    // stage() has seen to it: nothing throws here
  staged->set_seq(seq);
  my.count_in(staged);
  my.linked.push_back({staged, hash});
  if (my.tracks_use) my.queue(staged, found.entry, hash);
  if (found.entry == nullptr) {
    // It may grow ahead of need, which a deletion in the same commit must not have lifted the limit for.
    if (my.memory_limit != UINT64_MAX) my.arena.set_limit(my.memory_limit);
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
      KV_ASSERT(older->seq() < seq);
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
  my.drain(8 + 2 * operations);
  my.limbo.turn(8 + 2 * operations, 1);
  my.trim_reserves();
}

void Table::Impl::trim_reserves() noexcept {
  if (staged == 0 && linked.empty() && linked.capacity() > kLinkedIdle) std::vector<Linked>().swap(linked);
  buckets.trim_reserve(staged);
  versions.trim_reserve(staged);
  sieve.trim_reserve(staged);
}

bool Table::has_versions_to_free() const noexcept { return impl_->versions.has_gone_pins(); }

bool Table::waits_for_readers() const noexcept { return !impl_->limbo.empty(); }

uint64_t Table::unlinked_bytes() const noexcept { return impl_->limbo.bytes(); }

uint64_t Table::unlinked_mark() const noexcept { return impl_->limbo.mark(); }

bool Table::has_freed(uint64_t mark) const noexcept { return impl_->limbo.has_freed(mark); }

Table::Seen Table::seen(uint64_t much) const noexcept { return impl_->versions.seen(much); }

uint64_t Table::held_bytes_at(Seq instant) const noexcept { return impl_->versions.held_bytes_at(instant); }

void Table::reclaim(size_t versions_max) noexcept {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  (void)my.drain(versions_max);
  (void)my.limbo.tidy(versions_max, 1 + versions_max / 64);
}

bool Table::tidy(size_t versions_max) noexcept {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  const bool drained = my.drain(versions_max);
  const bool freed = !my.limbo.tidy(versions_max, 1 + versions_max / 64);
  const bool packed = !my.sieve.tidy(my.entries.get(), 1 + versions_max / 64);
  my.arena.trim();
  return !(drained && freed && packed);
}

void Table::load(const format::Op& op, uint64_t hash, Seq seq) {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  const Buckets::Found found = my.buckets.find(op.key, hash);
  KV_ASSERT(found.entry == nullptr || found.entry->older() == nullptr);  // loading keeps no versions
  if (op.removes()) {
    if (found.entry == nullptr) return;
    my.count_out(found.entry);
    my.buckets.remove(found.slot, hash);
    my.arena.free(found.entry, found.entry->footprint());
    return;
  }
  if (found.entry == nullptr && (!my.buckets.reserve(hash, 1) || (my.tracks_use && !my.sieve.reserve(1)))) {
    throw std::bad_alloc();
  }
  void* memory = my.arena.allocate(Entry::footprint(op));
  if (memory == nullptr) throw std::bad_alloc();
  Entry* entry = Entry::make(memory, op);
  entry->set_seq(seq);
  my.count_in(entry);
  if (my.tracks_use) my.queue(entry, found.entry, hash);
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
  KV_ASSERT(impl_->staged == 0 && impl_->linked.empty());
  KV_ASSERT(seq >= published());
  impl_->published.store(seq, std::memory_order_seq_cst);
  impl_->buckets.trim_reserve(0);
  impl_->sieve.trim_reserve(0);
  impl_->limbo.settle();
  impl_->arena.end_demand();
}

void Table::expect(uint64_t entries) { impl_->buckets.expect(entries); }

void Table::track_use() noexcept {
  KV_ASSERT(impl_->staged == 0 && impl_->linked.empty() && impl_->arena.live_count() == 0);
  impl_->tracks_use = true;
}

const Entry* Table::victim() noexcept {
  KV_ASSERT(impl_->tracks_use && impl_->linked.empty());
  const Entry* entry = impl_->sieve.victim();
  KV_ASSERT(entry == nullptr || !entry->is_tombstone());
  KV_ASSERT(entry == nullptr || entry->seq() <= published());
  return entry;
}

bool Table::prepare_memory() noexcept { return impl_->arena.prepare(); }

void Table::on_low_memory(std::function<void()> call) noexcept { impl_->arena.on_taken(std::move(call)); }

const Entry* Table::newest(std::string_view key, uint64_t hash) const noexcept {
  return present(impl_->buckets.find(key, hash).entry);
}

void Table::Impl::count_in(const Entry* entry) noexcept {
  if (entry->is_tombstone()) return;
  entries.add(1);
  key_bytes.add(entry->key().size());
  value_bytes.add(entry->value().size());
  if (entry->expires_us() != 0) expiring.add(1);
}

void Table::Impl::count_out(const Entry* entry) noexcept {
  if (entry->is_tombstone()) return;
  entries.subtract(1);
  key_bytes.subtract(entry->key().size());
  value_bytes.subtract(entry->value().size());
  if (entry->expires_us() != 0) expiring.subtract(1);
}

// A new key goes to the end of the eviction's queue; an overwrite takes over the place and the mark. Needs: `entry` is
// counted and not linked yet, `before` is what it replaces.
void Table::Impl::queue(Entry* entry, const Entry* before, uint64_t entry_hash) noexcept {
  if (entry->is_tombstone()) return;
  if (present(before) == nullptr) {
    entry->set_generation(sieve.next_generation());
    sieve.append(entry, entry_hash, entries.get());
  } else {
    entry->set_generation(before->generation());
    if (before->is_visited()) entry->mark_visited();
  }
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
  while (newer->older() != version) {
    newer = newer->older();
    KV_ASSERT(newer != nullptr);  // it is in its key's chain
  }
  KV_ASSERT(newer->seq() > version->seq());
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

}  // namespace kvstore::table
