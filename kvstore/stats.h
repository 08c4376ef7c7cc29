// The numbers a person on call asks for, as one plain struct. Taking it is cheap (no scan) and safe
// from any thread; the figures are each exact but not taken at one instant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace kvstore::inline v1 {

struct PoolStats {
  uint64_t leases = 0;         // buffers handed out
  uint64_t hits = 0;           // ... that were waiting in the pool
  uint64_t misses = 0;         // ... that had to be allocated
  uint64_t grown = 0;          // leases whose buffer had to grow while it was out
  uint64_t dropped = 0;        // buffers freed: giants, the outgrown, or the pool was full
  uint64_t retained_bytes = 0; // capacity of the idle buffers
  uint64_t start_bytes = 0;    // the starting size the pool chooses now
};

struct Stats {
  // The table.
  uint64_t entries = 0;           // live keys, expired but not yet overwritten ones included
  uint64_t key_bytes = 0;         // bytes of their keys
  uint64_t value_bytes = 0;       // bytes of their values
  uint64_t table_bytes = 0;       // memory held by buckets and entry arenas
  uint64_t versions_held = 0;     // overwritten versions a scan or snapshot can still see
  uint64_t expiring = 0;          // of the entries: those that carry an expiry
  uint64_t expired = 0;           // entries taken out of memory since opening because they had expired

  // The log.
  uint64_t last_seq = 0;          // newest committed write: it survives kill -9
  uint64_t synced_seq = 0;        // newest write known to be on disk: it survives a power cut
  uint64_t log_bytes = 0;         // bytes of lines in the log files that no snapshot covers
  uint64_t log_segments = 0;      // ... which are so many
  uint64_t live_bytes = 0;        // what a snapshot of the live keys would need, about
  uint64_t commits = 0;           // log lines written since opening
  uint64_t syncs = 0;             // fdatasync calls on the log since opening
  uint64_t sync_waits = 0;        // kSync commits that shared one of them
  uint64_t rotations = 0;         // segments begun since opening
  uint64_t reserve_stalls = 0;    // commits that had to extend the log file themselves
  bool broken = false;            // a sync failed: writes are refused (P8)

  // Compaction.
  uint64_t snapshot_seq = 0;        // the newest snapshot holds the state after this record; 0: there is none
  uint64_t snapshot_entries = 0;
  uint64_t snapshot_bytes = 0;
  uint64_t compactions = 0;         // since opening
  uint64_t compactions_failed = 0;  // ... cancelled ones included
  uint64_t compaction_us = 0;       // how long the last one took

  PoolStats encode_pool{};
};

// One JSON object on one line, members named as the fields above. Allocates.
[[nodiscard]] std::string to_json(const Stats& stats);

}  // namespace kvstore::inline v1
