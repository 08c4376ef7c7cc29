// The calls of Store, one promise a test. The fixture reopens and verifies after each.
#include "kvstore/store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

using std::chrono::seconds;
using State = std::map<std::string, std::string>;

std::string code_of(const Status& status) { return std::string(code_name(status.code())); }

TEST_F(StoreTest, AValueIsThereAfterPutAndAfterReopening) {
  open();
  ASSERT_TRUE(store_->put("user:1", "Ada").ok());
  EXPECT_EQ(store_->get("user:1"), "Ada");
  EXPECT_EQ(store_->get("user:2"), std::nullopt);
  open();
  EXPECT_EQ(store_->get("user:1"), "Ada");
  EXPECT_EQ(store_->recovery().records, 1U);
}

TEST_F(StoreTest, TheLogReadsAsOneWouldWriteItByHand) {
  open(clocked());
  ASSERT_TRUE(store_->put("user:1", "Ada").ok());
  ASSERT_TRUE(store_->put_json("user:2", R"({"name":"Bob"})", {.ttl = seconds(3600), .by = "import"}).ok());
  ASSERT_TRUE(store_->del("user:1").ok());
  close();
  std::vector<std::string> lines = lines_of(log_files_of(dir()).at(0));
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[1], R"({"seq":1,"ts":1763800000000000,"op":"put","key":"user:1","value":"Ada","crc":")" +
                          lines[1].substr(lines[1].size() - 10));
  EXPECT_EQ(
      lines[2].substr(0, lines[2].size() - 18),
      R"({"seq":2,"ts":1763800000000000,"op":"put","key":"user:2","json":{"name":"Bob"},"expires":1763803600000000,"by":"import")");
  EXPECT_EQ(lines[3].substr(0, lines[3].size() - 18), R"({"seq":3,"ts":1763800000000000,"op":"del","key":"user:1")");
  open(clocked());
}

TEST_F(StoreTest, EveryByteValueRoundTripsInKeysAndValues) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  open();
  ASSERT_TRUE(store_->put(all, all).ok());
  for (int i = 0; i < 256; ++i) {
    const std::string one(1, static_cast<char>(i));
    ASSERT_TRUE(store_->put(one, one + one).ok());
  }
  open();
  EXPECT_EQ(store_->get(all), all);
  for (int i = 0; i < 256; ++i) {
    const std::string one(1, static_cast<char>(i));
    EXPECT_EQ(store_->get(one), one + one) << "byte " << i;
  }
}

TEST_F(StoreTest, LargeAndEmptyValuesRoundTrip) {
  const std::string binary(size_t{3} << 20, '\xff');
  open();
  ASSERT_TRUE(store_->put(std::string(kKeyBytesMax, 'k'), binary).ok());
  ASSERT_TRUE(store_->put("empty", "").ok());
  open();
  EXPECT_TRUE(store_->get(std::string(kKeyBytesMax, 'k')) == binary);
  EXPECT_EQ(store_->get("empty"), "");
}

TEST_F(StoreTest, WhatIsTooLongOrEmptyIsRefusedWithASentence) {
  open();
  EXPECT_EQ(store_->put("", "v").message(), "put: the key is empty; keys have 1 to 65536 bytes");
  EXPECT_EQ(store_->put(std::string(kKeyBytesMax + 1, 'k'), "v").message(),
            "put: the key has 65537 bytes; keys have 1 to 65536");
  EXPECT_EQ(store_->put("k", std::string(kValueBytesMax + 1, 'v')).message(),
            "put: the value has 67108865 bytes; values have at most 67108864");
  Batch batch;
  batch.put("k", "v");
  batch.put("k", std::string(kValueBytesMax + 1, 'v'));
  EXPECT_EQ(store_->write(batch).message(),
            "write: operation 1: the value has 67108865 bytes; values have at most 67108864");
  EXPECT_EQ(store_->put("k", "v", {.expires_us = -1}).message(),
            "put: the expiry -1 is no time in microseconds since 1970, or is past the year 2255");
  EXPECT_EQ(code_of(store_->put("k", "v", {.ttl = std::chrono::microseconds::max()})), "InvalidArgument");
  EXPECT_EQ(code_of(store_->put("k", "v", {.ttl = seconds(-1)})), "InvalidArgument");
  EXPECT_EQ(code_of(store_->put("k", "v", {.ttl = seconds(1), .expires_us = 1})), "InvalidArgument");
  EXPECT_EQ(code_of(store_->put("k", "v", {.by = "\xff"})), "InvalidArgument");
  EXPECT_EQ(code_of(store_->put("k", "v", {.if_version = 3, .if_absent = true})), "InvalidArgument");
  EXPECT_EQ(store_->last_seq(), 0U);
}

TEST_F(StoreTest, CallsRefuseTheOptionsThatMeanNothingToThem) {
  open();
  ASSERT_TRUE(store_->put("k", "v").ok());
  Batch batch;
  batch.put("b", "v");
  for (const WriteOptions& options : {WriteOptions{.ttl = seconds(1)}, WriteOptions{.expires_us = 1},
                                      WriteOptions{.if_absent = true}, WriteOptions{.if_version = 0}}) {
    EXPECT_EQ(store_->del("k", options).status().message(),
              "del: takes neither an expiry nor the condition that the key is absent");
    EXPECT_EQ(store_->write(batch, options).message(), "write: a batch takes neither an expiry nor a condition");
    EXPECT_EQ(store_->erase_prefix("", options).status().message(),
              "erase_prefix: takes neither a condition nor an expiry");
  }
  EXPECT_EQ(code_of(store_->write(batch, {.if_version = 1})), "InvalidArgument");
  EXPECT_EQ(code_of(store_->erase_prefix("", {.if_version = 1}).status()), "InvalidArgument");
  EXPECT_EQ(store_->last_seq(), 1U);
}

