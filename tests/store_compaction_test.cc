// Compaction and backup: what they leave on disk, and that no state is ever lost or changed by them. Crashes in the
// middle are store_power_cut_test.cc's and crash_runner's.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/engine/duplicate_keys.h"
#include "kvstore/engine/engine.h"
#include "kvstore/env/mem_env.h"
#include "kvstore/format/encode.h"
#include "kvstore/kvstore.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/snapshot_reader.h"
#include "tests/support/crash_env.h"
#include "tests/support/seed.h"
#include "tests/support/store_test.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;

class CompactionTest : public StoreTest {
 protected:
  // The names in the store's directory, without LOCK and a segment made ahead.
  std::vector<std::string> files() {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(dir())) {
      if (item.path().filename() != "LOCK" && item.path().filename() != "wal-next.jsonl")
        names.push_back(item.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  void put(const std::string& key, const std::string& value, const WriteOptions& options = {}) {
    const Status s = store_->put(key, value, options);
    ASSERT_TRUE(s.ok()) << s.message();
  }
  CompactionReport compact() {
    Result<CompactionReport> report = store_->compact();
    EXPECT_TRUE(report.ok()) << report.status().message();
    return report.ok() ? *report : CompactionReport();
  }
  // A closed store with a snapshot after each of its three records.
  void make_history(const Options& options) {
    open(options);
    for (const char* value : {"1", "2", "3"}) {
      put("a", value);
      compact();
    }
    close();
  }
  void flip_bit(const fs::path& file, size_t at) {
    expects_damage_ = true;
    std::string bytes = bytes_of(file);
    bytes.at(at) ^= 1;
    write_bytes(file, bytes);
  }
  // In the closing line of the newest segment kept, and behind that line.
  void expect_damage_behind_history() {
    const fs::path file = dir() / "wal-00000000000000000003.jsonl";
    const std::string whole = bytes_of(file);
    std::string flipped = whole;
    flipped[whole.rfind("\"last_seq\"") + 3] ^= 1;
    for (const auto& [bytes, line] : {std::pair(flipped, 3), std::pair(whole + "junk\n", 4)}) {
      write_bytes(file, bytes);
      const Result<VerifyReport> report = verify(dir());
      ASSERT_TRUE(report.ok()) << report.status().message();
      std::string damaged;
      for (const Finding& finding : report->findings) {
        if (finding.severity != Finding::Severity::kDamage) continue;
        damaged += fmt::format("{}:{} ", finding.file, finding.line);
        EXPECT_NE(finding.advice, "");
      }
      EXPECT_EQ(damaged, fmt::format("{}:{} ", file.string(), line));
    }
  }
  std::string refusal() {
    expects_damage_ = true;
    Result<Store> store = Store::open(dir());
    if (store.ok()) return "opened";
    Result<VerifyReport> report = verify(dir());
    EXPECT_TRUE(report.ok() && !report->findings.empty());
    return std::string(code_name(store.status().code())) + ": " + std::string(store.status().message());
  }
};

using Names = std::vector<std::string>;

TEST_F(CompactionTest, LeavesOneSnapshotAndOneSegmentWithTheSameState) {
  open({.segment_bytes = 4096});
  for (int round = 0; round < 10; ++round) fill_segments(10, "k", std::string(200, 'v') + std::to_string(round));
  ASSERT_TRUE(store_->put_json("doc", R"({"a": [1, 2]})").ok());
  ASSERT_TRUE(*store_->del("k3"));
  const auto before = contents_of(*store_);
  const CompactionReport report = compact();
  EXPECT_EQ(report.seq, 102U);
  EXPECT_EQ(report.entries, 10U);
  EXPECT_GT(report.files_removed, 4U);
  EXPECT_EQ(files(), (Names{"snapshot-00000000000000000102.jsonl", "wal-00000000000000000103.jsonl"}));
  EXPECT_EQ(contents_of(*store_), before);
  put("later", "1");
  EXPECT_EQ(store_->last_seq(), 103U);
}

TEST_F(CompactionTest, KeepsVersionsSoThatCompareAndSetSurvivesIt) {
  open();
  put("a", "1");
  put("b", "1");
  put("a", "2");
  compact();
  open({.create_if_missing = false});
  EXPECT_EQ(store_->get_entry("a")->version, 3U);
  EXPECT_EQ(store_->get_entry("b")->version, 2U);
  EXPECT_EQ(store_->recovery().snapshot_seq, 3U);
  EXPECT_EQ(store_->recovery().snapshot_entries, 2U);
  EXPECT_EQ(store_->recovery().records, 0U);
  EXPECT_TRUE(store_->put("a", "3", {.if_version = 3}).ok());
  EXPECT_EQ(store_->put("b", "3", {.if_version = 3}).code(), Code::kConflict);
}

TEST_F(CompactionTest, OfAnEmptyOrAnUnchangedStoreDoesNothing) {
  open();
  EXPECT_EQ(compact().seq, 0U);
  EXPECT_EQ(files(), (Names{"wal-00000000000000000001.jsonl"}));
  put("a", "1");
  EXPECT_EQ(compact().seq, 1U);
  const Names after = files();
  const CompactionReport again = compact();
  EXPECT_EQ(again.entries, 1U);
  EXPECT_EQ(again.files_removed, 0U);
  EXPECT_EQ(files(), after);
}

TEST_F(CompactionTest, WhatHadExpiredStaysGoneAlsoWhenTheClockJumpsBack) {
  // The upkeep thread looks at the clock when the store opens, and then every second. Were its first look to fall behind the
  // jump, it would hold the clock there itself, and hide a compaction that does not.
  const std::thread::id me = std::this_thread::get_id();
  std::atomic<bool> upkeep_has_looked = false;
  Options options = clocked();
  options.now_us = [&] {
    if (std::this_thread::get_id() != me) upkeep_has_looked = true;
    return now_us.load();
  };
  open(options);
  while (!upkeep_has_looked) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  put("short", "1", {.ttl = std::chrono::seconds(10)});
  put("long", "1", {.ttl = std::chrono::hours(10)});
  now_us += 20'000'000;
  compact();
  now_us -= 15'000'000;  // "short" would be alive by this clock
  EXPECT_FALSE(store_->contains("short"));
  EXPECT_TRUE(store_->contains("long"));
  open(clocked());
  EXPECT_FALSE(store_->contains("short"));
  EXPECT_TRUE(store_->contains("long"));
  put("new", "1", {.ttl = std::chrono::seconds(1)});
  EXPECT_TRUE(store_->contains("new"));
}

TEST_F(CompactionTest, WhatHadExpiredForAWriteStaysGoneAfterAReopeningWithAnEarlierClock) {
  open(clocked());
  put("short", "1", {.ttl = std::chrono::seconds(10)});
  now_us += 20'000'000;
  put("later", "1");  // its time stamp is what the next opening goes by
  now_us -= 15'000'000;
  open(clocked());
  EXPECT_FALSE(store_->contains("short"));
  EXPECT_TRUE(store_->contains("later"));
}

TEST_F(CompactionTest, WhatWasSweptStaysGoneAfterAWriteAndAReopeningWithAnEarlierClock) {
  open(clocked());
  put("short", "1", {.ttl = std::chrono::seconds(10)});
  now_us += 20'000'000;
  open(clocked());
  while (store_->stats().entries != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  now_us -= 15'000'000;  // "short" would be alive by this clock
  put("next", "1");
  open(clocked());
  EXPECT_FALSE(store_->contains("short"));
  EXPECT_TRUE(store_->contains("next"));
}

TEST_F(CompactionTest, RunsByItselfWhenTheLogHasOutgrownTheState) {
  open({.segment_bytes = uint64_t{256} << 10, .compact_min_bytes = uint64_t{512} << 10});
  for (int i = 0; i < 20'000; ++i) put("k" + std::to_string(i % 10), std::string(100, 'v'));
  for (int wait = 0; wait < 100 && store_->stats().compactions == 0; ++wait)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_GT(store_->stats().compactions, 0U);
  EXPECT_LT(store_->stats().log_bytes, uint64_t{3} << 20);
  EXPECT_EQ(store_->stats().entries, 10U);
}

// Lines of binary values are a third longer than the values: a store of them looked half dead right after a compaction.
TEST_F(CompactionTest, KnowsHowLongItsLinesAreWhenItJudgesWhatIsDead) {
  open();
  for (int i = 0; i < 1000; ++i) put("k" + std::to_string(i), std::string(300, '\x01'));  // six bytes each in a line
  const CompactionReport report = compact();
  const auto near = [&] {
    const double ratio = static_cast<double>(store_->stats().live_bytes) / static_cast<double>(report.snapshot_bytes);
    return ratio > 0.95 && ratio < 1.05;
  };
  EXPECT_TRUE(near()) << store_->stats().live_bytes << " " << report.snapshot_bytes;
  open({.create_if_missing = false});
  EXPECT_TRUE(near()) << store_->stats().live_bytes << " " << report.snapshot_bytes;
}

TEST_F(CompactionTest, KeepsWholeIntervalsOfHistoryAsFarAsTheyFit) {
  open({.keep_history_bytes = 1'000'000});
  put("a", "1");
  compact();
  put("a", "2");
  compact();
  put("a", "3");
  EXPECT_EQ(files(), (Names{"snapshot-00000000000000000001.jsonl", "snapshot-00000000000000000002.jsonl",
                            "wal-00000000000000000001.jsonl", "wal-00000000000000000002.jsonl",
                            "wal-00000000000000000003.jsonl"}));
  Result<LogCursor> log = LogCursor::open(dir());
  ASSERT_TRUE(log.ok());
  std::string values;
  for (Result<const LogRecord*> record = log->next(); record.ok() && *record != nullptr; record = log->next()) {
    values += (*record)->ops[0].value;
  }
  EXPECT_EQ(values, "123");
  open({.keep_history_bytes = 800});  // room for one interval
  compact();
  EXPECT_EQ(files(), (Names{"snapshot-00000000000000000002.jsonl", "snapshot-00000000000000000003.jsonl",
                            "wal-00000000000000000003.jsonl", "wal-00000000000000000004.jsonl"}));
  open();
  put("b", "1");
  compact();
  EXPECT_EQ(files(), (Names{"snapshot-00000000000000000004.jsonl", "wal-00000000000000000005.jsonl"}));
}

// verify() took the gap for a compaction that was at work, and began again, and again, without end.
TEST_F(CompactionTest, ASegmentMissingFromTheHistoryIsReportedAndHarmsNothing) {
  open({.segment_bytes = 4096, .keep_history_bytes = 1'000'000});
  fill_segments(60, "k", std::string(200, 'v'));
  compact();
  const auto before = contents_of(*store_);
  close();
  expects_damage_ = true;
  const Names names = files();  // the snapshot, then the segments
  ASSERT_GE(names.size(), 5U);
  fs::remove(dir() / names[2]);
  Result<VerifyReport> report = verify(dir());
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_FALSE(report->findings.empty());
  EXPECT_NE(report->findings[0].message.find("the next one, " + names[3] + ", begins with"), std::string::npos)
      << report->findings[0].message;
  open({.create_if_missing = false});
  EXPECT_EQ(contents_of(*store_), before);
}

TEST_F(CompactionTest, KeepsHistoryByAge) {
  open(clocked({.keep_history_for = std::chrono::seconds(100)}));
  put("a", "1");
  compact();
  now_us += 60'000'000;
  put("a", "2");
  compact();
  EXPECT_EQ(files().size(), 5U);
  now_us += 60'000'000;  // the first interval ended 120 s ago, the second 60 s
  put("a", "3");
  compact();
  EXPECT_EQ(files(), (Names{"snapshot-00000000000000000001.jsonl", "snapshot-00000000000000000002.jsonl",
                            "snapshot-00000000000000000003.jsonl", "wal-00000000000000000002.jsonl",
                            "wal-00000000000000000003.jsonl", "wal-00000000000000000004.jsonl"}));
}

// How old history is, its snapshots tell. Where the header or the footer of one was damaged no compaction came to its
// end any more, and nothing was ever removed.
TEST_F(CompactionTest, DamagedHistoryIsDroppedLikeAnyOther) {
  for (const bool in_header : {true, false}) {
    make_history({.keep_history_bytes = 1'000'000});
    const fs::path older = dir() / "snapshot-00000000000000000002.jsonl";
    flip_bit(older, in_header ? 3 : fs::file_size(older) - 3);
    open({.keep_history_bytes = 800});  // room for one interval
    compact();
    EXPECT_EQ(files(), (Names{"snapshot-00000000000000000002.jsonl", "snapshot-00000000000000000003.jsonl",
                              "wal-00000000000000000003.jsonl", "wal-00000000000000000004.jsonl"}));
    EXPECT_EQ(store_->get("a"), "3");
    close();
    fs::remove_all(dir());
  }
}

TEST_F(CompactionTest, DamagedHistoryIsKeptLikeAnyOther) {
  const Options options = clocked({.keep_history_for = std::chrono::hours(24)});
  for (const char* damaged : {"snapshot-00000000000000000001.jsonl", "snapshot-00000000000000000002.jsonl"}) {
    make_history(options);
    flip_bit(dir() / damaged, 3);
    const Names before = files();
    ASSERT_EQ(before.size(), 7U);
    open(options);
    compact();
    EXPECT_EQ(files(), before);
    close();
    fs::remove_all(dir());
  }
}

TEST_F(CompactionTest, BesideWritersLosesNothingAndChangesNothing) {
  std::mt19937_64 random(seed());
  open({.segment_bytes = uint64_t{64} << 10});
  std::atomic<bool> done{false};
  std::thread compactor([&] {
    while (!done.load()) ASSERT_TRUE(store_->compact().ok());
  });
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 30'000 || store_->stats().compactions < 3; ++i) {
    const std::string key = "k" + std::to_string(random() % 500);
    if (random() % 5 == 0) {
      ASSERT_EQ(*store_->del(key), expected.erase(key) == 1);
    } else {
      expected[key] = std::to_string(i);
      put(key, expected[key]);
    }
  }
  done = true;
  compactor.join();
  EXPECT_EQ(contents_of(*store_), expected);
  open({.create_if_missing = false});
  EXPECT_EQ(contents_of(*store_), expected);
}

TEST_F(CompactionTest, ReadersFromOutsideWorkBesideIt) {
  open({.segment_bytes = 4096});
  for (int i = 0; i < 100; ++i) put("k" + std::to_string(i), std::string(100, 'v'));
  std::atomic<bool> done{false};
  std::thread compactor([&] {
    for (int i = 0; !done.load(); ++i) {
      ASSERT_TRUE(store_->put("k" + std::to_string(i % 100), std::string(100, 'w')).ok());
      if (i % 3 == 0) {
        ASSERT_TRUE(store_->compact().ok());
      }
    }
  });
  for (int i = 0; i < 60; ++i) {
    Result<Store> reader = Store::open(dir(), {.read_only = true});
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    ASSERT_EQ(reader->scan()->size(), 100U);
    Result<VerifyReport> report = verify(dir());
    ASSERT_TRUE(report.ok()) << report.status().message();
    ASSERT_FALSE(report->has(Finding::Severity::kDamage)) << report->findings[0].message;
    ASSERT_TRUE(info(dir()).ok());
  }
  done = true;
  compactor.join();
}

TEST_F(CompactionTest, CanBeCancelledAndLeavesEverythingAsItWas) {
  bool cancels = true;
  open({.on_progress = [&](const Progress& progress) {
    if (cancels && progress.step == "compact") store_->cancel_compaction();
  }});
  for (int i = 0; i < 5000; ++i) put("k" + std::to_string(i), std::string(100, 'v'));
  store_->cancel_compaction();  // none is under way: says nothing about the next one
  Result<CompactionReport> report = store_->compact();
  cancels = false;
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), Code::kCancelled);
  EXPECT_EQ(files(), (Names{"wal-00000000000000000001.jsonl", "wal-00000000000000005001.jsonl"}));
  EXPECT_EQ(compact().entries, 5000U);
}

TEST_F(CompactionTest, WhatItsProgressThrowsEndsItAndNotTheStore) {
  bool throws = true;
  open({.on_progress = [&](const Progress& progress) {
    if (progress.step == "compact" && std::exchange(throws, false)) throw std::runtime_error("nobody looks");
  }});
  put("a", "1");
  const Status failed = store_->compact().status();
  EXPECT_EQ(failed.code(), Code::kIoError);
  EXPECT_EQ(failed.message(), "compact: nobody looks");
  EXPECT_EQ(store_->stats().compactions_failed, 1U);
  put("b", "1");
  EXPECT_EQ(compact().entries, 2U);
  close();  // on_progress ends with this test's variables
}

TEST_F(CompactionTest, WhatItsProgressThrowsEndsABackupToo) {
  int throws = 2;
  open({.on_progress = [&](const Progress& progress) {
    if (progress.step != "backup" || throws == 0) return;
    if (--throws == 0) throw 42;
    throw std::runtime_error("nobody looks");
  }});
  put("a", "1");
  const fs::path copy = dir().parent_path() / "copy";
  const Status failed = store_->backup(copy).status();
  EXPECT_EQ(failed.code(), Code::kIoError);
  EXPECT_EQ(failed.message(), "backup: nobody looks");
  EXPECT_EQ(store_->backup(copy).status().message(), "backup: something was thrown that is no std::exception");
  EXPECT_EQ(store_->backup(copy)->entries, 1U) << "nothing of the first is in the way";
  close();
}

TEST(Compaction, OnASlowDiskShowsHowFarItIs) {
  CrashEnv env;
  bool is_slow = true;
  env.set_hook([&](const CrashEnv::OpInfo& op) {  // longer than the time between two reports
    if (op.op != EnvOp::kWrite || op.path.find("/snapshot-") == std::string::npos) return;
    if (std::exchange(is_slow, false)) std::this_thread::sleep_for(std::chrono::milliseconds(101));
  });
  std::vector<Progress> seen;
  auto engine = engine::Engine::open(env, "db", {.compact_at_percent = 0, .on_progress = [&](const Progress& progress) {
                                                   if (progress.step == "compact") seen.push_back(progress);
                                                 }});
  ASSERT_TRUE(engine.ok());
  const std::string value(10'000, 'v');
  for (int i = 0; i < 300; ++i) ASSERT_TRUE((*engine)->put("k" + std::to_string(i), value, /*is_json=*/false, {}).ok());
  ASSERT_TRUE((*engine)->compact().ok());
  ASSERT_GE(seen.size(), 2U);
  EXPECT_LT(seen.front().done_bytes, seen.front().total_bytes);
  EXPECT_LT(seen.front().done_bytes, seen.back().done_bytes);
  EXPECT_EQ(seen.back().done_bytes, seen.back().total_bytes);
}

// ---- damage --------------------------------------------------------------------------------------

TEST_F(CompactionTest, ADamagedSnapshotIsRefusedWhereverTheDamageIs) {
  open();
  for (int i = 0; i < 5; ++i) put("k" + std::to_string(i), "value");
  compact();
  close();
  const fs::path snapshot = dir() / "snapshot-00000000000000000005.jsonl";
  const std::string whole = bytes_of(snapshot);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] ^= 1;
    write_bytes(snapshot, bytes);
    ASSERT_TRUE(refusal().starts_with("Corruption: " + snapshot.string() + ":")) << at << ": " << refusal();
  }
  for (size_t size = 0; size + 1 < whole.size(); ++size) {  // without its last newline it is whole
    write_bytes(snapshot, whole.substr(0, size));
    ASSERT_TRUE(refusal().starts_with("Corruption: " + snapshot.string() + ":")) << size << ": " << refusal();
  }
  write_bytes(snapshot, whole);
  EXPECT_EQ(refusal(), "opened");
}

