// Chosen schedules of threads: one of them is stopped in the middle of an I/O call (tests/support/gates.h), and what the
// others may and may not do meanwhile is checked, at each of these places also what a crash there would leave. The
// group commit (wal/group_sync.h), the change of segments (wal/log_rotation.cc), compaction and closing in it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "tests/support/gates.h"

namespace kvstore::testing {
namespace {

using engine::Engine;
using Phase = CrashEnv::Phase;
using Answer = std::future<Status>;

constexpr std::string_view kFirst = "db/wal-00000000000000000001.jsonl";
constexpr std::string_view kNext = "wal-next.jsonl";

// True when it has not answered although it has had time to.
bool waits(const Answer& answer) {
  return answer.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout;
}

class Schedule : public ::testing::TestWithParam<LogIo> {
 protected:
  [[nodiscard]] static Options options() {
    return {.sync_interval = std::chrono::hours(1),
            .log_io = GetParam(),
            .segment_bytes = 4096,
            .replay_threads = 1,
            .compact_at_percent = 0};
  }

  void open(Options with = options()) {
    Result<std::unique_ptr<Engine>> opened = Engine::open(env_, "db", std::move(with));
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    engine_ = *std::move(opened);
  }

  Status put(const std::string& key, Durability durability = Durability::kProcess) {
    return engine_->put(key, std::string(100, 'v'), false, {.durability = durability});
  }
  Answer put_durably(const std::string& key) {
    return std::async(std::launch::async, [this, key] { return put(key, Durability::kSync); });
  }
  // Returns once the record is in the log and the table: only its acknowledgement is still to come.
  void wait_until_visible(const std::string& key) const {
    while (!engine_->contains(key)) std::this_thread::yield();
  }

  // Puts until the segment is full and the next one has been begun. Returns the last key.
  std::string fill_segment() {
    const uint64_t before = engine_->stats().rotations;
    std::string key;
    while (engine_->stats().rotations == before) {
      key = fmt::format("filler{}", ++filler_);
      EXPECT_TRUE(put(key).ok());
    }
    return key;
  }

  // A crash now, of each kind, must leave a store that opens and holds what each kind may not take.
  void crash_now(const std::string& acknowledged_durably, const std::string& acknowledged) {
    const auto opens_with = [&](const CrashChoice& choice, const std::string& key) {
      std::string story;
      const std::unique_ptr<env::MemEnv> left = env_.crash_clone(choice, &story);
      Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options());
      ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << choice.describe() << story;
      EXPECT_TRUE(key.empty() || (*again)->contains(key)) << key << "\n" << choice.describe() << story;
      (*again)->check();
      ASSERT_TRUE((*again)->close().ok());
      const Result<VerifyReport> report = engine::verify(*left, "db");
      ASSERT_TRUE(report.ok() && report->findings.empty()) << choice.describe() << story;
    };
    opens_with(CrashChoice::keep_everything(), acknowledged);
    opens_with(CrashChoice::keep_only_synced(), acknowledged_durably);
    for (const CrashChoice::Names names : CrashChoice::kChanceRules) {
      for (uint64_t seed = 0; seed < 4; ++seed) opens_with(CrashChoice::random(seed, names), acknowledged_durably);
    }
  }

  void TearDown() override {
    if (engine_ == nullptr) return;
    if (!engine_->stats().broken) engine_->check();
    (void)engine_->close().ok();
  }

