// A short run of what crash_explorer does for as long as one likes: the plug is pulled at every I/O operation of a
// workload, and between its steps, and what is left is opened (P1, P2).
//
// KVSTORE_SEED=n replays a failure.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/crash_explorer.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

// The thread sanitizer makes a crash fifty times as slow and has little to look for here: it sees a part of them.
#if defined(__SANITIZE_THREAD__)
constexpr unsigned kEveryNth = 16;
#elif defined(__SANITIZE_ADDRESS__)
constexpr unsigned kEveryNth = 4;
#else
constexpr unsigned kEveryNth = 1;
#endif

class PowerCut : public ::testing::TestWithParam<LogIo> {
 protected:
  CrashExplorer::Settings settings() const {
    return {.seed = seed(), .steps = 40, .every_nth = kEveryNth, .plan = CrashWorkload::Plan{.io = GetParam()}};
  }
  static CrashTally explore(CrashExplorer::Settings settings) {
    CrashTally tally;
    settings.on_violation = [&](const std::string& what) { ADD_FAILURE() << what << "\nKVSTORE_SEED=" << seed(); };
    CrashExplorer(settings, tally).run();
    return tally;
  }
};

TEST_P(PowerCut, LeavesAPrefixWithAllThatWasPromised) {
  const CrashTally tally = explore(settings());
  EXPECT_EQ(tally.violations(), 0U);
  for (const CrashModel model : kCrashModels) {
    const CrashTally::Row& row = tally.rows[static_cast<size_t>(model)];
    EXPECT_GT(row.states, 500U / kEveryNth) << name_of(model);
    EXPECT_GT(row.recovering, 100U / kEveryNth) << name_of(model);
    EXPECT_GT(row.cut, 20U / kEveryNth) << name_of(model) << ": the crashes should leave torn tails";
  }
}

TEST_P(PowerCut, WithEvictionAndHistoryLeavesAPrefixToo) {
  CrashExplorer::Settings with_both = settings();
  with_both.plan->evicts = with_both.plan->keeps_history = true;
  with_both.lives = 2;
  EXPECT_EQ(explore(with_both).violations(), 0U);
}

// The store is repaired as it died, or a damaged copy of it is: whatever a crash makes of the new directory, it never
// opens as less than was promised, and the old one stays as it was.
TEST_P(PowerCut, DuringARepairLeavesTheOldStoreAndNoHalfOfANewOne) {
  CrashExplorer::Settings repairing = settings();
  repairing.plan->repair_percent = 20;
  repairing.steps = 20;
  const CrashTally tally = explore(repairing);
  EXPECT_EQ(tally.violations(), 0U);
  for (const CrashModel model : kCrashModels) {
    const CrashTally::Row& row = tally.rows[static_cast<size_t>(model)];
    EXPECT_GT(row.repairing, 50U / kEveryNth) << name_of(model);
  }
}

// Compactions and backups on one thread, writes on another.
TEST_P(PowerCut, DuringCompactionBesideWritersLeavesAPrefixToo) {
  CrashExplorer::Settings beside = settings();
  beside.plan->compacts_beside = true;
  beside.lives = 1;
  beside.steps = 80;
  beside.every_nth *= 2;
  EXPECT_EQ(explore(beside).violations(), 0U);
}

INSTANTIATE_TEST_SUITE_P(BothLogs, PowerCut, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

// Behind a torn line whole ones may stand. They were cut off and their blocks left as they were: given to the file anew, and
// shown by a power cut before anything else was written to them, they could have been taken for what is due there.
TEST(PowerCutTest, WhatIsCutIsKeptAndBlankOnDiskBeforeItsBlocksAreFree) {
  const std::string path = "db/wal-00000000000000000001.jsonl";
  const Options options{.sync_interval = std::chrono::hours(1), .log_io = LogIo::kWrite, .compact_at_percent = 0};
  env::MemEnv first;
  Result<std::unique_ptr<engine::Engine>> engine = engine::Engine::open(first, "db", options);
  ASSERT_TRUE(engine.ok());
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE((*engine)->put(key, "1", false, {}).ok());
  std::string text = *first.get_file(path);
  text[text.find(R"("seq":2)") + 20] ^= 1;
  auto crashed = std::make_unique<env::MemEnv>();
  crashed->put_file("db/LOCK", *first.get_file("db/LOCK"));
  crashed->put_file(path, text);

  CrashEnv env(std::move(crashed));
  bool was_cut = false;
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    if (op.op != EnvOp::kTruncate || op.path != path || op.phase != CrashEnv::Phase::kBefore || was_cut) return;
    was_cut = true;
    const std::unique_ptr<env::MemEnv> disk = env.crash_clone(CrashChoice::keep_only_synced());
    const std::string durable = *disk->get_file(path);
    EXPECT_EQ(durable.size(), text.size());
    EXPECT_EQ(durable.find(R"("seq":3)"), std::string::npos);
    const size_t torn = text.find(R"({"seq":2)");
    const std::string kept = fmt::format("db/lost+found/wal-00000000000000000001.jsonl.{}", torn);
    EXPECT_EQ(disk->get_file(kept), text.substr(torn, text.size() - 1 - torn));
  });
  Result<std::unique_ptr<engine::Engine>> again = engine::Engine::open(env, "db", options);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_TRUE(was_cut);
  EXPECT_EQ((*again)->last_seq(), 1U);
  EXPECT_NE(env.live().get_file((*again)->recovery().cuts.at(0).kept_as)->find(R"("seq":3)"), std::string::npos);
}