TEST_F(StoreTest, OptionsThatNoStoreCanKeepAreRefusedWithASentence) {
  const auto refusal = [this](Options options) {
    return std::string(Store::open(dir(), std::move(options)).status().message());
  };
  EXPECT_EQ(refusal({.segment_bytes = 4095}), "options: segment_bytes is 4095, it must be at least 4096");
  const std::string history = "options: keep_history_for must be between nothing and a thousand years";
  EXPECT_EQ(refusal({.keep_history_for = seconds(-1)}), history);
  EXPECT_EQ(refusal({.keep_history_for = std::chrono::hours(24 * 365 * 1000) + seconds(1)}), history);
  EXPECT_EQ(refusal({.sync_interval = std::chrono::milliseconds(-1)}), "options: sync_interval is negative");
  EXPECT_FALSE(std::filesystem::exists(dir()));
}

TEST_F(StoreTest, DelTellsWhetherTheKeyWasThereAndWritesNothingWhenNot) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  EXPECT_TRUE(*store_->del("a"));
  EXPECT_FALSE(*store_->del("a"));
  EXPECT_EQ(store_->get("a"), std::nullopt);
  EXPECT_EQ(store_->last_seq(), 2U);
}

TEST_F(StoreTest, DelOfAKeyThatMustBeAbsentIsASlipAndWritesNothing) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  EXPECT_EQ(code_of(store_->del("a", {.if_version = 0}).status()), "InvalidArgument");
  EXPECT_EQ(code_of(store_->del("absent", {.if_version = 0}).status()), "InvalidArgument");
  EXPECT_EQ(store_->get("a"), "1");
  EXPECT_EQ(store_->last_seq(), 1U);
}

TEST_F(StoreTest, ABatchIsOneLineAndItsLastOperationOnAKeyWins) {
  open();
  ASSERT_TRUE(store_->put("b", "old").ok());
  Batch batch;
  batch.put("a", "1");
  batch.del("b");
  batch.put("a", "2");
  batch.put_json("c", "[1,\n 2]");
  ASSERT_TRUE(store_->write(batch).ok());
  EXPECT_EQ(contents_of(*store_), (State{{"a", "2"}, {"c", "json:[1, 2]"}}));
  EXPECT_EQ(store_->last_seq(), 2U);
  EXPECT_EQ(store_->get_entry("a")->version, 2U);
}

TEST_F(StoreTest, ABatchWithOneBadOperationWritesNothing) {
  open();
  Batch batch;
  batch.put("a", "1");
  batch.put_json("b", "{");
  const Status s = store_->write(batch);
  EXPECT_EQ(code_of(s), "InvalidArgument");
  EXPECT_TRUE(s.message().starts_with("write: operation 1: the value is no JSON document: line 1, column 2:"))
      << s.message();
  EXPECT_EQ(store_->get("a"), std::nullopt);
  EXPECT_TRUE(store_->write(Batch()).ok());
  EXPECT_EQ(store_->last_seq(), 0U);
}

TEST_F(StoreTest, AVersionIsTheSequenceNumberOfTheWriteAndSurvivesReopening) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  ASSERT_TRUE(store_->put("b", "1").ok());
  open();
  EXPECT_EQ(store_->get_entry("b")->version, 2U);
  EXPECT_TRUE(store_->put("b", "2", {.if_version = 2}).ok());
  const Status conflict = store_->put("b", "3", {.if_version = 2});
  EXPECT_EQ(conflict.message(), "the key has version 3, expected 2");
  EXPECT_EQ(code_of(conflict), "Conflict");
  EXPECT_EQ(code_of(store_->put("b", "3", {.if_absent = true})), "Conflict");
  EXPECT_EQ(code_of(store_->put("new", "3", {.if_version = 9})), "Conflict");
  EXPECT_TRUE(store_->put("new", "3", {.if_absent = true}).ok());
  EXPECT_EQ(code_of(store_->del("b", {.if_version = 2}).status()), "Conflict");
  EXPECT_TRUE(*store_->del("b", {.if_version = 3}));
  EXPECT_EQ(contents_of(*store_), (State{{"a", "1"}, {"new", "3"}}));
}

TEST_F(StoreTest, AnExpiredKeyIsAbsentOnEveryPathFromTheVeryMicrosecond) {
  open(clocked());
  ASSERT_TRUE(store_->put("gone", "1", {.ttl = seconds(10)}).ok());
  ASSERT_TRUE(store_->put_json("gone:json", "{\"a\":1}", {.expires_us = now_us + 10'000'000}).ok());
  ASSERT_TRUE(store_->put("stays", "1").ok());
  now_us += 9'999'999;
  EXPECT_EQ(store_->get("gone"), "1");
  EXPECT_EQ(store_->get_entry("gone")->expires_us, now_us + 1);
  now_us += 1;
  EXPECT_EQ(store_->get("gone"), std::nullopt);
  EXPECT_FALSE(store_->get_entry("gone").has_value());
  EXPECT_FALSE(store_->contains("gone"));
  EXPECT_FALSE(store_->read("gone", [](std::string_view) { FAIL(); }));
  EXPECT_EQ(store_->get_field("gone:json", "/a"), std::nullopt);
  const std::vector<std::string_view> keys = {"gone", "stays"};
  EXPECT_EQ(store_->multi_get(keys), (std::vector<std::optional<std::string>>{std::nullopt, "1"}));
  EXPECT_EQ(contents_of(*store_), (State{{"stays", "1"}}));
  int seen = 0;
  ASSERT_TRUE(store_->for_each([&](const EntryView&) { ++seen; }).ok());
  EXPECT_EQ(seen, 1);
  EXPECT_FALSE(*store_->del("gone"));
  EXPECT_EQ(*store_->erase_prefix("gone"), 0U);
  EXPECT_EQ(*store_->increment("gone", 5), 5);  // counts from 0, not from 1
  EXPECT_TRUE(store_->put("gone:json", "x", {.if_absent = true}).ok());
  open(clocked());
  EXPECT_EQ(contents_of(*store_), (State{{"gone", "5"}, {"gone:json", "x"}, {"stays", "1"}}));
}

