// Transactions, promise by promise, on one thread: what they read, what they write, and which changes refuse them.
// Many threads at once are store_serializability_test.cc's.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kvstore/kvstore.h"
#include "kvstore/transaction.h"
#include "tests/support/store_test.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

using std::chrono::microseconds;

class TransactionTest : public StoreTest {
 protected:
  void SetUp() override { open(clocked()); }
  void put(std::string_view key, std::string_view value, const WriteOptions& options = {}) {
    const Status s = store_->put(key, value, options);
    ASSERT_TRUE(s.ok()) << s.message();
  }
  void del(std::string_view key) {
    Result<bool> found = store_->del(key);
    ASSERT_TRUE(found.ok() && *found);
  }
  Transaction begin() {
    Result<Transaction> transaction = store_->begin();
    EXPECT_TRUE(transaction.ok()) << transaction.status().message();
    return *std::move(transaction);
  }
  // "a=1 b=2": what a scan gives.
  static std::string text_of(const Result<std::vector<Entry>>& entries) {
    if (!entries.ok()) return std::string(entries.status().message());
    std::string text;
    for (const Entry& entry : *entries) text += fmt::format("{}{}={}", text.empty() ? "" : " ", entry.key, entry.value);
    return text;
  }
  // "OK", or the code and the key to blame.
  static std::string outcome(Transaction& transaction, const WriteOptions& options = {}) {
    const Status s = transaction.commit(options);
    if (s.ok()) return "OK";
    if (s.code() != Code::kConflict) return std::string(s.message());
    EXPECT_TRUE(s.message().find("try: ") != std::string_view::npos) << s.message();
    return fmt::format("conflict: {}", transaction.conflict_key());
  }
  // The records from `seq` on, each as its operations: "put a=1", "batch put a=1 del b".
  std::vector<std::string> log_from(uint64_t seq) {
    Result<LogCursor> cursor = LogCursor::open(dir());
    EXPECT_TRUE(cursor.ok());
    std::vector<std::string> records;
    for (Result<const LogRecord*> record = cursor->next(); record.ok() && *record != nullptr; record = cursor->next()) {
      if ((*record)->seq < seq) continue;
      std::string text = (*record)->is_batch ? "batch" : "";
      for (const LogOp& op : (*record)->ops) {
        text += fmt::format("{}{} {}", text.empty() ? "" : " ", op.kind == LogOp::Kind::kPut ? "put" : "del", op.key);
        if (op.kind == LogOp::Kind::kPut) text += fmt::format("={}", op.value);
      }
      records.push_back(std::move(text));
    }
    return records;
  }
};

using Log = std::vector<std::string>;

// ---- reading -------------------------------------------------------------------------------------

TEST_F(TransactionTest, ReadsTheInstantOfItsBeginWhateverIsWrittenMeanwhile) {
  put("a", "1");
  put("b", "1");
  Transaction txn = begin();
  EXPECT_EQ(txn.seq(), 2U);
  put("a", "2");
  del("b");
  put("c", "3");
  EXPECT_EQ(txn.get("a"), "1");
  EXPECT_EQ(txn.get_entry("b")->version, 2U);
  EXPECT_FALSE(txn.contains("c"));
  EXPECT_EQ(text_of(txn.scan()), "a=1 b=1");
}

TEST_F(TransactionTest, SeesItsOwnWritesAndNobodyElseDoesBeforeTheCommit) {
  put("a", "1");
  put("b", "1");
  Transaction txn = begin();
  txn.put("a", "mine");
  txn.del("b");
  txn.put_json("c", "{\"n\":\n1}");
  EXPECT_EQ(txn.get("a"), "mine");
  EXPECT_EQ(txn.get_entry("a")->version, 0U);
  EXPECT_EQ(txn.get("b"), std::nullopt);
  EXPECT_EQ(txn.get("c"), "{\"n\":1}");
  EXPECT_TRUE(txn.get_entry("c")->is_json);
  EXPECT_EQ(store_->get("a"), "1");
  EXPECT_EQ(store_->get("c"), std::nullopt);
  EXPECT_EQ(outcome(txn), "OK");
  EXPECT_EQ(contents_of(*store_), (std::map<std::string, std::string>{{"a", "mine"}, {"c", "json:{\"n\":1}"}}));
}