TEST_F(CompactionTest, LinesOfASnapshotThatWereExchangedOrRepeatedAreNoticed) {
  open();
  for (int i = 0; i < 3; ++i) put("k" + std::to_string(i), "value");
  compact();
  close();
  const fs::path snapshot = dir() / "snapshot-00000000000000000003.jsonl";
  const std::vector<std::string> lines = lines_of(snapshot);
  ASSERT_EQ(lines.size(), 5U);
  const auto refused_with = [&](const std::vector<std::string>& order, const std::string& reason) {
    std::string text;
    for (const std::string& line : order) text += line + "\n";
    write_bytes(snapshot, text);
    EXPECT_NE(refusal().find(reason), std::string::npos) << refusal();
  };
  refused_with({lines[0], lines[2], lines[1], lines[3], lines[4]}, "not as a whole");
  refused_with({lines[0], lines[1], lines[1], lines[3], lines[4]}, "not as a whole");
  refused_with({lines[0], lines[1], lines[2], lines[4]}, "the footer counts 3 entries, but 2 stand in the file");
  refused_with({lines[0], lines[1], lines[2], lines[3], lines[4], lines[4]}, "a line stands behind the footer");
  refused_with({lines[1], lines[2], lines[3], lines[4]}, "the header of a snapshot should stand here");
}

