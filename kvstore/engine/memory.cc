// Staying within max_memory and max_entries. Evictions are commits like any other, made by the store itself under the
// commit lock just before the write that needs the room, so they are in the log and never come back.
//
// Two measures work together. The table refuses to take more than max_memory from the system, whatever happens; and
// evicting begins when what is in use comes near it, so that this refusal stays rare. In between lies what is free but
// in the wrong place: holes in memory that was cut for values of other sizes.
//
// Memory comes back late: what an eviction unlinks stays until the last reader has left, or the last snapshot. So
// evicting begins a little below the limit and each write evicts no more than a small multiple of what it adds; were
// the measure "until it fits", one slow reader could empty the store. After some rounds the write is refused; where it is
// the store's own compaction or backup that holds the memory, it waits for the end of that instead, and nothing is evicted
// for it in vain. Nor does a snapshot that stays cost more than a part of the store: what it sees is passed over then.
#include <algorithm>
#include <chrono>
#include <new>
#include <numeric>
#include <span>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/prepared.h"
#include "kvstore/table/chunks.h"
#include "kvstore/table/versions.h"

namespace kvstore::engine {

using base::error;
using format::Op;

namespace {

// Of max_memory, what no single write can have: the chunk set aside for deletions, and one for the index.
constexpr uint64_t kMemoryAside = 2 * table::kChunkBytes;
constexpr int kLooksMax = 64;
constexpr uint64_t kHeldPart = 8;        // of max_memory: what evictions may leave to snapshots
constexpr uint64_t kReadersPart = 32;    // of what writes can have: less that readers keep is no reason to refuse
constexpr uint64_t kPassedOverMin = 16;  // victims that are no use, in one search
constexpr uint64_t kPassedOverMax = 4096;
constexpr int kRoundsMax = 32;
constexpr int kRoundsInVainMax = 4;
constexpr size_t kReclaimedMax = 1024;
constexpr int kReclaimsMax = 4;
// Buckets to look through for what has expired: instead of refusing, and beside each eviction, of which there may be one a put.
constexpr size_t kSweptByRefusal = 32;
constexpr size_t kSweptByEviction = 2;
constexpr uint64_t kEvictBytesMin = uint64_t{16} << 10;  // at a time, so that not every put evicts
constexpr uint64_t kEvictBytesMax = uint64_t{1} << 20;   // at a time, where a store holds too much
constexpr size_t kEvictedPerRecord = 256;  // keys in one log line: bounds the line, and what finding them anew costs

}  // namespace

// Needs: commit_lock_ held. OK: the operations are staged. On failure some may be; commit_locked() discards them.
Status Engine::stage_within_limits(const Request& request, Prepared& prepared) {
  constexpr size_t kTidySteps = 1024;
  KV_ASSERT(has_limits_);
  if (opened_too_full_) opened_too_full_ = table_.stats().memory_bytes > options_.max_memory - table::kChunkBytes;
  if (Status s = make_memory(request, prepared); !s.ok()) return s;
  const bool evicts =
      options_.when_full == WhenFull::kEvict && options_.max_memory != 0 && bytes_added_by(request) != 0;
  int rounds_in_vain = 0;
  for (int round = 1;; ++round) {
    try {
      stage(request, prepared);
      return {};
    } catch (const std::bad_alloc&) {
      prepared.discard();
    }
    if (!evicts && bytes_added_by(request) != 0 && table_.stats().expiring != 0) sweep_some(kSweptByRefusal);
    // What was freed lies in the wrong places, or is not free yet.
    if (round == (evicts ? kRoundsMax : 2) ||
        (round > 1 && (table_.has_versions_to_free() || waits_for_pin(request)))) {
      return full(request, prepared);
    }
    const table::TableStats now = table_.stats();
    const uint64_t used = now.used_bytes;
    if (evicts && round > 1) {
      // A reader takes his time: to evict more would only make what he keeps more.
      const uint64_t readers_keep_max = std::max(hard_limit() / kReadersPart, 8 * bytes_added_by(request));
      if (!prepared.readers_have_left && table_.unlinked_bytes() >= readers_keep_max) return full(request, prepared);
      const uint64_t at_least = opened_too_full_ ? kEvictBytesMax : kEvictBytesMin;
      if (Status s = evict(std::max(4 * bytes_added_by(request), at_least), 0); !s.ok())
        return std::move(s).with("evict");
    }
    table_.tidy(kTidySteps);
    // A reader or a snapshot keeps what is evicted: to go on would only cost more keys.
    if (evicts && round > 1 && table_.stats().used_bytes >= used && ++rounds_in_vain == kRoundsInVainMax) {
      return full(request, prepared);
    }
  }
}

uint64_t Engine::bytes_added_by(const Request& request) noexcept {
  uint64_t bytes = 0;
  for (const Op& op : request.ops) bytes += op.removes() ? 0 : table::Entry::footprint(op);
  return bytes;
}

namespace {

// Of several operations on one key in a batch the last one counts: which these are. Throws std::bad_alloc.
template <typename Slots>
std::vector<size_t> last_of_each_key(std::span<const Op> ops, const Slots& slots) {
  std::vector<size_t> order(ops.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto place = [&](size_t i) { return std::tuple(slots[i].hash, ops[i].key); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return place(a) < place(b); });
  std::vector<size_t> last;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i + 1 == order.size() || place(order[i]) != place(order[i + 1])) last.push_back(order[i]);
  }
  return last;
}

