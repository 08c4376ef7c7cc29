// Pulls the plug at every I/O operation of a workload, and between its steps, and opens what is left (P1, P2).
// At each moment several states that the disk may show are tried: nothing lost (kill -9), only what was synced, and
// random choices under three rules for names. Whatever is left must open, must be the state after some prefix of
// the commits, and the prefix must hold all that was acknowledged at the level the loss allows for.
//
// KVSTORE_SEED=n replays a failure; KVSTORE_CRASH_ROUNDS=n does more rounds than the unit run's.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "tests/support/crash_env.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

using engine::Engine;
using State = std::map<std::string, std::string>;

constexpr int kOperations = 500;
// The thread sanitizer makes a crash fifty times as slow and has little to look for here: it sees a part of them.
#if defined(__SANITIZE_THREAD__)
constexpr uint64_t kEveryNth = 16;
#else
constexpr uint64_t kEveryNth = 1;
#endif

Options options_for(LogIo io) {
  return {.sync_interval = std::chrono::hours(1),  // all syncs are the workload's own
          .log_io = io,
          .segment_bytes = 4096,
          .replay_threads = 1,
          .compact_at_percent = 0};  // all compactions too
}

State contents_of(const Engine& engine) {
  State state;
  Result<Scan> scan = engine.snapshot()->scan();
  EXPECT_TRUE(scan.ok());
  for (const EntryView entry : *scan) state.emplace(entry.key, entry.value);
  return state;
}

// What the workload has committed and what it was told about it; read by the hook, on any thread.
class Ledger {
 public:
  // About to commit: `state` will be that after sequence number states.size().
  void intend(State state) {
    const std::lock_guard lock(mutex_);
    states_.push_back(std::move(state));
  }
  void acknowledge(bool durable) {
    const std::lock_guard lock(mutex_);
    acknowledged_ = states_.size() - 1;
    if (durable) durable_ = acknowledged_;
  }
  // The caller takes it before the crash and compares after.
  [[nodiscard]] uint64_t promised(bool power_cut) {
    const std::lock_guard lock(mutex_);
    return power_cut ? durable_ : acknowledged_;
  }
  [[nodiscard]] State current() {
    const std::lock_guard lock(mutex_);
    return states_.back();
  }
  // "" when `found` is the state after `last_seq` commits and last_seq is allowed.
  [[nodiscard]] std::string judge(uint64_t last_seq, const State& found, uint64_t promised) {
    const std::lock_guard lock(mutex_);
    if (last_seq < promised) return fmt::format("record {} was acknowledged, the store ends with {}", promised, last_seq);
    if (last_seq >= states_.size()) return fmt::format("record {} was never written", last_seq);
    if (found != states_[last_seq]) return fmt::format("the state is not that after {} commits", last_seq);
    return "";
  }

 private:
  std::mutex mutex_;
  std::vector<State> states_ = {{}};
  uint64_t acknowledged_ = 0;
  uint64_t durable_ = 0;
};

class Plug {
 public:
  Plug(uint64_t seed, LogIo io) : seed_(seed), io_(io) {}

  // Crashes `env` now, in several ways, and checks each. With `again`, also crashes the recovery at every step.
  void pull(CrashEnv& env, Ledger& ledger, const std::string& moment, uint64_t number, bool again) {
    if (::testing::Test::HasFatalFailure()) return;
    check(env, ledger, moment, CrashChoice::keep_everything(), /*power_cut=*/false, again);
    check(env, ledger, moment, CrashChoice::keep_only_synced(), /*power_cut=*/true, again);
    for (const CrashChoice::Names rule : CrashChoice::kChanceRules) {
      check(env, ledger, moment, CrashChoice::random(seed_ + number, rule), /*power_cut=*/true, again);
    }
  }

  [[nodiscard]] uint64_t crashes() const { return crashes_; }
  [[nodiscard]] uint64_t cuts() const { return cuts_; }

 private:
  void check(CrashEnv& env, Ledger& ledger, const std::string& moment, const CrashChoice& choice, bool power_cut, bool again) {
    const uint64_t promised = ledger.promised(power_cut || again);  // the second crash is a power cut in any case
    std::string story;
    std::unique_ptr<env::MemEnv> left = env.crash_clone(choice, &story);
    const auto where = [&] {
      return fmt::format("KVSTORE_SEED={} {}; {} ({})", seed(), moment, choice.describe(), story);
    };
    ++crashes_;
    if (again) {
      crash_while_recovering(std::move(left), ledger, promised, where());
    } else {
      reopen(*left, ledger, promised, where());
    }
  }

