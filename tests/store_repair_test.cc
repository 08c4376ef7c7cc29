// Repair: what is kept of every kind of damage, what is told about it, and that neither damage, nor trouble while
// repairing, nor a crash ever touches the old files or leaves a store that opens as less. The rule is in engine/salvage.h.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "kvstore/base/crc32c.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/engine/repair.h"
#include "kvstore/engine/seq_ranges.h"
#include "kvstore/env/mem_env.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/file_names.h"
#include "tests/support/store_test.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

using engine::Engine;
using engine::plan_repair;
using engine::repair;

const std::string kWal1 = "wal-00000000000000000001.jsonl";
const std::string kWal4 = "wal-00000000000000000004.jsonl";
const std::string kSnapshot3 = "snapshot-00000000000000000003.jsonl";
const RepairOptions kOneThread{.threads = 1};

class RepairTest : public ::testing::Test {
 protected:
  void put_files(const Files& files) {
    for (const auto& [name, bytes] : files) env_.put_file("db/" + name, bytes);
  }
  // The plan in a line; then repairs and looks at the new store, which must be just as planned.
  std::string repaired() {
    const std::map<std::string, std::string> before = all_files("db/");
    Result<RepairPlan> plan = plan_repair(env_, "db", kOneThread);
    if (!plan.ok()) return std::string(plan.status().message());
    Result<RepairReport> report = repair(env_, "db", "new", kOneThread);
    EXPECT_EQ(all_files("db/"), before) << "the old directory is only read";
    if (!report.ok()) return std::string(report.status().message());
    EXPECT_EQ(told(*plan), told(report->plan));
    std::string text = told(*plan) + " |";
    Result<VerifyReport> verified = engine::verify(env_, "new");
    EXPECT_TRUE(verified.ok() && verified->findings.empty());
    Result<std::unique_ptr<Engine>> engine =
        Engine::open(env_, "new", {.create_if_missing = false, .replay_threads = 1});
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    if (!engine.ok()) return text;
    EXPECT_EQ((*engine)->last_seq(), plan->last_seq);
    uint64_t entries = 0;
    Result<Scan> scan = (*engine)->snapshot()->scan();
    for (const EntryView entry : *scan) {
      text += fmt::format(" {}={}@{}", entry.key, entry.value, entry.version);
      ++entries;
    }
    EXPECT_EQ(entries, plan->entries);
    return text;
  }
  static std::string told(const RepairPlan& plan) {
    std::string text = plan.opens ? "opens," : "";
    if (plan.base_seq != 0) text += fmt::format(" base {}", plan.base_seq);
    for (const DamagedSnapshot& snapshot : plan.damaged_snapshots) {
      text += fmt::format(" snapshot {}: {} of {}", snapshot.last_seq, snapshot.entries,
                          snapshot.entries_expected.has_value() ? std::to_string(*snapshot.entries_expected) : "?");
    }
    text += fmt::format(" {} records", plan.records);
    for (const RejectedLine& line : plan.rejected) {
      text += fmt::format(", drop {}:{}", line.file.substr(3, line.file.find('-') - 3), line.line);
    }
    for (const MissingRecords& hole : plan.missing) {
      text += fmt::format(", missing {}-{}{}", hole.first_seq, hole.last_seq, hole.in_snapshot ? "s" : "");
    }
    text += fmt::format(", last {}{}", plan.last_seq, plan.is_prefix ? "" : ", no prefix");
    if (plan.stale_keys != 0) text += fmt::format(", stale {}", fmt::join(plan.stale_sample, " "));
    return text.substr(text.find_first_not_of(' '));
  }
  std::map<std::string, std::string> all_files(const std::string& prefix) {
    std::map<std::string, std::string> files;
    for (const std::string& path : env_.files()) {
      if (path.starts_with(prefix)) files[path] = *env_.get_file(path);
    }
    return files;
  }
  std::vector<nlohmann::json> kept_lines() {
    std::vector<nlohmann::json> lines;
    std::istringstream in(env_.get_file("new/lost+found/rejected-lines.jsonl").value_or(""));
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  env::MemEnv env_;
};

// Intact, with an operation that format 1 does not have.
std::string unknown_op_line(format::Seq seq) {
  const std::string body = fmt::format(R"({{"seq":{},"ts":1,"op":"swap")", seq);
  std::string seal(format::kSealBytes, ' ');
  format::encode_seal(seal.data(), base::crc32c(body));
  return body + seal + "\n";
}

std::string damaged(std::string line) {
  line[line.size() / 2] ^= 1;
  return line;
}

// ---- records ---------------------------------------------------------------------------------------

TEST_F(RepairTest, AStoreThatOpensComesOutTheSame) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2") + del_line(3, "a", 2)}});
  EXPECT_EQ(repaired(), "opens, 3 records, last 3 | b=2@2");
  EXPECT_EQ(env_.get_file("new/lost+found/rejected-lines.jsonl"), std::nullopt);
}