TEST_F(TransactionTest, ScansAreSortedAndHaveTheOwnWritesOnTop) {
  for (const char* key : {"a/1", "a/3", "a/5", "b/1"}) put(key, "old");
  Transaction txn = begin();
  txn.put("a/0", "new");
  txn.put("a/3", "new");
  txn.del("a/5");
  txn.put("a/9", "new");
  txn.put("b/0", "new");
  txn.del("absent");
  EXPECT_EQ(text_of(txn.scan("a/")), "a/0=new a/1=old a/3=new a/9=new");
  EXPECT_EQ(text_of(txn.scan("a/1", "a/9")), "a/1=old a/3=new");
  EXPECT_EQ(text_of(txn.scan("a/9", "")), "a/9=new b/0=new b/1=old");
  EXPECT_EQ(text_of(txn.scan("nothing")), "");
}

TEST_F(TransactionTest, ExpiryOfItsOwnWritesCountsFromTheCommit) {
  Transaction txn = begin();
  txn.put("ttl", "1", {.ttl = microseconds(100)});
  txn.put("absolute", "1", {.expires_us = now_us + 1000});
  txn.put("over", "1", {.expires_us = now_us - 1});
  EXPECT_EQ(txn.get_entry("ttl")->expires_us, now_us + 100);
  EXPECT_EQ(txn.get_entry("absolute")->expires_us, now_us + 1000);
  EXPECT_FALSE(txn.contains("over"));
  EXPECT_EQ(text_of(txn.scan()), "absolute=1 ttl=1");
  now_us += 50;
  EXPECT_EQ(outcome(txn), "OK");
  EXPECT_EQ(store_->get_entry("ttl")->expires_us, now_us + 100);
  EXPECT_EQ(store_->ttl("absolute"), microseconds(950));
  EXPECT_FALSE(store_->contains("over"));
}

// ---- writing -------------------------------------------------------------------------------------

TEST_F(TransactionTest, SeveralWritesAreOneLineAndOneIsAPlainRecord) {
  Transaction several = begin();
  several.put("b", "first");
  several.put("a", "1");
  several.put("b", "2");
  several.del("c");
  EXPECT_EQ(outcome(several), "OK");
  Transaction one = begin();
  one.put("a", "3");
  EXPECT_EQ(outcome(one), "OK");
  EXPECT_EQ(log_from(1), (Log{"batch put a=1 put b=2 del c", "put a=3"}));
}

TEST_F(TransactionTest, OneThatOnlyReadLeavesNoLineAndMindsNoChange) {
  put("a", "1");
  Transaction txn = begin();
  EXPECT_EQ(txn.get("a"), "1");
  EXPECT_EQ(text_of(txn.scan()), "a=1");
  put("a", "2");
  EXPECT_EQ(outcome(txn), "OK");
  EXPECT_EQ(store_->last_seq(), 2U);
}

TEST_F(TransactionTest, RollbackAndDestructionWriteNothing) {
  {
    Transaction forgotten = begin();
    forgotten.put("a", "1");
    EXPECT_EQ(text_of(forgotten.scan()), "a=1");
  }
  Transaction txn = begin();
  txn.put("a", "1");
  txn.rollback();
  txn.rollback();
  EXPECT_NE(outcome(txn).find("the transaction is over"), std::string::npos);
  EXPECT_EQ(store_->last_seq(), 0U);
}

TEST_F(TransactionTest, IsOverAfterACommit) {
  Transaction txn = begin();
  txn.put("a", "1");
  EXPECT_EQ(outcome(txn), "OK");
  EXPECT_EQ(outcome(txn), "commit: the transaction is over: it was committed or rolled back. try: begin another");
  EXPECT_EQ(store_->last_seq(), 1U);
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";  // the store has threads
  EXPECT_DEATH((void)txn.get("a"), "instant_");
}