// Sorted; none for a single operation, whose key is no victim where it counts. Throws std::bad_alloc.
template <typename Slots>
std::vector<uint64_t> hashes_of_keys(std::span<const Op> ops, const Slots& slots) {
  std::vector<uint64_t> hashes;
  if (ops.size() == 1) return hashes;
  for (const auto& slot : slots) hashes.push_back(slot.hash);
  std::ranges::sort(hashes);
  return hashes;
}

}  // namespace

// How the number of keys changes by the operations that count.
Engine::KeyChange Engine::key_change_by(const Request& request, const Prepared& prepared,
                                        std::span<const size_t> counted) const {
  KeyChange change;
  if (options_.max_entries == 0) return change;
  for (const size_t i : counted) {
    const Op& op = request.ops[i];
    const bool is_there = table_.newest(op.key, prepared.slots[i].hash) != nullptr;
    change.put += op.removes() ? 0 : 1;
    change.added += !is_there && !op.removes() ? 1 : 0;
    change.removed += is_there && op.removes() ? 1 : 0;
  }
  return change;
}

// Whether memory for the write comes back when our own compaction or backup has written out what it sees.
bool Engine::waits_for_pin(const Request& request) const noexcept {
  if (!compaction_.holds_pin) return false;
  if (options_.when_full == WhenFull::kEvict) return true;  // most of what could be evicted is what it sees
  const uint64_t held = table_.held_bytes_at(compaction_.pinned_seq);
  const uint64_t used = table_.stats().used_bytes;
  return held != 0 && used - std::min(used, held) + bytes_added_by(request) <= hard_limit();
}

// Outside the commit lock. All that nobody sees any more is gone through, or the next attempt would evict for what is nearly
// free.
void Engine::wait_for_memory(Prepared& prepared) {
  constexpr int kStepsMax = 10'000;
  // A reader is inside for some microseconds, unless he has to wait for a processor meanwhile.
  constexpr int kLooks = 2000;
  constexpr int kQuickLooks = 5;  // where nobody is inside, two are enough
  constexpr auto kPause = std::chrono::microseconds(200);
  if (prepared.waits_for == Prepared::WaitsFor::kPin) compaction_.pins_ended.wait(prepared.pins_ended);
  uint64_t mark = prepared.unlinked_mark;
  bool has_drained = false;
  int looks = 0;
  for (int step = 0; step < kStepsMax; ++step) {
    bool drains = false;
    {
      const std::lock_guard lock(commit_lock_);
      if (closed_) return;
      const bool drained = table_.has_versions_to_free();
      table_.reclaim(kReclaimedMax);
      drains = table_.has_versions_to_free();
      // What a large snapshot has left is waited for as well; not what comes after that, of which there is no end.
      if (drained && !drains && !std::exchange(has_drained, true)) mark = table_.unlinked_mark();
      const bool for_readers = prepared.waits_for == Prepared::WaitsFor::kReaders;
      const bool is_freed = for_readers && !drains && table_.has_freed(mark);
      prepared.readers_have_left |= is_freed;
      if (!drains && (!for_readers || is_freed || ++looks == kLooks)) return;
    }
    drains || looks < kQuickLooks ? std::this_thread::yield() : std::this_thread::sleep_for(kPause);
  }
}