TEST_F(RepairTest, AStoreThatOpensIsLeftAloneWhereOnlyDamagedOnesAreWanted) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1")}});
  Result<RepairReport> report = repair(env_, "db", "new", {.threads = 1, .only_if_damaged = true});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->dir, "");
  EXPECT_FALSE(env_.is_dir("new"));
}

TEST_F(RepairTest, ANewAndEmptyStoreIsWhole) {
  put_files({{kWal1, header_line(1)}});
  EXPECT_EQ(repaired(), "opens, 0 records, last 0 |");
}

TEST_F(RepairTest, ADamagedRecordLeavesAHoleAndEverythingElse) {
  put_files(
      {{kWal1, header_line(1) + put_line(1, "a", "1") + damaged(put_line(2, "b", "2")) + put_line(3, "c", "3", 2)}});
  EXPECT_EQ(repaired(), "2 records, drop wal:3, missing 2-2, last 3, no prefix, stale a | a=1@1 c=3@3");
  ASSERT_EQ(kept_lines().size(), 1U);
  const nlohmann::json kept = kept_lines()[0];
  EXPECT_EQ(kept["file"], "db/" + kWal1);
  EXPECT_EQ(kept["line"], 3);
  EXPECT_EQ(kept["offset"], (header_line(1) + put_line(1, "a", "1")).size());
  EXPECT_EQ(kept["text"].get<std::string>() + "\n", damaged(put_line(2, "b", "2")));
  EXPECT_NE(kept["reason"].get<std::string>().find("crc mismatch"), std::string::npos);
  EXPECT_EQ(env_.get_file("new/lost+found/stale-keys.jsonl"), "{\"key\":\"a\",\"version\":1}\n");
}

// Deleting is a change like any other: what a lost deletion leaves is stale, what an intact one deleted stays gone.
TEST_F(RepairTest, AnIntactDeletionStaysDone) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + damaged(put_line(2, "b", "2")) + del_line(3, "a", 2)}});
  EXPECT_EQ(repaired(), "2 records, drop wal:3, missing 2-2, last 3, no prefix |");
}

TEST_F(RepairTest, LinesThatSwappedPlacesCountByTheirNumbers) {
  put_files({{kWal1, header_line(1) + del_line(2, "a") + put_line(1, "a", "1") + put_line(4, "b", "new", 3) +
                         put_line(3, "b", "old")}});
  EXPECT_EQ(repaired(), "4 records, last 4 | b=new@4");
}

TEST_F(RepairTest, ALineThatStandsThereTwiceCountsOnce) {
  const std::string twice = put_line(1, "a", "1");
  put_files({{kWal1, header_line(1) + twice + twice + put_line(2, "a", "2", 1) + put_line(3, "a", "3", 2)}});
  EXPECT_EQ(repaired(), "3 records, drop wal:3, last 3 | a=3@3");
}