// Each rotation is waited for, since the segment would grow meanwhile.
void fill_segments(engine::Engine& engine, int count) {
  uint64_t rotations = engine.stats().rotations;
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(engine.put(fmt::format("k{}", i), std::string(200, 'v'), false, {}).ok());
    if (std::exchange(rotations, engine.stats().rotations) != rotations) {
      ASSERT_TRUE(engine.sync().ok());
    }
  }
}

// What an opening finds may be the kernel's alone: a process dies between writing a closing line and syncing it, a copy of a
// store is a second old. An opening that synced only the end of the log vouched for all of it, and a power cut took the rest.
TEST(PowerCutTest, WhatAnOpeningVouchesForIsOnDiskWhoeverPutItThere) {
  const Options options{.sync_interval = std::chrono::hours(1), .log_io = LogIo::kWrite, .segment_bytes = 4096};
  env::MemEnv original;
  {
    Result<std::unique_ptr<engine::Engine>> engine = engine::Engine::open(original, "db", options);
    ASSERT_TRUE(engine.ok());
    fill_segments(**engine, 50);
    ASSERT_TRUE((*engine)->compact().ok());
    fill_segments(**engine, 50);
  }
  CrashEnv env;
  ASSERT_TRUE(env.create_dir("db").ok());
  for (const std::string& path : original.files()) {
    Result<std::unique_ptr<env::File>> copy = env.open(path, env::OpenMode::kCreate);
    ASSERT_TRUE(copy.ok() && (*copy)->write_at(0, *original.get_file(path)).ok());
  }
  Result<std::unique_ptr<engine::Engine>> engine = engine::Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  EXPECT_GE((*engine)->recovery().segments, 3U);
  ASSERT_TRUE((*engine)->put("new", "1", false, {.durability = Durability::kSync}).ok());
  const std::unique_ptr<env::MemEnv> left = env.crash_clone(CrashChoice::keep_only_synced());
  Result<std::unique_ptr<engine::Engine>> again = engine::Engine::open(*left, "db", {.create_if_missing = false});
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)->get("new"), "1");
  EXPECT_EQ((*again)->stats().entries, 51U);
}

// Were several removals on their way to the disk at once, a power cut might undo some of them, and a segment in the middle of
// the history be gone with none to miss it.
TEST(PowerCutTest, CoveredFilesAreRemovedOneByOneForGood) {
  CrashEnv env;
  std::atomic<int> removals = 0;
  std::atomic<bool> is_pending = false;
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    if (op.phase != CrashEnv::Phase::kAfter) return;
    if (op.op == EnvOp::kSyncDir) is_pending = false;
    if (op.op != EnvOp::kRemove || !op.path.starts_with("db/wal-0")) return;
    EXPECT_FALSE(is_pending.exchange(true)) << op.describe();
    ++removals;
  });
  Result<std::unique_ptr<engine::Engine>> engine = engine::Engine::open(env, "db",
                                                                        {.sync_interval = std::chrono::hours(1),
                                                                         .log_io = LogIo::kWrite,
                                                                         .segment_bytes = 4096,
                                                                         .compact_at_percent = 0});
  ASSERT_TRUE(engine.ok());
  fill_segments(**engine, 100);
  ASSERT_TRUE((*engine)->compact().ok());
  EXPECT_GE(removals, 3);
  EXPECT_FALSE(is_pending);
}

// The tests above must be able to fail: on a disk that ignores syncs they would, and this shows it.
TEST(PowerCutTest, WouldNoticeADiskThatIgnoresSyncs) {
  for (const bool names : {false, true}) {
    CrashTally tally;
    CrashExplorer(
        {.seed = 1, .lives = 1, .again_percent = 0, .weakness = {.ignore_sync = !names, .ignore_dir_sync = names}},
        tally)
        .run();
    EXPECT_GT(tally.violations(), 0U);
  }
}

}  // namespace
}  // namespace kvstore::testing
