// Table: all live data, in memory. A hash table for one writer at a time and any number of readers that
// take no lock and never wait.
//
// Writer side (marked W): calls are ordered by the caller, who holds the store's commit lock. Reader side
// (marked R): any thread, any time. Memory a reader may still look at is never reused: readers stand in an
// epoch (ReadGuard), and what the writer unlinks is freed two epochs later.
//
// Versions: an entry carries the sequence number of its commit and a link to the version it replaced.
// A commit's entries are linked one by one but become visible together, when publish(seq) passes them: a
// reader that meets an entry above the published number steps back to the version before it. Versions
// nobody can see any more (no Pin at or after them and before their successor) are unlinked by publish().
//
// Parts, each with its own head comment: entry.h (one version), buckets.h (the hash index), versions.h (who
// still needs an old version), epoch.h and limbo.h (when memory may be freed), arena.h and chunks.h (memory),
// table_sweep.cc (how expired entries leave beside readers and pins), sieve.h (which entry to evict).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvstore/format/record.h"
#include "kvstore/table/entry.h"

namespace kvstore::table {

using format::Seq;

struct PinRecord;  // versions.h

struct TableStats {
  uint64_t entries = 0;  // keys present in the newest state, expired ones included
  uint64_t key_bytes = 0;
  uint64_t value_bytes = 0;
  uint64_t memory_bytes = 0;         // taken from the system, for everything; freed big values are malloc's to return
  uint64_t used_bytes = 0;           // ... of these: in use, or awaiting that the last reader leaves
  uint64_t versions_held = 0;        // superseded versions some Pin can still see
  uint64_t versions_held_bytes = 0;  // ... and their entries' size
  uint64_t expiring = 0;             // ... of `entries`: those that carry an expiry, expired or not
};

// The pins that stand.
struct PinStats {
  uint64_t pins = 0;
  Seq oldest_seq = 0;  // of the oldest instant that is pinned; means nothing without pins
  std::chrono::steady_clock::time_point oldest_since{};  // since when it has been, without a gap
};

// Which keys: those that begin with `prefix`, are not less than `from`, and are less than `to` when `to` is not empty.
// Of these, entries that have expired by `now_us` are left out; 0 leaves none out.
struct Filter {
  std::string_view prefix{};
  std::string_view from{};
  std::string_view to{};
  int64_t now_us = 0;
  [[nodiscard]] bool matches(std::string_view key) const noexcept {
    return key.starts_with(prefix) && key >= from && (to.empty() || key < to);
  }
};

// What one call of Table::sweep_expired() did.
struct Sweep {
  uint64_t visited = 0;     // home buckets looked at
  uint64_t dropped = 0;     // entries taken out
  bool round_done = false;  // the end of the table was reached: the next call begins a new round
};

class Table {
 public:
  static constexpr size_t kShards = 256;  // parts the table can be walked in, see collect_shard()

  // hash_seed: random per store, so that nobody can choose keys that collide.
  explicit Table(uint64_t hash_seed);
  ~Table();  // needs: no reader inside, no Pin left
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  [[nodiscard]] uint64_t hash(std::string_view key) const noexcept;         // R; pure
  void prefetch_bucket(uint64_t hash) const noexcept;                       // R; call early, costs nothing
  void prefetch_entry(std::string_view key, uint64_t hash) const noexcept;  // R, inside a guard; W