// Of max_memory, what writes can have: the rest is set aside for deletions (Table::limit_memory). 0: no limit.
uint64_t Engine::hard_limit() const noexcept {
  return options_.max_memory - std::min(options_.max_memory, uint64_t{table::kChunkBytes});
}

// The answer to a write for which there is no room, unless it is worth waiting for: for what nobody sees any more to be gone
// through, which each attempt does a part of; for the end of our own pin; once, for readers, of whom there may always be some.
Status Engine::full(const Request& request, Prepared& prepared) const {
  using WaitsFor = Prepared::WaitsFor;
  prepared.pins_ended = compaction_.pins_ended;  // before all else: see note_no_pin()
  const bool waits_for_pin_now = waits_for_pin(request);
  if (table_.has_versions_to_free()) {
    prepared.waits_for = WaitsFor::kVersions;
  } else if (waits_for_pin_now) {
    prepared.waits_for = WaitsFor::kPin;
  } else if (table_.waits_for_readers() && !std::exchange(prepared.has_waited_for_readers, true)) {
    prepared.waits_for = WaitsFor::kReaders;
    prepared.unlinked_mark = table_.unlinked_mark();
  }
  return full(bytes_added_by(request));
}

Status Engine::full(uint64_t bytes) const {
  if (options_.max_memory == 0) return {Code::kOutOfMemory, "out of memory; nothing was written"};
  const table::TableStats now = table_.stats();
  return error(
      Code::kOutOfMemory,
      "the write needs {} bytes, but of the {} of max_memory {} are in use and {} taken, {} overwritten values that "
      "snapshots can see among them; nothing was written. try: delete something, or raise the limit",
      bytes, options_.max_memory, now.used_bytes, now.memory_bytes, now.versions_held);
}

