// Repair under stress: random damage to random stores, compared with a plain reading of the rule; every call failing once;
// a crash at every step; an owner that begins meanwhile. The old files stay as they are, and the new directory opens with
// all of it or not at all.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/engine/repair.h"
#include "tests/support/crash_env.h"
#include "tests/support/fault_env.h"
#include "tests/support/seed.h"
#include "tests/support/store_text.h"
#include "tests/support/swapping_env.h"

namespace kvstore::testing {
namespace {

using engine::Engine;
using engine::repair;
using Random = std::mt19937_64;

const RepairOptions kOneThread{.threads = 1};

Files files_of(const env::MemEnv& env, const std::string& dir) {
  Files files;
  for (const std::string& path : env.files()) {
    if (!path.starts_with(dir + "/") || path.find("lost+found") != std::string::npos) continue;
    if (const auto bytes = env.get_file(path)) files[path.substr(dir.size() + 1)] = *bytes;
  }
  return files;
}

// Of one moment, though the store's threads may be renaming a segment.
Files files_beside_a_store(const env::MemEnv& env, const std::string& dir) {
  for (Files files = files_of(env, dir);;) {
    Files again = files_of(env, dir);
    if (again == files) return files;
    files = std::move(again);
  }
}

State state_of(const Engine& engine) {
  State state;
  Result<Scan> scan = engine.snapshot()->scan();
  EXPECT_TRUE(scan.ok());
  for (const EntryView e : *scan) {
    state[std::string(e.key)] = {.bytes = std::string(e.value), .version = e.version, .expires_us = e.expires_us};
  }
  return state;
}

// A segment of the usual size would be megabytes of memory each time.
Options small(Options options = {}) {
  options.segment_bytes = 4096;
  options.replay_threads = 1;
  return options;
}

// A store with segments and perhaps snapshots and history, as a clean close or a crash leaves it.
Files random_store(Random& random) {
  env::MemEnv env;
  Result<std::unique_ptr<Engine>> opened = Engine::open(env, "db",
                                                        {.sync_interval = std::chrono::hours(1),
                                                         .segment_bytes = 4096,
                                                         .replay_threads = 1,
                                                         .compact_at_percent = 0,
                                                         .keep_history_bytes = random() % 3 * 4000});
  EXPECT_TRUE(opened.ok());
  Engine& engine = **opened;
  const size_t commits = 1 + random() % 120;
  for (size_t i = 0; i < commits; ++i) {
    const auto key = [&] { return fmt::format("k{}", random() % 25); };
    const std::string value = fmt::format("{}:{}", i, std::string(random() % 200, random() % 7 == 0 ? '\xff' : 'v'));
    WriteOptions options;
    if (random() % 5 == 0) options.durability = Durability::kSync;
    if (random() % 4 == 0) {
      (void)engine.del(key(), options);
    } else if (random() % 6 == 0) {
      Batch batch;
      for (int op = 0; op < 4; ++op) random() % 3 == 0 ? batch.del(key()) : batch.put(key(), value);
      EXPECT_TRUE(engine.write(batch, options).ok());
    } else {
      EXPECT_TRUE(engine.put(key(), value, false, options).ok());
    }
    if (random() % 40 == 0) {
      EXPECT_TRUE(engine.compact().ok());
    }
  }
  if (random() % 2 == 0) return files_beside_a_store(env, "db");
  EXPECT_TRUE(engine.close().ok());
  return files_of(env, "db");
}

std::vector<std::string> split(const std::string& bytes) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', begin), bytes.size() - 1) + 1;
    lines.push_back(bytes.substr(begin, end - begin));
    begin = end;
  }
  return lines;
}