TEST_F(CompactionTest, AKeyThatStandsTwiceInASnapshotIsNoticed) {
  open();
  put("a", "1");
  put("a", "2");
  compact();
  const std::string uuid = info(dir())->uuid;
  close();
  std::string text = format::encode_snapshot_header({.format = 1, .store = uuid, .last_seq = 2, .created_us = 1});
  base::Buffer entries;
  for (uint64_t seq : {1, 2}) {
    format::encode_entry(
        entries, {.kind = format::Op::Kind::kPut, .is_json = false, .key = "a", .value = "v", .expires_us = 0}, seq);
  }
  text += entries.view();
  text += format::encode_snapshot_end(
      {.entries = 2, .last_seq = 2, .next = "wal-00000000000000000003.jsonl", .whole = base::crc32c(text)});
  write_bytes(dir() / "snapshot-00000000000000000002.jsonl", text);
  expects_damage_ = true;
  Result<Store> store = Store::open(dir());
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.status().message().find("its 2 entries are for only 1 keys"), std::string::npos)
      << store.status().message();
}

// Two keys of one hash look like one that stands twice, until the file is read once more.
TEST(DuplicateKeys, AreThoseThatStandInTheFileTwiceWhateverTheirHashes) {
  env::MemEnv env;
  const wal::SnapshotFile snapshot{.name = "snapshot-00000000000000000002.jsonl", .last_seq = 2};
  const auto check = [&] {
    engine::DuplicateKeys keys;
    keys.add("a");
    keys.add("a");
    return keys.check(env, "db", snapshot).code();
  };
  EXPECT_EQ(check(), Code::kOk);  // it is not there any more
  env.put_file("db/" + snapshot.name, snapshot_of(2, entry_line(1, "a", "1") + entry_line(2, "b", "1")));
  EXPECT_EQ(check(), Code::kOk);
  env.put_file("db/" + snapshot.name, snapshot_of(2, entry_line(1, "a", "1") + entry_line(2, "a", "1")));
  EXPECT_EQ(check(), Code::kCorruption);
}

