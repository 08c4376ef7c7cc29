// What Table is made of, for its own source files: table.cc (writing), table_read.cc, table_sweep.cc, table_check.cc.
#pragma once

#include <atomic>
#include <optional>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/table/arena.h"
#include "kvstore/table/buckets.h"
#include "kvstore/table/epoch.h"
#include "kvstore/table/hash.h"
#include "kvstore/table/limbo.h"
#include "kvstore/table/sieve.h"
#include "kvstore/table/table.h"
#include "kvstore/table/versions.h"

namespace kvstore::table {

static_assert(Table::kShards == Buckets::kShards);

// A counter with one writer and any number of readers.
class Gauge {
 public:
  void add(uint64_t change) noexcept { value_.store(get() + change, std::memory_order_relaxed); }
  void subtract(uint64_t change) noexcept {
    KV_ASSERT(change <= get());
    add(~change + 1);
  }
  [[nodiscard]] uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

inline const Entry* present(const Entry* entry) noexcept {
  return entry == nullptr || entry->is_tombstone() ? nullptr : entry;
}

struct Table::Impl {
  explicit Impl(uint64_t hash_seed) noexcept
      : hash(hash_seed), limbo(arena, epoch), buckets(arena, limbo), versions(arena), sieve(arena, buckets) {}

  struct Linked {
    Entry* entry;
    uint64_t hash;
  };

  void count_in(const Entry* entry) noexcept;
  void count_out(const Entry* entry) noexcept;
  void queue(Entry* entry, const Entry* before, uint64_t entry_hash) noexcept;
  void drop_if_idle_tombstone(Entry* head, uint64_t entry_hash) noexcept;
  void trim_reserves() noexcept;  // to what is staged
  void give_up(Entry* version, uint64_t version_hash) noexcept;
  bool drain(size_t steps_max) noexcept;
  const Entry* note_use(const Entry* found) const noexcept {
    if (tracks_use && found != nullptr) found->mark_visited();
    return found;
  }
  [[nodiscard]] const Entry* find_at(Seq seq, std::string_view key, uint64_t key_hash) const noexcept;
  Seq collect_shard(size_t shard, Seq seq, const Filter& filter, std::vector<const Entry*>& out) const;
  struct SweptBucket {
    uint64_t dropped;
    bool is_done;  // false: there may be more in this bucket
  };
  SweptBucket sweep_bucket(size_t shard, BucketArray array, size_t index, int64_t now_us,
                           std::optional<Seq>& pinned) noexcept;

  // The published number changes with every commit, so it has a cache line to itself.
  alignas(128) std::atomic<Seq> published{0};

  alignas(128) KeyHash hash;
  bool tracks_use = false;  // set before the first entry; beside the hash, which every reader needs anyway
  alignas(128) Arena arena;
  uint64_t memory_limit = UINT64_MAX;
  Epoch epoch;
  Limbo limbo;
  Buckets buckets;
  Versions versions;
  Sieve sieve;  // empty unless tracks_use

  size_t staged = 0;           // staged, not yet linked or discarded
  std::vector<Linked> linked;  // linked, not yet published
  Gauge entries, key_bytes, value_bytes, expiring;

  // Where the next sweep goes on: a shard, and a place (bucket.h) in it, which has a meaning in arrays of all sizes.
  size_t sweep_shard = 0;
  uint64_t sweep_place = 0;
};

}  // namespace kvstore::table