TEST_F(RepairTest, GarbageAndNulsBetweenLinesAreKeptAsTheyAre) {
  const std::string garbage = "\xff\xfe{\"seq\"";
  const std::string nuls(5000, '\0');
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + garbage + "\n" + nuls + "\n" + put_line(2, "b", "2", 1) +
                         put_line(3, "c", "3", 2)}});
  EXPECT_EQ(repaired(), "3 records, drop wal:3, drop wal:4, last 3 | a=1@1 b=2@2 c=3@3");
  ASSERT_EQ(kept_lines().size(), 2U);
  EXPECT_EQ(kept_lines()[0]["text64"], "//57InNlcSI=");
  EXPECT_EQ(kept_lines()[1]["nuls"], 5000);
}

TEST_F(RepairTest, ALongRejectedLineIsKeptInPieces) {
  std::string line = put_line(2, "b", std::string(2'500'000, 'v'));
  line[100] = 'x';
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + line + put_line(3, "c", "3", 2)}});
  (void)repaired();
  std::string text;
  ASSERT_EQ(kept_lines().size(), 3U);
  const size_t begin = (header_line(1) + put_line(1, "a", "1")).size();
  for (const nlohmann::json& piece : kept_lines()) {
    EXPECT_EQ(piece["offset"], begin + text.size());
    text += piece["text"].get<std::string>();
  }
  EXPECT_EQ(text + "\n", line);
}

// ---- files -----------------------------------------------------------------------------------------

