// Store::stats() of real stores: that each figure moves when it should, by as much as it should, and not otherwise.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include "kvstore/kvstore.h"
#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class StatsTest : public StoreTest {
 protected:
  void put(const std::string& key, const std::string& value, const WriteOptions& options = {}) {
    const Status s = store_->put(key, value, options);
    ASSERT_TRUE(s.ok()) << s.message();
  }
  void put_many(int count, const std::string& value = "v") {
    for (int i = 0; i < count; ++i) put("key:" + std::to_string(i), value);
  }
  [[nodiscard]] Stats stats() const { return store_->stats(); }
  // Waits until the store's own threads have got so far.
  template <typename Condition>
  bool eventually(Condition&& condition) const {
    for (int wait = 0; wait < 500; ++wait) {
      if (condition(stats())) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
};

TEST_F(StatsTest, ASampleOfTheCommitsIsMeasuredAndOfThoseThatSyncEachOne) {
  open();
  put_many(6400);
  Stats now = stats();
  EXPECT_EQ(now.commits, 6400U);
  // 200 are expected, with a standard deviation of 14.
  EXPECT_GT(now.commit_process.count, 100U);
  EXPECT_LT(now.commit_process.count, 300U);
  EXPECT_EQ(now.commit_sync.count, 0U);
  for (int i = 0; i < 10; ++i) put("s", "1", {.durability = Durability::kSync});
  Batch batch;
  batch.put("a", "1");
  ASSERT_TRUE(store_->write(batch, {.durability = Durability::kSync}).ok());
  ASSERT_TRUE(store_->increment("n", 1, {.durability = Durability::kSync}).ok());
  ASSERT_TRUE(store_->erase_prefix("s", {.durability = Durability::kSync}).ok());
  now = stats();
  EXPECT_EQ(now.commit_sync.count, 13U);
  EXPECT_GE(now.commit_sync.max_ns, now.commit_sync.p50_ns);
  EXPECT_GE(now.commit_sync.sum_ns, now.sync.p50_ns);
}

TEST_F(StatsTest, WhatWasRefusedIsNotMeasured) {
  open({.durability = Durability::kSync});
  put("a", "1");
  EXPECT_EQ(store_->put("a", "2", {.if_absent = true}).code(), Code::kConflict);
  EXPECT_FALSE(*store_->del("b"));
  EXPECT_EQ(stats().commit_sync.count, 1U);
}

TEST_F(StatsTest, SequenceNumbersTellWhatIsWrittenAndWhatIsOnDisk) {
  open({.sync_interval = 1h});
  put_many(5);
  Stats now = stats();
  EXPECT_EQ(now.written_seq, 5U);
  EXPECT_EQ(now.last_seq, 5U);
  EXPECT_EQ(now.synced_seq, 0U);
  EXPECT_EQ(now.sync.count, 0U);
  ASSERT_TRUE(store_->sync().ok());
  now = stats();
  EXPECT_EQ(now.synced_seq, 5U);
  EXPECT_EQ(now.syncs, 1U);
  EXPECT_EQ(now.sync.count, 1U);
  EXPECT_GT(now.sync.max_ns, 0U);
}

TEST_F(StatsTest, RotationsAreMeasured) {
  open({.segment_bytes = 4096});
  fill_segments(100, "k", std::string(200, 'v'));
  ASSERT_TRUE(store_->sync().ok());  // no sync is under way after it
  const Stats now = stats();
  EXPECT_GT(now.rotations, 4U);
  EXPECT_EQ(now.log_segments, now.rotations + 1);
  EXPECT_EQ(now.rotation.count, now.rotations);
  EXPECT_EQ(now.sync.count, now.syncs);
}

TEST_F(StatsTest, ACompactionTurnsDeadBytesIntoWrittenOnes) {
  open();
  for (int round = 0; round < 10; ++round) put_many(100, std::string(100, 'v'));
  const Stats before = stats();
  EXPECT_GT(before.dead_bytes, before.live_bytes * 5);
  EXPECT_EQ(before.dead_bytes, before.log_bytes - before.live_bytes);
  const Result<CompactionReport> report = store_->compact();
  ASSERT_TRUE(report.ok());
  const Stats after = stats();
  EXPECT_LT(after.dead_bytes, before.dead_bytes / 10);
  EXPECT_EQ(after.compactions, 1U);
  EXPECT_EQ(after.compaction_written_bytes, report->snapshot_bytes);
  EXPECT_EQ(after.snapshot_bytes, report->snapshot_bytes);
  EXPECT_FALSE(after.compaction_running);
  EXPECT_EQ(after.compaction_done_bytes, 0U);
  EXPECT_EQ(after.compaction_total_bytes, 0U);
  put("more", "1");
  ASSERT_TRUE(store_->compact().ok());
  EXPECT_EQ(stats().compaction_written_bytes, report->snapshot_bytes + stats().snapshot_bytes);
}

TEST_F(StatsTest, ACompactionUnderWayShowsHowFarItIs) {
  open();
  put_many(20'000);
  Stats seen;
  for (int round = 0; round < 100 && seen.compaction_done_bytes == 0; ++round) {
    put("one more", "1");
    std::thread compacting([this] { EXPECT_TRUE(store_->compact().ok()); });
    while (stats().compactions + stats().compactions_failed <= static_cast<uint64_t>(round)) {
      const Stats now = stats();  // which is of no single instant
      const bool is_under_way = now.compaction_running && now.pins != 0;
      if (is_under_way && now.compaction_done_bytes != 0 && now.compaction_total_bytes != 0) seen = now;
    }
    compacting.join();
  }
  EXPECT_TRUE(seen.compaction_running);
  EXPECT_GT(seen.compaction_done_bytes, 0U);
  EXPECT_GT(seen.compaction_total_bytes, 1'000'000U);
  EXPECT_GE(seen.pins, 1U);
}

TEST_F(StatsTest, AFailedCompactionIsKeptAsTheLastError) {
  open(clocked({.compact_at_percent = 0}));
  EXPECT_EQ(stats().last_error, "");
  EXPECT_EQ(stats().last_error_us, 0);
  put("a", "1");
  const fs::path in_the_way = dir() / "snapshot-00000000000000000001.jsonl.tmp";
  fs::create_directory(in_the_way);
  now_us += 5;
  const Status failed = store_->compact().status();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(stats().last_error, failed.message());
  EXPECT_EQ(stats().last_error_us, now_us);
  EXPECT_EQ(stats().compactions_failed, 1U);
  EXPECT_FALSE(stats().compaction_running);
  fs::remove(in_the_way);
  now_us += 5;
  ASSERT_TRUE(store_->compact().ok());
  EXPECT_EQ(stats().last_error_us, now_us - 5);
}

TEST_F(StatsTest, TheOldestSnapshotIsToldWithItsAgeAndWhatItHoldsBack) {
  open();
  put_many(10);
  EXPECT_EQ(stats().pins, 0U);
  EXPECT_EQ(stats().oldest_pin_age_us, 0U);
  std::optional<Result<Snapshot>> oldest(store_->snapshot());
  put_many(4, "other");
  const std::optional<Result<Snapshot>> newer(store_->snapshot());
  const std::optional<Result<Snapshot>> same(store_->snapshot());
  std::this_thread::sleep_for(5ms);
  Stats now = stats();
  EXPECT_EQ(now.pins, 3U);
  EXPECT_EQ(now.oldest_pin_seq, 10U);
  EXPECT_GE(now.oldest_pin_age_us, 5000U);
  EXPECT_LT(now.oldest_pin_age_us, 60'000'000U);
  EXPECT_EQ(now.versions_held, 4U);
  EXPECT_EQ(now.versions_held_bytes, 4 * (20 + 5 + 1U));  // header, "key:0", "v"
  oldest.reset();
  put_many(10, "third");  // what nobody needs any more goes with the writes
  now = stats();
  EXPECT_EQ(now.pins, 2U);
  EXPECT_EQ(now.oldest_pin_seq, 14U);
  EXPECT_EQ(now.versions_held, 10U);
  EXPECT_EQ(now.versions_held_bytes, 4 * (20 + 5 + 5U) + 6 * (20 + 5 + 1U));
}

TEST_F(StatsTest, AnInstantPinnedAnewIsYoung) {
  open();
  put("a", "1");
  { const Result<Snapshot> gone = store_->snapshot(); }
  std::this_thread::sleep_for(20ms);
  const auto begin = std::chrono::steady_clock::now();
  const Result<Snapshot> snapshot = store_->snapshot();
  EXPECT_EQ(stats().pins, 1U);
  const std::chrono::microseconds age(stats().oldest_pin_age_us);
  EXPECT_LE(age, std::chrono::steady_clock::now() - begin);
}

TEST_F(StatsTest, ExpiredEntriesAreCountedAsTheyLeave) {
  open(clocked());
  put("short", "1", {.ttl = 1s});
  put("long", "1", {.ttl = 1h});
  put("ever", "1");
  EXPECT_EQ(stats().expiring, 2U);
  EXPECT_EQ(stats().expired, 0U);
  now_us += 2'000'000;
  EXPECT_TRUE(eventually([](const Stats& now) { return now.expired == 1; }));
  EXPECT_EQ(stats().expiring, 1U);
  EXPECT_EQ(stats().evicted, 0U);
}

TEST_F(StatsTest, HistoryIsWhatLiesBehindTheNewestSnapshot) {
  open({.keep_history_bytes = 1'000'000});
  put("a", "1");
  EXPECT_EQ(stats().history_files, 0U);
  ASSERT_TRUE(store_->compact().ok());
  put("a", "2");
  ASSERT_TRUE(store_->compact().ok());
  const uint64_t bytes = fs::file_size(dir() / "wal-00000000000000000001.jsonl") +
                         fs::file_size(dir() / "wal-00000000000000000002.jsonl") +
                         fs::file_size(dir() / "snapshot-00000000000000000001.jsonl");
  EXPECT_EQ(stats().history_files, 3U);
  EXPECT_EQ(stats().history_bytes, bytes);
  const Result<Store> reader = Store::open(dir(), {.read_only = true});
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->stats().history_files, 3U);
  EXPECT_EQ(reader->stats().history_bytes, bytes);
  open();
  EXPECT_EQ(stats().history_files, 3U);
  ASSERT_TRUE(store_->compact().ok());
  EXPECT_EQ(stats().history_files, 0U);  // compacting without keep_history_bytes has removed it
}

TEST_F(StatsTest, TellsWhenItWasOpenedAndWhatRecoveryFound) {
  open(clocked());
  put_many(3);
  close();
  write_bytes(dir() / "wal-00000000000000000001.jsonl",
              bytes_of(dir() / "wal-00000000000000000001.jsonl") + R"({"seq":4,"ts")");
  now_us += 1'000'000;
  open(clocked());
  const Stats now = stats();
  EXPECT_EQ(now.opened_us, now_us);
  EXPECT_FALSE(now.read_only);
  EXPECT_EQ(now.recovery.records, 3U);
  EXPECT_EQ(now.recovery.operations, 3U);
  EXPECT_EQ(now.recovery.bytes, store_->recovery().bytes);
  EXPECT_EQ(now.recovery.cuts, 1U);
  EXPECT_EQ(now.recovery.cut_bytes, 13U);
  EXPECT_EQ(now.commits, 0U);
}

TEST_F(StatsTest, AReadOnlyStoreKnowsTheStateAndSaysThatItIsReadOnly) {
  open();
  put_many(3);
  const Result<Store> reader = Store::open(dir(), {.read_only = true});
  ASSERT_TRUE(reader.ok());
  const Stats now = reader->stats();
  EXPECT_TRUE(now.read_only);
  EXPECT_EQ(now.entries, 3U);
  EXPECT_EQ(now.written_seq, 3U);
  EXPECT_EQ(now.recovery.records, 3U);
  EXPECT_EQ(now.commits, 0U);
}

// erase_prefix() reads the clock while it holds the commit lock: a clock that stands still there holds up everybody.
TEST_F(StatsTest, WhoeverSleepsWaitingForTheCommitLockIsMeasured) {
  std::atomic<std::thread::id> slow{};
  std::atomic<int> calls{0};
  Options options;
  options.now_us = [&] {
    if (std::this_thread::get_id() == slow.load() && ++calls == 2) std::this_thread::sleep_for(100ms);
    return now_us.load();
  };
  open(options);
  const uint64_t waits = stats().lock_wait.count;  // the store's own threads may have made somebody wait
  for (int attempt = 0; attempt < 50 && stats().lock_wait.count == waits;
       ++attempt) {  // until this thread comes in time
    put("a", "1");
    calls = 0;
    std::thread erasing([&] {
      slow = std::this_thread::get_id();
      EXPECT_TRUE(store_->erase_prefix("a").ok());
    });
    while (calls != 2) std::this_thread::yield();
    put("b", "1");
    erasing.join();
    slow = std::thread::id();
  }
  EXPECT_GT(stats().lock_wait.count, waits);
  EXPECT_GT(stats().lock_wait.max_ns, 1'000'000U);
  const auto before = contents_of(*store_);
  close();
  open(clocked());
  EXPECT_EQ(contents_of(*store_), before);
}

// A compaction that found the active segment without a record took its header out of the count, and one that had to
// begin a segment left the closing line of the one before in it.
TEST_F(StatsTest, LogBytesAreThoseOfTheLinesThatNoSnapshotCovers) {
  const auto bytes_of_lines = [&] {
    uint64_t bytes = 0;
    for (const std::filesystem::path& file : log_files_of(dir())) {
      if (!file.filename().string().starts_with("wal-")) continue;
      for (const std::string& line : lines_of(file)) bytes += line.size() + 1;
    }
    return bytes;
  };
  open({.segment_bytes = 4096});
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(store_->put("k" + std::to_string(i), std::string(200, 'v')).ok());
  Result<CompactionReport> first = store_->compact();  // begins a segment
  ASSERT_TRUE(first.ok());
  EXPECT_GT(first->log_bytes, 60U * 200);
  EXPECT_EQ(store_->stats().log_bytes, bytes_of_lines());
  ASSERT_TRUE(store_->put("k", "v").ok());
  EXPECT_EQ(store_->stats().log_bytes, bytes_of_lines());
}

}  // namespace
}  // namespace kvstore::testing