// One misfortune. Says what it was.
std::string damage(Files& files, Random& random) {
  auto file = std::next(files.begin(), static_cast<ptrdiff_t>(random() % files.size()));
  std::string& bytes = file->second;
  const size_t content = bytes.find_last_not_of('\n') + 1;  // filler is of no interest
  const size_t at = content == 0 ? 0 : random() % content;
  std::string what = fmt::format("{} at {}: ", file->first, at);
  switch (random() % 7) {
    case 0:
      if (content != 0) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      return what + "a bit";
    case 1:
      bytes.resize(at);
      return what + "cut";
    case 2:
      files.erase(file);
      return what + "gone";
    case 3:
      for (size_t i = at; i < std::min(content, at + 512); ++i) bytes[i] = '\0';
      return what + "a block of zeros";
    case 4: {
      std::vector<std::string> lines = split(bytes);
      if (lines.size() > 1) std::swap(lines[random() % lines.size()], lines[random() % lines.size()]);
      bytes.clear();
      for (const std::string& line : lines) bytes += line;
      return what + "lines swapped";
    }
    case 5: {
      std::vector<std::string> lines = split(bytes);
      if (!lines.empty())
        lines.insert(lines.begin() + static_cast<ptrdiff_t>(random() % lines.size()), lines[random() % lines.size()]);
      bytes.clear();
      for (const std::string& line : lines) bytes += line;
      return what + "a line repeated";
    }
    default: {
      std::vector<std::string> lines = split(bytes);
      if (!lines.empty()) lines.erase(lines.begin() + static_cast<ptrdiff_t>(random() % lines.size()));
      bytes.clear();
      for (const std::string& line : lines) bytes += line;
      return what + "a line taken out";
    }
  }
}

TEST(RepairProperty, EveryLineThatIsStillWholeIsKeptAndNothingElse) {
  int repaired = 0;
  int holes = 0;
  for (uint64_t round = 0; round < 80; ++round) {
    Random random(seed() + round);
    Files files = random_store(random);
    std::string story = fmt::format("KVSTORE_SEED={} round {}: ", seed(), round);
    for (uint64_t n = 1 + random() % 3; n > 0 && !files.empty(); --n) story += damage(files, random) + "; ";
    SCOPED_TRACE(story);
    env::MemEnv env;
    for (const auto& [name, bytes] : files) env.put_file("db/" + name, bytes);
    Result<RepairReport> report = repair(env, "db", "new", {.threads = static_cast<unsigned>(1 + round % 2)});
    ASSERT_EQ(files_of(env, "db"), files);
    if (!report.ok()) {
      ASSERT_TRUE(report.status().code() == Code::kNotAStore || report.status().code() == Code::kCorruption)
          << report.status().message();
      ASSERT_EQ(salvaged(files), State());
      continue;
    }
    ++repaired;
    const RepairPlan& plan = report->plan;
    ASSERT_EQ(plan.opens, Engine::open(env, "db", small({.read_only = true})).ok());
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "new", small({.create_if_missing = false}));
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    const State found = state_of(**engine);
    ASSERT_EQ(found, plan.opens ? replayed(files, plan.last_seq) : salvaged(files));
    ASSERT_EQ(found.size(), plan.entries);
    ASSERT_EQ((*engine)->last_seq(), plan.last_seq);
    if (plan.missing_records == 0) {
      ASSERT_TRUE(plan.is_prefix && plan.stale_keys == 0);
    } else {
      ++holes;
    }
    Result<VerifyReport> verified = engine::verify(env, "new");
    ASSERT_TRUE(verified.ok() && !verified->has(Finding::Severity::kDamage));
  }
  EXPECT_GT(repaired, 40);
  EXPECT_GT(holes, 10);
}

// A key that is not called stale has the value it had in the whole store after the last record.
TEST(RepairProperty, WhatIsNotCalledStaleIsAsItWas) {
  int checked = 0;
  for (uint64_t round = 0; round < 60; ++round) {
    Random random(seed() + 1000 + round);
    Files files = random_store(random);
    env::MemEnv env;
    for (const auto& [name, bytes] : files) env.put_file("whole/" + name, bytes);
    Result<std::unique_ptr<Engine>> whole = Engine::open(env, "whole", small());
    ASSERT_TRUE(whole.ok()) << "KVSTORE_SEED=" << seed() << ": " << whole.status().message();
    const State expected = state_of(**whole);
    SCOPED_TRACE(fmt::format("KVSTORE_SEED={} round {}: {}", seed(), round, damage(files, random)));
    for (const auto& [name, bytes] : files) env.put_file("db/" + name, bytes);
    Result<RepairReport> report = repair(env, "db", "new", kOneThread);
    // Behind a torn tail, and behind a log whose end is gone with its vouchers, nothing is known to be missing.
    if (!report.ok() || report->plan.last_seq != (*whole)->last_seq()) continue;
    const std::vector<std::string>& stale = report->plan.stale_sample;
    ASSERT_LT(report->plan.stale_keys, 100U);
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "new", small());
    ASSERT_TRUE(engine.ok());
    for (const auto& [key, value] : state_of(**engine)) {
      if (std::find(stale.begin(), stale.end(), key) != stale.end()) continue;
      ASSERT_TRUE(expected.contains(key)) << key;
      ASSERT_EQ(value, expected.at(key)) << key;
      ++checked;
    }
  }
  EXPECT_GT(checked, 100);
}

