// The operating system says no: every call of a workload fails once, at every position, and the disk fills up (P8).
// Whatever fails, the error is clear, nothing acknowledged is lost, nothing refused is there, and reopening works.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/engine/repair.h"
#include "tests/support/crash_env.h"
#include "tests/support/fault_env.h"
#include "tests/support/gates.h"
#include "tests/support/store_text.h"
#include "tests/support/swapping_env.h"

namespace kvstore::testing {
namespace {

using engine::Engine;
using State = std::map<std::string, std::string>;

Options options_for(LogIo io) {
  return {.sync_interval = std::chrono::hours(1), .log_io = io, .segment_bytes = 4096, .replay_threads = 1};
}

State contents_of(const Engine& engine) {
  State state;
  for (const EntryView entry : *engine.snapshot()->scan()) state.emplace(entry.key, entry.value);
  return state;
}

// Opens, writes across several segments, compacts twice, backs up, closes. Keeps what was acknowledged, and what was refused with a failed sync,
// which may be there or not.
struct Outcome {
  Status opened;
  Status closed;
  State acknowledged;
  State uncertain;
  int refused = 0;
};

Outcome run_workload(env::Env& env, LogIo io) {
  Outcome outcome;
  Result<std::unique_ptr<Engine>> opened = Engine::open(env, "db", options_for(io));
  outcome.opened = opened.status();
  if (!opened.ok()) return outcome;
  Engine& engine = **opened;
  bool compaction_failed = false;
  for (int i = 0; i < 60; ++i) {
    if (i == 20 || i == 40) {
      const Result<CompactionReport> compacted = engine.compact();
      // Only one call fails: the second attempt goes through, unless it is the log that broke.
      EXPECT_TRUE(compacted.ok() || !compaction_failed || engine.stats().broken) << compacted.status().message();
      compaction_failed = !compacted.ok();
    }
    if (i == 50) {
      const Result<BackupReport> backup = engine.backup("copy");
      if (backup.ok()) {
        EXPECT_EQ(backup->entries, outcome.acknowledged.size() + outcome.uncertain.size());
      }
    }
    const std::string key = fmt::format("k{}", i);
    const std::string value = fmt::format("{}:{}", i, std::string(150, 'v'));
    WriteOptions options;
    if (i % 7 == 0) options.durability = Durability::kSync;
    const Status s = engine.put(key, value, false, options);
    if (s.ok()) {
      EXPECT_EQ(engine.get(key), value);
      outcome.acknowledged[key] = value;
      continue;
    }
    ++outcome.refused;
    EXPECT_NE(s.message(), "");
    // Refused before it was written, or written and not synced: then reads show it, and the disk may have it.
    if (engine.get(key).has_value()) outcome.uncertain[key] = value;
  }
  // Reads go on whatever happened (P8).
  for (const auto& [key, value] : outcome.acknowledged) EXPECT_EQ(engine.get(key), value);
  outcome.closed = engine.close();
  return outcome;
}

class Fault : public ::testing::TestWithParam<LogIo> {};

TEST_P(Fault, AnyCallMayFailOnceAtAnyPosition) {
  uint64_t calls = 0;
  {
    env::MemEnv disk;
    FaultEnv env(disk);
    const Outcome good = run_workload(env, GetParam());
    ASSERT_TRUE(good.opened.ok() && good.closed.ok());
    ASSERT_EQ(good.acknowledged.size(), 60U);
    calls = env.calls();
  }
  ASSERT_GT(calls, 50U);
  for (const int sys_errno : {EIO, ENOSPC}) {
    for (uint64_t nth = 1; nth <= calls; ++nth) {
      SCOPED_TRACE(fmt::format("call {} fails with errno {}", nth, sys_errno));
      env::MemEnv disk;
      FaultEnv env(disk);
      env.fail({.nth = nth, .sys_errno = sys_errno});
      const Outcome outcome = run_workload(env, GetParam());
      env.heal();
      Result<std::unique_ptr<Engine>> again = Engine::open(disk, "db", options_for(GetParam()));
      ASSERT_TRUE(again.ok()) << again.status().message();
      State found = contents_of(**again);
      for (const auto& [key, value] : outcome.acknowledged) {
        ASSERT_EQ(found[key], value) << key << " was acknowledged";
        found.erase(key);
      }
      for (const auto& [key, value] : found) {
        ASSERT_TRUE(outcome.uncertain.contains(key)) << key << " was refused, and is there";
      }
      ASSERT_TRUE((*again)->close().ok());
      const Result<VerifyReport> report = engine::verify(disk, "db");
      ASSERT_TRUE(report.ok() && report->findings.empty());
    }
  }
}

TEST_P(Fault, AFailedSyncStopsTheWritesAndNotTheReads) {
  env::MemEnv disk;
  FaultEnv env(disk);
  Status heard;
  Options options = options_for(GetParam());
  options.segment_bytes = 1 << 20;
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok());
  ASSERT_TRUE((*engine)->put("a", "1", false, {}).ok());
  env.fail({.op = EnvOp::kSync, .sys_errno = EIO});
  const Status failed = (*engine)->put("b", "2", false, {.durability = Durability::kSync});
  EXPECT_EQ(failed.code(), Code::kIoError);
  EXPECT_EQ(failed.sys_errno(), EIO);
  for (int i = 0; i < 3; ++i) {  // although a further sync would say OK
    const Status refused = (*engine)->put("c", "3", false, {});
    EXPECT_EQ(refused.code(), Code::kBroken);
    EXPECT_NE(refused.message().find("reopen"), std::string_view::npos) << refused.message();
    EXPECT_EQ((*engine)->sync().code(), Code::kBroken);
  }
  EXPECT_EQ((*engine)->get("a"), "1");
  EXPECT_EQ((*engine)->get("c"), std::nullopt);
  EXPECT_TRUE((*engine)->stats().broken);
  EXPECT_EQ((*engine)->close().code(), Code::kBroken);
  engine->reset();
  engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  EXPECT_TRUE((*engine)->put("c", "3", false, {}).ok());
}

// A reader with on_progress sums up the sizes of files that a compaction may take away meanwhile. That was an error.
TEST_P(Fault, ProgressDoesWithoutAFileThatIsGone) {
  env::MemEnv disk;
  FaultEnv env(disk);
  Options options = options_for(GetParam());
  {
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
    ASSERT_TRUE(engine.ok());
    for (int i = 0; i < 60; ++i)
      ASSERT_TRUE((*engine)->put(fmt::format("k{}", i), std::string(150, 'v'), false, {}).ok());
    ASSERT_TRUE((*engine)->close().ok());
  }
  options.read_only = true;
  const auto opens = [&] {
    const uint64_t before = env.calls(EnvOp::kOpen);
    EXPECT_TRUE(Engine::open(env, "db", options).ok());
    return env.calls(EnvOp::kOpen) - before;
  };
  const uint64_t without = opens();
  options.on_progress = [](const Progress& /*progress*/) {};
  const uint64_t with = opens();
  ASSERT_GT(with, without);
  uint64_t harmless = 0;
  for (uint64_t nth = 1; nth <= with; ++nth) {
    env.fail({.op = EnvOp::kOpen, .nth = nth, .sys_errno = ENOENT});
    harmless += Engine::open(env, "db", options).ok() ? 1 : 0;
    env.heal();
  }
  EXPECT_GE(harmless, with - without);
}

TEST_P(Fault, AFailedBackgroundSyncIsReportedOnce) {
  env::MemEnv disk;
  FaultEnv env(disk);
  std::atomic<int> reports{0};
  Options options = options_for(GetParam());
  options.sync_interval = std::chrono::milliseconds(1);
  options.on_background_error = [&](const Status& s) {
    EXPECT_FALSE(s.ok());
    ++reports;
  };
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok());
  env.fail({.op = EnvOp::kSync, .sys_errno = EIO});
  (void)(*engine)->put("a", "1", false, {}).ok();
  for (int i = 0; i < 2000 && reports == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(reports, 1);
  EXPECT_EQ((*engine)->put("b", "1", false, {}).code(), Code::kBroken);
}

// Nobody waits for its answer.
TEST_P(Fault, AFailedCompactionInTheBackgroundIsAnErrorToTheSink) {
  env::MemEnv disk;
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kCreate, .sys_errno = EIO, .from_then_on = true, .path_part = "/snapshot-"});
  std::mutex mutex;
  std::condition_variable changed;
  std::string heard;
  Options options = options_for(GetParam());
  options.compact_min_bytes = 1;
  options.log_sink = [&](LogLevel level, std::string_view line) {
    const std::lock_guard lock(mutex);
    if (level != LogLevel::kError || !heard.empty()) return;
    heard = line;
    changed.notify_one();
  };
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE((*engine)->put("a", std::string(100, 'v'), false, {}).ok());
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return !heard.empty(); }));
    EXPECT_TRUE(heard.starts_with("compact: ")) << heard;
  }
  EXPECT_GE((*engine)->stats().compactions_failed, 1U);
  EXPECT_TRUE((*engine)->close().ok());
}

