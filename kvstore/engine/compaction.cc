// Compaction: write the state out, then drop the log it covers. In this order, so that a crash at any instant leaves
// either the old files or the new ones, both complete:
//   begin a new segment -> write the snapshot of the record before it as .tmp -> sync, rename, sync directory
//   -> remove what it covers, oldest first, one name at a time
// Writers go on all the while. A pin keeps what they overwrite until it has been written out; nothing is copied.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/engine.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/snapshot_reader.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::engine {

using base::error;
using SteadyClock = std::chrono::steady_clock;

namespace {

// What a line has around a key and a value, on average: for estimating, nothing hangs on it.
constexpr uint64_t kLineOverheadBytes = 70;

std::chrono::microseconds since(SteadyClock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begin);
}

}  // namespace

// The directory's files, as long as it is ours and nobody has put a snapshot there that is newer than `newest`.
Result<wal::StoreFiles> Engine::list_own_files(Seq newest) {
  if (closing_) return Status(Code::kClosed, "the store is closed");
  if (!lock_->still_named()) return wal::directory_replaced(dir_);
  Result<wal::StoreFiles> files = wal::list_store_files(env_, dir_);
  if (!files.ok() || files->base_seq() <= newest) return files;
  return error(
             Code::kCorruption,
             "{}: another program has put a snapshot there, of record {}, while this store had none behind record {}; "
             "nothing was removed. try: move it elsewhere",
             dir_, files->base_seq(), newest)
      .at(dir_);
}

// ---- when ----------------------------------------------------------------------------------------

uint64_t Engine::live_bytes() const noexcept {
  const table::TableStats live = table_.stats();
  const uint64_t plain = live.key_bytes + live.value_bytes + kLineOverheadBytes * live.entries;
  return plain * compaction_.spelling_percent / 100;
}

// Escapes and base64 make lines longer than what they hold. How much, the newest snapshot tells: were it not asked, a
// store of binary values would look half dead for ever, and be compacted again and again.
void Engine::learn_spelling() noexcept {
  compaction_.spelling_percent = 100;
  const uint64_t entries = table_.stats().entries;
  const uint64_t in_snapshot = compaction_.snapshot_entries;
  const uint64_t plain = live_bytes();
  if (entries == 0 || in_snapshot == 0 || plain == 0) return;
  const double plain_then =
      static_cast<double>(plain) / static_cast<double>(entries) * static_cast<double>(in_snapshot);
  const double percent = 100.0 * static_cast<double>(compaction_.snapshot_bytes) / plain_then;
  compaction_.spelling_percent = static_cast<uint64_t>(std::clamp(percent, 50.0, 800.0));
}

bool Engine::wants_compaction() const noexcept {
  KV_ASSERT(writer_ != nullptr);
  if (options_.compact_at_percent == 0 || writer_->is_broken()) return false;
  const uint64_t log_bytes = writer_->counters().log_bytes;
  if (log_bytes < std::max(options_.compact_min_bytes, compaction_.retry_log_bytes.load())) return false;
  return log_bytes + compaction_.snapshot_bytes > live_bytes() / 100 * options_.compact_at_percent;
}

// ---- writing -------------------------------------------------------------------------------------

// Makes the record after the newest the first of a segment, and pins the state before it.
Result<Engine::Instant> Engine::begin_interval(uint64_t* covered_bytes, uint64_t* covered_segments) {
  if (closing_) return Status(Code::kClosed, "the store is closed");  // the directory may be another owner's by now
  if (Status s = writer_->prepare_next(); !s.ok()) return s;  // so that the commits do not wait while a file is made
  const std::lock_guard lock(commit_lock_);
  if (closed_) return Status(Code::kClosed, "the store is closed");
  if (Status s = writer_->begin_segment(); !s.ok()) return s;
  const wal::LogWriter::Counters& log = writer_->counters();
  *covered_bytes = writer_->full_bytes();
  KV_ASSERT(*covered_bytes < log.log_bytes);  // the active segment has a header at least
  KV_ASSERT(log.segments > 0);
  *covered_segments = log.segments - 1;
  table::Table::Pin pin = note_pin();
  KV_ASSERT(pin.seq() == writer_->last_seq());  // the state behind the last record of a segment, and no other
  const int64_t taken_us = std::max(now_us(), last_ts_us_);
  // What had expired by now is left out, so no clock may ever say again that it has not.
  clock_floor_us_.store(std::max(clock_floor_us_.load(), taken_us));
  return Instant{.pin = std::move(pin), .taken_us = taken_us};
}