// ---- trouble meanwhile -----------------------------------------------------------------------------

const std::string kSnapshot2 = "db/snapshot-00000000000000000002.jsonl";
const std::string kWal3 = "db/wal-00000000000000000003.jsonl";

// Of every sort something: a damaged snapshot, a damaged record, keys that may be stale.
void put_damaged_store(env::MemEnv& env) {
  env.put_file("db/LOCK", lock_line(5));
  env.put_file(kSnapshot2, snapshot_header_line(2) + entry_line(1, "a", "1") + "garbage\n" + entry_line(2, "b", "2"));
  std::string damaged = put_line(4, "d", "4");
  damaged[10] = 'x';
  env.put_file(kWal3, header_line(3) + put_line(3, "c", "3") + damaged + put_line(5, "e", "5", 4));
}

TEST(RepairTrouble, AnyCallMayFailOnce) {
  uint64_t calls = 0;
  {
    env::MemEnv disk;
    put_damaged_store(disk);
    FaultEnv env(disk);
    ASSERT_TRUE(repair(env, "db", "new", kOneThread).ok());
    calls = env.calls();
  }
  ASSERT_GT(calls, 50U);
  for (const int sys_errno : {EIO, ENOSPC}) {
    for (uint64_t nth = 1; nth <= calls; nth += sys_errno == EIO ? 1 : 7) {
      SCOPED_TRACE(fmt::format("call {} fails with errno {}", nth, sys_errno));
      env::MemEnv disk;
      put_damaged_store(disk);
      const Files before = files_of(disk, "db");
      FaultEnv env(disk);
      env.fail({.nth = nth, .sys_errno = sys_errno});
      const Result<RepairReport> first = repair(env, "db", "new", kOneThread);
      ASSERT_EQ(files_of(disk, "db"), before);
      if (!first.ok()) {
        EXPECT_TRUE(first.status().code() == Code::kIoError || first.status().code() == Code::kNoSpace)
            << first.status().message();
        ASSERT_FALSE(Engine::open(disk, "new", small({.create_if_missing = false})).ok());
        // Nothing is in the way of the next attempt.
        const Result<RepairReport> second = repair(env, "db", "new", kOneThread);
        ASSERT_TRUE(second.ok()) << second.status().message();
      }
      Result<std::unique_ptr<Engine>> engine = Engine::open(disk, "new", small({.create_if_missing = false}));
      ASSERT_TRUE(engine.ok()) << engine.status().message();
      ASSERT_EQ((*engine)->last_seq(), 5U);
      ASSERT_EQ(state_of(**engine).size(), 4U);
    }
  }
}