  void reopen(env::Env& left, Ledger& ledger, uint64_t promised, const std::string& where) {
    Result<std::unique_ptr<Engine>> engine = Engine::open(left, "db", options_for(io_));
    ASSERT_TRUE(engine.ok()) << where << "\n" << engine.status().message();
    ASSERT_EQ(ledger.judge((*engine)->last_seq(), contents_of(**engine), promised), "") << where;
    cuts_ += (*engine)->recovery().cuts.size();
    (*engine)->check();
    // What recovery left is a whole store: it takes writes, and verify() has no complaint.
    const uint64_t seq = (*engine)->last_seq();
    ASSERT_TRUE((*engine)->put("after", "crash", false, {}).ok()) << where;
    ASSERT_TRUE((*engine)->close().ok()) << where;
    Result<VerifyReport> report = engine::verify(left, "db");
    ASSERT_TRUE(report.ok()) << where;
    for (const Finding& finding : report->findings) FAIL() << where << "\n" << finding.message;
    ASSERT_EQ(report->last_seq, seq + 1) << where;
    if (++reopened_ % 8 == 0) compact_what_is_left(left, where);
  }

  // Leftovers of the crash are in nobody's way: not a compaction's, not those of the store behind it.
  void compact_what_is_left(env::Env& left, const std::string& where) {
    Result<std::unique_ptr<Engine>> engine = Engine::open(left, "db", options_for(io_));
    ASSERT_TRUE(engine.ok()) << where << "\n" << engine.status().message();
    const State before = contents_of(**engine);
    Result<CompactionReport> compacted = (*engine)->compact();
    ASSERT_TRUE(compacted.ok()) << where << "\n" << compacted.status().message();
    ASSERT_TRUE((*engine)->close().ok()) << where;
    Result<std::vector<std::string>> names = left.list("db");
    ASSERT_TRUE(names.ok());
    std::erase_if(*names, [](const std::string& name) { return name == "LOCK" || name == "lost+found"; });
    ASSERT_EQ(names->size(), 2U) << where << ": a snapshot and a segment should be left";
    engine = Engine::open(left, "db", options_for(io_));
    ASSERT_TRUE(engine.ok()) << where << "\n" << engine.status().message();
    ASSERT_EQ(contents_of(**engine), before) << where;
  }

  // The plug is pulled a second time, at every operation of the opening that follows the first.
  void crash_while_recovering(std::unique_ptr<env::MemEnv> left, Ledger& ledger, uint64_t promised, const std::string& where) {
    CrashEnv second(std::move(left));
    second.set_hook([&](const CrashEnv::OpInfo& op) {
      const CrashChoice::Names rule = CrashChoice::kChanceRules[op.number % 3];
      const CrashChoice choice = CrashChoice::random(seed_ + op.number, rule);
      std::unique_ptr<env::MemEnv> rest = second.crash_clone(choice);
      ++crashes_;
      reopen(*rest, ledger, promised, where + "; then again " + op.describe() + "; " + choice.describe());
    });
    Result<std::unique_ptr<Engine>> engine = Engine::open(second, "db", options_for(io_));
    ASSERT_TRUE(engine.ok()) << where << "\n" << engine.status().message();
  }

  uint64_t seed_;
  LogIo io_;
  std::atomic<uint64_t> crashes_{0};
  std::atomic<uint64_t> cuts_{0};
  std::atomic<uint64_t> reopened_{0};
};

// One random operation against engine and ledger.
void step(Engine& engine, Ledger& ledger, std::mt19937_64& random) {
  State next = ledger.current();
  const auto key = [&] { return fmt::format("k{}", random() % 20); };
  const auto value = [&] { return fmt::format("{}:{}", random() % 1000, std::string(random() % 120, 'v')); };
  const bool durable = random() % 8 == 0;
  WriteOptions options;
  if (durable) options.durability = Durability::kSync;
  Status result;
  switch (random() % 6) {
    case 0: {
      Batch batch;
      for (int i = 0; i < 4; ++i) {
        const std::string k = key();
        if (random() % 4 == 0) {
          batch.del(k);
          next.erase(k);
        } else {
          const std::string v = value();
          batch.put(k, v);
          next[k] = v;
        }
      }
      ledger.intend(std::move(next));
      result = engine.write(batch, options);
      break;
    }
    case 1: {
      const std::string k = key();
      if (next.erase(k) == 0) return;
      ledger.intend(std::move(next));
      result = engine.del(k, options).status();
      break;
    }
    case 2: {
      if (random() % 10 != 0) return;
      if (next.empty()) return;
      next.clear();
      ledger.intend(std::move(next));
      result = engine.erase_prefix("", options).status();
      break;
    }
    default: {
      const std::string k = key();
      const std::string v = value();
      next[k] = v;
      ledger.intend(std::move(next));
      result = engine.put(k, v, false, options);
      break;
    }
  }
  ASSERT_TRUE(result.ok()) << result.message();
  ledger.acknowledge(durable);
  if (random() % 50 == 0) {
    ASSERT_TRUE(engine.sync().ok());
    ledger.acknowledge(true);
  }
}