// Needs: commit_lock_ held.
table::Table::Pin Engine::note_pin() {
  table::Table::Pin pin(table_);
  compaction_.pinned_seq = pin.seq();
  compaction_.holds_pin = true;
  return pin;
}

// After the pin has gone: who finds that there are no versions to free, and then this, waits for nothing.
void Engine::note_no_pin() noexcept {
  if (!compaction_.holds_pin.exchange(false)) return;
  ++compaction_.pins_ended;
  compaction_.pins_ended.notify_all();
}

// It is written out: writes that wait for its memory need not wait for the disk.
void Engine::let_go(Instant& instant) noexcept {
  (void)table::Table::Pin(std::move(instant.pin));
  note_no_pin();
}

// Shard by shard, so that only a small part of the entries' addresses is at hand at a time.
Status Engine::write_entries(const Instant& instant, std::string_view step, wal::SnapshotWriter& out) {
  constexpr auto kProgressInterval = std::chrono::milliseconds(100);
  SteadyClock::time_point next_progress = SteadyClock::now() + kProgressInterval;
  const uint64_t total_bytes = live_bytes();
  compaction_.total_bytes = compaction_.running ? total_bytes : 0;
  std::vector<const table::Entry*> entries;
  for (size_t shard = 0; shard < table::Table::kShards; ++shard) {
    entries.clear();
    table_.collect_shard(instant.pin, shard, instant.taken_us, entries);
    for (const table::Entry* entry : entries) {
      KV_ASSERT(entry->seq() <= instant.seq());
      KV_ASSERT(!entry->is_tombstone());
      KV_ASSERT(!entry->is_expired(instant.taken_us));
      if (Status s = out.add(put_of(*entry), entry->seq()); !s.ok()) return s;
    }
    if (compaction_.running) compaction_.done_bytes = out.bytes();
    const bool is_cancelled = compaction_.running && compaction_.cancelled;  // not a backup: that is none
    if (is_cancelled || closing_) return error(Code::kCancelled, "{}: cancelled", step);
    if (options_.on_progress && SteadyClock::now() >= next_progress) {
      options_.on_progress(
          {.step = step, .done_bytes = out.bytes(), .total_bytes = std::max(total_bytes, out.bytes())});
      next_progress = SteadyClock::now() + kProgressInterval;
    }
  }
  if (options_.on_progress) options_.on_progress({.step = step, .done_bytes = out.bytes(), .total_bytes = out.bytes()});
  return {};
}

Result<CompactionReport> Engine::compact() {
  if (options_.read_only) return Status(Code::kReadOnly, "compact: the store was opened read-only");
  const std::lock_guard one(compaction_.one_at_a_time);
  compaction_.cancelled = false;
  KV_ASSERT(!compaction_.running);
  compaction_.running = true;
  const SteadyClock::time_point begin = SteadyClock::now();
  CompactionReport report;
  const auto clear_covered = [&]() -> Status {
    Result<uint64_t> removed = remove_covered();
    if (!removed.ok()) return std::move(removed).status().with("remove the files it covers");
    report.files_removed = *removed;
    count_history();
    return {};
  };
  const auto run = [&]() -> Status {
    // Before all the work, and again before anything is removed.
    Result<wal::StoreFiles> files = list_own_files(writer_->last_seq());
    if (!files.ok()) return std::move(files).status();
    uint64_t covered_segments = 0;
    Result<Instant> instant = begin_interval(&report.log_bytes, &covered_segments);
    if (!instant.ok()) return std::move(instant).status();
    report.seq = instant->seq();
    KV_ASSERT(report.seq >= compaction_.snapshot_seq);
    KV_ASSERT(instant->taken_us <= clock_floor_us_);
    if (report.seq == compaction_.snapshot_seq && files->base_seq() == report.seq) {  // nothing was written since
      let_go(*instant);
      report.log_bytes = 0;
      report.entries = compaction_.snapshot_entries;
      report.snapshot_bytes = compaction_.snapshot_bytes;
      return clear_covered();
    }
    Result<std::unique_ptr<wal::SnapshotWriter>> out = wal::SnapshotWriter::create(
        env_, {.dir = dir_, .store = owner_.store, .last_seq = report.seq, .created_us = instant->taken_us});
    if (!out.ok()) return std::move(out).status();
    Status written = write_entries(*instant, "compact", **out);
    let_go(*instant);
    if (written.ok()) written = writer_->finish_rotation();  // the snapshot names that segment
    if (written.ok() && (compaction_.cancelled || closing_)) written = error(Code::kCancelled, "compact: cancelled");
    if (written.ok()) written = (*out)->finish();
    compaction_.written_bytes += (*out)->bytes();
    if (!written.ok()) return written;
    KV_ASSERT(writer_->synced_seq() >= report.seq);     // what it covers was on disk before it had a name
    KV_ASSERT(report.seq >= compaction_.snapshot_seq);  // again, where somebody has removed it
    report.entries = (*out)->entries();
    report.snapshot_bytes = (*out)->bytes();
    compaction_.snapshot_seq = report.seq;
    compaction_.snapshot_entries = report.entries;
    compaction_.snapshot_bytes = report.snapshot_bytes;
    learn_spelling();
    {
      const std::lock_guard lock(commit_lock_);
      writer_->forget(report.log_bytes, covered_segments);
    }
    return clear_covered();
  };
  Status result = base::guarded(run);
  note_no_pin();
  compaction_.running = false;
  compaction_.done_bytes = compaction_.total_bytes = 0;
  if (!result.ok()) {
    result = std::move(result).with("compact");
    ++compaction_.failed;
    if (result.code() != Code::kCancelled && result.code() != Code::kClosed) note_error(result);
    compaction_.retry_log_bytes = writer_->counters().log_bytes + options_.compact_min_bytes / 4;
    return result;
  }
  report.duration = since(begin);
  ++compaction_.done;
  compaction_.retry_log_bytes = 0;
  compaction_.last_us = static_cast<uint64_t>(report.duration.count());
  log_->info("compacted {} bytes of log into a snapshot of {} entries, {} bytes, in {} us", report.log_bytes,
             report.entries, report.snapshot_bytes, report.duration.count());
  return report;
}