TEST(Snapshot, WithTheFooterOfAnotherIsRefused) {
  env::MemEnv env;
  const std::string entries = entry_line(1, "a", "1") + entry_line(2, "b", "1");
  const std::string mine = snapshot_of(2, entries);
  const std::string other = snapshot_of(3, entries);
  const size_t footer_size = mine.size() - snapshot_header_line(2).size() - entries.size();
  ASSERT_EQ(mine.size(), other.size());
  env.put_file("db/snapshot-00000000000000000002.jsonl",
               mine.substr(0, mine.size() - footer_size) + other.substr(other.size() - footer_size));
  env.put_file("db/wal-00000000000000000003.jsonl", header_line(3));
  const Status refused = engine::Engine::open(env, "db", {}).status();
  EXPECT_EQ(refused.code(), Code::kCorruption);
  EXPECT_NE(refused.message().find("snapshot-00000000000000000002.jsonl:4 (byte "), std::string::npos)
      << refused.message();
  EXPECT_NE(refused.message().find("the footer is that of the snapshot of record 3"), std::string::npos)
      << refused.message();
}

TEST(Snapshot, ThatBecomesShorterWhileItIsReadIsDamaged) {
  env::MemEnv env;
  const std::string begin = snapshot_header_line(2) + entry_line(1, "a", "1");
  env.put_file("db/snapshot-00000000000000000002.jsonl",
               snapshot_of(2, entry_line(1, "a", "1") + entry_line(2, "b", "1")));
  Result<wal::SnapshotReader> reader =
      wal::SnapshotReader::open(env, "db", {.name = "snapshot-00000000000000000002.jsonl", .last_seq = 2}, 1);
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE(
      (*env.open("db/snapshot-00000000000000000002.jsonl", env::OpenMode::kReadWrite))->truncate(begin.size()).ok());
  Result<std::optional<wal::Records>> records = reader->next();
  ASSERT_TRUE(records.ok() && records->has_value());
  EXPECT_EQ((*records)->lines.size(), 1U);
  records = reader->next();
  EXPECT_EQ(records.status().code(), Code::kCorruption);
  EXPECT_NE(records.status().message().find("the file has become shorter while it was read"), std::string::npos);
}

