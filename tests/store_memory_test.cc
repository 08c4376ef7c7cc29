// max_memory and max_entries: refusing, evicting, and what is left of either after a reopening.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <latch>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/kvstore.h"
#include "tests/support/seed.h"
#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

class MemoryLimitTest : public StoreTest {
 protected:
  // The keys that each record of evictions names.
  std::vector<std::vector<std::string>> evictions_by_record() {
    std::vector<std::vector<std::string>> records;
    Result<LogCursor> log = LogCursor::open(dir());
    EXPECT_TRUE(log.ok());
    for (Result<const LogRecord*> record = log->next(); record.ok() && *record != nullptr; record = log->next()) {
      std::vector<std::string> keys;
      for (const LogOp& op : (*record)->ops) {
        if (op.kind == LogOp::Kind::kEvict) keys.emplace_back(op.key);
      }
      if (!keys.empty()) records.push_back(std::move(keys));
    }
    return records;
  }
  uint64_t evictions_in_log() {
    uint64_t count = 0;
    for (const std::vector<std::string>& keys : evictions_by_record()) count += keys.size();
    return count;
  }
  // A small store whose compaction goes on, and holds what it saw, until `may_end` is counted down.
  void open_with_compaction_until(std::latch& may_end, WhenFull when_full) {
    open({.compact_at_percent = 0,
          .max_memory = uint64_t{16} << 20,
          .when_full = when_full,
          .on_progress = [&may_end](const Progress& progress) {
            if (progress.step == "compact" && progress.done_bytes == progress.total_bytes) may_end.wait();
          }});
  }
  [[nodiscard]] std::thread compacting() {
    std::thread compactor([this] { EXPECT_TRUE(store_->compact().ok()); });
    while (store_->stats().pins == 0) std::this_thread::yield();
    return compactor;
  }
  void put_many(int count, const std::string& value) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(store_->put(key(i), value).ok()) << i;
  }
  // Waits until the store's own thread has given back what is free.
  [[nodiscard]] bool shrinks_to(uint64_t table_bytes) const {
    for (int i = 0; i < 6000 && store_->stats().table_bytes > table_bytes; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return store_->stats().table_bytes <= table_bytes;
  }
  static std::string key(uint64_t i) { return "key" + std::to_string(i); }
};

