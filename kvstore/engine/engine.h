// Engine: the store behind kvstore::Store. Opens and replays (open.cc, recover.cc), commits (commit.cc, update.cc,
// transaction.h), reads (read.cc, snapshot.h), keeps within its memory (memory.cc), compacts and backs up (compaction.cc,
// backup.cc), counts (stats.cc), and runs four threads of its own: one syncs, one keeps room ahead in the log (both
// background.h), one compacts and clears away what has expired, one makes memory ready for the table (both upkeep.h).
//
// A commit, in order:
//   check sizes -> hash and prefetch -> encode the body into a pooled buffer -> checksum it
//   | commit lock: conditions, what was read -> stage table entries -> room in the log -> append -> link -> publish |
//   -> for kSync: wait until a sync covers the sequence number
// Everything that can fail under the lock comes before the append, so log and table cannot disagree; the log's
// order is the commit order, and the table's order per key follows it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/latency.h"
#include "kvstore/base/pool_access.h"
#include "kvstore/base/spin_park_lock.h"
#include "kvstore/engine/background.h"
#include "kvstore/engine/logging.h"
#include "kvstore/engine/read_set.h"
#include "kvstore/engine/recent_writes.h"
#include "kvstore/engine/snapshot.h"
#include "kvstore/engine/upkeep.h"
#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/store.h"
#include "kvstore/table/table.h"
#include "kvstore/wal/group_sync.h"
#include "kvstore/wal/log_writer.h"
#include "kvstore/wal/owner_file.h"
#include "kvstore/wal/snapshot_writer.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::engine {

using format::Seq;

class Engine {
 public:
  // As Store::open(); `env` must outlive the engine.
  static Result<std::unique_ptr<Engine>> open(env::Env& env, std::string dir, Options options);
  // Takes over the environment that it was opened with, instead of leaving it to the caller.
  void keep(std::unique_ptr<env::Env> env) noexcept { own_env_ = std::move(env); }
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  Status close();

  // Reading: read.cc. Contracts in store.h.
  [[nodiscard]] std::optional<std::string> get(std::string_view key) const;
  [[nodiscard]] std::optional<Entry> get_entry(std::string_view key) const;
  enum class Values : uint8_t { kAll, kJson };
  bool read(std::string_view key, Values which, void (*fn)(void*, std::string_view), void* arg) const;
  [[nodiscard]] bool contains(std::string_view key) const;
  [[nodiscard]] std::vector<std::optional<std::string>> multi_get(std::span<const std::string_view> keys) const;
  [[nodiscard]] std::optional<std::string> get_field(std::string_view key, std::string_view pointer) const;
  [[nodiscard]] std::optional<std::chrono::microseconds> ttl(std::string_view key) const;
  [[nodiscard]] Result<Snapshot> snapshot() const;

  // Writing: commit.cc, update.cc.
  Status put(std::string_view key, std::string_view value, bool is_json, const WriteOptions& options);
  Result<bool> del(std::string_view key, const WriteOptions& options);
  Status write(const Batch& batch, const WriteOptions& options);
  Result<int64_t> increment(std::string_view key, int64_t delta, const WriteOptions& options);
  Result<uint64_t> erase_prefix(std::string_view prefix, const WriteOptions& options);
  Result<bool> expire(std::string_view key, std::chrono::microseconds ttl, const WriteOptions& options);
  Result<bool> persist(std::string_view key, const WriteOptions& options);
  Status patch(std::string_view key, std::string_view merge_patch, const WriteOptions& options);
  Status sync();
  Result<Transaction> begin();  // transaction.cc
  Status transact(Status (*fn)(void*, Transaction&), void* arg, unsigned attempts, const WriteOptions& options);

  // Upkeep: compaction.cc, backup.cc.
  Result<CompactionReport> compact();
  void cancel_compaction() noexcept { compaction_.cancelled.store(true, std::memory_order_relaxed); }
  Result<BackupReport> backup(std::string dir) { return backup(env_, std::move(dir)); }
  Result<BackupReport> backup(env::Env& to, std::string dir);  // `dir` is a path of `to`

