// Store: an embedded key-value store whose log you can read.
//
//     auto store = kvstore::Store::open("mydb");
//     if (!store.ok()) return complain(store.status().message());
//     if (kvstore::Status s = store->put("user:1", "Ada"); !s.ok()) ...
//     std::optional<std::string> name = store->get("user:1");
//
// Keys and values are bytes. All live data is in memory; every change is one line of JSON in a
// write-ahead log. kvstore/FORMAT.md has the format, kvstore/DESIGN.md the promises P1-P9.
//
// Thread-safety: every call may be made from any thread at any time, except open(), close(), the
// moves and the destructor, which need the handle to themselves. Reads take no lock and never wait
// for disk or writers (P6). A writable store owns four threads (three with max_memory), which mostly sleep: kvstore-sync syncs the log, kvstore-room
// keeps space ahead of it, kvstore-upkeep compacts it and clears away what has expired, kvstore-memory makes memory ready for
// keys to come.
//
// A write that returned OK survives kill -9 of this process at once, and with Durability::kSync a
// power cut. A write that returned an error changed nothing (with WhenFull::kEvict, but for what was evicted for it), unless
// its sentence begins with "sync record", kBroken or kIoError: then it is there, and may or may not survive a power cut.
// Where syncing itself failed the store refuses writes until it is reopened (kBroken); where it only lacked room, as the
// sentence tells, it goes on, and the next sync makes up for it.
// A child of fork() must leave a store that was open then alone, exec() or _exit(): its threads are the parent's.
// No call throws, prints, or installs a signal handler. A read that copies and finds no memory for the copy
// ends the process (they are noexcept); read() copies nothing.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kvstore/batch.h"
#include "kvstore/options.h"
#include "kvstore/pools.h"
#include "kvstore/snapshot.h"
#include "kvstore/stats.h"
#include "kvstore/status.h"
#include "kvstore/transaction.h"

namespace kvstore::engine {
class Engine;
struct StoreInside;  // of the tests, which run Engine::check()
}  // namespace kvstore::engine

namespace kvstore::inline v1 {

class Store {
 public:
  // Opens the store in directory `dir`, creating it (0700, files 0600) unless told otherwise, replays
  // its log and takes its lock. Never waits for another owner, but for a tenth of a second where LOCK was lost:
  //   kLocked       another owner; the sentence names its pid, host and start time
  //   kNotAStore    nothing there and create_if_missing is off, or read_only
  //   kCorruption   promised data is damaged (P5); path(), offset() and the sentence say where
  //   kUnsupported  written by a newer version
  // Cost: reads the log once, about a second for five million records on two cores.
  // read_only takes no lock and changes nothing; it sees the state at opening and never later writes.
  // A relative path means for good what it means now, wherever the program's working directory moves. A store whose
  // directory is moved meanwhile goes on in the new place, and leaves alone what comes to the old one; its sentences and
  // path() keep the old name. One whose directory, or LOCK, is removed is broken at the next new file.
  static Result<Store> open(const std::filesystem::path& dir, Options options = {});

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();  // close(), its status ignored

  // Syncs, trims the log's filler, notes the clean close, gives the lock back. Writes are refused with
  // kClosed from then on; reads go on until destruction. The first call reports, later ones repeat it.
  Status close();

  // ---- reading --------------------------------------------------------------------------------
  // An expired key is absent, on every path, from the microsecond its time has come.