TEST_P(Fault, ABackupThatDoesNotComeBackWholeIsNone) {
  SwappingEnv env;
  env.path_part = "copy/snapshot-";
  env.bytes = snapshot_of(2, entry_line(1, "a", "1"));
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(GetParam()));
  ASSERT_TRUE(engine.ok());
  ASSERT_TRUE((*engine)->put("a", "1", false, {}).ok());
  ASSERT_TRUE((*engine)->put("b", "2", false, {}).ok());
  const Status failed = (*engine)->backup("copy").status();
  EXPECT_EQ(failed.code(), Code::kIoError);
  EXPECT_EQ(failed.message(), "backup: 2 entries were written, 1 came back");
  EXPECT_FALSE(Engine::open(env, "copy", {.create_if_missing = false}).ok());
}

TEST_P(Fault, AFullDiskRefusesCleanlyAndWritingResumesOnceThereIsRoom) {
  env::MemEnv disk;
  FaultEnv env(disk);
  Options options = options_for(GetParam());
  options.segment_bytes = 64 << 10;
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok());
  State expected;
  env.disk_full_after(200'000);
  for (int round = 0; round < 5; ++round) {
    int refused = 0;
    for (int i = 0; refused < 20; ++i) {
      ASSERT_LT(i, 100'000) << "the disk should have filled up";
      const std::string key = fmt::format("{}/{}", round, i);
      const Status s = (*engine)->put(key, std::string(100, 'v'), false, {});
      if (s.ok()) {
        expected[key] = std::string(100, 'v');
        continue;
      }
      ++refused;
      ASSERT_EQ(s.code(), Code::kNoSpace) << s.message();
      ASSERT_EQ((*engine)->get(key), std::nullopt);
    }
    EXPECT_EQ(contents_of(**engine), expected);
    const Result<VerifyReport> report = engine::verify(disk, "db");  // no partial line stays behind (P7)
    ASSERT_TRUE(report.ok() && report->findings.empty()) << report->findings[0].message;
    env.give_room(100'000);
    ASSERT_TRUE((*engine)->put("resumed", "1", false, {}).ok());
    expected["resumed"] = "1";
  }
  ASSERT_TRUE((*engine)->close().ok());
  engine->reset();
  engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  EXPECT_EQ(contents_of(**engine), expected);
}

TEST_P(Fault, WhatAReopeningVouchesForIsOnDisk) {
  CrashEnv disk;
  FaultEnv env(disk);
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(GetParam()));
  ASSERT_TRUE(engine.ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE((*engine)->put(fmt::format("k{}", i), "v", false, {}).ok());
  env.fail({.op = EnvOp::kSync, .from_then_on = true});  // so that closing syncs as little as dying would
  engine->reset();
  env.heal();
  engine = Engine::open(env, "db", options_for(GetParam()));
  ASSERT_TRUE(engine.ok());
  EXPECT_EQ((*engine)->stats().synced_seq, 10U);
  const std::unique_ptr<env::MemEnv> left = disk.crash_clone(CrashChoice::keep_only_synced());
  Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options_for(GetParam()));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)->last_seq(), 10U);
}