  [[nodiscard]] Stats stats() const;  // stats.cc
  [[nodiscard]] const Pools& pools() const noexcept { return pools_; }
  size_t release_idle_memory() noexcept { return pools_.release_idle(); }
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return recovery_; }
  [[nodiscard]] Seq last_seq() const noexcept { return table_.published(); }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  // path() as it stood at the opening, absolute; empty where the working directory had no name.
  [[nodiscard]] const std::filesystem::path& opened_at() const noexcept { return opened_at_; }
  // Asserts the invariants between table and log; for tests, O(n). Needs: no call under way.
  void check() const;

 private:
  friend class TransactionState;

  // What must be true of a single key for the commit to go ahead.
  struct Condition {
    enum class Kind : uint8_t { kNone, kPresent, kVersion } kind = Kind::kNone;
    Seq version = 0;  // kVersion; 0: absent
  };
  // One commit, as the caller wants it.
  struct Request {
    std::span<const format::Op> ops;
    bool as_batch = false;
    std::string_view by;
    Durability durability = Durability::kProcess;
    Condition condition;
    int64_t now_us = 0;
    ReadSet* reads = nullptr;                         // what must still be as it was read
    std::chrono::steady_clock::time_point entered{};  // when the call was; the epoch: not measured
  };
  struct Prepared;  // a Request, hashed and encoded

  Engine(env::Env& env, std::string dir, Options options);

  // open.cc
  static Result<std::unique_ptr<Engine>> try_open(env::Env& env, const std::string& dir, const Options& options);
  Status start();
  Result<bool> enter_directory();
  Result<std::unique_ptr<env::FileLock>> lock_directory(bool& makes_directory);
  Status take_lock();
  Status check_nobody_appends();
  Result<std::unique_ptr<env::File>> own_segment(const std::string& segment);
  Status replay(wal::LogWriter::Place* place);

  // commit.cc
  enum class Acknowledge : uint8_t { kNow, kLater };  // kLater: the caller calls acknowledge() itself
  Result<Seq> commit(Request& request, Acknowledge when = Acknowledge::kNow);
  Status prepare(const Request& request, Prepared& out);
  Result<Seq> commit_locked(const Request& request, Prepared& prepared);
  void stage(const Request& request, Prepared& prepared);
  Status check_condition(const Request& request, const Prepared& prepared, int64_t& ts);
  Result<Seq> acknowledge(Seq seq, const Request& request);
  Result<Request> request_for(const WriteOptions& options, std::string_view key) const;

  // memory.cc
  Status stage_within_limits(const Request& request, Prepared& prepared);
  Status make_memory(const Request& request, Prepared& prepared);
  [[nodiscard]] bool waits_for_pin(const Request& request) const noexcept;
  void wait_for_memory(Prepared& prepared);
  Status full(const Request& request, Prepared& prepared) const;
  Status evict(uint64_t bytes, uint64_t entries, std::span<const uint64_t> own = {});
  Status commit_evictions(std::span<const format::Op> ops);
  void sweep_some(size_t buckets_max) noexcept;
  [[nodiscard]] static uint64_t bytes_added_by(const Request& request) noexcept;
  [[nodiscard]] uint64_t hard_limit() const noexcept;
  struct KeyChange {
    uint64_t put = 0;      // keys that are there afterwards
    uint64_t added = 0;    // ... and were not before
    uint64_t removed = 0;  // keys that were there and are not afterwards
  };
  [[nodiscard]] KeyChange key_change_by(const Request& request, const Prepared& prepared,
                                        std::span<const size_t> counted) const;
  [[nodiscard]] Status full(uint64_t bytes) const;

  // update.cc
  using Change = std::function<Result<std::optional<format::Op>>(const table::Entry* current, int64_t now_us)>;
  Result<bool> update(std::string_view key, const WriteOptions& options, const char* what, const Change& change);
  Result<bool> change_expiry(
      std::string_view key, const WriteOptions& options, const char* what,
      const std::function<Result<std::optional<int64_t>>(const table::Entry*, int64_t now)>& expiry_for);

  // compaction.cc
  // An instant to write out: the state after record `seq`.
  struct Instant {
    table::Table::Pin pin;
    int64_t taken_us;
    [[nodiscard]] Seq seq() const noexcept { return pin.seq(); }
  };
  Result<Instant> begin_interval(uint64_t* covered_bytes, uint64_t* covered_segments);
  Status write_entries(const Instant& instant, std::string_view step, wal::SnapshotWriter& out);
  // An instant's pin, as what a write without room may wait for, and the end of that.
  [[nodiscard]] table::Table::Pin note_pin();
  void note_no_pin() noexcept;
  void let_go(Instant& instant) noexcept;
  Result<uint64_t> remove_covered();
  Result<wal::StoreFiles> list_own_files(Seq newest);
  void count_history();
  [[nodiscard]] bool wants_compaction() const noexcept;
  [[nodiscard]] uint64_t live_bytes() const noexcept;
  void learn_spelling() noexcept;

  bool clear_away();
  void start_memory();
  // What the upkeep thread does when it wakes; returns how long it may sleep.
  std::chrono::milliseconds keep_up();

  // Any thread: `error` is what stats() shows as the last one.
  void note_error(const Status& error) noexcept;

  // Microseconds since the epoch; never behind the time by which something was dropped as expired.
  [[nodiscard]] int64_t now_us() const;
  [[nodiscard]] const table::Entry* find_live(std::string_view key) const;  // inside a ReadGuard

  std::unique_ptr<env::Env> own_env_;  // see keep()
  env::Env& env_;
  const std::string dir_;
  const std::filesystem::path path_;
  const std::filesystem::path opened_at_;
  const Options options_;
  Logger log_;
  RecoveryReport recovery_;
  int64_t opened_us_ = 0;
  std::unique_ptr<env::FileLock> lock_;  // null: read-only, or closed
  wal::Owner owner_;                     // what LOCK says of us
  wal::Owner previous_owner_;            // what it said before

  table::Table table_;
  Pools pools_;

  struct Durations {
    base::LatencyHistogram commit_process, commit_sync, lock_wait;
  };
  mutable Durations durations_;

  mutable base::SpinParkLock commit_lock_{durations_.lock_wait};  // guards the four below, and the table's writer side
  int64_t last_ts_us_ = 0;                                        // `ts` never runs backwards
  Seq vouched_ = 0;                                               // the last voucher written
  bool closed_ = false;
  RecentWrites recent_writes_;

  std::atomic<int64_t> clock_floor_us_{0};         // now_us() never says less
  mutable std::atomic<int64_t> clock_seen_us_{0};  // what the user's clock said last
  const bool has_limits_;                          // of memory or entries
  bool opened_too_full_ = false;                   // and has not shrunk yet; commit_lock_
  std::atomic<bool> closing_{false};               // ends what the upkeep thread is at

  struct Compaction {
    std::mutex one_at_a_time;            // held while one runs, and by backups
    std::atomic<bool> holds_pin{false};  // so does a backup; while one_at_a_time is held
    std::atomic<Seq> pinned_seq{0};      // ... and this is its instant
    std::atomic<uint64_t> pins_ended{0};
    std::atomic<bool> cancelled{false};
    std::atomic<uint64_t> snapshot_seq{0};  // of the newest snapshot
    std::atomic<uint64_t> snapshot_bytes{0};
    std::atomic<uint64_t> snapshot_entries{0};
    std::atomic<uint64_t> spelling_percent{100};  // bytes in lines for 100 as live_bytes() reckons
    std::atomic<uint64_t> done{0};
    std::atomic<uint64_t> failed{0};
    std::atomic<uint64_t> last_us{0};          // how long the last one took
    std::atomic<uint64_t> expired{0};          // entries taken out of memory since opening
    std::atomic<uint64_t> evicted{0};          // ... and entries evicted
    std::atomic<uint64_t> retry_log_bytes{0};  // after a failure: not before the log has grown to this
    std::atomic<bool> running{false};
    std::atomic<uint64_t> done_bytes{0};     // by the one that runs
    std::atomic<uint64_t> total_bytes{0};    // ... of about so many
    std::atomic<uint64_t> written_bytes{0};  // by all
    std::atomic<uint64_t> history_files{0};  // kept behind the newest snapshot
    std::atomic<uint64_t> history_bytes{0};
  };
  mutable Compaction compaction_;

  struct LastError {
    mutable std::mutex mutex;
    std::string sentence;
    int64_t at_us = 0;
  };
  LastError last_error_;

  std::unique_ptr<wal::LogWriter> writer_;  // null: read-only
  std::unique_ptr<wal::GroupSync> group_;
  std::optional<Status> close_result_;
  Seq seq_at_last_upkeep_ = 0;  // these two are the upkeep thread's own
  std::chrono::steady_clock::time_point pools_aged_{};
  std::unique_ptr<Background> background_;  // these three last: their threads use all of the above
  std::unique_ptr<Upkeep> upkeep_;
  std::unique_ptr<Upkeep> memory_;
};

}  // namespace kvstore::engine