TEST_F(CompactionTest, AMissingSnapshotOrTheSegmentBehindItIsNoticed) {
  open();
  put("a", "1");
  compact();
  put("a", "2");
  close();
  const fs::path snapshot = dir() / "snapshot-00000000000000000001.jsonl";
  const fs::path segment = dir() / "wal-00000000000000000002.jsonl";
  fs::rename(snapshot, dir() / "away");
  EXPECT_NE(
      refusal().find(
          "the log begins with wal-00000000000000000002.jsonl, so the files with the 1 records before it are missing"),
      std::string::npos)
      << refusal();
  fs::rename(dir() / "away", snapshot);
  fs::rename(segment, dir() / "away");
  EXPECT_NE(refusal().find("names wal-00000000000000000002.jsonl as the next segment, but that file is missing"),
            std::string::npos)
      << refusal();
  fs::rename(dir() / "away", segment);
  EXPECT_EQ(refusal(), "opened");
}

TEST_F(CompactionTest, ASnapshotOfAnotherStoreOrAnotherPlaceIsRefused) {
  open();
  put("a", "1");
  compact();
  close();
  const fs::path snapshot = dir() / "snapshot-00000000000000000001.jsonl";
  const std::string foreign = bytes_of(snapshot);
  fs::remove_all(dir());
  open();
  put("a", "1");
  compact();
  put("a", "2");
  close();
  const std::string own = bytes_of(snapshot);
  write_bytes(snapshot, foreign);
  EXPECT_NE(refusal().find("a snapshot of store"), std::string::npos) << refusal();
  write_bytes(snapshot, own);
  write_bytes(dir() / "snapshot-00000000000000000002.jsonl", own);
  EXPECT_TRUE(refusal().starts_with("Corruption: ")) << refusal();
}

// It was taken for the store's own: all that it would have covered was removed, the active segment with it.
TEST_F(CompactionTest, ASnapshotThatAnotherProgramPutsIntoAnOpenStoreStopsIt) {
  open();
  for (int i = 0; i < 9; ++i) put("other", std::to_string(i));
  compact();
  close();
  const fs::path stranger = dir() / "snapshot-00000000000000000009.jsonl";
  const fs::path elsewhere = dir().parent_path() / "elsewhere";
  fs::rename(stranger, elsewhere);
  fs::remove_all(dir());
  open();
  put("a", "1");
  compact();
  put("b", "2");
  fs::rename(elsewhere, stranger);
  const Names before = files();
  const Status refused = store_->compact().status();
  EXPECT_EQ(refused.code(), Code::kCorruption);
  EXPECT_EQ(refused.path(), dir());
  EXPECT_NE(refused.message().find(dir().string() + ": another program has put a snapshot there, of record 9"),
            std::string::npos)
      << refused.message();
  const Names after = files();
  EXPECT_TRUE(std::includes(after.begin(), after.end(), before.begin(), before.end()));
  put("c", "3");
  fs::remove(stranger);
  open({.create_if_missing = false});
  EXPECT_EQ(contents_of(*store_), (std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}, {"c", "3"}}));
  EXPECT_EQ(compact().seq, 3U);
}