// The clock is read once to find the key alive, and once more to tell how long it has: it may expire in between.
TEST_F(StoreTest, TimeToLiveIsNeverNegative) {
  std::atomic<int64_t> clock = now_us.load();
  std::atomic<int64_t> step = 0;
  open({.now_us = [&] { return clock += step; }});
  ASSERT_TRUE(store_->put("k", "1", {.ttl = std::chrono::microseconds(10)}).ok());
  EXPECT_EQ(store_->ttl("k"), std::chrono::microseconds(10));
  step = 6;
  EXPECT_EQ(store_->ttl("k"), std::nullopt);
  step = 0;
  ASSERT_TRUE(store_->put("k", "2").ok());  // by any clock it stays
  open();                                   // ours ends here
}

// A clock for a key that expires while a call is under way: it stands a microsecond before `expiry`, and once this
// thread has looked at it `looks` times more, at `expiry`. For the store's own threads it never gets there.
struct ClockThatMoves {
  const int64_t expiry;
  int looks = INT_MAX;
  const std::thread::id mover = std::this_thread::get_id();
  int64_t operator()() {
    const bool moves = std::this_thread::get_id() == mover && looks-- <= 0;
    return moves ? expiry : expiry - 1;
  }
};

// Judged by the time at which the call began, the key that others had seen expired came back to life.
TEST_F(StoreTest, AConditionIsJudgedByTheRecordsOwnTime) {
  ClockThatMoves clock{.expiry = now_us};
  open({.now_us = std::ref(clock)});
  ASSERT_TRUE(store_->put("k", "1", {.expires_us = clock.expiry}).ok());
  clock.looks = 1;
  const Status refused = store_->put("k", "2", {.if_version = 1});
  EXPECT_EQ(code_of(refused), "Conflict");
  EXPECT_EQ(refused.message(), "the key is absent, expected version 1");
  EXPECT_EQ(store_->last_seq(), 1U);
  clock.looks = 1;
  EXPECT_TRUE(store_->put("k", "2", {.if_absent = true}).ok());
  LogCursor log = *LogCursor::open(dir());
  EXPECT_EQ((**log.next()).ts_us, clock.expiry - 1);
  EXPECT_EQ((**log.next()).ts_us, clock.expiry);
  open();  // the clock ends here
  EXPECT_EQ(store_->get("k"), "2");
}

TEST_F(StoreTest, PersistFindsAKeyAbsentThatExpiresBeforeItIsWritten) {
  ClockThatMoves clock{.expiry = now_us};
  open({.now_us = std::ref(clock)});
  ASSERT_TRUE(store_->put("k", "1", {.expires_us = clock.expiry}).ok());
  for (const int looks : {1, 2, 3}) {  // as it begins, for the value's time, and to find the key alive
    clock.looks = looks;
    EXPECT_FALSE(*store_->persist("k")) << looks;
  }
  EXPECT_EQ(store_->last_seq(), 1U);
  open();  // the clock ends here
  EXPECT_EQ(store_->get("k"), std::nullopt);
}

TEST_F(StoreTest, IncrementCountsKeepsTheExpiryAndRefusesWhatIsNoInteger) {
  open(clocked());
  EXPECT_EQ(*store_->increment("n"), 1);
  EXPECT_EQ(*store_->increment("n", -11), -10);
  EXPECT_EQ(store_->get("n"), "-10");
  ASSERT_TRUE(store_->put("t", "7", {.ttl = seconds(5)}).ok());
  EXPECT_EQ(*store_->increment("t"), 8);
  EXPECT_EQ(store_->get_entry("t")->expires_us, now_us + 5'000'000);
  ASSERT_TRUE(store_->put("text", "7 apples").ok());
  EXPECT_EQ(store_->increment("text").status().message(), "increment: the value is no 64-bit integer");
  ASSERT_TRUE(store_->put("max", "9223372036854775807").ok());
  EXPECT_EQ(store_->increment("max").status().message(),
            "increment: 9223372036854775807 + 1 leaves the range of 64-bit integers");
}

TEST_F(StoreTest, ConcurrentIncrementsLoseNothing) {
  open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 500; ++i) ASSERT_TRUE(store_->increment("n").ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->get("n"), "2000");
}

TEST_F(StoreTest, ErasePrefixIsOneAtomicLine) {
  open();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store_->put("user:" + std::to_string(i), "x").ok());
  ASSERT_TRUE(store_->put("users", "x").ok());
  EXPECT_EQ(*store_->erase_prefix("user:"), 10U);
  EXPECT_EQ(store_->last_seq(), 12U);
  EXPECT_EQ(contents_of(*store_), (State{{"users", "x"}}));
  EXPECT_EQ(*store_->erase_prefix(""), 1U);
  EXPECT_EQ(*store_->erase_prefix(""), 0U);
  EXPECT_TRUE(contents_of(*store_).empty());
}

