// ReadSet: what a transaction has seen, and whether that is still so when it commits.
//
// A transaction reads at the instant P of its pin. Its commit goes ahead if, under the commit lock and so with nobody
// else writing, everything it has read would be read again: then it is as if it had run right there, in one piece. The
// time of that instant is the commit's `ts`, which never runs backwards and is not before the time the reads were
// judged by.
//
// A key: its live version is what it was, or it is absent as it was (deleted, expired or never there: all the same). A
// version is a sequence number, never used twice, so the value is the same too.
//
// A range: no key in it has been written since P. To look for such a key under the commit lock would mean a walk over
// the whole table, so it is put together from two halves that meet at W, the instant the transaction begins to watch
// (RecentWrites), under the commit lock and before its first scan:
//   (P, W]    Table::collect(), called after W, returns the highest number of any version linked under a key of the
//             range. All commits up to W are linked by then; so a change is seen as a number above P. What leaves no
//             trace is a key absent at P and absent again: no change. A tombstone of a key visible at P is a trace: it
//             stays while the pin does. (The number may also be of a commit after W; that one is in the other half as
//             well.)
//   (W, ...]  every commit notes its keys before it lets go of the lock, and the validation goes through them.
// Either half may refuse a range that has changed and changed back; neither accepts one that has changed. Whether
// something was put, deleted or evicted is all the same. What leaves a range without a commit is expiry: of the entries
// found that expire at all, the first to do so must not have expired by the commit's `ts`; those expired at P stay so.
// That a sweep frees what had expired changes nothing.
//
// Most of the second half is walked in short slices before the commit (catch_up), so that what is left to do there is
// about what was written during the last slice.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/engine/recent_writes.h"
#include "kvstore/status.h"
#include "kvstore/table/table.h"

namespace kvstore::engine {

// Not thread-safe. Needs: the pin it was read through stands until check_scans() has been called.
class ReadSet {
 public:
  // Notes that the key had this live version, 0: absent. Throws std::bad_alloc.
  void add_key(std::string_view key, uint64_t hash, format::Seq version);

  // Needs: `place` was given by RecentWrites::watch(), before the first scan's collect().
  void start_watching(RecentWrites::Place place) noexcept { place_ = place; }
  // Notes a scan at `pin_seq`: which keys, what collect() returned, and what it found. Throws std::bad_alloc.
  void add_range(const table::Filter& filter, format::Seq pin_seq, format::Seq highest,
                 const std::vector<const table::Entry*>& found);
  [[nodiscard]] bool has_ranges() const noexcept { return !ranges_.empty(); }

  // kConflict when some range had changed before it was scanned: needs no lock, so it comes first. Walks the table once
  // more to find the key to blame. Needs: the pin that the ranges were read through.
  Status check_scans(const table::Table& table, const table::Table::Pin& pin);
  // Goes through at most `keys_max` of the recent writes. kConflict, with conflict_key(). Needs: the commit lock.
  // Throws std::bad_alloc, like check().
  Status catch_up(const RecentWrites& recent, uint64_t keys_max);
  [[nodiscard]] uint64_t behind(const RecentWrites& recent) const noexcept { return recent.behind(place_); }

  // Whether all of it is still so, to a commit with this time stamp: OK, or kConflict with conflict_key(). Needs: the
  // commit lock; check_scans() has said OK.
  Status check(const table::Table& table, const RecentWrites& recent, int64_t ts_us);

  // After a kConflict: the key to blame, empty when it is not known.
  [[nodiscard]] const std::string& conflict_key() const noexcept { return conflict_key_; }

 private:
  struct Key {
    uint64_t hash = 0;
    format::Seq version = 0;
  };
  struct Range {
    std::string prefix{}, from{}, to{};
    std::string first_to_expire{};  // of the keys found, and when; 0: none does
    int64_t first_expiry_us = 0;
    bool changed = false;  // between the pin and the scan
    [[nodiscard]] table::Filter filter() const noexcept { return {.prefix = prefix, .from = from, .to = to}; }
    [[nodiscard]] std::string describe() const;
  };
  Status check_key(const table::Table& table, const std::string& key, const Key& seen, int64_t ts_us);
  Status conflict(std::string_view key, std::string_view what);

  std::map<std::string, Key, std::less<>> keys_;
  std::vector<Range> ranges_;
  RecentWrites::Place place_;
  std::string conflict_key_;
};

// A key as it stands in a sentence: in quotes and escaped as in JSON when it is UTF-8, each byte that is no
// printable ASCII as \xNN otherwise; long ones cut short.
[[nodiscard]] std::string quoted_key(std::string_view key);

}  // namespace kvstore::engine