TEST_F(RepairTest, AMissingSegmentIsAHole) {
  put_files(
      {{kWal1, header_line(1) + put_line(1, "a", "1") + end_line(1)}, {kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "2 records, missing 2-3, last 4, no prefix, stale a | a=1@1 d=4@4");
}

// verify() compared counts and checksums only, which are right here; an opening refused what it had no complaint about.
TEST_F(RepairTest, AKeyTwiceInASnapshotIsAFindingWithItsPlace) {
  const std::string entries = entry_line(1, "a", "1") + entry_line(2, "b", "2") + entry_line(3, "a", "3");
  put_files({{kSnapshot3, snapshot_of(3, entries)}, {kWal4, header_line(4) + put_line(4, "d", "4")}});
  const auto findings = [&] {
    Result<VerifyReport> report = engine::verify(env_, "db");
    EXPECT_TRUE(report.ok());
    std::string text;
    for (const Finding& finding : report->findings) {
      if (finding.severity == Finding::Severity::kDamage)
        text += fmt::format("{}:{} {}", finding.file, finding.line, finding.message);
    }
    return text;
  };
  EXPECT_EQ(
      findings(),
      fmt::format("db/{0}:4 db/{0}:4 (byte {1}): the key \"a\" stands here once more, and a snapshot has each "
                  "key once",
                  kSnapshot3, (snapshot_header_line(3) + entry_line(1, "a", "1") + entry_line(2, "b", "2")).size()));
  EXPECT_EQ(Engine::open(env_, "db", {.read_only = true, .replay_threads = 1}).status().code(), Code::kCorruption);
  // Kept for looking back, it is looked at too.
  env_.put_file("db/snapshot-00000000000000000004.jsonl", snapshot_of(4, entry_line(4, "d", "4")));
  env_.put_file("db/" + kWal4, header_line(4) + put_line(4, "d", "4") + end_line(4));
  env_.put_file("db/wal-00000000000000000005.jsonl", header_line(5));
  EXPECT_NE(findings().find("once more"), std::string::npos) << findings();
  env_.put_file("db/" + kSnapshot3, snapshot_of(3, entry_line(1, "a", "1") + entry_line(2, "b", "2")));
  EXPECT_EQ(findings(), "");
}

// "Nothing to repair", it said, of a store that opens, and left kept history unmentioned that nobody could read any more.
TEST_F(RepairTest, OfAStoreThatOpensDamageInKeptHistoryIsTold) {
  const std::string old_segment =
      header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2") + put_line(3, "c", "3") + end_line(3);
  put_files({{kWal1, old_segment},
             {kSnapshot3, snapshot_of(3, entry_line(1, "a", "1") + entry_line(2, "b", "2") + entry_line(3, "c", "3"))},
             {kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_TRUE(plan_repair(env_, "db", kOneThread)->damaged_history.empty());
  std::string text = old_segment;
  text[old_segment.find("\"b\"") + 1] ^= 1;
  env_.put_file("db/" + kWal1, text);
  Result<RepairPlan> plan = plan_repair(env_, "db", kOneThread);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->opens);
  ASSERT_EQ(plan->damaged_history.size(), 1U);
  EXPECT_EQ(plan->damaged_history[0].file, "db/" + kWal1);
  EXPECT_TRUE(plan->damaged_history[0].reason.starts_with("db/" + kWal1 + ":3 (byte "))
      << plan->damaged_history[0].reason;
  EXPECT_EQ(plan->rejected_lines, 0U);  // of what a repair would use nothing is damaged
}

TEST_F(RepairTest, OfAStoreThatOpensHistoryOfANewerVersionIsTold) {
  put_files({{kWal1, header_line(1) + unknown_op_line(1) + put_line(2, "b", "2") + put_line(3, "c", "3") + end_line(3)},
             {kSnapshot3, snapshot_of(3, entry_line(2, "b", "2") + entry_line(3, "c", "3"))},
             {kWal4, header_line(4) + put_line(4, "d", "4")}});
  Result<RepairPlan> plan = plan_repair(env_, "db", kOneThread);
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->opens);
  ASSERT_EQ(plan->damaged_history.size(), 1U);
  EXPECT_TRUE(plan->damaged_history[0].reason.starts_with("db/" + kWal1 + ":2 (byte "))
      << plan->damaged_history[0].reason;
}

// What stands behind a second header, of this store, in a file of another was used, but with a number below its own: it was
// written to the new store and could not be seen there.
TEST_F(RepairTest, WhatIsUsedIsNeverNewerThanTheStore) {
  put_files({{"LOCK", lock_line(3)},
             {kWal1, header_line(1) + put_line(1, "a", "1") + end_line(1)},
             {"snapshot-00000000000000000009.jsonl",
              snapshot_header_line(9, kOtherUuid) + snapshot_header_line(5) + entry_line(8, "h", "8")}});
  const std::string text = repaired();
  EXPECT_NE(text.find("last 8"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("a=1@1 h=8@8")) << text;
}

TEST_F(RepairTest, TheNextSegmentIsReadToo) {
  put_files({{kWal1, header_line(1) + damaged(put_line(1, "a", "1")) + put_line(2, "b", "2", 1)},
             {"wal-next.jsonl", header_line(3) + put_line(3, "c", "3")}});
  EXPECT_EQ(repaired(), "2 records, drop wal:2, missing 1-1, last 3, no prefix | b=2@2 c=3@3");
}

// No sync may have promised them, but they were there: what is kept may be stale, and their numbers are not given out again.
TEST_F(RepairTest, TheHeaderOfTheNextSegmentTellsOfRecordsThatAreMissing) {
  put_files({{kWal1, header_line(1) + damaged(put_line(1, "a", "1")) + put_line(2, "b", "2", 1)},
             {"wal-next.jsonl", header_line(5)}});
  EXPECT_EQ(repaired(), "1 records, drop wal:2, missing 1-1, missing 3-4, last 4, no prefix, stale b | b=2@2");
}

TEST_F(RepairTest, AMissingFirstSegmentIsAHoleToo) {
  put_files({{kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "1 records, missing 1-3, last 4, no prefix | d=4@4");
}

TEST_F(RepairTest, AnEmptiedSegmentOrOneWithoutAHeaderGivesWhatItHas) {
  put_files({{kWal1, ""}, {kWal4, damaged(header_line(4)) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "1 records, drop wal:1, missing 1-3, last 4, no prefix | d=4@4");
}

// The numbers of lost records are never given out again: a program that remembers version 5 must not meet another one.
TEST_F(RepairTest, ALogCutShortIsAPrefixThatGoesOnBehindWhatWasPromised) {
  put_files({{"LOCK", lock_line(7)}, {kWal1, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2")}});
  EXPECT_EQ(repaired(), "2 records, missing 3-7, last 7, stale a b | a=1@1 b=2@2");
}

TEST_F(RepairTest, AFileOfAnotherStoreIsLeftOut) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + end_line(1)},
             {"wal-00000000000000000002.jsonl", header_line(2, kOtherUuid) + put_line(2, "b", "other") + end_line(2)},
             {"wal-00000000000000000003.jsonl", header_line(3) + put_line(3, "c", "3")}});
  EXPECT_EQ(repaired(),
            "2 records, drop wal:1, drop wal:2, drop wal:3, missing 2-2, last 3, no prefix, stale a | a=1@1 c=3@3");
}

// They had most of the votes, and what a repair wrote where nothing was to be repaired was the other store's state.
TEST_F(RepairTest, SnapshotsOfAnotherStoreThatNobodyReadsMakeNoStrangersOfTheFiles) {
  put_files({{kSnapshot3, snapshot_of(3, entry_line(3, "a", "3"))}, {kWal4, header_line(4) + put_line(4, "d", "4")}});
  for (const int seq : {1, 2}) {
    std::string text = snapshot_header_line(seq, kOtherUuid) + entry_line(1, "other", "1");
    text += format::encode_snapshot_end({.entries = 1,
                                         .last_seq = static_cast<uint64_t>(seq),
                                         .next = wal::segment_name(seq + 1),
                                         .whole = base::crc32c(text)});
    env_.put_file("db/" + wal::snapshot_name(seq), text);
  }
  EXPECT_TRUE(engine::verify(env_, "db")->findings.empty());  // nor does that miss the segments behind them
  EXPECT_EQ(repaired(), "opens, base 3 1 records, last 4 | a=3@3 d=4@4");
}

TEST_F(RepairTest, ALockOfAnotherStoreMakesNoStrangersOfTheFiles) {
  put_files({{"LOCK", lock_line(99, kOtherUuid)},
             {kWal1, header_line(1) + put_line(1, "a", "1") + end_line(1)},
             {"wal-00000000000000000002.jsonl", header_line(2) + put_line(2, "b", "2")}});
  EXPECT_EQ(repaired(), "2 records, last 2 | a=1@1 b=2@2");
}

// ---- snapshots -------------------------------------------------------------------------------------

TEST_F(RepairTest, AWholeSnapshotIsTheBaseAndDamageBeforeItMattersNot) {
  put_files({{kWal1, header_line(1) + put_line(1, "gone", "1") + damaged(del_line(2, "gone"))},
             {kSnapshot3, snapshot_of(3, entry_line(3, "a", "3"))},
             {kWal4, header_line(4) + damaged(put_line(4, "d", "4")) + put_line(5, "e", "5", 4)}});
  EXPECT_EQ(repaired(),
            "base 3 1 records, drop wal:3, drop wal:2, missing 4-4, last 5, no prefix, stale a | a=3@3 e=5@5");
}

TEST_F(RepairTest, OfADamagedSnapshotTheIntactEntriesAreKeptAndAreNotStale) {
  put_files({{kWal4, header_line(4) + put_line(4, "d", "4")}});
  std::string text = snapshot_of(3, entry_line(1, "a", "1") + entry_line(2, "b", "2") + entry_line(3, "c", "3"));
  text.replace(text.find(entry_line(2, "b", "2")), entry_line(2, "b", "2").size(), damaged(entry_line(2, "b", "2")));
  env_.put_file("db/" + kSnapshot3, text);
  EXPECT_EQ(repaired(),
            "snapshot 3: 2 of 3 1 records, drop snapshot:3, missing 1-3s, last 4, no prefix | a=1@1 c=3@3 d=4@4");
}

TEST_F(RepairTest, ASnapshotWithoutAFooterGivesWhatItHas) {
  put_files({{kSnapshot3, snapshot_header_line(3) + entry_line(1, "a", "1")},
             {kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "snapshot 3: 1 of ? 1 records, missing 1-3s, last 4, no prefix | a=1@1 d=4@4");
}

TEST_F(RepairTest, WithItsHistoryADamagedSnapshotCostsNothing) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2") + del_line(3, "a") + end_line(3)},
             {kSnapshot3, snapshot_header_line(3) + damaged(entry_line(2, "b", "2"))},
             {kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "snapshot 3: 0 of ? 4 records, drop snapshot:2, last 4 | b=2@2 d=4@4");
}

// The older snapshot is the base; the damaged one tells what of it is still true.
TEST_F(RepairTest, AnOlderSnapshotAndADamagedNewerOneComplementEachOther) {
  std::string newer =
      snapshot_of(3, entry_line(1, "same", "1") + entry_line(3, "new", "3") + entry_line(2, "lost", "2"));
  newer.replace(newer.find(entry_line(2, "lost", "2")), entry_line(2, "lost", "2").size(),
                damaged(entry_line(2, "lost", "2")));
  put_files({{"snapshot-00000000000000000001.jsonl",
              snapshot_of(1, entry_line(1, "same", "1") + entry_line(1, "maybe", "1"))},
             {kSnapshot3, newer},
             {kWal4, header_line(4)}});
  EXPECT_EQ(repaired(),
            "base 1 snapshot 3: 2 of 3 0 records, drop snapshot:4, missing 2-3s, last 3, no prefix, stale maybe | "
            "maybe=1@1 new=3@3 same=1@1");
}

TEST_F(RepairTest, ASnapshotWithAKeyTwiceIsNoBase) {
  put_files({{kSnapshot3, snapshot_of(3, entry_line(1, "a", "1") + entry_line(2, "a", "2"))}, {kWal4, header_line(4)}});
  EXPECT_EQ(repaired(), "snapshot 3: 2 of 2 0 records, missing 1-3s, last 3, no prefix | a=2@2");
}

// Until its snapshot was read the store passed for one that opens, so the history was left out: what that deletes came
// back from the snapshot before it.
TEST_F(RepairTest, WithItsHistoryASnapshotWithAKeyTwiceCostsNothing) {
  const std::string history = header_line(2) + put_line(2, "b", "2") + del_line(3, "a") + end_line(3);
  put_files({{"snapshot-00000000000000000001.jsonl", snapshot_of(1, entry_line(1, "a", "1"))},
             {"wal-00000000000000000002.jsonl", history},
             {kSnapshot3, snapshot_of(3, entry_line(2, "b", "2") + entry_line(2, "b", "2"))},
             {kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "base 1 snapshot 3: 2 of 2 3 records, last 4 | b=2@2 d=4@4");
}

TEST_F(RepairTest, ASnapshotThatIsGoneIsAHole) {
  put_files({{kWal4, header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "1 records, missing 1-3, last 4, no prefix | d=4@4");
}

// ---- what opens with a torn tail is treated as an opening would -----------------------------------

TEST_F(RepairTest, BehindATornTailOfAStoreThatOpensNothingIsKept) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + damaged(put_line(2, "b", "2")) + put_line(3, "c", "3")}});
  EXPECT_EQ(repaired(), "opens, 1 records, drop wal:3, drop wal:4, last 1 | a=1@1");
}

// Behind what a rotation that was cut short has left of the old segment an opening reads nothing: the lines there are older
// than those of the new segment. Repair gave them preference.
TEST_F(RepairTest, BehindTheTornEndOfASegmentThatHasASuccessorNothingIsKept) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + "{\"kvstore\":\"en\n" + put_line(2, "k", "stale") +
                         put_line(3, "ghost", "never") + end_line(7)},
             {"wal-00000000000000000002.jsonl", header_line(2) + put_line(2, "k", "true")},
             {"LOCK", lock_line(0)}});
  ASSERT_TRUE(Engine::open(env_, "db", {.read_only = true, .replay_threads = 1}).ok());
  EXPECT_EQ(repaired(), "opens, 2 records, drop wal:3, drop wal:4, drop wal:5, drop wal:6, last 2 | a=1@1 k=true@2");
}

TEST_F(RepairTest, ASegmentWithBothItsNamesIsReadOnce) {
  const std::string segment = header_line(1) + put_line(1, "a", "1");
  put_files({{kWal1, segment}, {"wal-next.jsonl", segment}});
  EXPECT_EQ(repaired(), "opens, 1 records, last 1 | a=1@1");
}

// ---- refusals --------------------------------------------------------------------------------------

// The header of the next segment was taken for a promise, though an opening cuts it away: the repaired store went on with
// numbers that the store itself would have given out again, and called the ones between missing.
TEST_F(RepairTest, ANextSegmentBehindATornTailPromisesNothing) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + put_line(3, "c", "3") + put_line(2, "b", "2")},
             {"wal-next.jsonl", header_line(4) + put_line(4, "d", "4")}});
  EXPECT_EQ(repaired(), "opens, 1 records, drop wal:3, drop wal:4, drop wal:2, last 1 | a=1@1");
}

