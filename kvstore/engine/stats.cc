// Stats: the figures of store, log, table and threads, brought together.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/engine/engine.h"

namespace kvstore::engine {

void Engine::note_error(const Status& error) noexcept {
  const std::lock_guard lock(last_error_.mutex);
  last_error_.at_us = now_us();
  try {
    last_error_.sentence = error.message();
  } catch (const std::bad_alloc&) {
    last_error_.sentence = "out of memory";  // short enough to need none
  }
}

Stats Engine::stats() const {
  Stats out;
  out.read_only = options_.read_only;
  out.opened_us = opened_us_;
  const table::TableStats table = table_.stats();
  out.entries = table.entries;
  out.key_bytes = table.key_bytes;
  out.value_bytes = table.value_bytes;
  out.table_bytes = table.memory_bytes;
  out.versions_held = table.versions_held;
  out.versions_held_bytes = table.versions_held_bytes;
  out.expiring = table.expiring;
  out.expired = compaction_.expired;
  out.evicted = compaction_.evicted;
  if (const table::PinStats pins = table_.pin_stats(); pins.pins != 0) {
    const auto age = std::chrono::steady_clock::now() - pins.oldest_since;
    KV_ASSERT(pins.oldest_seq <= table_.published());
    out.pins = pins.pins;
    out.oldest_pin_seq = pins.oldest_seq;
    out.oldest_pin_age_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(age).count());
  }
  out.pools = pools_.stats();
  out.snapshot_seq = compaction_.snapshot_seq;
  out.snapshot_entries = compaction_.snapshot_entries;
  out.snapshot_bytes = compaction_.snapshot_bytes;
  out.history_files = compaction_.history_files;
  out.history_bytes = compaction_.history_bytes;
  out.compactions = compaction_.done;
  out.compactions_failed = compaction_.failed;
  out.compaction_us = compaction_.last_us;
  out.compaction_running = compaction_.running;
  out.compaction_done_bytes = compaction_.done_bytes;
  out.compaction_total_bytes = compaction_.total_bytes;
  out.compaction_written_bytes = compaction_.written_bytes;
  out.recovery = {.snapshot_entries = recovery_.snapshot_entries,
                  .records = recovery_.records,
                  .operations = recovery_.operations,
                  .bytes = recovery_.bytes,
                  .duration_us = static_cast<uint64_t>(recovery_.duration.count()),
                  .cuts = recovery_.cuts.size()};
  for (const CutReport& cut : recovery_.cuts) out.recovery.cut_bytes += cut.bytes;
  if (writer_ == nullptr) {
    out.written_seq = out.last_seq = table_.published();
    out.synced_seq = recovery_.synced_seq;
    out.log_bytes = recovery_.bytes;
    out.log_segments = recovery_.segments;
  } else {
    // In this order: each follows the next.
    out.synced_seq = writer_->synced_seq();
    out.last_seq = table_.published();
    out.written_seq = writer_->last_seq();
    const wal::LogWriter::Counters& log = writer_->counters();
    out.log_bytes = log.log_bytes;
    out.log_segments = log.segments;
    KV_ASSERT(out.last_seq >= recovery_.last_seq);
    KV_ASSERT(out.last_seq <= out.written_seq);
    KV_ASSERT(out.synced_seq <= out.written_seq);
    out.commits = out.last_seq - recovery_.last_seq;
    out.syncs = log.syncs;
    out.sync_waits = group_->shared();
    out.rotations = log.rotations;
    out.reserve_stalls = log.reserve_stalls;
    out.broken = writer_->is_broken();
  }
  out.live_bytes = live_bytes();
  out.dead_bytes = out.log_bytes + out.snapshot_bytes - std::min(out.log_bytes + out.snapshot_bytes, out.live_bytes);
  try {
    {
      const std::lock_guard lock(last_error_.mutex);
      out.last_error_us = last_error_.at_us;
      out.last_error = last_error_.sentence;
    }
    out.commit_process = durations_.commit_process.snapshot();
    out.commit_sync = durations_.commit_sync.snapshot();
    out.lock_wait = durations_.lock_wait.snapshot();
    if (writer_ != nullptr) {
      out.sync = writer_->counters().sync_duration.snapshot();
      out.rotation = writer_->counters().rotation_duration.snapshot();
    }
  } catch (const std::bad_alloc&) {  // what needs no memory is told all the same
  }
  return out;
}

}  // namespace kvstore::engine