  CrashEnv env_;
  Gates gates_{env_};
  std::unique_ptr<Engine> engine_;
  int filler_ = 0;
};

// ---- group commit --------------------------------------------------------------------------------

TEST_P(Schedule, ASyncAcknowledgesOnlyWhatWasThereWhenItBegan) {
  Options with = options();
  with.segment_bytes = 1 << 20;
  open(with);
  const auto first_sync = gates_.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  Answer leader = put_durably("leader");
  ASSERT_TRUE(first_sync->wait_for_arrival());
  Answer follower1 = put_durably("follower1");
  Answer follower2 = put_durably("follower2");
  wait_until_visible("follower1");
  wait_until_visible("follower2");
  EXPECT_TRUE(waits(leader) && waits(follower1) && waits(follower2));
  crash_now("", "follower1");

  const auto second_sync = gates_.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  first_sync->open();
  EXPECT_TRUE(leader.get().ok());
  ASSERT_TRUE(second_sync->wait_for_arrival());  // one for both
  EXPECT_TRUE(waits(follower1) && waits(follower2));
  EXPECT_EQ(engine_->stats().synced_seq, 1U);
  crash_now("leader", "follower2");
  second_sync->open();
  EXPECT_TRUE(follower1.get().ok());
  EXPECT_TRUE(follower2.get().ok());
  const Stats stats = engine_->stats();
  EXPECT_EQ(stats.syncs, 2U);
  EXPECT_EQ(stats.sync_waits, 1U);
  EXPECT_EQ(stats.synced_seq, 3U);
}

TEST_P(Schedule, WritersAndReadersGoOnWhileASyncStands) {
  open();
  const auto sync = gates_.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  Answer leader = put_durably("leader");
  ASSERT_TRUE(sync->wait_for_arrival());
  // Also into the next segment: nothing of that needs the sync.
  const std::string last = fill_segment();
  EXPECT_EQ(engine_->get(last), std::string(100, 'v'));
  EXPECT_TRUE(waits(leader));
  crash_now("", last);
  sync->open();
  EXPECT_TRUE(leader.get().ok());
}

TEST_P(Schedule, AFailedSyncFailsAllWhoWaitForIt) {
  Options with = options();
  with.segment_bytes = 1 << 20;
  open(with);
  const auto sync = gates_.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  Answer leader = put_durably("leader");
  ASSERT_TRUE(sync->wait_for_arrival());
  Answer follower = put_durably("follower");
  wait_until_visible("follower");
  env_.fail_next_sync();
  sync->open();
  EXPECT_EQ(leader.get().code(), Code::kIoError);
  EXPECT_EQ(follower.get().code(), Code::kBroken);  // and no second sync is tried
  EXPECT_EQ(put("later").code(), Code::kBroken);
  EXPECT_EQ(engine_->stats().synced_seq, 0U);
}

// ---- the change of segments ----------------------------------------------------------------------

// Each place at which a rotation may stand, in order, and what is promised there of the old segment.
struct Step {
  Gates::Place place;
  const char* promised;  // by the end of the step before; the old segment's first record, or nothing
};
const std::vector<Step>& steps() {
  static const std::vector<Step> all = {
      {{.op = EnvOp::kSync, .path_part = std::string(kFirst)}, ""},
      {{.op = EnvOp::kSync, .path_part = std::string(kNext)}, "first"},
      {{.op = EnvOp::kRename, .path_part = std::string(kNext)}, "first"},
      {{.op = EnvOp::kRename, .path_part = std::string(kNext), .phase = Phase::kAfter}, "first"},
      {{.op = EnvOp::kSyncDir, .path_part = "db"}, "first"},
      {{.op = EnvOp::kTruncate, .path_part = std::string(kFirst)}, "first"},
      {{.op = EnvOp::kTruncate, .path_part = std::string(kFirst), .phase = Phase::kAfter}, "first"},
  };
  return all;
}

TEST_P(Schedule, NothingInTheNewSegmentIsAcknowledgedBeforeTheOldOneIsClosed) {
  for (const Step& step : steps()) {
    SCOPED_TRACE(fmt::format("{} {} phase {}", name_of(step.place.op), step.place.path_part,
                             static_cast<int>(step.place.phase)));
    CrashEnv env;
    Gates gates(env);
    Result<std::unique_ptr<Engine>> opened = Engine::open(env, "db", options());
    ASSERT_TRUE(opened.ok());
    Engine& engine = **opened;
    const std::string value(100, 'v');
    ASSERT_TRUE(engine.put("first", value, false, {}).ok());
    const auto gate = gates.shut(step.place);
    int count = 0;
    while (engine.stats().rotations == 0) ASSERT_TRUE(engine.put(fmt::format("k{}", count++), value, false, {}).ok());
    ASSERT_TRUE(gate->wait_for_arrival());  // the background thread's
    const auto put_durably = [&](const std::string& key) {
      return std::async(std::launch::async, [&engine, &value, key] {
        return engine.put(key, value, false, {.durability = Durability::kSync});
      });
    };
    Answer durable = put_durably("durable");
    while (!engine.contains("durable")) std::this_thread::yield();
    EXPECT_TRUE(waits(durable));
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine.put("beside", std::to_string(i), false, {}).ok());  // commits go on
    for (uint64_t seed = 0; seed < 12; ++seed) {
      for (const CrashChoice::Names names : CrashChoice::kChanceRules) {
        std::string story;
        const std::unique_ptr<env::MemEnv> left = env.crash_clone(CrashChoice::random(seed, names), &story);
        Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options());
        ASSERT_TRUE(again.ok()) << again.status().message() << "\n" << story;
        if (*step.promised != '\0') {
          EXPECT_TRUE((*again)->contains(step.promised)) << story;
        }
        (*again)->check();
      }
    }
    const std::unique_ptr<env::MemEnv> killed = env.crash_clone(CrashChoice::keep_everything());
    Result<std::unique_ptr<Engine>> again = Engine::open(*killed, "db", options());
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ((*again)->last_seq(), engine.last_seq());  // kill -9 takes nothing
    gate->open();
    EXPECT_TRUE(durable.get().ok());
    const std::unique_ptr<env::MemEnv> cut = env.crash_clone(CrashChoice::keep_only_synced());
    again = Engine::open(*cut, "db", options());
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_TRUE((*again)->contains("durable"));
    engine.check();
    ASSERT_TRUE(engine.close().ok());
  }
}

