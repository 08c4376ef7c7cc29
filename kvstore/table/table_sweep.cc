// Table::sweep_expired(): how an expired entry leaves the table beside readers and pins.
//
// Readers inside a ReadGuard are no matter: the entry goes through limbo like any other, and one who misses it sees what
// its own clock would have told. Pins are: what was found through one stays readable for as long as the pin
// lives, and one taken before the expiry must go on seeing the entry. An entry E is its key's newest version, published,
// with nothing older linked. The writer does:
//
//   (1) looks under the pins' mutex for the newest pin; E is left alone when that is at or after E's number
//   (2) empties E's slot
//   (3) looks for the newest pin again, in the same way; if that is at or after E's number now, the slot gets E back,
//       for a later round
//   (4) else retires E
//
// A pin is born in one critical section of that mutex (versions.h), so it comes before (1), between, or after (3):
//   before (1)   (1) finds it, if it sees E at all, and E is not touched.
//   between      it was taken after the caller read the clock for this sweep, so to whoever judges expiry by a clock read after
//                taking the pin, E has expired: to miss it between (2) and (3) is right. To have found it is right, too, and
//                then E must stay: its number is published, so it is not above the pin's, and (3) finds the pin.
//   after (3)    (2) happened before its birth, so no lookup through it can come across E: the slot is empty in the
//                current array, and the arrays before it went out of use before (2).
// A copied pin adds to a record that stands already. (3) must take the mutex: a mere look at the number of pins could be
// done by the processor before (2) is seen by others.
#include <array>
#include <optional>
#include <span>

#include "kvstore/base/assert.h"
#include "kvstore/table/table_impl.h"

namespace kvstore::table {

Sweep Table::sweep_expired(int64_t now_us, size_t buckets_max) noexcept {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  KV_ASSERT(my.sweep_shard < kShards);
  KV_ASSERT(my.sweep_place <= kPlaceMask);
  Sweep sweep;
  if (my.expiring.get() == 0) return {.visited = 0, .dropped = 0, .round_done = true};
  std::optional<Seq> pinned = my.versions.newest_pinned();
  while (sweep.visited < buckets_max && !sweep.round_done) {
    const BucketArray array = my.buckets.array(my.sweep_shard);
    if (array.buckets != nullptr) {
      const size_t index = array.index_of(my.sweep_place);
      KV_ASSERT(index < array.count);
      const Impl::SweptBucket swept = my.sweep_bucket(my.sweep_shard, array, index, now_us, pinned);
      sweep.dropped += swept.dropped;
      if (swept.is_done) my.sweep_place = array.first_place_behind(index);
    }
    ++sweep.visited;
    if (array.buckets == nullptr || my.sweep_place > kPlaceMask) {
      my.sweep_place = 0;
      my.sweep_shard = (my.sweep_shard + 1) % kShards;
      sweep.round_done = my.sweep_shard == 0;
    }
  }
  KV_ASSERT(sweep.visited <= buckets_max);
  my.limbo.turn(sweep.dropped, 1);
  return sweep;
}

// One home bucket and its chain, but no more than a few entries at a time: as a shard empties from one end its array shrinks,
// and the chains at the other end can get long. `pinned`: what (1) found; (3) of one call is (1) of the next.
Table::Impl::SweptBucket Table::Impl::sweep_bucket(size_t shard, BucketArray array, size_t index, int64_t now_us,
                                                   std::optional<Seq>& pinned) noexcept {
  struct Candidate {
    Slot* slot;
    SlotWord word;
  };
  std::array<Candidate, 16> candidates;
  size_t count = 0;
  for (Bucket* bucket = &array.buckets[index]; bucket != nullptr;
       bucket = bucket->overflow.load(std::memory_order_relaxed)) {
    for (Slot& slot : bucket->slots) {
      const SlotWord word = slot.load();
      if (word.empty() || count == candidates.size()) continue;
      const Entry* entry = word.entry();
      if (!entry->is_expired(now_us) || entry->older() != nullptr) continue;
      if (pinned.has_value() && *pinned >= entry->seq()) continue;
      KV_ASSERT(entry->seq() <= published.load(std::memory_order_relaxed));
      slot.store(SlotWord());
      candidates[count++] = {&slot, word};
    }
  }
  if (count == 0) return {.dropped = 0, .is_done = true};
  pinned = versions.newest_pinned();
  for (Candidate& candidate : std::span(candidates).first(count)) {
    if (!pinned.has_value() || *pinned < candidate.word.entry()->seq()) continue;
    candidate.slot->store(candidate.word);
    candidate.slot = nullptr;
  }
  uint64_t dropped = 0;
  for (const Candidate& candidate : std::span(candidates).first(count)) {
    if (candidate.slot == nullptr) continue;
    Entry* entry = candidate.word.entry();
    KV_ASSERT(!entry->is_tombstone());  // those carry no expiry
    KV_ASSERT(entry->older() == nullptr);
    count_out(entry);
    // May put a smaller array in the place of this one, which stays readable until limbo turns.
    buckets.remove(candidate.slot, Buckets::hash_of(shard, array, index, candidate.word));
    limbo.retire(entry);
    ++dropped;
  }
  return {.dropped = dropped, .is_done = count < candidates.size()};
}

}  // namespace kvstore::table