TEST_F(TransactionTest, WhatIsWrongWithAWriteIsReportedByTheCommitWhichWritesNothing) {
  const auto refused = [&](auto&& call) {
    Transaction txn = begin();
    txn.put("good", "1");
    call(txn);
    return outcome(txn);
  };
  EXPECT_EQ(refused([](Transaction& t) { t.put("", "1"); }),
            "commit: put: the key is empty; keys have 1 to 65536 bytes");
  EXPECT_EQ(refused([](Transaction& t) { t.del(""); }), "commit: del: the key is empty; keys have 1 to 65536 bytes");
  EXPECT_EQ(refused([](Transaction& t) { t.put("k", "1", {.ttl = microseconds(-1)}); }),
            "commit: put: the ttl is negative");
  EXPECT_EQ(
      refused([](Transaction& t) {
        t.put("k", "1", {.ttl = microseconds::max()});
        EXPECT_FALSE(t.contains("k"));
      }),
      "commit: put: the expiry 9223372036854775807 is no time in microseconds since 1970, or is past the year 2255");
  EXPECT_EQ(refused([](Transaction& t) { t.put_json("k", "{"); }).substr(0, 55),
            "commit: put_json: the value is no JSON document: line 1");
  EXPECT_EQ(refused([](Transaction& t) {
              t.put("k", std::string(kValueBytesMax + 1, 'v'));
              EXPECT_FALSE(t.contains("k"));
            }),
            "commit: put: the value has 67108865 bytes; values have at most 67108864");
  EXPECT_EQ(store_->last_seq(), 0U);
}

TEST_F(TransactionTest, CommitTakesDurabilityAndByAndNothingElse) {
  const std::string refusal = "commit: its options take durability and `by` only; an expiry belongs to put()";
  for (const WriteOptions& options : {WriteOptions{.ttl = microseconds(1)}, WriteOptions{.expires_us = 1},
                                      WriteOptions{.if_version = 1}, WriteOptions{.if_absent = true}}) {
    Transaction txn = begin();
    txn.put("a", "1");
    EXPECT_EQ(outcome(txn, options), refusal);
  }
  Transaction txn = begin();
  txn.put("a", "1");
  EXPECT_EQ(outcome(txn, {.durability = Durability::kSync, .by = "billing"}), "OK");
  EXPECT_GE(store_->stats().synced_seq, 1U);
  Result<LogCursor> cursor = LogCursor::open(dir());
  ASSERT_TRUE(cursor.ok());
  EXPECT_EQ((**cursor->next()).by, "billing");
}

TEST_F(TransactionTest, ReadOnlyAndClosedStoresRefuseTheWrites) {
  put("a", "1");
  Transaction txn = begin();
  txn.put("a", "2");
  Result<Store> reader = Store::open(dir(), {.read_only = true});
  ASSERT_TRUE(reader.ok());
  {
    Result<Transaction> reading = reader->begin();
    ASSERT_TRUE(reading.ok());
    EXPECT_EQ(reading->get("a"), "1");
    EXPECT_EQ(text_of(reading->scan()), "a=1");
    EXPECT_EQ(outcome(*reading), "OK");
    Result<Transaction> writing = reader->begin();
    writing->put("a", "2");
    EXPECT_EQ(writing->commit().code(), Code::kReadOnly);
  }
  ASSERT_TRUE(store_->close().ok());
  EXPECT_EQ(txn.commit().code(), Code::kClosed);
}

TEST_F(TransactionTest, MovingCarriesEverythingAlong) {
  put("a", "1");
  Transaction first = begin();
  EXPECT_EQ(text_of(first.scan("a")), "a=1");
  first.put("b", "2");
  Transaction second = begin();
  second = std::move(first);
  Store moved = std::move(*store_);
  EXPECT_EQ(second.get("b"), "2");
  ASSERT_TRUE(moved.put("a", "other").ok());
  EXPECT_EQ(outcome(second), "conflict: a");
  store_.emplace(std::move(moved));
}

// ---- conflicts: single keys ----------------------------------------------------------------------

TEST_F(TransactionTest, ALostUpdateIsRefused) {
  put("n", "1");
  Transaction first = begin();
  Transaction second = begin();
  for (Transaction* txn : {&first, &second}) txn->put("n", std::to_string(std::stoi(*txn->get("n")) + 1));
  EXPECT_EQ(outcome(first), "OK");
  EXPECT_EQ(outcome(second), "conflict: n");
  EXPECT_EQ(store_->get("n"), "2");
  EXPECT_EQ(store_->last_seq(), 2U);
}