  // A copy of the value, nullopt when absent. One allocation for values over 15 bytes.
  [[nodiscard]] std::optional<std::string> get(std::string_view key) const noexcept;
  // The value with its version, expiry and kind.
  [[nodiscard]] std::optional<Entry> get_entry(std::string_view key) const noexcept;
  // Calls fn(std::string_view value) with the value in place, no copy; false when absent. The view dies
  // when fn returns; overwritten values are kept for as long as fn runs, so be brief.
  template <std::invocable<std::string_view> Fn>
  bool read(std::string_view key, Fn&& fn) const {
    auto call = [&fn](std::string_view value) { fn(value); };
    return read_raw(
        key, [](void* c, std::string_view value) { (*static_cast<decltype(call)*>(c))(value); }, &call);
  }
  // The same for JSON documents: false as well when the value is none.
  template <std::invocable<std::string_view> Fn>
  bool read_json(std::string_view key, Fn&& fn) const {
    auto call = [&fn](std::string_view document) { fn(document); };
    return read_json_raw(
        key, [](void* c, std::string_view text) { (*static_cast<decltype(call)*>(c))(text); }, &call);
  }
  [[nodiscard]] bool contains(std::string_view key) const noexcept;
  // Element i answers keys[i]. Faster than as many gets: cache misses overlap.
  [[nodiscard]] std::vector<std::optional<std::string>> multi_get(
      std::span<const std::string_view> keys) const noexcept;
  // The JSON text at a JSON pointer (RFC 6901) in a JSON value: get_field("user:2", "/name") gives
  // "\"Bob\"". nullopt when the key is absent, is no JSON document, or has no such member. Reads the document in place and
  // builds nothing: one allocation for a result over 15 bytes. json.h has more for JSON.
  [[nodiscard]] std::optional<std::string> get_field(std::string_view key, std::string_view pointer) const noexcept;

  // The state as of now, to read from for as long as you like: snapshot.h. Fails only with kOutOfMemory.
  [[nodiscard]] Result<Snapshot> snapshot() const;
  // All keys that start with `prefix`, or from `from` on and before `to` (empty: to the end), as of now, sorted by key
  // bytes: the same as on a snapshot. Cost: visits every key of the store once and sorts the matches; 8 bytes a match,
  // nothing is copied. Fails only with kOutOfMemory.
  [[nodiscard]] Result<Scan> scan(std::string_view prefix = {}) const;
  [[nodiscard]] Result<Scan> scan(std::string_view from, std::string_view to) const;
  // Calls fn(const EntryView&) for every key as of now, in no particular order. fn may call the store.
  template <std::invocable<const EntryView&> Fn>
  Status for_each(Fn&& fn) const {
    auto call = [&fn](const EntryView& entry) { fn(entry); };
    return for_each_raw([](void* c, const EntryView& entry) { (*static_cast<decltype(call)*>(c))(entry); }, &call);
  }

  // ---- writing --------------------------------------------------------------------------------
  // Common failures: kInvalidArgument (sizes, options), kConflict (conditions), kNoSpace, kIoError,
  // kBroken, kReadOnly, kClosed, kOutOfMemory.

  Status put(std::string_view key, std::string_view value, const WriteOptions& options = {});
  // `document` must be one JSON text at most 1000 levels deep: kInvalidArgument names line and column.
  Status put_json(std::string_view key, std::string_view document, const WriteOptions& options = {});
  // Changes a JSON document by a JSON merge patch (RFC 7396): members of `merge_patch` replace or are added, null removes,
  // objects within objects are merged; an absent key counts as {}. Atomic: a concurrent write goes before it or after it.
  // All that the patch does not name keeps its bytes; where it names a member, earlier duplicates go. Keeps the expiry.
  // kInvalidArgument: the patch is no JSON text (line and column), or the value no JSON document.
  // Cost: both are read once more for each level to which the patch descends.
  Status patch(std::string_view key, std::string_view merge_patch, const WriteOptions& options = {});
  // True when the key was there. False: it was absent, and nothing was written.
  Result<bool> del(std::string_view key, const WriteOptions& options = {});
  // All of the batch or nothing. An empty batch is OK and writes nothing. `options` may carry durability
  // and `by`; conditions and expiry are refused.
  Status write(const Batch& batch, const WriteOptions& options = {});
  // Adds `delta` to a decimal integer value, an absent key counting as 0; keeps the expiry, and a JSON document one.
  // kInvalidArgument when the value is no 64-bit integer or the sum would leave its range.
  Result<int64_t> increment(std::string_view key, int64_t delta = 1, const WriteOptions& options = {});
  // Deletes every key with this prefix, as one atomic batch; returns how many. An empty prefix means all.
  Result<uint64_t> erase_prefix(std::string_view prefix, const WriteOptions& options = {});