TEST_F(StoreTest, AJsonDocumentStaysADocumentByteForByte) {
  open();
  const std::string document = R"({"big":123456789012345678901234567890,"dup":1,"dup":2,"s":"\u00e9 é"})";
  ASSERT_TRUE(store_->put_json("d", " \n" + document + "\r\n").ok());
  ASSERT_TRUE(store_->put("text", document).ok());
  EXPECT_EQ(store_->get("d"), document);
  open();
  EXPECT_EQ(store_->get("d"), document);
  EXPECT_TRUE(store_->get_entry("d")->is_json);
  EXPECT_FALSE(store_->get_entry("text")->is_json);
  EXPECT_EQ(store_->get_field("d", "/dup"), "2");
  EXPECT_EQ(store_->get_field("d", "/big"), "123456789012345678901234567890");
  EXPECT_EQ(store_->get_field("d", ""), document);
  EXPECT_EQ(store_->get_field("d", "/none"), std::nullopt);
  EXPECT_EQ(store_->get_field("text", "/dup"), std::nullopt);
}

TEST_F(StoreTest, MalformedJsonIsRefusedWithLineAndColumn) {
  open();
  const Status s = store_->put_json("d", "{\n  \"a\": 1,\n}");
  EXPECT_EQ(code_of(s), "InvalidArgument");
  EXPECT_NE(s.message().find("line 3, column 1"), std::string_view::npos) << s.message();
  EXPECT_EQ(code_of(store_->put_json("d", std::string(1001, '[') + std::string(1001, ']'))), "InvalidArgument");
  EXPECT_TRUE(store_->put_json("d", std::string(1000, '[') + std::string(1000, ']')).ok());
}

TEST_F(StoreTest, AScanIsSortedByBytesAndSeesOneInstant) {
  open();
  for (const char* key : {"b", "a", "\xff", "ab", "a\x01"}) ASSERT_TRUE(store_->put(key, "old").ok());
  Result<Scan> scan = store_->scan();
  ASSERT_TRUE(store_->put("a", "new").ok());
  ASSERT_TRUE(store_->put("c", "new").ok());
  ASSERT_TRUE(store_->del("b").ok());
  std::string seen;
  for (const EntryView entry : *scan) seen += std::string(entry.key) + "=" + std::string(entry.value) + " ";
  EXPECT_EQ(seen, "a=old a\x01=old ab=old b=old \xff=old ");
  EXPECT_EQ(scan->seq(), 5U);
  EXPECT_EQ(store_->scan("a")->size(), 3U);
  EXPECT_EQ(store_->scan("zz")->size(), 0U);
}

TEST_F(StoreTest, AScanMayBeWalkedOverWithoutANameForIt) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  int seen = 0;
  for (const EntryView entry : *store_->scan()) seen += entry.value == "1" ? 1 : 0;
  EXPECT_EQ(seen, 1);
}

TEST_F(StoreTest, AScanOfARangeBeginsWithItsFirstKeyAndEndsBeforeItsLast) {
  open();
  for (const char* key : {"c", "b", "ab", "a"}) ASSERT_TRUE(store_->put(key, "v").ok());
  const auto keys = [](const Result<Scan>& scan) {
    std::string text;
    for (const EntryView entry : *scan) text += std::string(entry.key) + " ";
    return text;
  };
  EXPECT_EQ(keys(store_->scan("a", "b")), "a ab ");
  EXPECT_EQ(keys(store_->scan("aa", "")), "ab b c ");
  EXPECT_EQ(keys(store_->scan("b", "a")), "");
}

TEST_F(StoreTest, EveryReadOfASnapshotSeesItsInstant) {
  open(clocked());
  ASSERT_TRUE(store_->put("gone", "1", {.ttl = seconds(1)}).ok());
  ASSERT_TRUE(store_->put("going", "1", {.ttl = seconds(10)}).ok());
  ASSERT_TRUE(store_->put("a", "old").ok());
  ASSERT_TRUE(store_->put_json("doc", R"({"n":1})").ok());
  now_us += 1'000'000;
  const Result<Snapshot> snapshot = store_->snapshot();
  ASSERT_TRUE(snapshot.ok());
  ASSERT_TRUE(store_->put("a", "new").ok());
  ASSERT_TRUE(store_->del("doc").ok());
  ASSERT_TRUE(store_->put("late", "1").ok());
  now_us += 60'000'000;
  EXPECT_TRUE(snapshot->contains("going"));
  EXPECT_FALSE(snapshot->contains("gone"));
  EXPECT_FALSE(snapshot->contains("late"));
  ASSERT_TRUE(snapshot->view("a").has_value());
  EXPECT_EQ(snapshot->view("a")->value, "old");
  EXPECT_EQ(snapshot->view("a")->version, 3U);
  EXPECT_FALSE(snapshot->view("gone").has_value());
  EXPECT_EQ(snapshot->get_field("doc", "/n"), "1");
  EXPECT_EQ(snapshot->get_field("late", ""), std::nullopt);
  const std::vector<std::string_view> keys = {"late", "a", "gone", "going", "doc"};
  EXPECT_EQ(snapshot->multi_get(keys),
            (std::vector<std::optional<std::string>>{std::nullopt, "old", std::nullopt, "1", R"({"n":1})"}));
}

TEST_F(StoreTest, PersistTakesAnExpiryAwayAndWritesNothingWhereThereIsNone) {
  open(clocked());
  ASSERT_TRUE(store_->put("a", "1", {.ttl = seconds(10)}).ok());
  EXPECT_TRUE(*store_->persist("a"));
  EXPECT_EQ(store_->last_seq(), 2U);
  EXPECT_TRUE(*store_->persist("a"));
  EXPECT_FALSE(*store_->persist("absent"));
  EXPECT_EQ(store_->last_seq(), 2U);
  now_us += 10'000'000;
  EXPECT_EQ(store_->get("a"), "1");
}