TEST(RepairTrouble, ACrashLeavesAllOfItOrNothingThatOpens) {
  auto start = std::make_unique<env::MemEnv>();
  put_damaged_store(*start);
  const Files before = files_of(*start, "db");
  CrashEnv env(std::move(start));
  int whole = 0;
  int nothing = 0;
  const auto look = [&](const CrashChoice& choice, const std::string& moment) {
    std::string story;
    const std::unique_ptr<env::MemEnv> left = env.crash_clone(choice, &story);
    SCOPED_TRACE(fmt::format("KVSTORE_SEED={} {}; {} ({})", seed(), moment, choice.describe(), story));
    ASSERT_EQ(files_of(*left, "db"), before);
    Result<std::unique_ptr<Engine>> engine = Engine::open(*left, "new", small({.create_if_missing = false}));
    if (!engine.ok()) {
      ++nothing;
      // Nor is it the place of a new store, once anything but the beginning of its first file is there: nobody may begin
      // with nothing what was to be the repaired one.
      const Result<std::vector<std::string>> names = left->list("new");
      const auto is_more = [](const std::string& name) { return !name.ends_with(".tmp"); };
      if (names.ok() && std::ranges::any_of(*names, is_more)) {
        ASSERT_FALSE(Engine::open(*left, "new", small()).ok());
      }
      return;
    }
    ++whole;
    ASSERT_EQ((*engine)->last_seq(), 5U);
    ASSERT_EQ(state_of(**engine).size(), 4U);
    ASSERT_TRUE(left->get_file("new/lost+found/rejected-lines.jsonl").has_value());
    ASSERT_TRUE(left->get_file("new/lost+found/stale-keys.jsonl").has_value());
  };
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    look(CrashChoice::keep_everything(), op.describe());
    look(CrashChoice::keep_only_synced(), op.describe());
    for (const CrashChoice::Names rule : CrashChoice::kChanceRules) {
      for (uint64_t n = 0; n < 2; ++n) look(CrashChoice::random(seed() + 2 * op.number + n, rule), op.describe());
    }
  });
  ASSERT_TRUE(repair(env, "db", "new", kOneThread).ok());
  env.set_hook({});
  EXPECT_GT(whole, 20);
  EXPECT_GT(nothing, 50);
  look(CrashChoice::keep_only_synced(), "after it returned");  // the promise of OK
}

// There is nothing to protect by keeping it from opening, but the lines that were rejected must be there when it does.
TEST(RepairTrouble, ACrashKeepsTheRejectedLinesOfAStoreWithoutRecords) {
  auto start = std::make_unique<env::MemEnv>();
  start->put_file("db/wal-00000000000000000001.jsonl", header_line(1) + R"({"seq":1,"torn)" + "\n");
  CrashEnv env(std::move(start));
  int opened = 0;
  const auto look = [&](const std::string& moment) {
    SCOPED_TRACE(moment);
    const std::unique_ptr<env::MemEnv> left = env.crash_clone(CrashChoice::keep_everything());
    Result<std::unique_ptr<Engine>> engine = Engine::open(*left, "new", small({.create_if_missing = false}));
    if (!engine.ok()) return;
    ++opened;
    EXPECT_TRUE(left->get_file("new/lost+found/rejected-lines.jsonl").has_value());
  };
  env.set_hook([&](const CrashEnv::OpInfo& op) { look(op.describe()); });
  const Result<RepairReport> report = repair(env, "db", "new", kOneThread);
  env.set_hook({});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->plan.last_seq, 0U);
  EXPECT_EQ(report->plan.rejected_lines, 1U);
  look("after it returned");
  EXPECT_GT(opened, 1);
}

// A disk that gives back something else than it was given, and whose checksums are right all the same.
TEST(RepairTrouble, WhatDoesNotComeBackAsItWasWrittenIsNoRepair) {
  const std::string three = entry_line(1, "a", "1") + entry_line(2, "b", "2") + entry_line(3, "c", "3");
  for (const auto& [entries, complaint] :
       {std::pair(three, "4 entries were written, 3 came back"),
        std::pair(three + entry_line(5, "e", "6"), "an entry differs from what was written"),
        std::pair(three + entry_line(4, "e", "5"), "an entry differs from what was written"),
        std::pair(three + entry_line(5, "f", "5"), "an entry differs from what was written")}) {
    SwappingEnv env;
    put_damaged_store(env);
    env.path_part = "new/snapshot-";
    env.bytes = snapshot_of(5, entries);
    const Status failed = repair(env, "db", "new", kOneThread).status();
    EXPECT_EQ(failed.code(), Code::kIoError);
    EXPECT_EQ(failed.message(), fmt::format("repair: read it back: {}", complaint));
    EXPECT_EQ(failed.path(), "new");
    EXPECT_FALSE(Engine::open(env, "new", small({.create_if_missing = false})).ok());
  }
}

