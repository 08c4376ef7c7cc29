// The numbers a person on call asks for, as plain structs, as JSON, and as Prometheus reads them. Taking them is cheap (no
// scan of the data, some microseconds) and safe from any thread; the figures are each exact, unless said otherwise, but not
// taken at one instant.
//
// Bytes are bytes and durations are in the unit that ends the name; times are microseconds since the epoch. What is counted
// "since opening" belongs to the process that has the store open: a read-only Store, which looks from outside, has 0 there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvstore::inline v1 {

// One pool of reused memory.
struct PoolStats {
  uint64_t leases = 0;          // pieces handed out
  uint64_t hits = 0;            // ... that were waiting in the pool
  uint64_t misses = 0;          // ... that had to be allocated
  uint64_t grown = 0;           // leases whose piece had to grow while it was out
  uint64_t dropped = 0;         // pieces freed: giants, the outgrown, the long idle, or the pool was full
  uint64_t retained_bytes = 0;  // capacity of the idle ones
  uint64_t start_bytes = 0;     // the starting size the pool chooses now
};

// A store's pools (pools.h), since opening.
struct PoolsStats {
  PoolStats slices{};     // JSON texts
  PoolStats buffers{};    // log lines before they are copied to the log, and JsonWriter's output
  PoolStats documents{};  // the memory of parsed documents
};

// So many durations above the bound of the bucket before and up to this one's.
struct LatencyBucket {
  uint64_t upto_ns =
      0;  // inclusive; 64 is the first, every power of two is one, 2^37 (137 s) the last, for all beyond too
  uint64_t count = 0;
};

// How long something took, since opening. A quantile is never below the true one, and at most 12.5 % or 64 ns above it (in the
// last bucket, beyond 128 s, it is the maximum). Count, sum and maximum are exact.
struct LatencyStats {
  uint64_t count = 0;
  uint64_t sum_ns = 0;
  uint64_t max_ns = 0;
  uint64_t p50_ns = 0;  // half took no longer than this
  uint64_t p90_ns = 0;
  uint64_t p99_ns = 0;
  uint64_t p999_ns = 0;                  // 99.9 %
  std::vector<LatencyBucket> buckets{};  // ascending, the empty ones left out; their counts add up to `count`
};

// What opening found: RecoveryReport in numbers.
struct RecoveryStats {
  uint64_t snapshot_entries = 0;  // read from the snapshot
  uint64_t records = 0;           // log lines replayed
  uint64_t operations = 0;        // puts and deletes in them
  uint64_t bytes = 0;             // of log read
  uint64_t duration_us = 0;
  uint64_t cuts = 0;  // torn ends of the log that were cut (read-only: that the next writer will cut)
  uint64_t cut_bytes = 0;
};

struct Stats {
  // Of a kvstore::Store opened read_only. Its figures are those of the moment it was opened.
  bool read_only = false;
  int64_t opened_us = 0;  // when

  // The table.
  uint64_t entries = 0;      // live keys, expired but not yet overwritten ones included
  uint64_t key_bytes = 0;    // bytes of their keys
  uint64_t value_bytes = 0;  // bytes of their values
  uint64_t table_bytes = 0;  // memory held by buckets and entry arenas
  uint64_t expiring = 0;     // of the entries: those that carry an expiry
  uint64_t expired = 0;      // entries taken out of memory since opening because they had expired
  uint64_t evicted = 0;      // ... because a memory limit was reached

  // Who reads from the past, and what that costs.
  uint64_t pins = 0;               // snapshots and scans alive; a compaction or backup under way is one too
  uint64_t oldest_pin_seq = 0;     // the oldest instant one of them holds: the state after this record; 0 without pins
  uint64_t oldest_pin_age_us = 0;  // ... for how long that has been held
  uint64_t versions_held = 0;      // overwritten and deleted versions kept in memory for them
  uint64_t versions_held_bytes = 0;