TEST_F(StoreTest, WhatIsMovedOverLetsGoOfWhatItHad) {
  open();
  const std::filesystem::path elsewhere = dir().parent_path() / "other";
  Result<Store> other = Store::open(elsewhere);
  ASSERT_TRUE(other.ok() && other->put("k", "other").ok());
  ASSERT_TRUE(store_->put("k", "mine").ok());
  Store mine = std::move(*store_);
  *store_ = *std::move(other);
  EXPECT_EQ(store_->get("k"), "other");
  EXPECT_EQ(store_->path(), elsewhere);
  *store_ = std::move(mine);
  EXPECT_EQ(store_->get("k"), "mine");
  EXPECT_EQ(store_->path(), dir());
  EXPECT_TRUE(Store::open(elsewhere).ok());  // nobody holds its lock any more

  Scan scan = *store_->scan("nothing");
  scan = *store_->scan();
  EXPECT_EQ(scan.size(), 1U);
  EXPECT_EQ(store_->stats().pins, 1U);
  LogCursor cursor = *LogCursor::open(dir());
  EXPECT_EQ((**cursor.next()).seq, 1U);
  cursor = *LogCursor::open(dir());
  EXPECT_EQ((**cursor.next()).seq, 1U);
}

// The cursor had read ahead, and told the end that the log had when it read, not the one it had when it was asked.
TEST_F(StoreTest, ALogCursorEndsBehindAllThatWasWrittenBeforeItWasAsked) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  LogCursor cursor = *LogCursor::open(dir());
  for (uint64_t seq = 1; seq <= 20; ++seq) {
    const Result<const LogRecord*> record = cursor.next();
    ASSERT_TRUE(record.ok() && *record != nullptr) << seq;
    EXPECT_EQ((*record)->seq, seq);
    if (seq < 20) {
      ASSERT_TRUE(store_->put("a", std::to_string(seq)).ok());
    }
  }
  EXPECT_EQ(*cursor.next(), nullptr);
}

TEST_F(StoreTest, ALogCursorCountsLinesAcrossChunksSegmentsAndReadings) {
  open({.segment_bytes = 1 << 20, .compact_at_percent = 0});
  LogCursor following = *LogCursor::open(dir());
  uint64_t offset = UINT64_MAX;
  uint64_t line = 0;
  const auto expect_next = [&](LogCursor& cursor) {
    const Result<const LogRecord*> record = cursor.next();
    ASSERT_TRUE(record.ok() && *record != nullptr);
    line = (*record)->offset > offset ? line + 1 : 2;  // the first of a segment stands behind its header
    offset = (*record)->offset;
    ASSERT_EQ((*record)->line_number, line) << (*record)->file << " " << (*record)->seq;
  };
  for (int i = 0; i < 3000; ++i) {
    ASSERT_TRUE(store_->put("k", std::string(i % 100 == 0 ? 300'000 : 1000, 'v')).ok());
    expect_next(following);
  }
  LogCursor cursor = *LogCursor::open(dir());
  offset = UINT64_MAX;
  for (int i = 0; i < 3000; ++i) expect_next(cursor);
  EXPECT_GT(store_->stats().rotations, 3U);
}

// Makes `to` the working directory while it lives.
class InAnotherDirectory {
 public:
  explicit InAnotherDirectory(const std::filesystem::path& to) : from_(std::filesystem::current_path()) {
    std::filesystem::current_path(to);
  }
  InAnotherDirectory(const InAnotherDirectory&) = delete;
  InAnotherDirectory& operator=(const InAnotherDirectory&) = delete;
  ~InAnotherDirectory() { std::filesystem::current_path(from_); }

 private:
  const std::filesystem::path from_;
};

// For the system a path ends at its first NUL, so this would be the store next door.
TEST_F(StoreTest, ADirectoryWithANulInItsNameIsRefused) {
  open();
  const std::filesystem::path other = dir().string() + std::string("\0b", 2);
  EXPECT_EQ(Store::open(other).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->backup(dir().string() + std::string("2\0b", 3)).status().code(), Code::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(dir().string() + "2"));
}

// A log being read was looked for under the name of its directory, and where that was moved, it was called damaged.
TEST_F(StoreTest, ALogIsReadOnWhereverItsDirectoryIsMoved) {
  Store& store = open({.segment_bytes = 4096});
  Result<LogCursor> log = LogCursor::open(dir());
  ASSERT_TRUE(log.ok());
  std::filesystem::rename(dir(), dir().parent_path() / "moved");
  ASSERT_TRUE(Store::open(dir()).ok());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(store.put("k", std::string(100, 'v')).ok());
    const Result<const LogRecord*> record = log->next();
    ASSERT_TRUE(record.ok() && *record != nullptr) << record.status().message();
    EXPECT_EQ((*record)->seq, static_cast<uint64_t>(i) + 1);
  }
  std::filesystem::remove_all(dir());
  std::filesystem::rename(dir().parent_path() / "moved", dir());  // where the fixture looks
}

// A rotation made its file, and a compaction removed what it found, where the path led after the program had gone elsewhere.
TEST_F(StoreTest, ARelativePathMeansWhatItMeantWhenTheStoreWasOpened) {
  const TempDir temp;
  for (const char* name : {"here", "there"}) std::filesystem::create_directory(temp / name);
  std::optional<Store> there;
  {
    const InAnotherDirectory now(temp / "there");
    Result<Store> opened = Store::open("db");
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    there = *std::move(opened);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(there->put("there", std::to_string(i)).ok());
  }
  std::optional<Store> here;
  std::optional<LogCursor> log;
  {
    const InAnotherDirectory now(temp / "here");
    Result<Store> opened = Store::open("db", {.segment_bytes = 4096});
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    here = *std::move(opened);
    Result<LogCursor> cursor = LogCursor::open("db");
    ASSERT_TRUE(cursor.ok());
    log = *std::move(cursor);
  }
  const InAnotherDirectory now(temp / "there");
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(here->put("here", std::string(100, 'v')).ok());
    const Result<const LogRecord*> record = log->next();
    ASSERT_TRUE(record.ok() && *record != nullptr);
    EXPECT_EQ((*record)->ops.at(0).key, "here");
  }
  ASSERT_TRUE(here->compact().ok());
  ASSERT_TRUE(here->backup("copy").ok());  // this one is from where we are
  ASSERT_TRUE(here->backup("db/copy").ok()) << "in the directory of another store";
  EXPECT_TRUE(std::filesystem::exists(temp / "there/copy"));
  ASSERT_TRUE(here->close().ok());
  ASSERT_TRUE(there->close().ok());
  for (const char* name : {"here", "there"}) {
    const Result<Store> again = Store::open(temp / (std::string(name) + "/db"));
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_TRUE(again->contains(name));
    EXPECT_EQ(again->stats().entries, 1U);
  }
}

// It had made the next segment before it looked, in a directory that may be another owner's by then.
TEST_F(StoreTest, AfterCloseACompactionLeavesTheDirectoryAlone) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  ASSERT_TRUE(store_->close().ok());
  Result<Store> next = Store::open(dir());
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(store_->compact().status().code(), Code::kClosed);
  EXPECT_FALSE(std::filesystem::exists(dir() / "wal-next.jsonl"));
  ASSERT_TRUE(next->put("b", "2").ok());
  EXPECT_TRUE(next->compact().ok());
  EXPECT_TRUE(next->close().ok());
  open();
}