// ---- removing ------------------------------------------------------------------------------------

namespace {

// What lies between two snapshots: its base, and the segments behind it.
struct Interval {
  format::Seq base = 0;
  uint64_t bytes = 0;
  bool complete = false;  // nothing in it has been removed yet
};

}  // namespace

// Decides from which record on the log is kept, then removes all that is older: also what a crash has left of an earlier
// call. Only a compaction does this. An opening cannot know whether what it finds is left over or kept on purpose.
Result<uint64_t> Engine::remove_covered() {
  Result<wal::StoreFiles> files = list_own_files(compaction_.snapshot_seq);
  if (!files.ok()) return std::move(files).status();
  const auto path_of = [this](const std::string& name) { return wal::join_path(dir_, name); };
  const auto size_of = [&](const std::string& name) { return wal::size_of_file(env_, path_of(name)); };

  Seq keep_from = files->base_seq();
  uint64_t kept_bytes = 0;
  int64_t ended_us = 0;
  const bool keeps_history = options_.keep_history_bytes != 0 || options_.keep_history_for.count() != 0;
  for (size_t i = files->snapshots.size(); keeps_history && i-- > 0;) {
    const wal::SnapshotFile& upper = files->snapshots[i];
    Interval interval{.base = i > 0 ? files->snapshots[i - 1].last_seq : 0};
    KV_ASSERT(interval.base < upper.last_seq);
    KV_ASSERT(upper.last_seq <= keep_from);  // from the newest interval back, without a gap
    for (const wal::Segment& segment : files->segments) {
      if (segment.first_seq <= interval.base || segment.first_seq > upper.last_seq) continue;
      interval.complete |= segment.first_seq == interval.base + 1;
      Result<uint64_t> size = size_of(segment.name);
      if (!size.ok()) return size;
      interval.bytes += *size;
    }
    if (i > 0) {
      Result<uint64_t> size = size_of(files->snapshots[i - 1].name);
      if (!size.ok()) return size;
      interval.bytes += *size;
    }
    Result<wal::SnapshotReader> reader = wal::SnapshotReader::open(env_, dir_, upper, 1);
    const bool is_newest = i + 1 == files->snapshots.size();
    if (!reader.ok() && is_newest) return std::move(reader).status();
    // History counts for nothing in the state, damaged or not. Its interval ended before the one behind it did.
    if (reader.ok()) ended_us = reader->summary().created_us;
    kept_bytes += interval.bytes;
    const bool fits = kept_bytes <= options_.keep_history_bytes;
    const bool young = ended_us + std::chrono::microseconds(options_.keep_history_for).count() > now_us();
    if (!interval.complete || !(fits || (options_.keep_history_for.count() != 0 && young))) break;
    keep_from = interval.base;
  }

  KV_ASSERT(keep_from <= files->base_seq());
  uint64_t removed = 0;
  const auto remove = [&](const std::string& name) -> Status {
    if (Status s = env_.remove(path_of(name)); !s.ok()) return s;
    ++removed;
    // Each by itself: were several lost and kept at random by a power cut, the history would have holes.
    return env_.sync_dir(dir_);
  };
  for (const wal::SnapshotFile& snapshot : files->snapshots) {
    if (snapshot.last_seq >= keep_from) break;
    KV_ASSERT(snapshot.last_seq < files->base_seq());  // never the newest
    if (Status s = remove(snapshot.name); !s.ok()) return s;
  }
  for (const wal::Segment& segment : files->segments) {
    if (segment.first_seq > keep_from) break;
    KV_ASSERT(segment.first_seq <= files->base_seq());  // the newest snapshot has all of it
    if (Status s = remove(segment.name); !s.ok()) return s;
  }
  return removed;
}