  // Sequence numbers. A number is issued and its line handed to the kernel under one lock, so that is one figure. In step:
  // synced_seq <= written_seq, and last_seq follows written_seq within the same commit.
  uint64_t written_seq = 0;  // issued, and in the kernel's hands: survives kill -9
  uint64_t last_seq = 0;     // newest committed write that readers see
  uint64_t synced_seq = 0;   // newest write known to be on disk: it survives a power cut

  // The log.
  uint64_t log_bytes = 0;       // bytes of lines in the log files that no snapshot covers
  uint64_t log_segments = 0;    // ... which are so many
  uint64_t live_bytes = 0;      // what a snapshot of the live keys would need, about
  uint64_t dead_bytes = 0;      // what a compaction would save: log and snapshot less live_bytes, about
  uint64_t history_files = 0;   // older segments and snapshots, kept by Options::keep_history_*
  uint64_t history_bytes = 0;   // ... and their size
  uint64_t commits = 0;         // log lines written since opening
  uint64_t syncs = 0;           // fdatasync calls on the log since opening that succeeded
  uint64_t sync_waits = 0;      // kSync commits that shared one of them
  uint64_t rotations = 0;       // segments begun since opening
  uint64_t reserve_stalls = 0;  // commits that had to extend the log file themselves
  bool broken = false;          // a sync failed: writes are refused (P8)

  // Compaction.
  uint64_t snapshot_seq = 0;  // the newest snapshot holds the state after this record; 0: there is none
  uint64_t snapshot_entries = 0;
  uint64_t snapshot_bytes = 0;
  uint64_t compactions = 0;         // since opening
  uint64_t compactions_failed = 0;  // ... cancelled ones included
  uint64_t compaction_us = 0;       // how long the last one took
  bool compaction_running = false;
  uint64_t compaction_done_bytes = 0;     // of the snapshot being written, a moment ago; 0 unless running
  uint64_t compaction_total_bytes = 0;    // ... of about so many
  uint64_t compaction_written_bytes = 0;  // written by all compactions since opening, failed ones included

  // The newest failure of what the store does by itself, as a sentence: a background sync, or a compaction (by hand too). It
  // stays when later attempts succeed. Empty: none since opening.
  std::string last_error{};
  int64_t last_error_us = 0;  // when

  RecoveryStats recovery{};
  PoolsStats pools{};

  // Durations. A commit's is that from entering the call to its acknowledgement; refused and failed ones do not count.
  LatencyStats commit_process{};  // Durability::kProcess: one in 32, chosen at random, so that the clock costs nothing
  LatencyStats commit_sync{};     // Durability::kSync: each
  LatencyStats lock_wait{};       // who went to sleep waiting for the commit lock, mostly commits: how long for it
  LatencyStats sync{};            // each fdatasync of the log, a failed one too: what the disk takes
  LatencyStats rotation{};        // each change to a new log file, which the commits meanwhile wait for
};

// One in so many kProcess commits is measured.
inline constexpr unsigned kCommitSampleInterval = 32;

// One JSON object on one line, members named as the fields above; a bucket is an array [upto_ns, count]. Allocates.
[[nodiscard]] std::string to_json(const Stats& stats);

struct PrometheusLabel {
  std::string_view name{};   // a letter or '_', then letters, digits and '_'; what else there is becomes '_'
  std::string_view value{};  // UTF-8
};

// The text exposition format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/): serve it as
// `text/plain; version=0.0.4`. Every sample carries `labels`, of which none may be named "le", "durability" or "pool". Seconds and
// bytes; what only grows while a process runs ends in _total; histograms have a bucket for each power of two nanoseconds.
// Of read-only stats what counts "since opening" is left out. Allocates.
//
//     to_prometheus(store.stats(), {{"store", "sessions"}})
[[nodiscard]] std::string to_prometheus(const Stats& stats, const std::vector<PrometheusLabel>& labels = {});

}  // namespace kvstore::inline v1
