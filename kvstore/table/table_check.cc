// Table::check(): every structural invariant, for tests.
#include <algorithm>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/table/table_impl.h"

namespace kvstore::table {

void Table::check() const {
  Impl& my = *impl_;
  KV_ASSERT(my.staged == 0 && my.linked.empty());
  KV_ASSERT(my.limbo.settle());  // nobody is inside, so everything in limbo can go
  TableStats counted;
  std::vector<uint64_t> queued;
  uint64_t blocks = my.buckets.check() + my.versions.block_count() + my.sieve.check(queued);
  const Seq published_seq = published();
  for (size_t shard = 0; shard < Buckets::kShards; ++shard) {
    const BucketArray walked = my.buckets.array(shard);
    for (size_t index = 0; index < walked.count; ++index) {
      for (const Bucket* bucket = &walked.buckets[index]; bucket != nullptr;
           bucket = bucket->overflow.load(std::memory_order_relaxed)) {
        for (const Slot& slot : bucket->slots) {
          if (slot.load().empty()) continue;
          const Entry* head = slot.load().entry();
          const uint64_t head_hash = Buckets::hash_of(shard, walked, index, slot.load());
          KV_ASSERT(head->seq() <= published_seq);
          KV_ASSERT(!head->is_tombstone() || head->older() != nullptr);  // idle tombstones are dropped
          if (!head->is_tombstone()) {
            ++counted.entries;
            counted.key_bytes += head->key().size();
            counted.value_bytes += head->value().size();
            if (head->expires_us() != 0) ++counted.expiring;
            KV_ASSERT(!my.tracks_use ||
                      std::binary_search(queued.begin(), queued.end(), Sieve::code_of(head_hash, head->generation())));
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
  KV_ASSERT(counted.expiring == told.expiring);
  KV_ASSERT(counted.versions_held == told.versions_held);
  KV_ASSERT(told.used_bytes <= told.memory_bytes);
  KV_ASSERT(blocks == my.arena.live_count());  // nothing leaks
}

}  // namespace kvstore::table