// A sync that failed may leave pages that the kernel takes for clean although they never reached the disk. Whoever
// reopens sees them; a power cut then takes them. That may refuse to open, and must not pass for whole.
TEST_P(Fault, WhatAFailedSyncLostIsNeverMissedInSilence) {
  for (uint64_t choice = 0; choice < 50; ++choice) {
    SCOPED_TRACE(choice);
    CrashEnv env;
    Options options = options_for(GetParam());
    options.segment_bytes = 1 << 20;
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
    ASSERT_TRUE(engine.ok());
    for (int i = 0; i < 30; ++i)
      ASSERT_TRUE((*engine)->put(fmt::format("k{}", i), std::string(200, 'v'), false, {}).ok());
    env.fail_next_sync();
    ASSERT_FALSE((*engine)->sync().ok());
    engine->reset();
    engine = Engine::open(env, "db", options);
    ASSERT_TRUE(engine.ok());
    ASSERT_TRUE((*engine)->put("later", "1", false, {.durability = Durability::kSync}).ok());
    const std::unique_ptr<env::MemEnv> left =
        env.crash_clone(CrashChoice::random(choice, CrashChoice::Names::kOrdered));
    Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options);
    if (!again.ok()) {
      EXPECT_EQ(again.status().code(), Code::kCorruption) << again.status().message();
      continue;
    }
    EXPECT_EQ(contents_of(**again).size(), 31U);
  }
}