TEST_F(StoreTest, AClockThatCountsInOtherUnitsIsRefused) {
  for (const int64_t wrong : {int64_t{1'763'800'000'000'000'000}, int64_t{-1}}) {
    const Status s = Store::open(dir(), {.now_us = [=] { return wrong; }}).status();
    EXPECT_EQ(s.code(), Code::kInvalidArgument) << s.message();
  }
  std::atomic<int64_t> now = 1'763'800'000'000'000;  // the store's own threads look at it, too
  open({.now_us = [&] { return now.load(); }});
  ASSERT_TRUE(store_->put("a", "1").ok());
  now = INT64_MAX;
  ASSERT_TRUE(store_->put("b", "2").ok());
  open();
  EXPECT_EQ(contents_of(*store_), (State{{"a", "1"}, {"b", "2"}}));
}

// Set back by an hour once a record was written. The store's own threads must not have looked at it before.
struct ClockThatWasSetBack {
  const int64_t now;
  bool was_set_back = false;
  const std::thread::id owner = std::this_thread::get_id();
  int64_t operator()() const { return std::this_thread::get_id() != owner || was_set_back ? now - 3'600'000'000 : now; }
};

// A call that read by one time and was judged by another tried again for as long as the clock was behind.
TEST_F(StoreTest, AfterAClockWasSetBackAllCallsAgreeOnWhatHasExpired) {
  ClockThatWasSetBack clock{.now = now_us};
  open({.now_us = std::ref(clock)});
  ASSERT_TRUE(store_->put("last", "1").ok());
  clock.was_set_back = true;
  for (const char* key : {"k", "l"}) {  // they end before the time of the last record
    ASSERT_TRUE(store_->put(key, "5", {.ttl = seconds(10)}).ok());
  }
  EXPECT_EQ(*store_->increment("k"), 1);
  EXPECT_EQ(store_->get("k"), "1");
  EXPECT_FALSE(*store_->persist("l"));
  EXPECT_EQ(store_->get("l"), std::nullopt);
  open();  // the clock ends here
}

TEST_F(StoreTest, AfterAClockWasSetBackTransactionsGoThrough) {
  ClockThatWasSetBack clock{.now = now_us};
  open({.now_us = std::ref(clock)});
  ASSERT_TRUE(store_->put("last", "1").ok());
  clock.was_set_back = true;
  ASSERT_TRUE(store_->put("k", "5", {.ttl = seconds(10)}).ok());  // it ends before the time of the last record
  const Status s = store_->transact([](Transaction& txn) {
    txn.put("copy", txn.get("k").value_or("none"));
    return Status();
  });
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(store_->get("copy"), "none");
  open();  // the clock ends here
}

TEST_F(StoreTest, AfterCloseNothingIsErasedOrBackedUp) {
  open();
  EXPECT_TRUE(store_->close().ok());
  EXPECT_EQ(code_of(store_->erase_prefix("none").status()), "Closed");
  const std::filesystem::path copy = dir().parent_path() / "copy";
  EXPECT_EQ(code_of(store_->backup(copy).status()), "Closed");
  EXPECT_FALSE(std::filesystem::exists(copy));
}

// The background's own syncs counted, one each second.
TEST_F(StoreTest, AStoreAtRestSharesNoSyncs) {
  open({.sync_interval = std::chrono::milliseconds(1)});
  ASSERT_TRUE(store_->put("a", "1").ok());
  ASSERT_TRUE(store_->sync().ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(store_->stats().sync_waits, 0U);
}

// spdlog lets through what is no std::exception.
TEST_F(StoreTest, ASinkThatThrowsAnythingStopsNoCall) {
  open({.log_sink = [](LogLevel, std::string_view) { throw 1; }});
  ASSERT_TRUE(store_->put("a", "1").ok());
  EXPECT_TRUE(store_->compact().ok());
}

// By its contract it does not. get() is noexcept, and so are the store's threads.
TEST_F(StoreTest, AClockThatThrowsStopsNoCall) {
  std::atomic<bool> throws = false;
  open({.now_us = [&] { return throws ? throw std::runtime_error("no time") : now_us.load(); }});
  ASSERT_TRUE(store_->put("a", "1", {.ttl = seconds(10)}).ok());
  throws = true;
  EXPECT_TRUE(store_->put("b", "2").ok());
  EXPECT_EQ(contents_of(*store_), (State{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(store_->get("a"), "1");
  EXPECT_TRUE(store_->put("c", "3", {.ttl = seconds(10)}).ok());  // from when it stood still
  throws = false;
  EXPECT_EQ(store_->get("c"), "3");
  open(clocked());  // the clock ends here
  EXPECT_EQ(contents_of(*store_), (State{{"a", "1"}, {"b", "2"}, {"c", "3"}}));
}

TEST_F(StoreTest, CancellingACompactionIsNoConcernOfABackup) {
  open();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(store_->put("k" + std::to_string(i), "v").ok());
  Options options;
  options.on_progress = [this](const Progress& progress) {
    if (progress.step == "backup") store_->cancel_compaction();
  };
  open(std::move(options));
  const Result<BackupReport> report = store_->backup(dir().parent_path() / "copy");
  EXPECT_TRUE(report.ok()) << report.status().message();
}

TEST_F(StoreTest, AnIntervalOfSyncsLongerThanAnyClockMeansNone) {
  open({.sync_interval = std::chrono::milliseconds::max()});
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(store_->put("k", "v").ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(store_->stats().syncs, 0U);
}

TEST_F(StoreTest, ReadShowsTheValueInPlaceAndForEachVisitsEveryKey) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  ASSERT_TRUE(store_->put_json("b", "2").ok());
  std::string seen;
  EXPECT_TRUE(store_->read("a", [&](std::string_view value) { seen = value; }));
  EXPECT_EQ(seen, "1");
  State visited;
  ASSERT_TRUE(store_->for_each([&](const EntryView& e) { visited[std::string(e.key)] = e.value; }).ok());
  EXPECT_EQ(visited, (State{{"a", "1"}, {"b", "2"}}));
}

TEST_F(StoreTest, ASecondOwnerIsRefusedAtOnceAndToldWhoTheFirstIs) {
  open();
  const auto begin = std::chrono::steady_clock::now();
  const Result<Store> second = Store::open(dir());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(code_of(second.status()), "Locked");
  EXPECT_NE(second.status().message().find("pid " + std::to_string(::getpid())), std::string_view::npos)
      << second.status().message();
}

TEST_F(StoreTest, TheOwnerIsNamedFromTheBeginningOfItsReplay) {
  // It used to be noted only after the replay, so that a long one refused others without a name.
  std::string refusal;
  open({.log_sink = [&](LogLevel, std::string_view line) {  // "replayed 0 records ...": before the first append
    if (line.starts_with("replayed")) refusal = Store::open(dir()).status().message();
  }});
  EXPECT_NE(refusal.find("pid " + std::to_string(::getpid())), std::string::npos) << refusal;
}

// It was taken for a torn tail, and an opening that allows for none was told to cut it.
TEST_F(StoreTest, WhatTheOwnerIsWritingIsNoDamageToAReader) {
  open({.log_io = LogIo::kWrite});
  ASSERT_TRUE(store_->put("a", "1").ok());
  std::ofstream(log_files_of(dir()).front(), std::ios::app) << R"({"seq":2,"ts":)";
  Result<Store> reader = Store::open(dir(), {.recovery = RecoveryPolicy::kRefuseAnyDamage, .read_only = true});
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader->get("a"), "1");
  EXPECT_TRUE(reader->recovery().cuts.empty());
  ASSERT_TRUE(store_->put("a", "2").ok());  // over it
  reader = Store::open(dir(), {.recovery = RecoveryPolicy::kRefuseAnyDamage, .read_only = true});
  EXPECT_TRUE(reader.ok()) << reader.status().message();
}

TEST_F(StoreTest, AReaderBesideTheOwnerSeesTheDataAndChangesNothing) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  const auto names_and_sizes = [this] {
    std::map<std::string, uintmax_t> sizes;
    for (const auto& item : std::filesystem::directory_iterator(dir()))
      sizes[item.path().filename()] = item.file_size();
    return sizes;
  };
  const auto before = names_and_sizes();
  {
    Result<Store> reader = Store::open(dir(), {.read_only = true});
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    EXPECT_EQ(reader->get("a"), "1");
    EXPECT_EQ(code_of(reader->put("a", "2")), "ReadOnly");
    EXPECT_EQ(code_of(reader->del("a").status()), "ReadOnly");
    EXPECT_EQ(code_of(reader->increment("n").status()), "ReadOnly");
    EXPECT_EQ(code_of(reader->erase_prefix("").status()), "ReadOnly");
    EXPECT_EQ(code_of(reader->sync()), "ReadOnly");
    EXPECT_TRUE(reader->close().ok());
  }
  EXPECT_EQ(names_and_sizes(), before);
  EXPECT_TRUE(store_->put("a", "3").ok());
}

TEST_F(StoreTest, AfterCloseWritesAreRefusedAndReadsGoOn) {
  open();
  ASSERT_TRUE(store_->put("a", "1").ok());
  EXPECT_TRUE(store_->close().ok());
  EXPECT_EQ(code_of(store_->put("a", "2")), "Closed");
  EXPECT_EQ(code_of(store_->sync()), "Closed");
  EXPECT_EQ(store_->get("a"), "1");
  EXPECT_TRUE(store_->close().ok());
}

TEST_F(StoreTest, WhereThereIsNoStoreNoneIsMadeUnlessAskedFor) {
  EXPECT_EQ(code_of(Store::open(dir(), {.create_if_missing = false}).status()), "NotAStore");
  EXPECT_EQ(code_of(Store::open(dir(), {.read_only = true}).status()), "NotAStore");
  EXPECT_FALSE(std::filesystem::exists(dir()));
  std::filesystem::create_directory(dir());
  EXPECT_EQ(code_of(Store::open(dir(), {.create_if_missing = false}).status()), "NotAStore");
  EXPECT_EQ(code_of(Store::open(dir(), {.read_only = true}).status()), "NotAStore");
  EXPECT_TRUE(std::filesystem::is_empty(dir()));
}

TEST_F(StoreTest, FilesAreForTheOwnerOnly) {
  open();
  namespace fs = std::filesystem;
  EXPECT_EQ(fs::status(dir()).permissions(), fs::perms::owner_all);
  for (const auto& item : fs::directory_iterator(dir())) {
    EXPECT_EQ(item.status().permissions(), fs::perms::owner_read | fs::perms::owner_write) << item.path();
  }
}

TEST_F(StoreTest, SegmentsRotateAndAreAllReadBack) {
  for (const LogIo io : {LogIo::kMapped, LogIo::kWrite}) {
    open({.log_io = io, .segment_bytes = 4096});
    fill_segments(300, "k", std::string(100, 'v'));
    EXPECT_GT(store_->stats().rotations, 5U);
    std::vector<std::filesystem::path> files = log_files_of(dir());
    std::erase_if(files, [](const auto& file) { return lines_of(file).empty(); });  // made ahead, not begun
    EXPECT_EQ(store_->stats().log_segments, files.size());
    ASSERT_TRUE(store_->put("large", std::string(10'000, 'L')).ok());  // a line larger than a segment
    open({.log_io = io, .segment_bytes = 4096});
    EXPECT_EQ(contents_of(*store_).size(), 301U);
  }
}

TEST_F(StoreTest, ASyncedWriteIsVouchedForByTheNextLine) {
  open();
  ASSERT_TRUE(store_->put("a", "1", {.durability = Durability::kSync}).ok());
  EXPECT_EQ(store_->stats().synced_seq, 1U);
  ASSERT_TRUE(store_->put("b", "1").ok());
  const std::vector<std::string> lines = lines_of(log_files_of(dir()).at(0));
  EXPECT_NE(lines.at(2).find(R"("synced":1,)"), std::string::npos) << lines.at(2);
}

TEST_F(StoreTest, TheBackgroundSyncBoundsWhatAPowerCutCanTake) {
  open({.sync_interval = std::chrono::milliseconds(5)});
  ASSERT_TRUE(store_->put("a", "1").ok());
  for (int i = 0; i < 1000 && store_->stats().synced_seq < 1; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(store_->stats().synced_seq, 1U);
}

TEST_F(StoreTest, ConcurrentDurableWritersShareSyncs) {
  open({.durability = Durability::kSync});
  uint64_t written = 0;
  // Again where they did not meet: a disk may sync before the next thread has even started.
  for (int round = 0; round < 50 && store_->stats().sync_waits == 0; ++round) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([this, t] {
        for (int i = 0; i < 20; ++i) ASSERT_TRUE(store_->put(std::to_string(t) + "/" + std::to_string(i), "v").ok());
      });
    }
    for (std::thread& thread : threads) thread.join();
    written += 160;
  }
  const Stats stats = store_->stats();
  EXPECT_EQ(stats.synced_seq, written);
  EXPECT_LT(stats.syncs, written);
  EXPECT_GT(stats.sync_waits, 0U);
}

TEST_F(StoreTest, TimestampsNeverRunBackwards) {
  open(clocked());
  ASSERT_TRUE(store_->put("a", "1").ok());
  now_us -= 5'000'000;
  ASSERT_TRUE(store_->put("b", "1").ok());
  close();
  open(clocked());
  ASSERT_TRUE(store_->put("c", "1").ok());
  Result<LogCursor> cursor = LogCursor::open(dir());
  ASSERT_TRUE(cursor.ok());
  int64_t last = 0;
  for (;;) {
    Result<const LogRecord*> record = cursor->next();
    ASSERT_TRUE(record.ok());
    if (*record == nullptr) break;
    EXPECT_GE((*record)->ts_us, last);
    last = (*record)->ts_us;
  }
}

TEST_F(StoreTest, TheEmbeddersSinkHearsAndNobodyElse) {
  std::vector<std::string> heard;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  open({.log_sink = [&](LogLevel, std::string_view line) { heard.emplace_back(line); }});
  ASSERT_TRUE(store_->put("a", "1").ok());
  close();
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ASSERT_FALSE(heard.empty());
  EXPECT_TRUE(heard.front().starts_with("replayed 0 records")) << heard.front();
}

TEST_F(StoreTest, TheSinkHearsOfARefusalAsAnError) {
  std::vector<std::string> errors;
  open();
  const auto sink = [&](LogLevel level, std::string_view line) {
    if (level == LogLevel::kError) errors.emplace_back(line);
  };
  const Status locked = Store::open(dir(), {.log_sink = sink}).status();
  EXPECT_EQ(errors, std::vector<std::string>{"open: " + std::string(locked.message())});
}

}  // namespace
}  // namespace kvstore::testing