// What older snapshots and segments are there, kept by choice or because they could not be removed. A file that cannot be
// looked at is not counted.
void Engine::count_history() {
  uint64_t count = 0;
  uint64_t bytes = 0;
  const auto add = [&](const std::string& name) {
    const Result<uint64_t> size = wal::size_of_file(env_, wal::join_path(dir_, name));
    if (!size.ok()) return;
    ++count;
    bytes += *size;
  };
  const Result<wal::StoreFiles> files = wal::list_store_files(env_, dir_);
  if (!files.ok()) return;
  for (const wal::SnapshotFile& snapshot : files->snapshots) {
    if (snapshot.last_seq < files->base_seq()) add(snapshot.name);
  }
  for (const wal::Segment& segment : files->segments) {
    if (segment.first_seq <= files->base_seq()) add(segment.name);
  }
  compaction_.history_files = count;
  compaction_.history_bytes = bytes;
}

// ---- the thread ----------------------------------------------------------------------------------

// Takes expired entries out of memory, and in a store that has fallen silent gives back what nobody sees any more
// (otherwise that rides on the commits). In slices so short that no commit waits for long, and for no longer than a
// hundredth of the time in all. True: much of what it met had expired, and there is more.
bool Engine::clear_away() {
  constexpr auto kShare = std::chrono::milliseconds(10);  // of every kPause
  constexpr size_t kBucketsMax = 32;
  constexpr size_t kVersionsMax = 64;
  const SteadyClock::time_point end = SteadyClock::now() + kShare;
  const bool silent = std::exchange(seq_at_last_upkeep_, table_.published()) == table_.published();
  uint64_t visited = 0;
  uint64_t dropped = 0;
  bool round_done = false;
  for (bool more = true; more && !closing_ && SteadyClock::now() < end;) {
    const std::lock_guard lock(commit_lock_);
    const int64_t now = now_us();
    KV_ASSERT(now >= clock_floor_us_);  // what is swept stays swept
    clock_floor_us_ = now;              // before the sweep: its contract
    const table::Sweep sweep = table_.sweep_expired(now, kBucketsMax);
    KV_ASSERT(sweep.visited <= kBucketsMax);
    compaction_.expired += sweep.dropped;
    visited += sweep.visited;
    dropped += sweep.dropped;
    round_done = sweep.round_done;
    more = !round_done;
    if (silent) more |= table_.tidy(kVersionsMax);
  }
  return !round_done && dropped > visited;  // of a home bucket's six entries or so
}

std::chrono::milliseconds Engine::keep_up() {
  constexpr auto kPause = std::chrono::milliseconds(1000);
  constexpr auto kBusyPause = std::chrono::milliseconds(20);
  constexpr auto kPoolAge = std::chrono::minutes(1);  // what a pool has not needed for two of these is freed
  if (wants_compaction()) {
    Result<CompactionReport> report = compact();
    if (!report.ok() && report.status().code() != Code::kCancelled && report.status().code() != Code::kClosed) {
      log_->error("{}", report.status().message());
    }
  }
  const bool is_behind = clear_away();
  if (const auto now = std::chrono::steady_clock::now(); now - pools_aged_ >= kPoolAge) {
    pools_aged_ = now;
    pools_.age();
  }
  return is_behind ? kBusyPause : kPause;
}

}  // namespace kvstore::engine