  // ---- writing (W) ----------------------------------------------------------------------------
  // From now on stage() throws std::bad_alloc rather than let TableStats::memory_bytes pass this; 0: no limit.
  // The last 2 MiB are set aside for deletions, which are exempt, and may in the end take a little more than that, for
  // arrays that shrink; load() is exempt too. Needs: more than 2 MiB.
  void limit_memory(uint64_t bytes) noexcept;
  // Makes an entry for `op` (a tombstone for a kDel or kEvict), not yet part of the table. All the memory that link()
  // and publish() will need for it is set aside here. Throws std::bad_alloc and changes nothing then.
  [[nodiscard]] Entry* stage(const format::Op& op, uint64_t hash);
  void discard(Entry* staged) noexcept;  // instead of link()
  // Makes a staged entry its key's newest version and takes it over (the tombstone of an absent key is freed at
  // once). Cannot fail. Of several on one key in one commit the last wins. Needs: seq > published(), the same
  // seq for everything linked between two calls of publish().
  void link(Entry* staged, uint64_t hash, Seq seq) noexcept;
  // Makes every entry linked so far visible at once, then lets go of what nobody can see. Needs: seq as linked,
  // or, when nothing was, any that is not below published().
  void publish(Seq seq) noexcept;
  // stage + link + publish for replay, when there are no readers and no pins: replaces in place and frees
  // at once. Throws std::bad_alloc.
  void load(const format::Op& op, uint64_t hash, Seq seq);
  // Sets the published number after loading, and gives memory that is ready back.
  void finish_load(Seq seq) noexcept;
  // Makes room for about this many keys ahead of a load, so that it does not grow step by step.
  void expect(uint64_t entries);
  // Housekeeping that otherwise rides on writes, for stores that have fallen silent: gives up versions whose pins
  // have gone and frees memory no reader can see, at most `versions_max` steps. Returns whether there is
  // more to do. Needs: nothing staged or linked since the last publish().
  bool tidy(size_t versions_max) noexcept;
  // The part of tidy() that is cheap enough for every commit: frees what nobody sees, at most `versions_max` of each kind.
  void reclaim(size_t versions_max) noexcept;
  // Superseded versions that nobody sees any more wait for reclaim(), tidy() or the commits to come. Needs: as reclaim().
  [[nodiscard]] bool has_versions_to_free() const noexcept;
  // What was unlinked is not free yet, mostly since readers may be looking at it; reclaim() now and then frees it when they
  // have left. Needs: as reclaim().
  [[nodiscard]] bool waits_for_readers() const noexcept;
  [[nodiscard]] uint64_t unlinked_bytes() const noexcept;  // of the entries among it
  // All that was unlinked before the mark was taken is free by now, whatever has come since. Needs: as reclaim().
  [[nodiscard]] uint64_t unlinked_mark() const noexcept;
  [[nodiscard]] bool has_freed(uint64_t mark) const noexcept;
  // Who sees what, for whoever frees memory. What is not newer than an instant that is pinned stays when it is unlinked. Most
  // pins go in an instant, and what waits for them with them; that some stay is known by what waits for them: once superseded
  // versions take `much` in all, for_long is the newest instant such that a sixteenth of it waits for that and newer ones.
  // may_hold: what may still be left to the others. Takes a mutex, and then some nanoseconds for each instant. Needs: W.
  struct Seen {
    Seq newest = 0;    // 0: nothing is pinned
    Seq for_long = 0;  // 0: nothing for long, it seems
    uint64_t may_hold = 0;
  };
  [[nodiscard]] Seen seen(uint64_t much) const noexcept;
  [[nodiscard]] uint64_t held_bytes_at(Seq instant) const noexcept;  // what waits for it; likewise
  // Takes out entries that have expired by now_us, looking at no more than `buckets_max` home buckets; the next call goes
  // on where this one ended. Costs nothing when no entry carries an expiry, and says then that the round is done.
  // An entry that a standing Pin may see as alive stays for a later round; so does one with older versions.
  // Logs nothing: expiry times are absolute, so a replay finds the same entries expired.
  // Needs: nothing staged or linked since the last publish(). Contract of the clock: whoever judges expiry takes its Pin
  // (or enters its ReadGuard) first and reads the clock after, and that clock never shows a time before one that a
  // finished or running sweep was given. So no reader misses an entry that is alive by its clock.
  Sweep sweep_expired(int64_t now_us, size_t buckets_max) noexcept;
  // Switches on what victim() needs: some 5 bytes an entry (8 while many keys come and go), and in find() and find_many()
  // a mark on what was found. collect() marks nothing. Off, it costs readers nothing but the question. Needs: nothing
  // was staged or loaded yet, and no other thread knows the table.
  void track_use() noexcept;
  // The entry to evict next, by SIEVE: present and published. The caller commits its deletion like any other; another
  // call gives another entry, and one that is not deleted comes round again. Takes some 50 us at most; hence
  // nullptr not only for an empty table, but also, rarely, while many keys have just been deleted: then call
  // again with a later commit. Needs: track_use(), nothing linked since the last publish(). The pointer is good until
  // the next publish().
  [[nodiscard]] const Entry* victim() noexcept;
  // Maps and touches 2 MiB ahead of the writer, who otherwise has to wait for the kernel to find and zero
  // them (0.1 ms; several on a virtual machine), when a growing store is likely to need them soon. Returns whether it did.
  // Unlike the rest any thread's, at any time, also beside load(): made to be called by a helper until it says no.
  bool prepare_memory() noexcept;
  // Has `call` called, from stage() and load(), when it is time to call prepare_memory(); it must be cheap and not throw.
  // Needs: no other thread knows the table.
  void on_low_memory(std::function<void()> call) noexcept;
  // The key's newest version, published or not; nullptr when absent or deleted. Expiry is the caller's.
  [[nodiscard]] const Entry* newest(std::string_view key, uint64_t hash) const noexcept;