// Needs: commit_lock_ held. OK: there is room for the operations, as far as the figures tell.
Status Engine::make_memory(const Request& request, Prepared& prepared) {
  const uint64_t bytes = bytes_added_by(request);
  if (bytes == 0) return {};  // only makes room
  const auto excess = [](uint64_t have, uint64_t more, uint64_t limit) {
    return limit == 0 || have + more <= limit ? 0 : have + more - limit;
  };
  constexpr size_t kOnlyOne = 0;
  std::vector<size_t> many;
  if (options_.max_entries != 0 && request.ops.size() > 1) many = last_of_each_key(request.ops, prepared.slots);
  const std::span<const size_t> counted = many.empty() ? std::span(&kOnlyOne, 1) : std::span<const size_t>(many);
  KeyChange keys = key_change_by(request, prepared, counted);
  // What would not even fit into an empty store must cost no other key its place.
  if (options_.max_memory != 0 && bytes > options_.max_memory - kMemoryAside) return full(bytes);
  const bool evicts = options_.when_full == WhenFull::kEvict;
  if (const uint64_t least = evicts ? keys.put : keys.added - std::min(keys.added, keys.removed);
      options_.max_entries != 0 && least > options_.max_entries) {
    return error(Code::kOutOfMemory,
                 "the write has {} {}keys, more than max_entries, {}, allows; nothing was written. try: several "
                 "batches, or raise the limit",
                 least, evicts ? "" : "new ", options_.max_entries);
  }
  table::TableStats now = table_.stats();
  const uint64_t soft_limit = hard_limit() - hard_limit() / 16;
  // A store opened nearly full has free memory in the part that is set aside.
  const uint64_t limit = evicts ? hard_limit() : options_.max_memory;
  // A store opened with more than max_entries takes what adds none.
  const auto keys_over = [&] {
    return keys.added <= keys.removed && !evicts ? 0
                                                 : excess(now.entries - keys.removed, keys.added, options_.max_entries);
  };
  const auto is_over = [&] {
    return excess(now.used_bytes, bytes, evicts ? soft_limit : limit) != 0 || keys_over() != 0;
  };
  if (is_over()) {  // first what nobody sees any more, then some of what has expired
    table_.reclaim(kReclaimedMax);
    now = table_.stats();
    if (now.expiring != 0 && is_over()) {
      sweep_some(evicts ? kSweptByEviction : kSweptByRefusal);
      keys = key_change_by(request, prepared, counted);
      now = table_.stats();
    }
  }
  // What is nearly free is no reason to evict, and is waited for only where there is no room without it.
  for (int i = 0; evicts && i < kReclaimsMax && excess(now.used_bytes, bytes, soft_limit) != 0; ++i) {
    if (!table_.has_versions_to_free()) break;
    table_.reclaim(kReclaimedMax);
    now = table_.stats();
  }
  const bool is_nearly_free = evicts && table_.has_versions_to_free();
  if (is_nearly_free && excess(now.used_bytes, bytes, hard_limit()) != 0) {
    prepared.waits_for = Prepared::WaitsFor::kVersions;
    return full(bytes);
  }
  std::vector<uint64_t> own;  // hashes of the keys that it puts or deletes
  // Again, because a victim may be a key that this very write overwrites, and which is new then. More than a little is
  // evicted only where the store was opened with more than the limit, and while it gains something.
  bool gains = false;
  for (int round = 0; evicts && (round < kRoundsMax || gains); ++round) {
    const uint64_t used = now.used_bytes;
    uint64_t bytes_max = round == 0 ? std::max(4 * bytes, kEvictBytesMin) : 0;
    if (gains && used + bytes > hard_limit()) bytes_max = kEvictBytesMax;
    uint64_t evict_bytes = is_nearly_free ? 0 : std::min(excess(used, bytes, soft_limit), bytes_max);
    if (evict_bytes != 0) {  // what readers are looking at, and what our own pin holds, comes back by itself
      uint64_t comes_back = table_.unlinked_bytes();
      if (compaction_.holds_pin) comes_back += table_.held_bytes_at(compaction_.pinned_seq);
      evict_bytes = std::min(excess(used - std::min(used, comes_back), bytes, soft_limit), bytes_max);
    }
    const uint64_t evict_entries = keys_over();
    if (evict_bytes == 0 && evict_entries == 0) break;
    if (evict_entries != 0 && own.empty()) own = hashes_of_keys(request.ops, prepared.slots);
    if (Status s = evict(evict_bytes, evict_entries, own); !s.ok()) return std::move(s).with("evict");
    table_.reclaim(kReclaimedMax);
    keys = key_change_by(request, prepared, counted);
    now = table_.stats();
    gains = evict_bytes != 0 && now.used_bytes < used && now.used_bytes + evict_bytes / 2 <= used;
  }
  if (excess(now.used_bytes, bytes, limit) != 0) return full(request, prepared);
  if (keys_over() != 0) {
    return error(Code::kOutOfMemory,
                 "the store has {} of the {} keys of max_entries; nothing was written. try: delete something, "
                 "or raise the limit",
                 now.entries, options_.max_entries);
  }
  return {};
}

// Takes out what has expired in the next so many buckets. Needs: commit_lock_ held, nothing staged.
void Engine::sweep_some(size_t buckets_max) noexcept {
  const int64_t now = now_us();
  clock_floor_us_ = now;  // before the sweep: its contract
  compaction_.expired += table_.sweep_expired(now, buckets_max).dropped;
  table_.reclaim(kReclaimedMax);
}