class PowerCut : public ::testing::TestWithParam<LogIo> {};

TEST_P(PowerCut, LeavesAPrefixWithAllThatWasPromised) {
  const char* more = std::getenv("KVSTORE_CRASH_ROUNDS");
  const uint64_t rounds = more != nullptr ? std::strtoull(more, nullptr, 10) : 1;
  for (uint64_t round = 0; round < rounds; ++round) {
    std::mt19937_64 random(seed() + round);
    Plug plug(seed() + round * 1'000'003, GetParam());
    Ledger ledger;
    CrashEnv env;
    uint64_t moments = 0;
    env.set_hook([&](const CrashEnv::OpInfo& op) {
      if (op.number % kEveryNth != 0) return;
      plug.pull(env, ledger, op.describe(), op.number, /*again=*/op.number % (16 * kEveryNth) == 0 && op.phase == CrashEnv::Phase::kAfter);
    });
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(GetParam()));
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    for (int i = 0; i < kOperations && !HasFatalFailure(); ++i) {
      step(**engine, ledger, random);
      // Puts into the mapping are no I/O operations: crash between them too.
      if (i % (4 * static_cast<int>(kEveryNth)) == 0) plug.pull(env, ledger, fmt::format("after step {}", i), 1'000'000 + ++moments, false);
      if (i % 60 == 30) {
        Result<CompactionReport> compacted = (*engine)->compact();
        ASSERT_TRUE(compacted.ok()) << compacted.status().message();
      }
      if (i % 150 == 149) {  // a clean close and a reopening are part of the workload
        ASSERT_TRUE((*engine)->close().ok());
        engine->reset();
        ledger.acknowledge(true);
        engine = Engine::open(env, "db", options_for(GetParam()));
        ASSERT_TRUE(engine.ok()) << engine.status().message();
      }
    }
    ASSERT_TRUE((*engine)->close().ok());
    EXPECT_GT(plug.crashes(), 1000U / kEveryNth);
    EXPECT_GT(plug.cuts(), 20U / kEveryNth) << "the crashes should leave torn tails";
    RecordProperty("crashes", static_cast<int>(plug.crashes()));
  }
}

// Compactions and backups on one thread, writes on another: the plug is pulled at every I/O operation of either.
TEST_P(PowerCut, DuringCompactionBesideWritersLeavesAPrefixToo) {
  std::mt19937_64 random(seed() + 7);
  Plug plug(seed() + 7, GetParam());
  Ledger ledger;
  CrashEnv env;
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    if (op.number % (2 * kEveryNth) == 0) plug.pull(env, ledger, op.describe(), op.number, /*again=*/op.number % (64 * kEveryNth) == 0);
  });
  Options options = options_for(GetParam());
  options.keep_history_bytes = 20'000;  // history goes bit by bit
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  std::atomic<bool> done{false};
  std::thread compactor([&] {
    for (int i = 0; !done.load() && !HasFatalFailure(); ++i) {
      Result<CompactionReport> compacted = (*engine)->compact();
      ASSERT_TRUE(compacted.ok()) << compacted.status().message();
      if (i == 2) {
        ASSERT_TRUE((*engine)->backup("copy").ok());
      }
    }
  });
  for (int i = 0; i < kOperations / 2 && !HasFatalFailure(); ++i) step(**engine, ledger, random);
  done = true;
  compactor.join();
  ASSERT_TRUE((*engine)->close().ok());
  EXPECT_GT((*engine)->stats().compactions, 0U);
  EXPECT_GT(plug.crashes(), 100U / kEveryNth);
}

INSTANTIATE_TEST_SUITE_P(BothLogs, PowerCut, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

// The test above must be able to fail: on a disk that ignores syncs it would, and this shows it.
TEST(PowerCutTest, WouldNoticeADiskThatIgnoresSyncs) {
  for (const bool names : {false, true}) {
    CrashEnv env;
    env.weaken({.ignore_sync = !names, .ignore_dir_sync = names});
    Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(LogIo::kMapped));
    ASSERT_TRUE(engine.ok());
    ASSERT_TRUE((*engine)->put("a", "1", false, {.durability = Durability::kSync}).ok());
    const std::unique_ptr<env::MemEnv> left = env.crash_clone(CrashChoice::keep_only_synced());
    Result<std::unique_ptr<Engine>> again = Engine::open(*left, "db", options_for(LogIo::kMapped));
    EXPECT_TRUE(!again.ok() || (*again)->last_seq() == 0);
  }
}

}  // namespace
}  // namespace kvstore::testing