  // ---- reading (R) ----------------------------------------------------------------------------
  // Inside it, entries stay where they are. Keep it short: it holds back the reuse of memory. May be nested.
  class ReadGuard {
   public:
    explicit ReadGuard(const Table& table) noexcept;
    ~ReadGuard();
    ReadGuard(const ReadGuard&) = delete;
    ReadGuard& operator=(const ReadGuard&) = delete;

   private:
    const Table& table_;
    uint32_t slot_;
    uint32_t phase_;
  };

  [[nodiscard]] Seq published() const noexcept;
  // The newest published version, nullptr when absent or deleted. Needs: inside a ReadGuard.
  [[nodiscard]] const Entry* find(std::string_view key, uint64_t hash) const noexcept;
  // The same for many keys, with their cache misses overlapped. Needs: inside a ReadGuard; out.size() == keys.size().
  void find_many(std::span<const std::string_view> keys, std::span<const Entry*> out) const noexcept;

  // Holds one instant: every version visible at seq() stays, at a fixed address, while the Pin or a copy of it lives.
  // (An entry that had expired before may still be swept, unless it was found through the pin.) May be made, copied and
  // destroyed by any thread. Destroying it frees nothing by itself: what only it held goes bit by bit with the
  // publish() calls that follow, or with tidy(). Costs a mutex, a new one an allocation too: not for every read.
  class Pin {
   public:
    explicit Pin(const Table& table);  // throws std::bad_alloc
    Pin(const Pin& other) noexcept;    // the same instant
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin other) noexcept;
    ~Pin();
    [[nodiscard]] Seq seq() const noexcept { return seq_; }

   private:
    friend class Table;
    const Table* table_ = nullptr;  // null: moved from
    PinRecord* record_ = nullptr;
    Seq seq_ = 0;
  };
  // The version visible at the pin, nullptr when absent or deleted; expired ones too. Needs no ReadGuard; the pointer is
  // good for as long as the pin.
  [[nodiscard]] const Entry* find(const Pin& pin, std::string_view key, uint64_t hash) const noexcept;
  // The same for many keys, with their cache misses overlapped. Needs: out.size() == keys.size().
  void find_many(const Pin& pin, std::span<const std::string_view> keys, std::span<const Entry*> out) const noexcept;
  // Appends every entry visible at the pin that the filter lets through, in no order. The pointers are good for as
  // long as the pin. Returns the highest sequence number linked under any key the filter matches, 0 for none: expired
  // entries, tombstones, and what came after the pin included. So a result that is not above pin.seq() says that
  // nothing matching has changed since the pin. (A key that was absent at the pin and is so again, or that has
  // expired since, may show no trace.) Beside a writer the number is of some instant during the call. Throws std::bad_alloc.
  Seq collect(const Pin& pin, const Filter& filter, std::vector<const Entry*>& out) const;
  // The same for all keys of one shard, 0 .. kShards - 1, for walks that cannot afford eight bytes for every entry at
  // once: each key belongs to one shard for as long as the table lives.
  void collect_shard(const Pin& pin, size_t shard, int64_t now_us, std::vector<const Entry*>& out) const;

  [[nodiscard]] TableStats stats() const noexcept;    // R
  [[nodiscard]] PinStats pin_stats() const noexcept;  // R; takes a mutex, and some nanoseconds for each instant pinned
  // Walks everything and asserts every structural invariant, leaks included; for tests, O(n). W, with no reader
  // inside and nothing staged.
  void check() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvstore::table