// Evicts until that much has been unlinked that nobody sees, or no more victims are found. To evict what the write itself puts
// or deletes makes no room for a key: of those with a hash in `own`, none goes for `entries`. Needs: commit_lock_ held.
Status Engine::evict(uint64_t bytes, uint64_t entries, std::span<const uint64_t> own) {
  KV_ASSERT(options_.when_full == WhenFull::kEvict);
  KV_ASSERT(!closed_);
  // To evict what somebody sees frees nothing before he goes. Our own compaction or backup takes its time, too.
  const table::Table::Seen seen = table_.seen(options_.max_memory != 0 ? options_.max_memory / kHeldPart : UINT64_MAX);
  const Seq for_long = std::max(seen.for_long, compaction_.holds_pin ? compaction_.pinned_seq.load() : 0);
  uint64_t may_hold = seen.may_hold;
  // So that the search comes round once before the room that is left is used up. (A put asks for four times what it adds.)
  const table::TableStats now = table_.stats();
  const uint64_t room = hard_limit() - std::min(hard_limit(), now.used_bytes);
  const uint64_t passed_over_max =
      std::clamp<uint64_t>(now.entries / (4 * room / std::max<uint64_t>(bytes, 1) + 1), kPassedOverMin, kPassedOverMax);
  uint64_t evicted_bytes = 0;
  uint64_t evicted = 0;
  uint64_t passed_over = 0;
  uint64_t own_left = 2 * own.size();  // the search may come round once
  std::vector<Op> ops;                 // the keys point into the table: good until publish()
  while (evicted_bytes < bytes || evicted < entries) {
    ops.clear();
    int empty_handed = 0;
    while ((evicted_bytes < bytes || evicted + ops.size() < entries) && ops.size() < kEvictedPerRecord) {
      const table::Entry* victim = table_.victim();
      // It looks for so long only, and goes on where it stopped; all around, it finds those that are in `ops` already.
      const auto is_victim = [victim](const Op& op) { return op.key.data() == victim->key().data(); };
      if (victim == nullptr || std::ranges::any_of(ops, is_victim)) {
        if (++empty_handed == kLooksMax) break;
        continue;
      }
      if (own_left != 0 && evicted + ops.size() < entries &&
          std::ranges::binary_search(own, table_.hash(victim->key()))) {
        --own_left;
        continue;
      }
      const bool is_seen = victim->seq() <= seen.newest;
      const uint64_t footprint = victim->footprint();
      // Where an older version is held for somebody, a tombstone must stay.
      const uint64_t freed = victim->older() != nullptr ? victim->value().size() : footprint;
      const bool frees = victim->seq() > for_long && 2 * freed >= footprint && (!is_seen || may_hold != 0);
      if (!frees && evicted + ops.size() >= entries) {
        if (++passed_over == passed_over_max) break;
        continue;
      }
      if (frees) evicted_bytes += freed;
      if (is_seen) may_hold -= std::min(may_hold, footprint);
      ops.push_back({.kind = Op::Kind::kEvict, .is_json = false, .key = victim->key(), .value = {}, .expires_us = 0});
    }
    if (ops.empty()) break;
    if (Status s = commit_evictions(ops); !s.ok()) return s;
    evicted += ops.size();
    if (passed_over == passed_over_max) break;
  }
  return {};
}

Status Engine::commit_evictions(std::span<const Op> ops) {
  const uint64_t entries_before = table_.stats().entries;
  Request request;
  request.ops = ops;
  request.as_batch = ops.size() > 1;
  request.now_us = now_us();
  Prepared prepared(table_, ops.size());
  if (Status s = prepare(request, prepared); !s.ok()) return s;
  Result<Seq> seq = commit_locked(request, prepared);
  if (!seq.ok()) return std::move(seq).status();
  KV_ASSERT(*seq == table_.published());
  KV_ASSERT(table_.stats().entries + ops.size() == entries_before);  // each was there, and once
  compaction_.evicted += ops.size();
  return {};
}

}  // namespace kvstore::engine