// verify() stopped at the last record of the history, and what stands behind that was judged by nobody.
TEST_F(CompactionTest, DamageBehindTheLastRecordOfTheHistoryIsAFinding) {
  make_history({.keep_history_bytes = 1'000'000});
  open();
  put("a", "4");
  close();
  EXPECT_TRUE(verify(dir())->findings.empty());
  expect_damage_behind_history();
}

// With no record in the segment behind it, which is how a compaction leaves a store, it passed for a rotation that a
// crash had cut short.
TEST_F(CompactionTest, DamageBehindTheLastRecordOfTheHistoryIsAFindingAlsoWhereNoRecordFollows) {
  make_history({.keep_history_bytes = 1'000'000});
  EXPECT_TRUE(verify(dir())->findings.empty());
  expect_damage_behind_history();
}

// Nor may it where a record follows that nothing vouches for, as after a crash.
TEST_F(CompactionTest, DamageBehindTheLastRecordOfTheHistoryIsAFindingAlsoWhereNothingVouchesForTheNext) {
  make_history({.keep_history_bytes = 1'000'000});
  const std::string lock = bytes_of(dir() / "LOCK");
  open({.keep_history_bytes = 1'000'000});
  put("a", "4");
  close();
  write_bytes(dir() / "LOCK", lock);
  EXPECT_TRUE(verify(dir())->findings.empty());
  expect_damage_behind_history();
}

// Verifying the history began with the oldest segment that was left.
TEST_F(CompactionTest, AMissingSegmentAtTheBeginningOfTheHistoryIsAFinding) {
  make_history({.keep_history_bytes = 1'000'000});
  fs::remove(dir() / wal::segment_name(1));  // as compaction does
  EXPECT_TRUE(verify(dir())->findings.empty());
  expects_damage_ = true;
  fs::remove(dir() / wal::segment_name(2));
  const Result<VerifyReport> report = verify(dir());
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->findings.size(), 1U);
  EXPECT_NE(report->findings.front().message.find(wal::segment_name(2) + ": missing, though"), std::string::npos);
  EXPECT_EQ(report->findings.front().severity, Finding::Severity::kDamage);
}

// The closing line that names it is as it was.
TEST_F(CompactionTest, AMissingSegmentBehindTheHistoryIsOneFinding) {
  make_history({.keep_history_bytes = 1'000'000});
  expects_damage_ = true;
  fs::remove(dir() / "wal-00000000000000000004.jsonl");
  const Result<VerifyReport> report = verify(dir());
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(std::ranges::count(report->findings, Finding::Severity::kDamage, &Finding::severity), 1);
}

TEST_F(CompactionTest, ASnapshotThatSomebodyRemovedIsWrittenAnew) {
  open();
  put("a", "1");
  compact();
  fs::remove(dir() / "snapshot-00000000000000000001.jsonl");
  compact();
  open();
  EXPECT_EQ(store_->get("a"), "1");
}

// It removed, renamed and made files by name, whosesoever they were by then.
// A background thread had begun a segment for the old store while its directory moved; the new store found it and would not
// open.
TEST_F(CompactionTest, AStoreWhoseDirectoryWasMovedGoesOnThereAndLeavesItsSuccessorAlone) {
  const Options options{.segment_bytes = 64 << 10, .compact_at_percent = 0};
  const std::string value(1000, 'v');
  const fs::path elsewhere = dir().parent_path() / "elsewhere";
  Result<Store> old = Store::open(dir(), options);
  ASSERT_TRUE(old.ok());
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(old->put(std::to_string(i), value, {.durability = Durability::kSync}).ok());
  fs::rename(dir(), elsewhere);
  open(options);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(store_->put(std::to_string(i), value).ok());
  const Result<CompactionReport> compacted = old->compact();
  EXPECT_TRUE(compacted.ok()) << compacted.status().message();
  for (int i = 60; i < 400; ++i)
    ASSERT_TRUE(old->put(std::to_string(i), value, {.durability = Durability::kSync}).ok());
  EXPECT_TRUE(old->compact().ok());
  for (int i = 60; i < 300; ++i) ASSERT_TRUE(store_->put(std::to_string(i), value).ok());
  EXPECT_TRUE(old->close().ok());
  open(options);
  EXPECT_EQ(store_->stats().entries, 300U);
  close();
  Result<Store> moved = Store::open(elsewhere, options);
  ASSERT_TRUE(moved.ok()) << moved.status().message();
  EXPECT_EQ(moved->stats().entries, 400U);
}

// Both wrote to the same segment, both said OK, and what one of them wrote was gone.
TEST_F(CompactionTest, AStoreThatHasLostItsLockKeepsASecondOwnerOutAllTheSame) {
  for (const LogIo io : {LogIo::kMapped, LogIo::kWrite}) {
    open({.log_io = io});
    put("a", "1");
    compact();
    put("a", "2");
    fs::remove(dir() / "LOCK");
    const Status refused = Store::open(dir()).status();
    EXPECT_EQ(refused.code(), Code::kLocked);
    EXPECT_NE(refused.message().find("though its LOCK was removed or replaced"), std::string::npos)
        << refused.message();
    Result<Store> reader = Store::open(dir(), {.read_only = true});
    EXPECT_TRUE(reader.ok() && reader->get("a") == "2");
    EXPECT_TRUE(store_->close().ok());
    Result<Store> next = Store::open(dir());  // while the closed one is still there
    ASSERT_TRUE(next.ok()) << next.status().message();
    EXPECT_EQ(next->get("a"), "2");
    EXPECT_TRUE(next->close().ok());
    store_.reset();
  }
}