// ---- a rotation that is finished later -----------------------------------------------------------

class FaultInRotation : public ::testing::TestWithParam<LogIo> {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Engine>> opened = Engine::open(env_, "db", options_for(GetParam()));
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    engine_ = *std::move(opened);
  }
  Status put(const std::string& key, Durability durability) {
    return engine_->put(key, std::string(100, 'v'), false, {.durability = durability});
  }
  void rotate() {
    for (int i = 0; engine_->stats().rotations == 0; ++i) {
      ASSERT_TRUE(put(fmt::format("k{}", i), Durability::kProcess).ok());
    }
  }
  void wait_for_failure() const {
    while (env_.failures() == 0) std::this_thread::yield();
  }

  CrashEnv disk_;
  Gates gates_{disk_};
  FaultEnv env_{disk_};
  std::unique_ptr<Engine> engine_;
};

// Sealing the old segment had failed. The sync that made up for it left out the new segment, which had its name by then,
// and acknowledged what stood there.
TEST_P(FaultInRotation, WhatCameAfterAFailedSealIsSyncedToo) {
  const auto gate = gates_.shut({.op = EnvOp::kRename, .path_part = "wal-next"});
  rotate();
  ASSERT_TRUE(gate->wait_for_arrival());  // the background thread's; what follows there is the seal
  const bool seals_by_writing = GetParam() == LogIo::kWrite;
  env_.fail({.op = seals_by_writing ? EnvOp::kWrite : EnvOp::kTruncate,
             .sys_errno = ENOSPC,
             .path_part = "wal-00000000000000000001"});
  gate->open();
  wait_for_failure();
  ASSERT_TRUE(put("durable", Durability::kSync).ok());
  const std::unique_ptr<env::MemEnv> left = disk_.crash_clone(CrashChoice::keep_only_synced());
  Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options_for(GetParam()));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_TRUE((*again)->contains("durable"));
  EXPECT_TRUE(engine_->close().ok());
}

// Who makes up for it later must say so if it fails then: of the new segment nothing is on disk.
TEST_P(FaultInRotation, AFailedSyncBehindAFailedSealIsNoSync) {
  const auto gate = gates_.shut({.op = EnvOp::kRename, .path_part = "wal-next"});
  rotate();
  ASSERT_TRUE(gate->wait_for_arrival());
  env_.fail({.op = GetParam() == LogIo::kWrite ? EnvOp::kWrite : EnvOp::kTruncate,
             .sys_errno = ENOSPC,
             .path_part = "wal-00000000000000000001"});
  gate->open();
  wait_for_failure();
  env_.fail({.op = EnvOp::kSync, .path_part = "wal-next"});  // the file's name when it was opened
  EXPECT_EQ(put("durable", Durability::kSync).code(), Code::kIoError);
  EXPECT_EQ(put("more", Durability::kProcess).code(), Code::kBroken);
}