TEST_F(RepairTest, WhatANewerVersionWroteIsNotDropped) {
  put_files({{kWal1, header_line(1) + damaged(put_line(1, "a", "1")) + unknown_op_line(2) + put_line(3, "c", "3", 2)}});
  EXPECT_EQ(plan_repair(env_, "db", kOneThread).status().code(), Code::kUnsupported);
  EXPECT_EQ(repair(env_, "db", "new", kOneThread).status().code(), Code::kUnsupported);
  EXPECT_FALSE(env_.is_dir("new"));
}

TEST_F(RepairTest, WhereNothingIsLeftNoEmptyStoreIsMade) {
  put_files({{"LOCK", lock_line(7)}, {kWal1, "garbage\n"}});
  EXPECT_EQ(repaired(),
            "repair: db: no intact line is left, and an empty store would be no repair. try: restore a backup");
  EXPECT_FALSE(env_.is_dir("new"));
}

TEST_F(RepairTest, AStoreThatIsOpenIsRefused) {
  Result<std::unique_ptr<Engine>> owner = Engine::open(env_, "db", {});
  ASSERT_TRUE(owner.ok());
  for (const Status& s :
       {plan_repair(env_, "db", kOneThread).status(), repair(env_, "db", "new", kOneThread).status()}) {
    EXPECT_EQ(s.code(), Code::kLocked);
    EXPECT_NE(s.message().find("in use by pid 4711 on host memory"), std::string::npos) << s.message();
  }
}