// The disk said that it had synced, which was true, and nobody would ever find the file.
TEST_F(CompactionTest, AWriteToALogThatSomebodyHasRemovedIsNotAcknowledged) {
  enum class By { kSync, kRotation, kClose };
  for (const LogIo io : {LogIo::kMapped, LogIo::kWrite}) {
    for (const By by : {By::kSync, By::kRotation, By::kClose}) {
      SCOPED_TRACE(static_cast<int>(by));
      open({.sync_interval = std::chrono::hours(1), .log_io = io, .segment_bytes = 64 << 10, .compact_at_percent = 0});
      put("a", "1");
      fs::remove(dir() / wal::segment_name(1));
      if (by != By::kClose) {
        Status written;
        const int count = by == By::kRotation ? 100 : 0;  // then the newest segment has a name again
        for (int i = 0; i < count && written.ok(); ++i) written = store_->put("a", std::string(1000, 'v'));
        written = store_->put("a", "2", {.durability = Durability::kSync});
        EXPECT_FALSE(written.ok());
        EXPECT_NE(written.message().find("it was removed, or its directory"), std::string::npos) << written.message();
        EXPECT_EQ(store_->put("a", "3").code(), Code::kBroken);
      }
      EXPECT_FALSE(store_->close().ok());
      store_.reset();
      fs::remove_all(dir());
    }
  }
}

// Who came meanwhile found nobody at the log yet; then both cut it, and both wrote to it.
TEST_F(CompactionTest, AnOpeningWhoseLockIsRemovedWhileItReadsChangesNothing) {
  open();
  put("a", "1");
  close();
  const std::string before = bytes_of(dir() / wal::segment_name(1));
  Options options;
  options.on_progress = [this](const Progress& progress) {
    if (progress.step == "replay") fs::remove(dir() / "LOCK");
  };
  const Status refused = Store::open(dir(), options).status();
  EXPECT_EQ(refused.code(), Code::kIoError);
  EXPECT_NE(refused.message().find("LOCK, or the whole directory, was removed"), std::string::npos);
  EXPECT_EQ(bytes_of(dir() / wal::segment_name(1)), before);
  open();
  EXPECT_EQ(store_->get("a"), "1");
}

TEST_F(CompactionTest, WhatRootMakesInSomebodysStoreIsThatOnes) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root makes files for others";
  constexpr uid_t kSomebody = 4711;
  fs::create_directory(dir());
  ASSERT_EQ(::chown(dir().c_str(), kSomebody, kSomebody), 0);
  open({.segment_bytes = 64 << 10, .keep_history_bytes = 1'000'000});
  for (int i = 0; i < 100; ++i) put("a", std::string(1000, 'v'));
  compact();
  close();
  std::ofstream(log_files_of(dir()).back(), std::ios::app) << "torn";  // the newest segment's: to lost+found with it
  open();
  for (const auto& item : fs::recursive_directory_iterator(dir())) {
    struct stat facts {};
    ASSERT_EQ(::stat(item.path().c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, kSomebody) << item.path();
    EXPECT_EQ(facts.st_gid, kSomebody) << item.path();
  }
  EXPECT_TRUE(fs::exists(dir() / "lost+found"));
}

// It had looked, and was about to cut the torn end off: whoever came then was acknowledged what it cut off next.
TEST_F(CompactionTest, AnOpeningThatCutsTheLogIsItsOwnerAlready) {
  open();
  put("a", "1");
  close();
  std::ofstream(log_files_of(dir()).back(), std::ios::app) << R"({"seq":2,"torn)";
  std::optional<Status> second;
  open({.log_sink = [&](LogLevel, std::string_view line) {
    if (line.find("recovery cuts") == std::string_view::npos || second.has_value()) return;
    fs::remove(dir() / "LOCK");
    second = Store::open(dir()).status();
  }});
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->code(), Code::kLocked) << second->message();
  put("b", "2");
  close();
}

// Whoever comes then can lock a LOCK of its own, and begin the same segments.
TEST_F(CompactionTest, AStoreThatHasLostItsLockMakesNoMoreFiles) {
  open({.segment_bytes = 64 << 10, .compact_at_percent = 0});
  const std::string value(1000, 'v');
  fs::remove(dir() / "LOCK");
  Status written;  // until it would need another file
  for (int i = 0; i < 1000 && written.code() != Code::kBroken; ++i)
    written = store_->put("a", value, {.durability = Durability::kSync});
  EXPECT_EQ(written.code(), Code::kBroken) << written.message();
  EXPECT_NE(written.message().find("LOCK, or the whole directory, was removed"), std::string::npos)
      << written.message();
  EXPECT_EQ(files(), Names{"wal-00000000000000000001.jsonl"});
  EXPECT_FALSE(store_->close().ok());
  store_.reset();
  open();
  EXPECT_EQ(store_->get("a"), value);
}