// It used to say "no space", of which store.h says that nothing was written.
TEST_P(FaultInRotation, AWriteThatIsInTheLogIsNotCalledUnwritten) {
  env_.fail({.op = EnvOp::kRename, .sys_errno = ENOSPC, .from_then_on = true, .path_part = "wal-next"});
  rotate();
  const Status s = put("durable", Durability::kSync);
  EXPECT_EQ(s.code(), Code::kIoError) << s.message();
  EXPECT_EQ(s.sys_errno(), ENOSPC);
  EXPECT_TRUE(engine_->contains("durable"));
  env_.heal();
  EXPECT_TRUE(put("another", Durability::kSync).ok());
  EXPECT_TRUE(engine_->close().ok());
}

// A process without a descriptor to spare cannot sync a directory. That broke the store until it was reopened, although
// nothing had failed to reach the disk.
TEST_P(FaultInRotation, LackOfDescriptorsIsNoMoreThanADelay) {
  env_.fail({.op = EnvOp::kSyncDir, .sys_errno = EMFILE, .from_then_on = true});
  rotate();
  const Status s = put("uncertain", Durability::kSync);
  EXPECT_EQ(s.code(), Code::kIoError) << s.message();
  EXPECT_EQ(s.sys_errno(), EMFILE);
  EXPECT_FALSE(engine_->stats().broken);
  env_.heal();
  const Status durable = put("durable", Durability::kSync);
  ASSERT_TRUE(durable.ok()) << durable.message();
  const State written = contents_of(*engine_);
  EXPECT_TRUE(written.contains("uncertain"));
  const std::unique_ptr<env::MemEnv> left = disk_.crash_clone(CrashChoice::keep_only_synced());
  Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options_for(GetParam()));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(contents_of(**again), written);
  EXPECT_TRUE(engine_->close().ok());
}

