// CrashWorkload: seeded random work on a store with everything that can be asked of one, written down in a Ledger
// step by step: puts, JSON documents, batches, transactions, deletions, counters, expiry, eviction, each synced or not;
// syncs, compactions, backups, repairs, clean closings, deaths and reopenings. The same seed does the same, but for when the
// store's own threads do their part.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/engine/engine.h"
#include "tests/support/crash_model.h"
#include "tests/support/crash_repair.h"
#include "tests/support/fault_env.h"
#include "tests/support/ledger.h"

namespace kvstore::testing {

class CrashWorkload {
 public:
  // What a seed decides once and for all.
  struct Plan {
    LogIo io = LogIo::kMapped;
    bool evicts = false;
    bool keeps_history = false;
    bool is_sync = false;          // every commit
    bool is_uniform = false;       // all lines are alike in length, so that an old line in a new place may fit
    unsigned repair_percent = 1;   // of the steps, until one has come; never beside a compactor
    bool compacts_beside = false;  // again and again on a thread of its own; what comes first is chance then
  };
  static Plan plan_of(uint64_t seed);

  // A backup that was reported as done.
  struct Backup {
    std::string dir;
    uint64_t seq = 0;
  };

  // `life`: how many crashes the store has behind it.
  CrashWorkload(uint64_t seed, const Plan& plan, unsigned life, Ledger& ledger)
      : plan_(plan), life_(life), dice_(seed * 31 + life), ledger_(ledger), now_us_(kBeginUs + life * kLifeUs) {}

  ~CrashWorkload() { abandon(); }

  // All of these: "" or what went wrong.
  std::string open(env::Env& env);
  std::string step();
  std::string close();
  // As if the process had been killed: lets go of the store without a word to it. Needs: nobody looks at its files.
  void abandon() {
    stop_compactor();
    engine_.reset();
  }

  [[nodiscard]] const Plan& plan() const noexcept { return plan_; }
  [[nodiscard]] int64_t now_us() const noexcept { return now_us_; }
  // Of a store with this workload's files, opened at this moment by somebody else.
  [[nodiscard]] Options options() const;
  [[nodiscard]] engine::Engine& engine() noexcept { return *engine_; }
  // Those of this life: a crash may take them as long as it may take anything else.
  [[nodiscard]] std::vector<Backup> backups() const;
  // Likewise, also one under way.
  [[nodiscard]] std::vector<CrashRepair> repairs() const;
  // What the last steps were, for the person who reads a failure.
  [[nodiscard]] std::string story() const;

 private:
  [[nodiscard]] std::string key();
  [[nodiscard]] std::string value();
  std::string write();
  std::string compact();
  std::string backup();
  std::string reopen();
  std::string die_and_reopen();
  std::string repair_damaged_copy();
  std::string die_and_repair();
  std::string repair(CrashRepair wanted, env::Env& env);
  void die();
  std::string open_dead();
  void openings_that_die();
  std::string open_engine();
  void start_compactor();
  void stop_compactor();
  void tell(const std::string& what);

  static constexpr int64_t kBeginUs = 1'763'800'000'000'000;
  static constexpr int64_t kLifeUs = 10'000'000'000;  // longer than any

  const Plan plan_;
  const unsigned life_;
  Dice dice_;
  Ledger& ledger_;
  std::atomic<int64_t> now_us_;
  env::Env* env_ = nullptr;
  std::unique_ptr<FaultEnv> process_;  // all that the store does goes through it, until it dies
  std::unique_ptr<engine::Engine> engine_;
  uint64_t counter_ = 0;  // of values, so that no two are alike

  mutable std::mutex mutex_;  // guards these four
  std::string story_;
  std::vector<Backup> backups_;
  std::vector<CrashRepair> repairs_;
  std::string compactor_failure_;

  uint64_t backup_count_ = 0;  // used by one thread: the compactor, or without one the caller's
  std::atomic<bool> compactor_stops_ = false;
  std::thread compactor_;
};

}  // namespace kvstore::testing
