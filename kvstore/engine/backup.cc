// Backup: the state of one instant as a store of its own in another directory; store_copy.h says in which order it is made.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/store_copy.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

using base::error;

namespace {

// Reads every byte back. Returns how many entries are there.
Result<uint64_t> count_entries(env::Env& env, const std::string& dir) {
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, dir, 1);
  if (!walk.ok()) return std::move(walk).status();
  uint64_t count = 0;
  for (;;) {
    Result<std::optional<wal::Records>> records = walk->next();
    if (!records.ok()) return std::move(records).status();
    if (!records->has_value()) return count;
    count += (*records)->lines.size();
  }
}

}  // namespace

Result<BackupReport> Engine::backup(env::Env& to, std::string dir) {
  const auto begin = std::chrono::steady_clock::now();
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  const std::lock_guard one(compaction_.one_at_a_time);
  compaction_.cancelled = false;
  BackupReport report;
  bool has_segment = false;
  const auto run = [&]() -> Status {
    if (closing_) return {Code::kClosed, "the store is closed"};
    Result<bool> is_new = claim_directory(to, dir);
    if (!is_new.ok()) return std::move(is_new).status();
    if (Status s = wal::sync_own_name(to, dir, *is_new); !s.ok()) return s;
    // The pin first, then the clock: table.h, sweep_expired().
    table::Table::Pin pin = [this] {
      const std::lock_guard lock(commit_lock_);
      return note_pin();
    }();
    int64_t taken_us = now_us();
    {
      const std::lock_guard lock(commit_lock_);
      taken_us = std::max(taken_us, last_ts_us_);  // of a clock that was set back
    }
    Instant instant{.pin = std::move(pin), .taken_us = taken_us};
    report.seq = instant.seq();
    KV_ASSERT(report.seq <= table_.published());
    const std::string uuid = env_.new_uuid();
    if (Status s = write_segment(to, dir, uuid, report.seq, instant.taken_us); !s.ok()) return s;
    has_segment = true;
    if (report.seq > 0) {
      Result<std::unique_ptr<wal::SnapshotWriter>> out = wal::SnapshotWriter::create(
          to, {.dir = dir, .store = uuid, .last_seq = report.seq, .created_us = instant.taken_us});
      if (!out.ok()) return std::move(out).status();
      if (Status s = write_entries(instant, "backup", **out); !s.ok()) return s;
      let_go(instant);
      if (Status s = (*out)->finish(); !s.ok()) return s;
      report.entries = (*out)->entries();
      report.bytes = (*out)->bytes();
    }
    Result<uint64_t> read_back = count_entries(to, dir);
    if (!read_back.ok()) return std::move(read_back).status().with("read it back");
    if (*read_back != report.entries) {
      return error(Code::kIoError, "{} entries were written, {} came back", report.entries, *read_back).at(dir);
    }
    return {};
  };
  Status result = base::guarded(run);
  note_no_pin();
  if (!result.ok()) {
    if (has_segment) remove_copy(to, dir, report.seq);
    return std::move(result).with("backup");
  }
  report.duration = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  return report;
}

}  // namespace kvstore::engine