// The callback is for the failure that ends all writing, and was used up by one that ends none.
TEST(FaultInBackground, AFullDiskIsNotReportedAsABrokenStore) {
  env::MemEnv disk;
  FaultEnv env(disk);
  std::atomic<int> reports{0};
  Options options = options_for(LogIo::kMapped);
  options.sync_interval = std::chrono::milliseconds(1);
  options.on_background_error = [&](const Status&) { ++reports; };
  Result<std::unique_ptr<Engine>> opened = Engine::open(env, "db", options);
  ASSERT_TRUE(opened.ok());
  Engine& engine = **opened;
  env.fail({.op = EnvOp::kRename, .sys_errno = ENOSPC, .from_then_on = true, .path_part = "wal-next"});
  for (int i = 0; engine.stats().rotations == 0; ++i) {
    ASSERT_TRUE(engine.put(fmt::format("k{}", i), std::string(100, 'v'), false, {}).ok());
  }
  while (engine.stats().last_error.empty()) std::this_thread::yield();
  EXPECT_EQ(reports, 0);
  env.heal();
  ASSERT_TRUE(engine.put("durable", "1", false, {.durability = Durability::kSync}).ok());
  env.fail({.op = EnvOp::kSync, .sys_errno = EIO});
  ASSERT_TRUE(engine.put("last", "1", false, {}).ok());
  for (int i = 0; i < 2000 && reports == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(reports, 1);
}

// What it threw ended the process.
TEST(FaultInBackground, ACallbackThatThrowsIsAnErrorToTheSink) {
  env::MemEnv disk;
  FaultEnv env(disk);
  std::atomic<bool> heard = false;
  Options options = options_for(LogIo::kMapped);
  options.sync_interval = std::chrono::milliseconds(1);
  options.on_background_error = [](const Status&) { throw std::runtime_error("nobody is there"); };
  options.log_sink = [&](LogLevel level, std::string_view line) {
    if (level == LogLevel::kError && line == "on_background_error: nobody is there") heard = true;
  };
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok());
  env.fail({.op = EnvOp::kSync, .sys_errno = EIO});
  ASSERT_TRUE((*engine)->put("a", "1", false, {}).ok());
  for (int i = 0; i < 2000 && !heard; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(heard);
  EXPECT_EQ((*engine)->get("a"), "1");
  EXPECT_EQ((*engine)->put("b", "1", false, {}).code(), Code::kBroken);
}

// ---- an opening that fails -----------------------------------------------------------------------

const std::string kWal1 = "db/wal-00000000000000000001.jsonl";

// Only the opening that made the directory synced the one above it. Where the user had made it, or an opening that
// failed then, a power cut took the store with all that was on disk in it.
TEST(FaultInOpening, AStoreOutlivesAPowerCutWhoeverMadeItsDirectory) {
  for (const bool by_the_user : {true, false}) {
    SCOPED_TRACE(by_the_user ? "the user" : "an opening that failed");
    CrashEnv disk;
    FaultEnv env(disk);
    if (by_the_user) {
      ASSERT_TRUE(env.create_dir("db").ok());
    } else {
      env.fail({.op = EnvOp::kSyncDir, .path_part = "."});
      ASSERT_FALSE(Engine::open(env, "db", {}).ok());
    }
    ASSERT_TRUE(env.list("db").ok());
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", {});
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    ASSERT_TRUE((*engine)->put("a", "1", false, {.durability = Durability::kSync}).ok());
    const std::unique_ptr<env::MemEnv> left = disk.crash_clone(CrashChoice::keep_only_synced());
    Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", {.create_if_missing = false});
    EXPECT_TRUE(again.ok() && (*again)->get("a") == "1") << again.status().message();
  }
}

TEST(FaultInOpening, AStoreWhoseNameMayNotReachTheDiskIsNotOpened) {
  env::MemEnv disk;
  ASSERT_TRUE(disk.create_dir("db").ok());
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kSyncDir, .sys_errno = EIO, .path_part = "."});
  EXPECT_EQ(Engine::open(env, "db", {}).status().code(), Code::kIoError);
  EXPECT_TRUE(Engine::open(env, "db", {}).ok());
}

TEST(FaultInOpening, ADirectoryThatGoesWheneverItIsMadeIsGivenUp) {
  env::MemEnv disk;
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kLock, .sys_errno = ENOENT, .from_then_on = true});
  const Status failed = Engine::open(env, "db", {}).status();
  EXPECT_NE(failed.message().find("another program removes the directory whenever it is made"), std::string::npos)
      << failed.message();
}

TEST(FaultInOpening, AReaderThatCannotHoldTheDirectorySaysSo) {
  env::MemEnv disk;
  disk.put_file(kWal1, header_line(1));
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kOpen, .sys_errno = EMFILE});
  EXPECT_EQ(Engine::open(env, "db", {.read_only = true}).status().sys_errno(), EMFILE);
}

// A store whose owner has always compacted away what a reader has listed.
class OutrunningEnv final : public env::MemEnv {
 public:
  OutrunningEnv() { compact(); }
  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    if (path.find("snapshot-") != std::string::npos) compact();
    return MemEnv::open(path, mode);
  }
  int compactions = 0;

 private:
  void compact() {
    (void)MemEnv::remove(snapshot_path()).ok();
    (void)MemEnv::remove(segment_path()).ok();
    ++compactions;
    put_file(snapshot_path(), snapshot_of(seq(), ""));
    put_file(segment_path(), header_line(seq() + 1));
  }
  [[nodiscard]] format::Seq seq() const { return static_cast<format::Seq>(compactions); }
  [[nodiscard]] std::string snapshot_path() const { return fmt::format("db/snapshot-{:020}.jsonl", seq()); }
  [[nodiscard]] std::string segment_path() const { return fmt::format("db/wal-{:020}.jsonl", seq() + 1); }
};