TEST(RepairTrouble, WhatProgressThrowsEndsItBeforeAnythingIsWritten) {
  env::MemEnv env;
  put_damaged_store(env);
  env.put_file(kWal3, *env.get_file(kWal3) + std::string(size_t{17} << 20, '\n'));  // it is told at every 16 MiB
  const RepairOptions options{.threads = 1,
                              .on_progress = [](const Progress&) { throw std::runtime_error("nobody looks"); }};
  const Status planned = engine::plan_repair(env, "db", options).status();
  const Status repaired = repair(env, "db", "new", options).status();
  for (const Status& failed : {planned, repaired}) {
    EXPECT_EQ(failed.code(), Code::kIoError);
    EXPECT_EQ(failed.message(), "repair: nobody looks");
  }
  EXPECT_FALSE(env.list("new").ok());
}

TEST(RepairTrouble, WhatProgressThrowsWhileLinesAreSavedLeavesNothing) {
  env::MemEnv env;
  put_damaged_store(env);
  env.put_file(kWal3, *env.get_file(kWal3) + std::string(size_t{17} << 20, '\n'));
  bool throws = true;
  const RepairOptions options{.threads = 1, .on_progress = [&](const Progress& progress) {
                                if (progress.step != "save" || !std::exchange(throws, false)) return;
                                throw std::runtime_error("full");
                              }};
  EXPECT_EQ(repair(env, "db", "new", options).status().message(), "repair: full");
  EXPECT_FALSE(throws);
  const Result<RepairReport> second = repair(env, "db", "new", options);
  EXPECT_TRUE(second.ok()) << second.status().message();
}

// Their file was removed by the name that is noted once it is complete, and stood in the way of the next attempt.
TEST(RepairTrouble, WhatProgressThrowsOnceLinesAreOnDiskLeavesNothingEither) {
  env::MemEnv env;
  put_damaged_store(env);
  std::string text = *env.get_file(kWal3);
  for (int i = 0; i < 2000; ++i) text += std::string(100, 'x') + "\n";  // more than waits in memory
  env.put_file(kWal3, text + std::string(size_t{17} << 20, '\n'));
  const std::string kept_as = "new/lost+found/rejected-lines.jsonl";
  const RepairOptions options{.threads = 1, .on_progress = [&](const Progress& progress) {
                                if (progress.step != "save") return;
                                EXPECT_GT(env.get_file(kept_as).value_or("").size(), size_t{64} << 10);
                                throw std::runtime_error("full");
                              }};
  EXPECT_EQ(repair(env, "db", "new", options).status().message(), "repair: full");
  EXPECT_FALSE(env.get_file(kept_as).has_value());
  const Result<RepairReport> second = repair(env, "db", "new", kOneThread);
  EXPECT_TRUE(second.ok()) << second.status().message();
}

// ---- an owner meanwhile ----------------------------------------------------------------------------

// A MemEnv in which something happens before the n-th file is opened.
class BusyEnv final : public env::MemEnv {
 public:
  uint64_t act_before_open = 0;
  std::function<void()> act;

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    if (++opens == act_before_open) act();
    return MemEnv::open(path, mode);
  }
  uint64_t opens = 0;
};

