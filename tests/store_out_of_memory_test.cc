// Every allocation of a workload fails once, on the caller's thread and on the store's own: each call says so or succeeds,
// the process lives, nothing acknowledged is lost, and the store opens again as a whole one.
//
// Calls that copy a value out are not among them: they are noexcept, as store.h says. The workload itself allocates
// nothing, so that every refusal meets the store.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kvstore/kvstore.h"
#include "tests/support/counting_new.h"
#include "tests/support/store_test.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kEveryNth = 7;
#else
constexpr uint64_t kEveryNth = 1;
#endif

constexpr size_t kPuts = 24;

class OutOfMemory : public ::testing::TestWithParam<LogIo> {
 protected:
  OutOfMemory() {
    for (size_t i = 0; i < kPuts; ++i) {
      keys_.push_back("key " + std::to_string(i));
      values_.push_back(std::to_string(i) + std::string(300, 'v'));
    }
    for (int i = 0; i < 3; ++i) batch_.put("batch " + std::to_string(i), "b");
  }

  // What was acknowledged, call by call.
  struct Outcome {
    Code opened = Code::kOk;
    Code closed = Code::kOk;
    std::array<Code, kPuts> puts{};
    Code batch = Code::kOk;
    Code transaction = Code::kOk;
    Code increment = Code::kOk;
    Code document = Code::kOk;
    Code patch = Code::kOk;
    Code del = Code::kOk;
    std::array<Code, 5> others{};
  };

  [[nodiscard]] static Options options() {
    return {.sync_interval = std::chrono::hours(1),
            .log_io = GetParam(),
            .segment_bytes = 4096,
            .replay_threads = 1,
            .compact_at_percent = 0};
  }

  // Allocates nothing by itself.
  Outcome run(const std::filesystem::path& dir, const std::filesystem::path& copy) {
    Outcome outcome;
    Result<Store> opened = Store::open(dir, options());
    outcome.opened = opened.status().code();
    if (!opened.ok()) return outcome;
    Store& store = *opened;
    for (size_t i = 0; i < kPuts; ++i) {
      WriteOptions durable;
      if (i % 5 == 0) durable.durability = Durability::kSync;
      outcome.puts[i] = store.put(keys_[i], values_[i], durable).code();
      if (i == kPuts / 2) outcome.others[0] = store.compact().status().code();
    }
    outcome.batch = store.write(batch_).code();
    outcome.transaction = transact(store);
    outcome.increment = store.increment("number", 7).status().code();
    outcome.document = store.put_json("doc", R"({"a": [1, 2, {"b": null}]})").code();
    outcome.patch = store.patch("doc", R"({"a": 1})").code();
    outcome.del = store.del(keys_[1]).status().code();
    outcome.others[1] = store.expire(keys_[2], std::chrono::hours(1000)).status().code();
    outcome.others[2] = store.scan("key").status().code();
    outcome.others[3] = store.backup(copy).status().code();
    outcome.others[4] = store.sync().code();
    outcome.closed = store.close().code();
    return outcome;
  }
  Code transact(Store& store) const {
    Result<Transaction> transaction = store.begin();
    if (!transaction.ok()) return transaction.status().code();
    transaction->put("transaction", "t");
    transaction->del(keys_[3]);
    return transaction->commit().code();
  }

  static bool is_answer(Code code) {
    // Broken: a sync ran out of memory, and whether the disk had failed nobody will ever tell.
    return code == Code::kOk || code == Code::kOutOfMemory || code == Code::kBroken;
  }