TEST(FaultInOpening, AReaderThatIsAlwaysOutrunGivesUpAndSaysSo) {
  OutrunningEnv env;
  const auto begin = std::chrono::steady_clock::now();
  const Status failed = Engine::open(env, "db", {.read_only = true, .replay_threads = 1}).status();
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, std::chrono::seconds(2));  // a writer may be that fast while a thread waits for a processor
  EXPECT_LT(took, std::chrono::seconds(30));
  EXPECT_EQ(failed.code(), Code::kCompacted);
  EXPECT_NE(failed.message().find("it is compacted faster than it can be read, "), std::string::npos)
      << failed.message();
}

TEST(FaultInOpening, ARepairThatCannotLookForAnOwnerSaysSo) {
  env::MemEnv disk;
  disk.put_file(kWal1, header_line(1));
  disk.put_file("db/LOCK", "");
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kOpen, .sys_errno = EMFILE, .path_part = "LOCK"});
  EXPECT_EQ(engine::repair(env, "db", "repaired", {.threads = 1}).status().sys_errno(), EMFILE);
}

TEST(FaultInOpening, ADirectoryInAPlaceThatMayNotBeReadIsTakenFromWhoMadeItThere) {
  env::MemEnv disk;
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kSyncDir, .sys_errno = EACCES, .from_then_on = true, .path_part = "."});
  EXPECT_EQ(Engine::open(env, "mine", {}).status().sys_errno(), EACCES);
  ASSERT_TRUE(disk.create_dir("yours").ok());
  EXPECT_TRUE(Engine::open(env, "yours", {}).ok());
}

// Backup and repair wrote everything, and then took it away again, since they might not read the place above.
TEST(FaultInOpening, ACopyIsMadeInADirectoryThatIsThereWhateverIsAboveIt) {
  env::MemEnv disk;
  std::unique_ptr<Engine> engine = *Engine::open(disk, "db", options_for(LogIo::kMapped));
  ASSERT_TRUE(engine->put("a", "1", false, {}).ok());
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kSyncDir, .sys_errno = EACCES, .from_then_on = true, .path_part = ".."});
  EXPECT_EQ(engine->backup(env, "mine").status().sys_errno(), EACCES);
  ASSERT_TRUE(disk.create_dir("yours").ok());
  const Status backed_up = engine->backup(env, "yours").status();
  EXPECT_TRUE(backed_up.ok()) << backed_up.message();
  ASSERT_TRUE(engine->close().ok());
  ASSERT_TRUE(disk.create_dir("repaired").ok());
  const Status repaired = engine::repair(env, "db", "repaired", {.threads = 1}).status();
  EXPECT_TRUE(repaired.ok()) << repaired.message();
}

// What it took for leftovers was a backup under way.
TEST(FaultInOpening, ThatRefusesRemovesNothing) {
  env::MemEnv disk;
  disk.put_file("db/wal-00000000000000000006.jsonl", header_line(6));
  disk.put_file("db/snapshot-00000000000000000005.jsonl.tmp", "half of it");
  EXPECT_EQ(Engine::open(disk, "db", {}).status().code(), Code::kCorruption);
  EXPECT_EQ(disk.get_file("db/snapshot-00000000000000000005.jsonl.tmp"), "half of it");
}

// Stale listings of network file systems; the opening went on for ever.
TEST(FaultInOpening, ANameThatIsListedAndLeadsToNoFileIsNoFile) {
  env::MemEnv disk;
  disk.put_file(kWal1, header_line(1) + put_line(1, "a", "1"));
  disk.put_file("db/wal-next.jsonl", "\n\n");
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kOpen, .sys_errno = ENOENT, .from_then_on = true, .path_part = "wal-next"});
  Result<std::unique_ptr<Engine>> opened = Engine::open(env, "db", {.read_only = true, .replay_threads = 1});
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_EQ((*opened)->get("a"), "1");
}