TEST_P(Schedule, ASegmentGrowsWhileTheDiskIsBehindAndThenCommitsWait) {
  open();
  const auto sync = gates_.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  std::string last = fill_segment();
  ASSERT_TRUE(sync->wait_for_arrival());
  const uint64_t begin = engine_->stats().log_bytes;
  while (engine_->stats().log_bytes < begin + 3 * options().segment_bytes) {  // of four, wal/active_segment.h
    last = fmt::format("beside{}", ++filler_);
    ASSERT_TRUE(put(last).ok());
  }
  EXPECT_EQ(engine_->stats().rotations, 1U);
  Answer second = std::async(std::launch::async, [this] {
    fill_segment();
    return Status();
  });
  EXPECT_TRUE(waits(second));
  EXPECT_EQ(engine_->stats().rotations, 1U);
  EXPECT_EQ(engine_->get(last), std::string(100, 'v'));  // reads do not wait (P6)
  crash_now("", last);
  sync->open();
  EXPECT_TRUE(second.get().ok());
  EXPECT_EQ(engine_->stats().rotations, 2U);
}

TEST_P(Schedule, ASnapshotGetsItsNameOnlyAfterTheSegmentItNames) {
  open();
  ASSERT_TRUE(put("a", Durability::kSync).ok());
  const auto named = gates_.shut({.op = EnvOp::kRename, .path_part = std::string(kNext)});
  auto compaction = std::async(std::launch::async, [this] { return engine_->compact().status(); });
  ASSERT_TRUE(named->wait_for_arrival());
  EXPECT_TRUE(waits(compaction));
  for (const std::string& file : env_.live().files()) {
    EXPECT_FALSE(file.find("snapshot") != std::string::npos && file.ends_with(".jsonl")) << file;
  }
  ASSERT_TRUE(put("b").ok());  // beside it
  crash_now("a", "b");
  named->open();
  EXPECT_TRUE(compaction.get().ok());
  crash_now("a", "b");
}

TEST_P(Schedule, ClosingWaitsForARotationAndFinishesIt) {
  open();
  const auto sync = gates_.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  const std::string last = fill_segment();
  ASSERT_TRUE(sync->wait_for_arrival());
  Answer closed = std::async(std::launch::async, [this] { return engine_->close(); });
  EXPECT_TRUE(waits(closed));
  crash_now("", last);
  sync->open();
  EXPECT_TRUE(closed.get().ok());
  EXPECT_FALSE(env_.live().get_file("db/wal-next.jsonl").has_value());
  const Result<VerifyReport> report = engine::verify(env_, "db");
  ASSERT_TRUE(report.ok() && report->findings.empty());
  open();
  EXPECT_TRUE(engine_->recovery().clean_close);
  EXPECT_TRUE(engine_->contains(last));
}

INSTANTIATE_TEST_SUITE_P(BothLogs, Schedule, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

// The space ahead is another thread's, so that a sync that takes long does not make the writers extend the file themselves.
TEST(ScheduleOfExtension, TheLogIsExtendedWhileASyncStands) {
  CrashEnv env;
  Gates gates(env);
  Result<std::unique_ptr<Engine>> opened =
      Engine::open(env, "db", {.sync_interval = std::chrono::hours(1), .segment_bytes = 4 << 20, .replay_threads = 1});
  ASSERT_TRUE(opened.ok());
  Engine& engine = **opened;
  const auto sync = gates.shut({.op = EnvOp::kSync, .path_part = std::string(kFirst)});
  Answer syncing = std::async(std::launch::async, [&] { return engine.sync(); });
  ASSERT_TRUE(engine.put("a", "1", false, {}).ok());
  if (waits(syncing)) {
    ASSERT_TRUE(sync->wait_for_arrival());
  } else {  // it came before the record, and had nothing to do
    syncing = std::async(std::launch::async, [&] { return engine.sync(); });
    ASSERT_TRUE(sync->wait_for_arrival());
  }
  const auto extension = gates.shut({.op = EnvOp::kWrite, .path_part = std::string(kFirst), .phase = Phase::kAfter});
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(engine.put(std::to_string(i), std::string(1000, 'v'), false, {}).ok());
  EXPECT_TRUE(extension->wait_for_arrival());
  extension->open();
  EXPECT_TRUE(waits(syncing));
  sync->open();
  EXPECT_TRUE(syncing.get().ok());
  engine.check();
}

}  // namespace
}  // namespace kvstore::testing