TEST_F(CompactionTest, AStoreWhoseDirectoryWasRemovedLeavesItsSuccessorAlone) {
  const Options options{.segment_bytes = 64 << 10, .compact_at_percent = 0};
  const std::string value(1000, 'v');
  Result<Store> old = Store::open(dir(), options);
  ASSERT_TRUE(old.ok());
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(old->put(std::to_string(i), value, {.durability = Durability::kSync}).ok());
  std::error_code trouble;  // it may be making a file right now
  while (fs::exists(dir())) fs::remove_all(dir(), trouble);
  open(options);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(store_->put(std::to_string(i), value).ok());
  EXPECT_EQ(old->compact().status().code(), Code::kIoError);
  Status written;  // until it would need another file
  for (int i = 0; i < 1000 && written.code() != Code::kBroken; ++i)
    written = old->put("old", value, {.durability = Durability::kSync});
  EXPECT_EQ(written.code(), Code::kBroken) << written.message();
  EXPECT_FALSE(old->close().ok());
  for (int i = 60; i < 300; ++i) ASSERT_TRUE(store_->put(std::to_string(i), value).ok());
  open(options);
  EXPECT_EQ(store_->stats().entries, 300U);
}

TEST_F(CompactionTest, WhatACrashLeftBehindIsClearedAway) {
  open({.keep_history_bytes = 1'000'000});
  put("a", "1");
  compact();
  put("a", "2");
  compact();
  close();
  write_bytes(dir() / "snapshot-00000000000000000009.jsonl.tmp", "half");
  EXPECT_EQ(files().size(), 6U);
  open();  // the temporary file goes at once; what might be history only with the next compaction
  EXPECT_EQ(files().size(), 5U);
  EXPECT_EQ(store_->get("a"), "2");
  put("a", "3");
  compact();
  EXPECT_EQ(files(), (Names{"snapshot-00000000000000000003.jsonl", "wal-00000000000000000004.jsonl"}));
}

// Opening once without the options that keep history used to delete all of it: a `kvctl put` was enough.
TEST_F(CompactionTest, OpeningNeverRemovesHistory) {
  open({.keep_history_bytes = 1'000'000});
  put("a", "1");
  compact();
  put("a", "2");
  close();
  const Names before = files();
  open();
  close();
  EXPECT_EQ(files(), before);
}

// ---- backup --------------------------------------------------------------------------------------

TEST_F(CompactionTest, ABackupIsAStoreOfItsOwn) {
  open();
  for (int i = 0; i < 100; ++i) put("k" + std::to_string(i), std::to_string(i));
  const fs::path copy = dir().parent_path() / "copy";
  Result<BackupReport> report = store_->backup(copy);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->seq, 100U);
  EXPECT_EQ(report->entries, 100U);
  put("k0", "changed");
  Result<Store> backup = Store::open(copy, {.create_if_missing = false});
  ASSERT_TRUE(backup.ok()) << backup.status().message();
  EXPECT_EQ(backup->get("k0"), "0");
  EXPECT_EQ(backup->scan()->size(), 100U);
  EXPECT_EQ(backup->last_seq(), 100U);
  EXPECT_TRUE(backup->put("k0", "other").ok());
  ASSERT_TRUE(backup->close().ok());
  EXPECT_TRUE(verify(copy)->findings.empty());
  EXPECT_NE(info(copy)->uuid, info(dir())->uuid);
}

// It was dated by a clock that had been set back, and what had expired for the last record lived again in it.
TEST_F(CompactionTest, ABackupIsNoOlderThanItsLastRecord) {
  Options options = clocked();
  const int64_t early = now_us;
  const std::thread::id me = std::this_thread::get_id();
  options.now_us = [&] {  // the upkeep thread would hold the clock where it is, were it to look in time
    return std::this_thread::get_id() == me ? now_us.load() : early;
  };
  open(options);
  put("short", "1", {.ttl = std::chrono::seconds(10)});
  now_us += 20'000'000;
  put("later", "1");
  const int64_t written_us = now_us;
  now_us = early;
  const fs::path copy = dir().parent_path() / "copy";
  Result<BackupReport> report = store_->backup(copy);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(info(copy)->snapshots.at(0).created_us, written_us);
  EXPECT_EQ(contents_of(*Store::open(copy, clocked())), (std::map<std::string, std::string>{{"later", "1"}}));
  close();  // the clock ends with this test's variables
}

TEST_F(CompactionTest, ABackupOfAnEmptyStoreOpensEmpty) {
  open();
  const fs::path copy = dir().parent_path() / "copy";
  ASSERT_TRUE(store_->backup(copy).ok());
  Result<Store> backup = Store::open(copy, {.create_if_missing = false});
  ASSERT_TRUE(backup.ok()) << backup.status().message();
  EXPECT_EQ(backup->scan()->size(), 0U);
}

TEST_F(CompactionTest, ABackupNeverOverwritesAnything) {
  open();
  put("a", "1");
  const fs::path copy = dir().parent_path() / "copy";
  fs::create_directory(copy);
  write_bytes(copy / "precious", "bytes");
  Result<BackupReport> report = store_->backup(copy);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(bytes_of(copy / "precious"), "bytes");
}

// The next repair or copy of the store would have taken it for a part of it.
TEST_F(CompactionTest, NoBackupIsMadeInTheStoreItself) {
  open();
  put("a", "1");
  const fs::path link = dir().parent_path() / "link";
  fs::create_directory_symlink(dir(), link);
  for (const fs::path& inside : {dir(), dir() / "copy", link / "copy", dir() / ".." / dir().filename() / "copy"}) {
    const Status refused = store_->backup(inside).status();
    EXPECT_EQ(refused.code(), Code::kInvalidArgument) << inside;
    EXPECT_NE(refused.message().find("lies in " + dir().string()), std::string::npos) << refused.message();
  }
  EXPECT_FALSE(fs::exists(dir() / "copy"));
  fs::remove(link);
}

}  // namespace
}  // namespace kvstore::testing