TEST_F(RepairTest, NobodyCanOpenTheStoreWhileItIsRepaired) {
  put_files(
      {{"LOCK", lock_line(0)},
       {kWal1, header_line(1) + damaged(put_line(1, "a", "1")) + put_line(2, "b", std::string(17'000'000, 'v'), 1)}});
  bool asked = false;
  RepairOptions options{.threads = 1, .on_progress = [&](const Progress&) {
                          asked = true;
                          EXPECT_TRUE(env_.is_locked("db/LOCK"));
                        }};
  EXPECT_TRUE(repair(env_, "db", "new", options).ok());
  EXPECT_TRUE(asked);
  EXPECT_FALSE(env_.is_locked("db/LOCK"));
}

TEST_F(RepairTest, TheNewDirectoryMustBeEmptyAndElsewhere) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1")}});
  env_.put_file("taken/file", "mine");
  for (const char* target : {"taken", "db", "db/", "db/new", ""}) {
    EXPECT_EQ(repair(env_, "db", target, kOneThread).status().code(), Code::kInvalidArgument) << target;
  }
  EXPECT_EQ(env_.get_file("taken/file"), "mine");
}

TEST_F(RepairTest, TheLastNumberThereIsLeavesNoRoomForANewStore) {
  put_files({{kWal1, header_line(1) + put_line(1, "a", "1") + put_line(format::kIntegerMax, "b", "2", 1)}});
  const Result<RepairReport> report = repair(env_, "db", "new", kOneThread);
  if (!report.ok()) {
    EXPECT_NE(report.status().message().find("is the last number there is"), std::string::npos)
        << report.status().message();
  }
}