  // Opens what is left, with memory as it should be.
  void check(const std::filesystem::path& dir, const std::filesystem::path& copy, const Outcome& outcome) {
    for (size_t i = 0; i < kPuts; ++i) {  // of a sync without memory the put says what it says of any other that failed
      const bool syncs = i % 5 == 0;
      EXPECT_TRUE(is_answer(outcome.puts[i]) || (syncs && outcome.puts[i] == Code::kIoError))
          << code_name(outcome.puts[i]);
    }
    // A failure that has no memory for its errno either: that a file to be removed is not there looks like any other then.
    EXPECT_TRUE(is_answer(outcome.opened) || outcome.opened == Code::kIoError) << code_name(outcome.opened);
    for (const Code code : outcome.others) EXPECT_TRUE(is_answer(code) || code == Code::kIoError) << code_name(code);
    for (const Code code :
         {outcome.closed, outcome.batch, outcome.transaction, outcome.increment, outcome.document, outcome.patch}) {
      EXPECT_TRUE(is_answer(code) || code == Code::kConflict) << code_name(code);
    }
    Result<Store> again = Store::open(dir, options());
    ASSERT_TRUE(again.ok()) << again.status().message();
    const std::map<std::string, std::string> found = contents_of(*again);
    const auto expect = [&](Code code, const std::string& key, const std::string& value) {
      const auto at = found.find(key);
      if (code == Code::kOk) {
        EXPECT_TRUE(at != found.end()) << key << " was acknowledged";
      }
      if (code == Code::kOutOfMemory) {
        EXPECT_TRUE(at == found.end()) << key << " was not to be written";
      }
      if (at != found.end()) {
        EXPECT_EQ(at->second, value);
      }
    };
    if (outcome.opened != Code::kOk) {
      EXPECT_TRUE(found.empty());
      return;
    }
    for (size_t i = 0; i < kPuts; ++i) {
      if (i != 1 && i != 3) expect(outcome.puts[i], keys_[i], values_[i]);
    }
    if (outcome.del == Code::kOk) {
      EXPECT_FALSE(found.contains(keys_[1]));
    }
    if (outcome.transaction == Code::kOk) {
      EXPECT_FALSE(found.contains(keys_[3]));
    }
    expect(outcome.batch, "batch 0", "b");
    EXPECT_EQ(found.contains("batch 0"), found.contains("batch 2")) << "half a batch";
    expect(outcome.transaction, "transaction", "t");
    expect(outcome.increment, "number", "7");
    if (outcome.document == Code::kOk) {
      EXPECT_TRUE(found.contains("doc"));
    }
    ASSERT_TRUE(again->put("after", "all").ok());
    ASSERT_TRUE(again->close().ok());
    Result<VerifyReport> report = verify(dir);
    ASSERT_TRUE(report.ok());
    for (const Finding& finding : report->findings) ADD_FAILURE() << finding.message;
    if (outcome.others[3] == Code::kOk) {
      EXPECT_TRUE(Store::open(copy, {.read_only = true}).ok()) << "a backup that was reported as done";
    }
  }

  std::vector<std::string> keys_, values_;
  Batch batch_;
};

TEST_P(OutOfMemory, AnyAllocationOfTheCallersThreadMayFail) {
  uint64_t tried = 0;
  for (uint64_t allowed = 0;; allowed += kEveryNth) {
    SCOPED_TRACE("after " + std::to_string(allowed) + " allocations");
    const TempDir temp;
    const std::filesystem::path dir = temp / "db";
    const std::filesystem::path copy = temp / "copy";
    Outcome outcome;
    bool refused = false;
    {
      const MemoryRunsOut out(allowed, 1);
      outcome = run(dir, copy);
      refused = MemoryRunsOut::has_refused();
    }
    check(dir, copy, outcome);
    if (!refused || HasFailure()) break;
    ++tried;
  }
  EXPECT_GT(tried, 200U / kEveryNth);
}

TEST_P(OutOfMemory, AnyAllocationOfTheStoresOwnThreadsMayFail) {
  uint64_t tried = 0;
  for (uint64_t allowed = 0;; ++allowed) {
    SCOPED_TRACE("after " + std::to_string(allowed) + " allocations elsewhere");
    const TempDir temp;
    const std::filesystem::path dir = temp / "db";
    const std::filesystem::path copy = temp / "copy";
    Outcome outcome;
    bool refused = false;
    {
      const MemoryRunsOutElsewhere out(allowed);
      outcome = run(dir, copy);
      refused = MemoryRunsOutElsewhere::has_refused();
    }
    check(dir, copy, outcome);
    if (!refused || HasFailure()) break;
    ++tried;
  }
  EXPECT_GT(tried, 0U);
}