  // Lets the key expire `ttl` from now, or never again. False: it is absent, and nothing was written. The value is
  // written anew, so the cost is that of a put. `options` may carry durability and `by`.
  Result<bool> expire(std::string_view key, std::chrono::microseconds ttl, const WriteOptions& options = {});
  Result<bool> persist(std::string_view key, const WriteOptions& options = {});
  // The time the key has left: nullopt when it is absent, microseconds::max() when it never expires.
  [[nodiscard]] std::optional<std::chrono::microseconds> ttl(std::string_view key) const noexcept;

  // ---- transactions: transaction.h ----------------------------------------------------------------
  // One that reads the state as of now. Fails only with kOutOfMemory.
  [[nodiscard]] Result<Transaction> begin();
  // Calls fn, which returns a Status, with a fresh transaction and commits that with `options` (durability and `by`).
  // When the commit is a kConflict, all over again after a short random pause, `attempts` times in all at the most;
  // then the last conflict is returned. When fn returns a failure, of any kind, nothing is written and that is
  // returned. fn may be called several times, so what it does besides must bear that; it neither commits nor rolls
  // back by itself.
  template <std::invocable<Transaction&> Fn>
  requires std::convertible_to<std::invoke_result_t<Fn&, Transaction&>, Status> Status
  transact(Fn&& fn, unsigned attempts = 16, const WriteOptions& options = {}) {
    auto call = [&fn](Transaction& transaction) -> Status { return fn(transaction); };
    return transact_raw([](void* c, Transaction& txn) { return (*static_cast<decltype(call)*>(c))(txn); }, &call,
                        attempts, options);
  }

  // Returns when every write acknowledged before the call survives a power cut.
  Status sync();

  // ---- upkeep -----------------------------------------------------------------------------------
  // Writes the state as of now to a snapshot file and drops the log before it (but for Options::keep_history_*), beside
  // reads and writes. The store does this by itself as the log grows (Options::compact_at_percent). One runs at a time: a
  // second call waits its turn. kCancelled, kNoSpace, kIoError: the store is as it was, but for a new log file.
  // Cost: about the time to write the state once; memory for what is overwritten meanwhile, nothing else.
  Result<CompactionReport> compact();
  // Ends a compaction that is under way, soon. Any thread.
  void cancel_compaction() noexcept;
  // Writes the state as of now to `dir`, which must not exist or be empty nor lie in the store's directory, as a store of
  // its own with the same sequence numbers and an identity of its own, reads it back, and returns once it survives a power
  // cut. A relative `dir` is taken from the process's working directory at the call. Beside reads and writes; not beside a
  // compaction, which it waits for. On failure what was written is removed again.
  // Where the directory above may not be read, a `dir` that is there already is taken all the same, and that it is found after a
  // power cut is up to who made it: a failed call may have.
  Result<BackupReport> backup(const std::filesystem::path& dir);

  // The memory that the store reuses, to lease from: see pools.h. The reference lives as long as the store; a copy, longer.
  [[nodiscard]] const Pools& pools() const noexcept;
  // Frees all of it that is idle, and returns how many bytes that was. What has been idle for a minute or two goes by itself
  // (not in a read_only store, which has no thread of its own).
  size_t release_idle_memory() noexcept;

  // ---- looking inside ---------------------------------------------------------------------------
  [[nodiscard]] Stats stats() const;
  [[nodiscard]] const RecoveryReport& recovery() const noexcept;  // what open() found
  [[nodiscard]] uint64_t last_seq() const noexcept;               // newest committed write
  [[nodiscard]] const std::filesystem::path& path() const noexcept;

 private:
  friend struct engine::StoreInside;
  explicit Store(std::unique_ptr<engine::Engine> engine) noexcept;
  bool read_raw(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const;
  bool read_json_raw(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const;
  Status transact_raw(Status (*fn)(void*, Transaction&), void* arg, unsigned attempts, const WriteOptions& options);
  Status for_each_raw(void (*fn)(void*, const EntryView&), void* arg) const;
  std::unique_ptr<engine::Engine> engine_;
};

}  // namespace kvstore::inline v1