TEST_F(TransactionTest, WriteSkewIsRefused) {
  put("on call/ann", "yes");
  put("on call/bob", "yes");
  Transaction ann = begin();
  Transaction bob = begin();
  EXPECT_EQ(ann.get("on call/bob"), "yes");  // then I may leave
  EXPECT_EQ(bob.get("on call/ann"), "yes");
  ann.put("on call/ann", "no");
  bob.put("on call/bob", "no");
  EXPECT_EQ(outcome(ann), "OK");
  EXPECT_EQ(outcome(bob), "conflict: on call/ann");
}

TEST_F(TransactionTest, EveryChangeOfAKeyReadIsAConflictAndItsAbsenceIsWhatWasRead) {
  struct Case {
    const char* name;
    bool present_before;
    void (*change)(Store&);
    const char* expected;
  };
  const Case cases[] = {
      {"put", true, [](Store& s) { (void)s.put("key", "2"); }, "conflict: key"},
      {"the same value again", true, [](Store& s) { (void)s.put("key", "1"); }, "conflict: key"},
      {"deleted", true, [](Store& s) { (void)s.del("key"); }, "conflict: key"},
      {"deleted and put again", true, [](Store& s) { (void)s.del("key"), (void)s.put("key", "1"); }, "conflict: key"},
      {"another key", true, [](Store& s) { (void)s.put("other", "1"); }, "OK"},
      {"erased by prefix", true, [](Store& s) { (void)s.erase_prefix("k"); }, "conflict: key"},
      {"new expiry", true, [](Store& s) { (void)s.expire("key", microseconds(1000)); }, "conflict: key"},
      {"put where there was none", false, [](Store& s) { (void)s.put("key", "1"); }, "conflict: key"},
      {"put and gone again", false, [](Store& s) { (void)s.put("key", "1"), (void)s.del("key"); }, "OK"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    ASSERT_TRUE(store_->erase_prefix("").ok());
    if (c.present_before) put("key", "1");
    Transaction txn = begin();
    EXPECT_EQ(txn.contains("key"), c.present_before);
    txn.put("mine", "1");
    c.change(*store_);
    const uint64_t before = store_->last_seq();
    EXPECT_EQ(outcome(txn), c.expected);
    EXPECT_EQ(store_->last_seq(), before + (std::string_view(c.expected) == "OK" ? 1 : 0));
  }
}

TEST_F(TransactionTest, BlindWritesNeverConflict) {
  put("a", "1");
  Transaction txn = begin();
  txn.put("a", "mine");
  EXPECT_EQ(txn.get("a"), "mine");  // reads only what it wrote itself
  put("a", "2");
  EXPECT_EQ(outcome(txn), "OK");
  EXPECT_EQ(store_->get("a"), "mine");
}

TEST_F(TransactionTest, AKeyReadBeforeItWasOverwrittenHereIsCheckedStill) {
  put("a", "1");
  Transaction txn = begin();
  EXPECT_EQ(txn.get("a"), "1");
  txn.put("a", "mine");
  put("a", "2");
  EXPECT_EQ(outcome(txn), "conflict: a");
}

TEST_F(TransactionTest, AKeyThatHasExpiredSinceItWasReadIsAConflict) {
  put("session", "1", {.ttl = microseconds(100)});
  for (const int64_t later : {99, 1}) {
    Transaction txn = begin();
    EXPECT_TRUE(txn.contains("session"));
    txn.put("seen", "1");
    now_us += later;
    EXPECT_EQ(outcome(txn), later == 99 ? "OK" : "conflict: session");
  }
}

TEST_F(TransactionTest, AKeyFoundExpiredStaysAbsentUntilItIsPutAgain) {
  put("session", "1", {.ttl = microseconds(100)});
  now_us += 100;
  Transaction txn = begin();
  EXPECT_FALSE(txn.contains("session"));
  txn.put("seen", "1");
  now_us -= 50;  // a clock put back does not bring it to life again
  EXPECT_EQ(outcome(txn), "OK");
  now_us += 50;
  Transaction second = begin();
  EXPECT_FALSE(second.contains("session"));
  second.put("seen", "2");
  put("session", "2");
  EXPECT_EQ(outcome(second), "conflict: session");
}

TEST_F(TransactionTest, TheSentenceNamesTheKeyEscapedAndWhatHasHappened) {
  const std::string odd = "a\n\"b\"";
  const std::string binary = "\xff\x01k";
  put(odd, "1");
  put("gone", "1");
  put("short", "1", {.ttl = microseconds(10)});
  const auto sentence = [&](std::string_view key, auto&& change) {
    Transaction txn = begin();
    (void)txn.contains(key);
    txn.put("mine", "1");
    change();
    const std::string message(txn.commit().message());
    EXPECT_EQ(txn.conflict_key(), key);
    return message.substr(0, message.find("; nothing was written. try: run the transaction again"));
  };
  EXPECT_EQ(sentence(odd, [&] { put(odd, "2"); }),
            R"(commit: the key "a\n\"b\"" had version 1 when the transaction read it and has version 4 now)");
  EXPECT_EQ(sentence(binary, [&] { put(binary, "2"); }),
            R"(commit: the key "\xff\x01k" was absent when the transaction read it and has version 5 now)");
  EXPECT_EQ(sentence("gone", [&] { del("gone"); }),
            R"(commit: the key "gone" had version 2 when the transaction read it and is absent now)");
  EXPECT_EQ(sentence("short", [&] { now_us += 10; }),
            R"(commit: the key "short" had version 3 when the transaction read it and has expired since)");
  const std::string long_key(1000, 'k');
  EXPECT_EQ(sentence(long_key, [&] { put(long_key, "1"); }),
            "commit: the key \"" + std::string(80, 'k') +
                "\"... (1000 bytes) was absent when the transaction read it and has version 7 now");
}

// ---- conflicts: scans ----------------------------------------------------------------------------

// What others do between begin and scan goes one way, what they do after the scan another: read_set.h.
TEST_F(TransactionTest, PhantomsAreRefusedBeforeAndAfterTheScan) {
  struct Case {
    const char* name;
    void (*change)(Store&);
    const char* expected;
  };
  const Case cases[] = {
      {"a new key", [](Store& s) { (void)s.put("a/2", "1"); }, "conflict: a/2"},
      {"a new value", [](Store& s) { (void)s.put("a/1", "2"); }, "conflict: a/1"},
      {"a deletion", [](Store& s) { (void)s.del("a/1"); }, "conflict: a/1"},
      {"a new key in a batch",
       [](Store& s) {
         Batch b;
         b.put("z", "1"), b.put("a/9", "1"), (void)s.write(b);
       },
       "conflict: a/9"},
      {"all erased", [](Store& s) { (void)s.erase_prefix("a"); }, "conflict: a/1"},
      {"a key before it", [](Store& s) { (void)s.put("a", "1"); }, "OK"},
      {"a key behind it", [](Store& s) { (void)s.put("a0", "1"); }, "OK"},
  };
  for (const bool by_range : {false, true}) {
    for (const bool before_the_scan : {false, true}) {
      for (const Case& c : cases) {
        SCOPED_TRACE(fmt::format("{}, {} the scan, by {}", c.name, before_the_scan ? "before" : "after",
                                 by_range ? "range" : "prefix"));
        ASSERT_TRUE(store_->erase_prefix("").ok());
        put("a/1", "1");
        Transaction txn = begin();
        if (before_the_scan) c.change(*store_);
        EXPECT_EQ(text_of(by_range ? txn.scan("a/", "a0") : txn.scan("a/")), "a/1=1");
        if (!before_the_scan) c.change(*store_);
        txn.put("mine", "1");
        EXPECT_EQ(outcome(txn), c.expected);
      }
    }
  }
}

TEST_F(TransactionTest, AnEmptyScanIsCheckedAsWell) {
  Transaction txn = begin();
  EXPECT_EQ(text_of(txn.scan("names/")), "");
  txn.put("names/me", "1");
  put("names/you", "1");
  EXPECT_EQ(outcome(txn), "conflict: names/you");
}

TEST_F(TransactionTest, WhatCameAndWentBetweenBeginAndScanIsNoChange) {
  Transaction txn = begin();
  put("a/1", "1");
  del("a/1");
  EXPECT_EQ(text_of(txn.scan("a/")), "");
  txn.put("mine", "1");
  EXPECT_EQ(outcome(txn), "OK");
}

TEST_F(TransactionTest, AnEntryScannedThatHasExpiredSinceIsAConflict) {
  put("a/1", "1", {.ttl = microseconds(500)});
  put("a/2", "1", {.ttl = microseconds(100)});
  put("a/3", "1");
  Transaction txn = begin();
  EXPECT_EQ(text_of(txn.scan("a/")), "a/1=1 a/2=1 a/3=1");
  txn.put("mine", "1");
  now_us += 100;
  EXPECT_EQ(outcome(txn), "conflict: a/2");
  Transaction again = begin();
  EXPECT_EQ(text_of(again.scan("a/")), "a/1=1 a/3=1");
  again.put("mine", "1");
  EXPECT_EQ(outcome(again), "OK");
}

TEST_F(TransactionTest, SeveralScansAreAllChecked) {
  put("a/1", "1");
  put("b/1", "1");
  Transaction txn = begin();
  EXPECT_EQ(text_of(txn.scan("a/")), "a/1=1");
  put("b/1", "2");  // before the second scan, after the first
  EXPECT_EQ(text_of(txn.scan("b/")), "b/1=1");
  txn.put("mine", "1");
  EXPECT_EQ(outcome(txn), "conflict: b/1");
}

TEST_F(TransactionTest, TheSentenceTellsWhichScan) {
  Transaction first = begin();
  EXPECT_EQ(text_of(first.scan("a/")), "");
  EXPECT_EQ(text_of(first.scan("x", "")), "");
  first.put("mine", "1");
  put("y", "1");
  EXPECT_EQ(first.commit().message(),
            "commit: the key \"y\" was written by somebody else after the transaction had scanned the range from \"x\" "
            "to the end; "
            "nothing was written. try: run the transaction again");
  Transaction second = begin();
  put("y", "2");
  EXPECT_EQ(text_of(second.scan()), "y=1");
  second.put("mine", "1");
  EXPECT_EQ(second.commit().message(),
            "commit: the key \"y\" had changed between the begin of the transaction and its scan of all keys; "
            "nothing was written. try: run the transaction again");
}

TEST_F(TransactionTest, MoreWritesThanAreKeptRefuseAnOldScanAndNotAYoungOne) {
  Transaction old = begin();
  EXPECT_EQ(text_of(old.scan("a/")), "");
  old.put("mine", "1");
  const std::string tail(60'000, 'k');
  for (int i = 0; i < 300; ++i) put(fmt::format("{}{}", i % 10, tail), "");  // 18 MB of keys
  Transaction young = begin();
  EXPECT_EQ(text_of(young.scan("a/")), "");
  young.put("mine", "2");
  put("b", "1");
  EXPECT_EQ(outcome(old), "conflict: ");
  EXPECT_EQ(outcome(young), "OK");
}

TEST_F(TransactionTest, ManyWritesAfterAScanAreAllChecked) {
  for (const bool hit : {false, true}) {
    Transaction txn = begin();
    EXPECT_EQ(text_of(txn.scan("a/")), "");
    txn.put("mine", "1");
    for (int i = 0; i < 3000; ++i) put(fmt::format("{}{}", hit && i == 2000 ? "a/" : "b/", i % 50), "");
    EXPECT_EQ(outcome(txn), hit ? "conflict: a/0" : "OK");
  }
}

// ---- transact ------------------------------------------------------------------------------------

TEST_F(TransactionTest, TransactRunsAgainUntilNobodyGetsAhead) {
  put("n", "0");
  int runs = 0;
  const Status s = store_->transact([&](Transaction& txn) -> Status {
    const int n = std::stoi(*txn.get("n"));
    if (++runs <= 3) put("n", std::to_string(n + 10));
    txn.put("n", std::to_string(n + 1));
    return {};
  });
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(store_->get("n"), "31");
}

TEST_F(TransactionTest, TransactGivesUpAfterItsAttemptsWithTheLastConflict) {
  int runs = 0;
  const auto always_beaten = [&](Transaction& txn) -> Status {
    (void)txn.get("n");
    put("n", std::to_string(++runs));
    txn.put("mine", "1");
    return {};
  };
  EXPECT_EQ(store_->transact(always_beaten, 3).code(), Code::kConflict);
  EXPECT_EQ(runs, 3);
  EXPECT_FALSE(store_->contains("mine"));
}

TEST_F(TransactionTest, TransactReturnsAFailureOfItsFunctionAndWritesNothing) {
  int runs = 0;
  const Status s = store_->transact([&](Transaction& txn) -> Status {
    ++runs;
    txn.put("a", "1");
    return {Code::kConflict, "my own reasons"};
  });
  EXPECT_EQ(s.message(), "my own reasons");
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(store_->last_seq(), 0U);
}

TEST_F(TransactionTest, TransactPassesItsOptionsOn) {
  ASSERT_TRUE(store_->transact([](Transaction& txn) { return txn.put("a", "1"), Status(); }, 1, {.by = "me"}).ok());
  Result<LogCursor> cursor = LogCursor::open(dir());
  ASSERT_TRUE(cursor.ok());
  EXPECT_EQ((**cursor->next()).by, "me");
}

// ---- what is left behind -------------------------------------------------------------------------

TEST_F(TransactionTest, AFinishedTransactionHoldsNothing) {
  put("a", "1");
  Transaction committed = begin();
  (void)committed.get("a");
  committed.put("b", "1");
  EXPECT_EQ(outcome(committed), "OK");
  Transaction rolled_back = begin();
  rolled_back.rollback();
  for (int i = 0; i < 10; ++i) put("a", "2");
  EXPECT_EQ(store_->stats().versions_held, 0U);
}

TEST_F(TransactionTest, ReopeningFindsAllOfACommitOrNothing) {
  Transaction txn = begin();
  txn.put("a", "1");
  txn.put("b", "1");
  EXPECT_EQ(outcome(txn), "OK");
  close();
  // The line torn in its middle, as by a power cut: neither of its writes is there.
  const std::filesystem::path log = log_files_of(dir()).back();
  const std::string bytes = bytes_of(log);
  write_bytes(log, std::string_view(bytes).substr(0, bytes.find("\"key\":\"b\"")));
  std::filesystem::remove(dir() / "LOCK");  // knows that the record was synced
  expects_damage_ = true;
  Result<Store> torn = Store::open(dir());
  ASSERT_TRUE(torn.ok()) << torn.status().message();
  EXPECT_EQ(contents_of(*torn), (std::map<std::string, std::string>{}));
}

// An eviction's keys lie in the entries that it frees, and were noted for scans only after that.
TEST_F(TransactionTest, AScanLearnsOfEvictionsWhoseEntriesAreGone) {
  constexpr int kKeys = 200;
  open({.max_entries = kKeys, .when_full = WhenFull::kEvict});
  constexpr int kRounds = 20;  // memory comes back now and then: the plain build needs some luck
  const std::string large(40'000, 'v');
#if defined(__GLIBC__)
  (void)::mallopt(M_MMAP_THRESHOLD,
                  32 << 10);  // what is freed is no longer there; sanitizers have allocators of their own
#endif
  const auto put_all = [&](const std::string& prefix) {
    for (int i = 0; i < kKeys; ++i) put(fmt::format("{}{}", prefix, i), large);
  };
  put_all("key");
  Transaction transaction = begin();
  ASSERT_TRUE(transaction.scan("key0").ok());
  put_all("key");  // newer than what the transaction holds
  for (int round = 0; round < kRounds; ++round) put_all(fmt::format("new{}:", round));
  ASSERT_EQ(store_->stats().evicted, uint64_t{kKeys} * kRounds);
  transaction.put("decision", "1");
  EXPECT_EQ(outcome(transaction), "conflict: key0");
}

}  // namespace
}  // namespace kvstore::testing