// The next opening finds no torn line any more, so nobody would ever have been told.
TEST(FaultInOpening, ThatFailsBehindACutTellsOfTheCut) {
  const std::string promised = header_line(1) + put_line(1, "a", "1");
  const FaultEnv::Fault settling{.op = EnvOp::kTruncate, .path_part = kWal1};
  const FaultEnv::Fault last_of_all{.op = EnvOp::kWrite, .nth = 2, .path_part = "LOCK"};
  for (const FaultEnv::Fault& fault : {settling, last_of_all}) {
    SCOPED_TRACE(fault.path_part);
    env::MemEnv disk;
    disk.put_file(kWal1, promised + R"({"seq":2,"torn)");
    FaultEnv env(disk);
    env.fail(fault);
    const Status failed = Engine::open(env, "db", options_for(LogIo::kMapped)).status();
    EXPECT_EQ(failed.code(), Code::kIoError);
    const std::string kept_as = fmt::format("db/lost+found/wal-00000000000000000001.jsonl.{}", promised.size());
    const std::string told = fmt::format("14 bytes to be cut off at {}:3 are kept as {}", kWal1, kept_as);
    EXPECT_TRUE(failed.message().starts_with(told)) << failed.message();
    EXPECT_EQ(disk.get_file(kept_as), R"({"seq":2,"torn)");
  }
}

// At the root of an ext4 file system it is root's, and a store of somebody else's did not open again after a crash.
TEST(FaultInOpening, ATornTailIsKeptElsewhereWhereLostAndFoundIsAnotherUsers) {
  const std::string promised = header_line(1) + put_line(1, "a", "1");
  env::MemEnv disk;
  disk.put_file(kWal1, promised + R"({"seq":2,"torn)");
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kOpen, .sys_errno = EACCES, .path_part = "lost+found"});
  const Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(LogIo::kMapped));
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  EXPECT_EQ(disk.get_file(fmt::format("db/lost+found.kvstore/wal-00000000000000000001.jsonl.{}", promised.size())),
            R"({"seq":2,"torn)");
}

// Half a copy was left there, and each new attempt added another: on a full disk, of all places.
TEST(FaultInOpening, HalfACopyOfATornTailIsRemovedAgain) {
  env::MemEnv disk;
  disk.put_file(kWal1, header_line(1) + put_line(1, "a", "1") + R"({"seq":2,"torn)");
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kWrite, .sys_errno = ENOSPC, .bytes_written = 5, .path_part = "lost+found"});
  const Status failed = Engine::open(env, "db", options_for(LogIo::kMapped)).status();
  EXPECT_EQ(failed.code(), Code::kNoSpace);
  EXPECT_EQ(failed.message().find("cut off"), std::string_view::npos) << failed.message();
  EXPECT_EQ(*disk.list("db/lost+found"), std::vector<std::string>());
  EXPECT_TRUE(Engine::open(env, "db", options_for(LogIo::kMapped)).ok());
  EXPECT_EQ(disk.list("db/lost+found")->size(), 1U);
}

// Whatever fails behind it, fails again at each attempt of whoever starts the program again.
TEST(FaultInOpening, OneCopyOfATornTailIsEnough) {
  env::MemEnv disk;
  const std::string promised = header_line(1) + put_line(1, "a", "1");
  disk.put_file(kWal1, promised + R"({"seq":2,"torn)");
  disk.put_file(fmt::format("db/lost+found/wal-00000000000000000001.jsonl.{}", promised.size()), "of another day");
  FaultEnv env(disk);
  env.fail({.op = EnvOp::kWrite, .from_then_on = true, .path_part = kWal1});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Engine::open(env, "db", options_for(LogIo::kMapped)).status().code(), Code::kIoError);
    EXPECT_EQ(disk.list("db/lost+found")->size(), 2U);
  }
  env.heal();
  Result<std::unique_ptr<Engine>> opened = Engine::open(env, "db", options_for(LogIo::kMapped));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  ASSERT_EQ((*opened)->recovery().cuts.size(), 1U);
  EXPECT_EQ(disk.get_file((*opened)->recovery().cuts[0].kept_as), R"({"seq":2,"torn)");
  EXPECT_EQ(disk.list("db/lost+found")->size(), 2U);
}

INSTANTIATE_TEST_SUITE_P(BothLogs, FaultInRotation, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

INSTANTIATE_TEST_SUITE_P(BothLogs, Fault, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

}  // namespace
}  // namespace kvstore::testing