INSTANTIATE_TEST_SUITE_P(BothLogs, OutOfMemory, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

// ---- single calls ---------------------------------------------------------------------------------

// Fails each allocation of `call` once. Returns in how many of these runs it said so; in the others it did without, or
// failed as `or_else` says.
template <typename Call>
int refusals_of(Call call, Code or_else = Code::kOutOfMemory) {
  for (int said_so = 0, allowed = 0;; ++allowed) {
    Code code = Code::kOk;
    bool refused = false;
    {
      const MemoryRunsOut out(static_cast<uint64_t>(allowed), 1);
      code = call();
      refused = MemoryRunsOut::has_refused();
    }
    EXPECT_TRUE(code == Code::kOk || code == Code::kOutOfMemory || code == or_else) << code_name(code);
    said_so += code == Code::kOutOfMemory ? 1 : 0;
    if (refused && !::testing::Test::HasFailure()) continue;
    EXPECT_EQ(code, Code::kOk);
    return said_so;
  }
}

class OutOfMemoryCall : public ::testing::Test {
 protected:
  static constexpr int kKeys = 300;
  OutOfMemoryCall() : dir_(temp_ / "db"), store_(*Store::open(dir_, {.compact_at_percent = 0})) {
    for (int i = 0; i < kKeys; ++i) EXPECT_TRUE(store_.put("key " + std::to_string(i), std::string(100, 'v')).ok());
  }

  const TempDir temp_;
  const std::filesystem::path dir_;
  Store store_;
};

TEST_F(OutOfMemoryCall, ReadsSayWhenTheyHaveNoRoomForWhatTheyFound) {
  EXPECT_GT(refusals_of([&] { return store_.scan("key 1", "key 2").status().code(); }), 0);
  EXPECT_GT(refusals_of([&] { return store_.for_each([](const EntryView&) {}).code(); }), 0);
  const Result<Snapshot> snapshot = store_.snapshot();
  EXPECT_GT(refusals_of([&] { return snapshot->scan("key 1", "key 2").status().code(); }), 0);
  EXPECT_GT(refusals_of([&] { return snapshot->for_each([](const EntryView&) {}).code(); }), 0);
}

TEST_F(OutOfMemoryCall, WritesSaySoAndAreDoneOnceThereIsMemory) {
  EXPECT_GT(refusals_of([&] { return store_.put_json("doc", "{\"n\":\n1}").code(); }), 0);
  EXPECT_EQ(store_.get("doc"), "{\"n\":1}");
  EXPECT_GT(refusals_of([&] { return store_.erase_prefix("key ").status().code(); }), 0);
  EXPECT_EQ(store_.stats().entries, 1U);
}

TEST_F(OutOfMemoryCall, ATransactionThatCannotNoteWhatItReadsAnswersAndDoesNotCommit) {
  Result<Transaction> transaction = store_.begin();
  ASSERT_TRUE(transaction.ok());
  EXPECT_GT(refusals_of([&] { return transaction->scan("key 1").status().code(); }), 0);
  transaction->put("mine", "1");
  bool found = false;
  {
    const MemoryRunsOut now(0, 1);
    found = transaction->contains("key 7");
    EXPECT_TRUE(MemoryRunsOut::has_refused());
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(transaction->commit().message(), "commit: note what was read: out of memory");
  EXPECT_FALSE(store_.contains("mine"));
}

TEST_F(OutOfMemoryCall, ATransactionThatCannotKeepADeletionDoesNotCommit) {
  Result<Transaction> transaction = store_.begin();
  ASSERT_TRUE(transaction.ok());
  transaction->put("mine", "1");
  {
    const MemoryRunsOut now(0, 1);
    transaction->del("key 7");
    EXPECT_TRUE(MemoryRunsOut::has_refused());
  }
  EXPECT_EQ(transaction->commit().message(), "commit: del: out of memory");
  EXPECT_TRUE(store_.contains("key 7"));
  EXPECT_FALSE(store_.contains("mine"));
}

TEST_F(OutOfMemoryCall, StatisticsGoWithoutTheSentenceThatFindsNoMemory) {
  std::filesystem::create_directory(dir_ / "snapshot-00000000000000000300.jsonl.tmp");  // in the way of a compaction
  const std::string sentence(store_.compact().status().message());
  EXPECT_EQ(store_.stats().last_error, sentence);
  Stats stats;
  {
    const MemoryRunsOut now(0, 1);
    stats = store_.stats();
    EXPECT_TRUE(MemoryRunsOut::has_refused());
  }
  EXPECT_EQ(stats.last_error, "");
  EXPECT_EQ(stats.compactions_failed, 1U);
  EXPECT_EQ(stats.entries, static_cast<uint64_t>(kKeys));
}

TEST_F(OutOfMemoryCall, AnErrorThatCannotBeKeptIsKeptAsTheLackOfMemory) {
  ASSERT_TRUE(store_.close().ok());
  std::set<std::string> kept;
  bool refused = true;
  for (uint64_t allowed = 0; refused; ++allowed) {
    SCOPED_TRACE("after " + std::to_string(allowed) + " allocations");
    const TempDir temp;  // anew, for what was kept has memory for the next one
    Result<Store> store = Store::open(temp / "db", {.compact_at_percent = 0});
    ASSERT_TRUE(store.ok() && store->put("a", "1").ok());
    std::filesystem::create_directory(temp / "db/snapshot-00000000000000000001.jsonl.tmp");
    Code code = Code::kOk;
    {
      const MemoryRunsOut out(allowed, 1);
      code = store->compact().status().code();
      refused = MemoryRunsOut::has_refused();
    }
    EXPECT_NE(code, Code::kOk);
    EXPECT_EQ(store->stats().compactions_failed, 1U);
    kept.insert(store->stats().last_error);
  }
  EXPECT_TRUE(kept.contains("out of memory"));
  EXPECT_TRUE(kept.contains("compact: out of memory"));
}

TEST_F(OutOfMemoryCall, ARepairSaysSoAndLeavesAWholeStoreOrNone) {
  ASSERT_TRUE(store_.close().ok());
  // A failure that has no memory for its errno either may look like any other.
  const auto plan = [&] { return plan_repair(dir_, {.threads = 1}).status().code(); };
  EXPECT_GT(refusals_of(plan, Code::kIoError), 0);
  int said_so = 0;
  bool refused = true;
  for (uint64_t allowed = 0; refused && !HasFailure(); allowed += kEveryNth) {
    SCOPED_TRACE("after " + std::to_string(allowed) + " allocations");
    const std::filesystem::path new_dir = temp_ / ("new " + std::to_string(allowed));
    Code code = Code::kOk;
    {
      const MemoryRunsOut out(allowed, 1);
      code = repair(dir_, new_dir, {.threads = 1}).status().code();
      refused = MemoryRunsOut::has_refused();
    }
    EXPECT_TRUE(code == Code::kOk || code == Code::kOutOfMemory || code == Code::kIoError) << code_name(code);
    said_so += code == Code::kOutOfMemory ? 1 : 0;
    const Result<Store> repaired = Store::open(new_dir, {.create_if_missing = false});
    EXPECT_EQ(repaired.ok(), code == Code::kOk) << repaired.status().message();
    if (repaired.ok()) {
      EXPECT_EQ(repaired->stats().entries, static_cast<uint64_t>(kKeys));
    }
  }
  EXPECT_GT(said_so, 0);
}

TEST_F(OutOfMemoryCall, AnyAllocationOfTheThreadsOfAReplayMayFail) {
  ASSERT_TRUE(store_.close().ok());
  int said_so = 0;
  bool refused = true;
  for (uint64_t allowed = 0; refused && !HasFailure(); ++allowed) {
    SCOPED_TRACE("after " + std::to_string(allowed) + " allocations elsewhere");
    const MemoryRunsOutElsewhere out(allowed);
    const Result<Store> store = Store::open(dir_, {.read_only = true, .replay_threads = 3});
    refused = MemoryRunsOutElsewhere::has_refused();
    EXPECT_TRUE(store.ok() || store.status().code() == Code::kOutOfMemory) << store.status().message();
    said_so += store.ok() ? 0 : 1;
    if (store.ok()) {
      EXPECT_EQ(store->stats().entries, static_cast<uint64_t>(kKeys));
    }
  }
  EXPECT_GT(said_so, 0);
}

}  // namespace
}  // namespace kvstore::testing