TEST_F(RepairTest, WhatIsNoStoreIsNotRepaired) {
  EXPECT_EQ(plan_repair(env_, "db", kOneThread).status().code(), Code::kNotAStore);
  env_.put_file("db/notes.txt", "mine");
  EXPECT_EQ(repair(env_, "db", "new", kOneThread).status().code(), Code::kNotAStore);
  EXPECT_FALSE(env_.is_dir("new"));
}

// ---- bounds ----------------------------------------------------------------------------------------

TEST_F(RepairTest, ListsAreCutAndCountsAreNot) {
  std::string text = header_line(1);
  for (format::Seq seq = 1; seq <= 5000; seq += 2) text += "x\n" + put_line(seq, "k", "v", seq - 1);
  put_files({{kWal1, text}});
  Result<RepairPlan> plan = plan_repair(env_, "db", kOneThread);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->rejected_lines, 2500U);
  EXPECT_EQ(plan->rejected.size(), kRepairListMax);
  EXPECT_EQ(plan->missing_ranges, 2499U);
  EXPECT_EQ(plan->missing_records, 2499U);
  EXPECT_EQ(plan->missing.size(), kRepairListMax);
}

TEST(SeqRangesTest, KeepsRunsAndShowsTheGapsBetweenThem) {
  engine::SeqRanges ranges;
  const auto gaps = [&](format::Seq first, format::Seq last) {
    std::string text;
    ranges.for_each_gap(first, last, [&](format::Seq a, format::Seq b) { text += fmt::format("{}-{} ", a, b); });
    return text;
  };
  EXPECT_EQ(gaps(1, 9), "1-9 ");
  for (const format::Seq seq : {5, 3, 4, 8, 1}) EXPECT_TRUE(ranges.add(seq));
  for (const format::Seq seq : {5, 3, 4, 8, 1}) EXPECT_FALSE(ranges.add(seq));
  EXPECT_EQ(gaps(1, 9), "2-2 6-7 9-9 ");
  EXPECT_EQ(gaps(4, 6), "6-6 ");
  EXPECT_EQ(gaps(6, 6), "6-6 ");
  EXPECT_EQ(gaps(9, 8), "");
  EXPECT_EQ(ranges.highest(), 8U);
  EXPECT_TRUE(ranges.add(2));
  EXPECT_TRUE(ranges.add(7));
  EXPECT_TRUE(ranges.add(6));
  EXPECT_EQ(gaps(1, 8), "");
}