// A plan holds no lock, and where there is no LOCK a repair holds none either. What an owner appended between two passes
// ended the process: it was more than the plan had seen.
TEST(RepairTrouble, ARecordAppendedMeanwhileIsInThePlanOrMakesItFail) {
  int changed = 0;
  int locked = 0;
  uint64_t opens = 1;
  for (const bool stays : {false, true}) {
    for (uint64_t nth = 1; nth <= opens; ++nth) {
      for (const bool plans : {true, false}) {
        SCOPED_TRACE(fmt::format("the owner {} before open {}, {}", stays ? "begins" : "comes and goes", nth,
                                 plans ? "a plan" : "a repair"));
        BusyEnv env;
        const std::string begin = header_line(3) + put_line(3, "c", "3");
        env.put_file(kSnapshot2, snapshot_of(2, entry_line(1, "a", "1") + entry_line(2, "b", "2")));
        env.put_file(kWal3, begin + std::string(100, '\n'));
        std::unique_ptr<env::FileLock> owner;
        env.act = [&] {
          if (stays) owner = *env.lock("db/LOCK");
          ASSERT_TRUE((*env.MemEnv::open(kWal3, env::OpenMode::kReadWrite))
                          ->write_at(begin.size(), put_line(4, "d", "4"))
                          .ok());
        };
        env.act_before_open = nth;
        const Result<RepairPlan> plan = [&]() -> Result<RepairPlan> {
          if (plans) return engine::plan_repair(env, "db", kOneThread);
          Result<RepairReport> report = repair(env, "db", "new", kOneThread);
          if (!report.ok()) return std::move(report).status();
          return report->plan;
        }();
        if (plan.ok()) {
          EXPECT_TRUE(plan->opens && plan->is_prefix);
          EXPECT_EQ(plan->records + 2, plan->last_seq);
          EXPECT_EQ(plan->entries, plan->last_seq);
        } else {
          EXPECT_EQ(plan.status().code(), Code::kLocked) << plan.status().message();
          const bool says_changed =
              plan.status().message().find("files have changed while they were read") != std::string::npos;
          const bool says_locked = plan.status().message().find("in use by") != std::string::npos;
          EXPECT_TRUE(stays ? says_locked : says_changed) << plan.status().message();
          ++(stays ? locked : changed);
          EXPECT_FALSE(Engine::open(env, "new", small({.create_if_missing = false})).ok());
        }
        if (!stays && nth == 1) opens = env.opens;  // at last those of the repair, which are more
      }
    }
  }
  EXPECT_GE(changed, 2);
  EXPECT_GE(locked, 2);
}

TEST(RepairTrouble, AnOwnerIsSeenAlsoThroughALockThatMayNotBeOpened) {
  env::MemEnv disk;
  put_damaged_store(disk);
  const std::unique_ptr<env::FileLock> owner = *disk.lock("db/LOCK");
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kOpen, .sys_errno = EACCES, .from_then_on = true, .path_part = "LOCK"});
  EXPECT_EQ(repair(env, "db", "new", kOneThread).status().code(), Code::kLocked);
  EXPECT_FALSE(disk.list("new").ok());
}

// Looking at history came with an entry in the plan, and took the repair of a store that opens from those whose disk cannot
// read all of it.
TEST(RepairTrouble, KeptHistoryThatCannotBeReadIsToldAndInNobodysWay) {
  const std::string wal1 = "wal-00000000000000000001.jsonl";
  const std::string entries = entry_line(1, "a", "1") + entry_line(2, "b", "2");
  for (const EnvOp op : {EnvOp::kOpen, EnvOp::kRead}) {
    for (const std::string& file : {wal1, std::string("snapshot-00000000000000000002.jsonl")}) {
      SCOPED_TRACE(fmt::format("{} of {}", op == EnvOp::kOpen ? "opening" : "reading", file));
      env::MemEnv disk;
      disk.put_file("db/" + wal1, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2") + end_line(2));
      disk.put_file(kSnapshot2, snapshot_of(2, entries));
      disk.put_file(kWal3, header_line(3) + put_line(3, "c", "3") + end_line(3));
      disk.put_file("db/snapshot-00000000000000000003.jsonl", snapshot_of(3, entries + entry_line(3, "c", "3")));
      disk.put_file("db/wal-00000000000000000004.jsonl", header_line(4) + put_line(4, "d", "4"));
      FaultEnv env(disk);
      env.fail({.op = op, .sys_errno = op == EnvOp::kOpen ? EACCES : EIO, .from_then_on = true, .path_part = file});
      const Result<RepairReport> report = repair(env, "db", "new", kOneThread);
      ASSERT_TRUE(report.ok()) << report.status().message();
      EXPECT_TRUE(report->plan.opens);
      EXPECT_EQ(report->plan.entries, 4U);
      ASSERT_EQ(report->plan.damaged_history.size(), 1U);
      EXPECT_EQ(report->plan.damaged_history[0].file, "db/" + file);
      EXPECT_NE(
          report->plan.damaged_history[0].reason.find(op == EnvOp::kOpen ? "ermission denied" : "nput/output error"),
          std::string::npos)
          << report->plan.damaged_history[0].reason;
    }
  }
}

}  // namespace
}  // namespace kvstore::testing