TEST_F(MemoryLimitTest, RefusesTheKeyTooManyAndTakesItOnceThereIsRoom) {
  open({.max_entries = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store_->put(key(i), "v").ok());
  const Status refused = store_->put(key(3), "v");
  EXPECT_EQ(refused.code(), Code::kOutOfMemory);
  EXPECT_NE(refused.message().find("the store has 3 of the 3 keys of max_entries"), std::string::npos)
      << refused.message();
  EXPECT_TRUE(store_->put(key(2), "overwriting is no new key").ok());
  Batch batch;
  batch.put(key(3), "v");
  batch.put(key(4), "v");
  EXPECT_EQ(store_->write(batch).code(), Code::kOutOfMemory);
  EXPECT_FALSE(store_->contains(key(3)));
  EXPECT_TRUE(*store_->del(key(0)));
  EXPECT_TRUE(store_->put(key(3), "v").ok());
  EXPECT_EQ(store_->last_seq(), 6U);
}

TEST_F(MemoryLimitTest, EvictsExactlyAsManyKeysAsAreTooMany) {
  open({.max_entries = 100, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(store_->put(key(i), "v").ok());
    ASSERT_EQ(store_->get(key(i)), "v");  // never the one just written
    ASSERT_LE(store_->stats().entries, 100U);
  }
  EXPECT_EQ(store_->stats().entries, 100U);
  EXPECT_EQ(evictions_in_log(), 900U);
  EXPECT_EQ(store_->stats().evicted, 900U);
}

TEST_F(MemoryLimitTest, AWriteThatCanNeverFitEvictsNothing) {
  open({.max_entries = 3, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store_->put(key(i), "v").ok());
  Batch batch;
  for (int i = 10; i < 14; ++i) batch.put(key(i), "v");
  const Status refused = store_->write(batch);
  EXPECT_EQ(refused.code(), Code::kOutOfMemory);
  EXPECT_NE(refused.message().find("the write has 4 keys, more than max_entries, 3, allows"), std::string::npos)
      << refused.message();
  EXPECT_EQ(store_->stats().entries, 3U);

  open({.max_memory = uint64_t{8} << 20, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store_->put(key(i), std::string(1 << 20, 'v')).ok());
  for (const size_t size : {size_t{4} << 20, size_t{10} << 20}) {
    EXPECT_EQ(store_->put("large", std::string(size, 'v')).code(), Code::kOutOfMemory);
    EXPECT_EQ(store_->stats().entries, 3U);
  }
  EXPECT_EQ(evictions_in_log(), 0U);
  EXPECT_TRUE(store_->put("large", std::string((4 << 20) - 1000, 'v')).ok());
  EXPECT_LE(store_->stats().entries, 2U);
}

// Of its keys some are there already, and were not counted: they were evicted for the others, and the write was refused then.
TEST_F(MemoryLimitTest, ABatchOfMoreKeysThanTheLimitEvictsNothingWhateverIsThere) {
  open({.max_entries = 3, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store_->put(key(i), "v").ok());
  Batch batch;
  for (int i = 1; i < 5; ++i) batch.put(key(i), "w");
  const Status refused = store_->write(batch);
  EXPECT_EQ(refused.code(), Code::kOutOfMemory);
  EXPECT_NE(refused.message().find("the write has 4 keys, more than max_entries, 3, allows"), std::string::npos)
      << refused.message();
  EXPECT_EQ(store_->stats().entries, 3U);
  EXPECT_EQ(store_->stats().last_seq, 3U);
}

// They made no room, since the batch puts them again, or was to delete them anyway: 32 were evicted, and it was refused.
TEST_F(MemoryLimitTest, ABatchEvictsNoneOfItsOwnKeys) {
  for (const bool deletes : {false, true}) {
    open({.max_entries = 1000, .when_full = WhenFull::kEvict});
    put_many(1000, "v");
    const uint64_t evicted = store_->stats().evicted;
    Batch batch;
    for (int i = 0; i < 999; ++i) {
      if (i < 100 && deletes) {
        batch.del(key(i));
        batch.put("another" + std::to_string(i), "v");
      } else {
        batch.put(key(i), "w");
      }
    }
    batch.put("new", "v");
    const Status s = store_->write(batch);
    EXPECT_TRUE(s.ok()) << s.message();
    EXPECT_EQ(store_->stats().entries, 1000U);
    EXPECT_EQ(store_->stats().evicted - evicted, 1U);
    close();
    std::filesystem::remove_all(dir());
  }
}

TEST_F(MemoryLimitTest, AStoreWithTooManyKeysTakesWhatAddsNone) {
  open();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store_->put(key(i), "1").ok());
  open({.max_entries = 5});
  EXPECT_TRUE(store_->put(key(1), "2").ok());
  EXPECT_TRUE(store_->increment(key(1), 1).ok());
  Batch swaps;
  swaps.put("new", "v");
  swaps.del(key(2));
  swaps.del(key(3));
  EXPECT_TRUE(store_->write(swaps).ok());
  EXPECT_EQ(store_->put("more", "v").code(), Code::kOutOfMemory);
  EXPECT_EQ(store_->stats().entries, 9U);
}

// The queue still has the places of keys that were deleted, more of them in a row than one search looks at.
TEST_F(MemoryLimitTest, EvictsBehindManyKeysThatWereDeleted) {
  constexpr int kDeleted = 80'000;
  constexpr int kKept = 330'000;
  open({.compact_at_percent = 0});
  const auto put_many = [this](const std::string& prefix, int count) {
    Batch batch;
    for (int i = 0; i < count; ++i) {
      batch.put(prefix + std::to_string(i), "");
      if (batch.size() < 10'000 && i + 1 < count) continue;
      ASSERT_TRUE(store_->write(batch).ok());
      batch.clear();
    }
  };
  put_many("old", kDeleted);
  put_many("key", kKept);
  ASSERT_EQ(*store_->erase_prefix("old"), uint64_t{kDeleted});
  open({.compact_at_percent = 0, .max_entries = kKept, .when_full = WhenFull::kEvict});
  ASSERT_TRUE(store_->put("new", "").ok());
  EXPECT_EQ(store_->stats().evicted, 1U);  // key(0), unless a deleted key's place in the queue is some other key's, too
  EXPECT_EQ(store_->stats().entries, uint64_t{kKept});
  close();  // so many keys are not read again by the fixture, too
}

TEST_F(MemoryLimitTest, KeepsWhatIsRead) {
  open({.max_entries = 100, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(store_->put(key(i), "v").ok());
  for (int i = 100; i < 2000; ++i) {  // a stream of keys that nobody asks for again
    for (int hot = 0; hot < 20; ++hot) ASSERT_TRUE(store_->contains(key(hot))) << i;
    ASSERT_TRUE(store_->put(key(i), "v").ok());
  }
}

TEST_F(MemoryLimitTest, WhatWasEvictedNeverComesBack) {
  open({.max_entries = 50, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(store_->put(key(i), std::to_string(i)).ok());
  const auto before = contents_of(*store_);
  open({.create_if_missing = false});  // without a limit now
  EXPECT_EQ(contents_of(*store_), before);
  ASSERT_TRUE(store_->compact().ok());
  open({.create_if_missing = false});
  EXPECT_EQ(contents_of(*store_), before);
}

TEST_F(MemoryLimitTest, ASnapshotStillSeesWhatIsEvicted) {
  open({.max_entries = 50, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(store_->put(key(i), std::to_string(i)).ok());
  Result<Snapshot> snapshot = store_->snapshot();
  for (int i = 50; i < 500; ++i) ASSERT_TRUE(store_->put(key(i), std::to_string(i)).ok());
  for (int i = 0; i < 50; ++i) ASSERT_EQ(snapshot->get(key(i)), std::to_string(i));
  EXPECT_EQ(snapshot->scan()->size(), 50U);
}

TEST_F(MemoryLimitTest, OpensAStoreThatHoldsMoreAndShrinksItWithTheWritesThatFollow) {
  open();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store_->put(key(i), "v").ok());
  open({.max_entries = 100});
  EXPECT_EQ(store_->stats().entries, 200U);
  EXPECT_EQ(store_->put("new", "v").code(), Code::kOutOfMemory);
  open({.max_entries = 100, .when_full = WhenFull::kEvict});
  EXPECT_TRUE(store_->put("new", "v").ok());
  EXPECT_EQ(store_->stats().entries, 100U);
}

TEST_F(MemoryLimitTest, IsRefusedWhenItCannotHoldTheTable) {
  EXPECT_EQ(Store::open(dir(), {.max_memory = 1000}).status().code(), Code::kInvalidArgument);
}

// One line named them all, however many there were.
TEST_F(MemoryLimitTest, AStoreWithFarTooManyKeysEvictsThemInLinesOfBoundedLength) {
  open();
  put_many(5000, "v");
  open({.max_entries = 100, .when_full = WhenFull::kEvict});
  ASSERT_TRUE(store_->put("new", "v").ok());
  EXPECT_EQ(store_->stats().entries, 100U);
  EXPECT_EQ(store_->stats().evicted, 4901U);
  EXPECT_EQ(evictions_in_log(), 4901U);
  for (const std::vector<std::string>& keys : evictions_by_record()) EXPECT_LE(keys.size(), 256U);
}

// The hand came round to the victims that the same line named already, since the others had been read.
TEST_F(MemoryLimitTest, NoLineEvictsAKeyTwiceAndEachCountsOnce) {
  open({.max_entries = 100, .when_full = WhenFull::kEvict});
  put_many(100, "v");
  for (int i = 0; i < 100; i += 2) ASSERT_TRUE(store_->contains(key(i)));
  Batch batch;
  for (int i = 100; i < 160; ++i) batch.put(key(i), "v");
  ASSERT_TRUE(store_->write(batch).ok());
  EXPECT_EQ(store_->stats().evicted, 100 + 60 - store_->stats().entries);
  for (const std::vector<std::string>& keys : evictions_by_record()) {
    EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size());
  }
}

TEST_F(MemoryLimitTest, AConditionThatDoesNotHoldCostsNoKeyItsPlace) {
  open({.max_entries = 10, .when_full = WhenFull::kEvict});
  put_many(10, "v");
  EXPECT_EQ(store_->put("new", "v", {.if_version = 5}).code(), Code::kConflict);
  EXPECT_EQ(store_->stats().entries, 10U);
  EXPECT_EQ(store_->stats().evicted, 0U);
}

TEST_F(MemoryLimitTest, ATransactionThatConflictsCostsNoKeyItsPlace) {
  open({.max_entries = 10, .when_full = WhenFull::kEvict});
  put_many(10, "v");
  Result<Transaction> transaction = store_->begin();
  ASSERT_TRUE(transaction.ok());
  (void)transaction->get(key(0));
  ASSERT_TRUE(store_->put(key(0), "w").ok());
  transaction->put("new", "v");
  EXPECT_EQ(transaction->commit().code(), Code::kConflict);
  EXPECT_EQ(store_->stats().evicted, 0U);
}

// Each compaction had thousands of writes refused, and most of the store evicted in vain: what it saw stayed in memory.
TEST_F(MemoryLimitTest, WritesGetAlongWithACompactionThatHoldsTheMemory) {
  for (const WhenFull when_full : {WhenFull::kEvict, WhenFull::kRefuse}) {
    SCOPED_TRACE(when_full == WhenFull::kEvict ? "evict" : "refuse");
    std::latch may_end(1);
    open_with_compaction_until(may_end, when_full);
    const std::string value(1000, 'v');
    put_many(when_full == WhenFull::kEvict ? 20'000 : 8'000, value);
    const uint64_t entries = store_->stats().entries;
    std::thread compactor = compacting();
    std::atomic<int> written{0};
    std::thread writer([&] {
      for (int i = 0; i < 16'000; ++i, ++written) {
        const Status s = store_->put(key(i % 8'000), value);
        ASSERT_TRUE(s.ok()) << i << ": " << s.message();
      }
    });
    for (int before = -1; before != written.load();) {  // until it waits
      before = written;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    // What was written since may go, and what it sees may not.
    EXPECT_TRUE(when_full == WhenFull::kEvict || written < 16'000);
    EXPECT_GT(store_->stats().entries, entries / 4 * 3);
    may_end.count_down();
    writer.join();
    compactor.join();
    EXPECT_GT(store_->stats().entries, entries / 4 * 3);
    close();
    std::filesystem::remove_all(dir());
  }
}

TEST_F(MemoryLimitTest, WhatACompactionSeesIsNotEvictedForItsBytes) {
  std::latch may_end(1);
  open_with_compaction_until(may_end, WhenFull::kEvict);
  put_many(20'000, std::string(1000, 'v'));
  const auto still_there = [&] {
    int count = 0;
    for (int i = 0; i < 20'000; ++i) count += store_->contains(key(i)) ? 1 : 0;
    return count;
  };
  const int before = still_there();
  std::thread compactor = compacting();
  std::thread writer([&] {
    for (int i = 0; i < 3'000; ++i) EXPECT_TRUE(store_->put("new" + std::to_string(i), std::string(1000, 'w')).ok());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(still_there(), before);
  may_end.count_down();
  writer.join();
  compactor.join();
}

// What it had held was gone through bit by bit, and the first bit was too little for a large value.
TEST_F(MemoryLimitTest, WhatACompactionHeldIsThereForAWriteThatWaitedForIt) {
  for (const WhenFull when_full : {WhenFull::kEvict, WhenFull::kRefuse}) {
    SCOPED_TRACE(when_full == WhenFull::kEvict ? "evict" : "refuse");
    std::latch may_end(1);
    open_with_compaction_until(may_end, when_full);
    put_many(20'000, std::string(200, 'a'));
    std::thread compactor = compacting();
    put_many(20'000, std::string(200, 'b'));
    ASSERT_GT(store_->stats().versions_held, 19'000U);
    std::thread writer([&] {
      const Status s = store_->put("large", std::string(size_t{6} << 20, 'v'));
      EXPECT_TRUE(s.ok()) << s.message();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    may_end.count_down();
    writer.join();
    compactor.join();
    EXPECT_EQ(store_->stats().entries, 20'001U);
    EXPECT_EQ(store_->stats().evicted, 0U);
    close();
    std::filesystem::remove_all(dir());
  }
}

// It evicted a little and was refused, and so were hundreds of writes after it.
TEST_F(MemoryLimitTest, WhatASnapshotHeldIsThereForTheNextWrite) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{16} << 20});
  put_many(20'000, std::string(200, 'a'));
  {
    const Result<Snapshot> snapshot = store_->snapshot();
    put_many(20'000, std::string(200, 'b'));
  }
  const Status s = store_->put("large", std::string(size_t{6} << 20, 'v'));
  EXPECT_TRUE(s.ok()) << s.message();
}

TEST_F(MemoryLimitTest, AStoreThatHoldsFarTooMuchIsShrunkByItsFirstWrite) {
  constexpr uint64_t kLimit = uint64_t{8} << 20;
  open({.compact_at_percent = 0});
  put_many(20'000, std::string(1000, 'v'));
  ASSERT_GT(store_->stats().table_bytes, uint64_t{20} << 20);
  open({.compact_at_percent = 0, .max_memory = kLimit, .when_full = WhenFull::kEvict});
  const Status s = store_->put("new", "v");
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_LE(store_->stats().key_bytes + store_->stats().value_bytes, kLimit);
  EXPECT_GT(store_->stats().entries, 4'000U);  // no more than need be was evicted
  EXPECT_TRUE(shrinks_to(kLimit + (uint64_t{4} << 20))) << store_->stats().table_bytes;
}

// What it had evicted was given back, and what it held still was over the limit: no value of another size found room.
TEST_F(MemoryLimitTest, AStoreThatWasShrunkTakesValuesOfAnotherSizeAtOnce) {
  open({.compact_at_percent = 0});
  put_many(20'000, std::string(1000, 'v'));
  open({.compact_at_percent = 0, .max_memory = uint64_t{8} << 20, .when_full = WhenFull::kEvict});
  ASSERT_TRUE(store_->put("new", "v").ok());
  ASSERT_TRUE(shrinks_to(uint64_t{12} << 20));
  const uint64_t entries = store_->stats().entries;
  for (const size_t bytes : {200U, 300U, 5'000U, 400'000U}) {
    const Status s = store_->put("other", std::string(bytes, 'v'));
    EXPECT_TRUE(s.ok()) << bytes << ": " << s.message();
  }
  EXPECT_GT(store_->stats().entries, entries / 4);
}

TEST_F(MemoryLimitTest, AStoreThatHoldsFarTooMuchEvictsLittleWhileASnapshotKeepsItAll) {
  open({.compact_at_percent = 0});
  put_many(20'000, std::string(1000, 'v'));
  open({.compact_at_percent = 0, .max_memory = uint64_t{8} << 20, .when_full = WhenFull::kEvict});
  {
    const Result<Snapshot> snapshot = store_->snapshot();
    EXPECT_EQ(store_->put("new", "v").code(), Code::kOutOfMemory);
    EXPECT_LT(store_->stats().evicted, 100U);
  }
  const Status s = store_->put("new", "v");
  EXPECT_TRUE(s.ok()) << s.message();
}

// Values of all sizes, overwritten, deleted and read by threads: what the table takes stays within the limit.
TEST_F(MemoryLimitTest, MemoryStaysWithinTheLimitWhateverIsWritten) {
  constexpr uint64_t kLimit = uint64_t{24} << 20;
  for (const WhenFull when_full : {WhenFull::kRefuse, WhenFull::kEvict}) {
    std::mt19937_64 random(seed());
    open({.max_memory = kLimit, .when_full = when_full});
    uint64_t refused = 0;
    for (int i = 0; i < 60'000; ++i) {
      const std::string k = key(random() % 100'000);
      const size_t size = random() % 50 == 0 ? random() % 20'000 : random() % 1000;
      if (random() % 10 == 0) {
        ASSERT_TRUE(store_->del(k).ok());
      } else if (Status s = store_->put(k, std::string(size, 'v')); !s.ok()) {
        ASSERT_EQ(s.code(), Code::kOutOfMemory) << s.message();
        ++refused;
      }
      if (i % 500 != 0) continue;
      ASSERT_LE(store_->stats().table_bytes, kLimit + (uint64_t{4} << 20)) << i;
    }
    EXPECT_GT(store_->stats().table_bytes, kLimit / 2);
    if (when_full == WhenFull::kRefuse) {
      EXPECT_GT(refused, 100U);
    } else {
      EXPECT_LE(refused, 60U);  // one in a thousand: values of such different sizes leave holes that fit nothing else
    }
    EXPECT_EQ(evictions_in_log() == 0, when_full == WhenFull::kRefuse);
    close();
    std::filesystem::remove_all(dir());
  }
  open();
}

// Evicting what it sees frees nothing, and went on with each write: in the end the store was empty.
TEST_F(MemoryLimitTest, ASnapshotCostsTheStoreNoMoreThanAPart) {
  open({.max_memory = uint64_t{8} << 20, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(store_->put(key(i), std::string(1000, 'v')).ok());
  const auto still_there = [&] {
    int count = 0;
    for (int i = 0; i < 20'000; ++i) count += store_->contains(key(i)) ? 1 : 0;
    return count;
  };
  {
    Result<Snapshot> snapshot = store_->snapshot();
    const int before = still_there();
    EXPECT_GT(before, 1000);
    for (int i = 0; i < 5000; ++i) (void)store_->put("new" + std::to_string(i), std::string(1000, 'w')).ok();
    EXPECT_GT(still_there(), before * 3 / 4);
    for (int i = 0; i < 500; ++i) EXPECT_EQ(store_->put("large", std::string(3 << 20, 'x')).code(), Code::kOutOfMemory);
    EXPECT_GT(still_there(), before * 3 / 4);
  }
  Status taken;
  for (int i = 0; i < 200; ++i) {
    taken = store_->put("large", std::string(3 << 20, 'x'));
    if (taken.ok()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(taken.ok()) << taken.message();
}

// There is always one that sees nearly all of the store, but none for long; beside one that stays, too.
TEST_F(MemoryLimitTest, ShortSnapshotsInARowAreNoReasonToRefuse) {
  for (const bool beside_a_long_one : {false, true}) {
    SCOPED_TRACE(beside_a_long_one);
    open({.compact_at_percent = 0, .max_memory = uint64_t{16} << 20, .when_full = WhenFull::kEvict});
    const int before = beside_a_long_one ? 9'000 : 20'000;
    put_many(before, std::string(1000, 'v'));
    std::optional<Snapshot> stays;
    if (beside_a_long_one) {
      stays = *store_->snapshot();
      put_many(2'500, std::string(1000, 'w'));  // over an eighth of the memory waits for it
    }
    std::atomic<bool> stops = false;
    std::thread reader([&] {
      std::optional<Snapshot> last;
      while (!stops) {
        Result<Snapshot> next = store_->snapshot();
        if (next.ok()) last = *std::move(next);
        std::this_thread::yield();
      }
    });
    int refused = 0;
    int in_a_row = 0;
    int most_in_a_row = 0;
    for (int i = 0; i < 15'000; ++i) {
      const bool ok = store_->put(key(before + i), std::string(1000, 'w')).ok();
      refused += ok ? 0 : 1;
      in_a_row = ok ? 0 : in_a_row + 1;
      most_in_a_row = std::max(most_in_a_row, in_a_row);
    }
    EXPECT_LT(most_in_a_row, 500);
    stops = true;
    reader.join();
    EXPECT_LT(refused, 1'500);
    stays.reset();
    close();
    std::filesystem::remove_all(dir());
  }
}

// None of them keeps much, and together they had all of the store evicted in vain.
TEST_F(MemoryLimitTest, ManySnapshotsCostTheStoreNoMoreThanAPart) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{16} << 20, .when_full = WhenFull::kEvict});
  put_many(20'000, std::string(1000, 'v'));
  const uint64_t before = store_->stats().entries;
  std::vector<Snapshot> snapshots;
  for (int i = 0; i < 4'000; ++i) {
    if (i % 4 == 0) snapshots.push_back(*store_->snapshot());
    (void)store_->put("new" + std::to_string(i), std::string(1000, 'w')).ok();
  }
  EXPECT_GT(store_->stats().entries, before / 4 * 3);
}

// What the snapshot keeps came off what could be evicted, and then nothing was.
TEST_F(MemoryLimitTest, LargeValuesTakeTurnsBesideASnapshot) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{32} << 20, .when_full = WhenFull::kEvict});
  const std::string value(512 << 10, 'v');
  for (int i = 0; i < 80; ++i) ASSERT_TRUE(store_->put(key(i), value).ok());
  const Result<Snapshot> snapshot = store_->snapshot();
  int refused = 0;
  for (int i = 0; i < 100; ++i) refused += store_->put("new" + std::to_string(i), value).ok() ? 0 : 1;
  EXPECT_LT(refused, 10);
  uint64_t still_there = 0;
  for (int i = 0; i < 80; ++i) still_there += store_->contains(key(i)) ? 1 : 0;
  EXPECT_GT(still_there, 40U);
}

// In the place of an entry whose older version is held a tombstone stays, which is as large where the value is empty: all of
// them went, for nothing.
TEST_F(MemoryLimitTest, WhatLeavesATombstoneAsLargeIsNotEvictedForItsBytes) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{8} << 20, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(store_->put(key(i), "").ok());
  const Result<Snapshot> snapshot = store_->snapshot();
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(store_->put(key(i), "").ok());
  for (int i = 0; i < 10'000; ++i) (void)store_->put("new" + std::to_string(i), std::string(1000, 'w')).ok();
  uint64_t still_there = 0;
  for (int i = 0; i < 20'000; ++i) still_there += store_->contains(key(i)) ? 1 : 0;
  EXPECT_GT(still_there, 15'000U);
}

// What was deleted was not free for as long as somebody might be looking at it, a matter of microseconds.
TEST_F(MemoryLimitTest, NoWriteIsRefusedForAReaderWhoIsJustLooking) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{8} << 20});
  const std::string value(256 << 10, 'v');
  uint64_t count = 0;
  while (store_->put(key(count), value).ok()) ++count;
  std::atomic<bool> stops = false;
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stops) (void)store_->get("key0").has_value();
    });
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(store_->del(key(1)).ok());
    const Status s = store_->put(key(1), value);
    EXPECT_TRUE(s.ok()) << i << " " << s.message();
  }
  stops = true;
  for (std::thread& reader : readers) reader.join();
}

// What was evicted while he looked came off nothing, and each put evicted more: five thousand keys for these three hundred.
TEST_F(MemoryLimitTest, AReaderWhoTakesHisTimeCostsTheStoreLittle) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{16} << 20, .when_full = WhenFull::kEvict});
  put_many(20'000, std::string(1000, 'v'));
  ASSERT_TRUE(store_->put("read", "v").ok());
  const uint64_t evicted = store_->stats().evicted;
  EXPECT_TRUE(store_->read("read", [this](std::string_view) {
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(store_->put("new" + std::to_string(i), std::string(1000, 'w')).ok()) << i;
    for (int refused = 0; refused < 3;) {
      refused += store_->put("more", std::string(1000, 'w')).ok() ? 0 : 1;
    }
  }));
  EXPECT_LT(store_->stats().evicted - evicted, 500U);
}

// ---- what nobody sees any more is no reason to refuse or to evict ------------------------------------

TEST_F(MemoryLimitTest, OverwrittenValuesMakeRoomBeforeAWriteIsRefused) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{64} << 20});  // a compaction sees old values, too
  for (int i = 0; i < 20; ++i) {
    const Status s = store_->put("large", std::string(5 << 20, 'v'));
    ASSERT_TRUE(s.ok()) << i << " " << s.message();
  }
}

TEST_F(MemoryLimitTest, OverwrittenValuesMakeRoomBeforeAKeyIsEvicted) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{32} << 20, .when_full = WhenFull::kEvict});
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(store_->put(key(i % 20), std::string(1 << 20, 'v')).ok());
  EXPECT_EQ(store_->stats().entries, 20U);
  EXPECT_EQ(store_->stats().evicted, 0U);
}

// The call's own pin, which stood until it was done, kept all that it had erased.
TEST_F(MemoryLimitTest, ErasePrefixHoldsNothingBack) {
  open({.compact_at_percent = 0});
  put_many(10'000, std::string(1000, 'v'));
  const uint64_t bytes_before = store_->stats().table_bytes;
  ASSERT_EQ(*store_->erase_prefix("key"), 10'000U);
  EXPECT_EQ(store_->stats().versions_held, 0U);
  EXPECT_EQ(store_->stats().versions_held_bytes, 0U);
  EXPECT_TRUE(shrinks_to(bytes_before / 4)) << store_->stats().table_bytes;
}

// It passed over what had expired by its clock, which could then be set back, and the key was there again.
TEST_F(MemoryLimitTest, WhatErasePrefixFindsExpiredStaysSo) {
  open(clocked());
  ASSERT_TRUE(store_->put("k", "v", {.ttl = std::chrono::seconds(1)}).ok());
  now_us += 2'000'000;
  EXPECT_EQ(*store_->erase_prefix(""), 0U);
  now_us -= 2'000'000;
  EXPECT_EQ(store_->get("k"), std::nullopt);
  now_us += 2'000'000;
}

TEST_F(MemoryLimitTest, WhatHasExpiredMakesRoomBeforeAWriteIsRefused) {
  Options options = clocked();
  options.max_entries = 200;
  open(std::move(options));
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store_->put(key(i), "v", {.ttl = std::chrono::seconds(1)}).ok());
  EXPECT_EQ(store_->put("more", "v").code(), Code::kOutOfMemory);
  now_us += 2'000'000;
  EXPECT_TRUE(store_->put("more", "v").ok());
}

TEST_F(MemoryLimitTest, WhatHasExpiredMakesRoomForBytes) {
  Options options = clocked();
  options.max_memory = uint64_t{8} << 20;
  open(std::move(options));
  const std::string value(1000, 'v');
  int count = 1'000;
  while (store_->put(key(count), value, {.ttl = std::chrono::seconds(1)}).ok()) ASSERT_LT(++count, 10'000);
  const auto put_more = [&] { return store_->put(key(count + 1), value, {.ttl = std::chrono::hours(1)}); };
  ASSERT_EQ(put_more().code(), Code::kOutOfMemory);
  now_us += 2'000'000;
  const Status s = put_more();
  EXPECT_TRUE(s.ok()) << s.message();
}

// The call was itself the reader, or the snapshot, for which the evicted values had to stay: it evicted everything, and failed.
TEST_F(MemoryLimitTest, NoCallKeepsItselfFromTheMemoryThatItEvicts) {
  open({.compact_at_percent = 0, .max_memory = uint64_t{8} << 20, .when_full = WhenFull::kEvict});
  const std::string large(100'000, 'v');
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store_->put(key(i), large).ok());
  const uint64_t entries = store_->stats().entries;
  ASSERT_GT(entries, 30U);
  const auto check = [&](const char* call, const std::function<Status(int)>& run) {
    for (int i = 0; i < 20; ++i) {  // some of them meet a store that is full
      const uint64_t evicted = store_->stats().evicted;
      const Status s = run(i);
      ASSERT_TRUE(s.ok()) << call << ": " << s.message();
      ASSERT_LE(store_->stats().evicted - evicted, 10U) << call;
    }
    EXPECT_GT(store_->stats().entries, entries / 2) << call;
    for (int i = 0; i < 60; ++i) ASSERT_TRUE(store_->put(key(i), large).ok());  // the next one begins with such values
  };
  check("expire", [&](int i) { return store_->expire(key(40 + i), std::chrono::hours(1)).status(); });
  check("persist", [&](int i) {
    const Status s = store_->expire(key(40 + i), std::chrono::hours(1)).status();
    return s.ok() ? store_->persist(key(40 + i)).status() : s;
  });
  check("patch", [&](int i) { return store_->patch("document" + std::to_string(i), "{\"a\":\"" + large + "\"}"); });
  check("transact", [&](int i) {
    return store_->transact([&](Transaction& txn) {
      (void)txn.get(key(59));
      txn.put("by a transaction" + std::to_string(i), large);
      return Status();
    });
  });
  check("transact with a scan", [&](int i) {
    return store_->transact([&](Transaction& txn) {
      const Result<std::vector<Entry>> found = txn.scan(key(59));
      txn.put("by one that scans" + std::to_string(i), large);
      return found.status();
    });
  });
}

TEST_F(MemoryLimitTest, TheLimitIsOfKeysAndNotOfOperations) {
  open({.max_entries = 1});
  Batch twice;
  twice.put("k", "1");
  twice.put("k", "2");
  EXPECT_TRUE(store_->write(twice).ok());
  Batch exchange;
  exchange.del("k");
  exchange.put("other", "3");
  EXPECT_TRUE(store_->write(exchange).ok());
  EXPECT_EQ(store_->get("other"), "3");
  EXPECT_EQ(store_->stats().entries, 1U);
  Batch more;
  more.put("k", "4");
  EXPECT_EQ(store_->write(more).code(), Code::kOutOfMemory);
  open({.max_entries = 1, .when_full = WhenFull::kEvict});
  Batch renames;
  renames.del("other");
  renames.put("k", "5");
  EXPECT_TRUE(store_->write(renames).ok());
  EXPECT_EQ(store_->stats().evicted, 0U);
}

}  // namespace
}  // namespace kvstore::testing