// ---- the committed damage --------------------------------------------------------------------------

TEST(RepairGolden, EveryGoldenStoreIsRepairedOrRefusedWithAReason) {
  namespace fs = std::filesystem;
  int repaired = 0;
  for (const auto& golden : fs::directory_iterator(KVSTORE_SOURCE_DIR "/data/golden")) {
    if (!golden.is_directory()) continue;
    SCOPED_TRACE(golden.path().filename());
    env::MemEnv env;
    Files files;
    for (const auto& item : fs::directory_iterator(golden.path())) {
      if (item.path().extension() != ".jsonl" && item.path().extension() != ".tmp") continue;
      files[item.path().filename()] = bytes_of(item.path());
      env.put_file("db/" + item.path().filename().string(), files[item.path().filename()]);
    }
    const Result<RepairReport> report = repair(env, "db", "new", kOneThread);
    const bool opens = Engine::open(env, "db", {.read_only = true, .replay_threads = 1}).ok();
    if (!report.ok()) {
      EXPECT_EQ(report.status().code(), Code::kUnsupported) << report.status().message();
      continue;
    }
    ++repaired;
    EXPECT_EQ(report->plan.opens, opens);
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "new", {.replay_threads = 1});
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    const State expected = opens ? replayed(files, report->plan.last_seq) : salvaged(files);
    uint64_t live = 0;
    for (const auto& [key, value] : expected) {
      if (value.expires_us != 0) continue;
      ++live;
      EXPECT_EQ((*engine)->get(key), value.bytes) << key;
    }
    EXPECT_GE(report->plan.entries, live);
  }
  EXPECT_GT(repaired, 30);
}

}  // namespace
}  // namespace kvstore::testing
