// CrashExplorer: runs one seeded workload on a disk that knows what is durable, pulls the plug at every I/O operation of
// it and between its steps, and opens what may be left, in several ways. A part of the recoveries is crashed too, at
// every operation, and a part of the recoveries from that. The workload has several lives: at the end of each the store
// is closed, killed or loses power, and the next goes on with what is left.
//
// Whatever is left must open, must be the state after some prefix of the commits (Ledger), must hold all that was
// acknowledged at the level the loss allows for, must report and keep what it cuts, and must be a whole store again.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "tests/support/crash_env.h"
#include "tests/support/crash_tally.h"
#include "tests/support/crash_workload.h"
#include "tests/support/ledger.h"

namespace kvstore::testing {

class CrashExplorer {
 public:
  struct Settings {
    uint64_t seed = 1;                 // of the workload and of every choice
    std::optional<CrashModel> only{};  // unset: all
    unsigned lives = 3;
    unsigned steps = 50;                                     // of each life
    unsigned every_nth = 1;                                  // of the I/O operations
    unsigned again_percent = 6;                              // of the states whose recovery is crashed too
    std::optional<CrashWorkload::Plan> plan{};               // unset: the seed's
    CrashEnv::Weakness weakness{};                           // of the disk, to see that it would be noticed
    std::function<void(const std::string&)> on_violation{};  // a sentence and where; any thread
  };
  // Adds to `tally`.
  CrashExplorer(Settings settings, CrashTally& tally) : settings_(std::move(settings)), tally_(tally) {}

  void run();

 private:
  // Where the plug is pulled, and what must be there then.
  struct Moment {
    CrashModel model = CrashModel::kKill;
    uint64_t promised = 0;
    std::vector<CrashWorkload::Backup> backups{};
    std::vector<CrashRepair> repairs{};
    int64_t now_us = 0;   // not before anything that is on the disk
    std::string where{};  // for people
    unsigned depth = 0;   // how many recoveries were crashed before
  };
  using Disk = std::unique_ptr<env::MemEnv>;

  void live(unsigned life, Disk& disk, const CrashWorkload::Plan& plan);
  void pull(CrashEnv& env, const CrashWorkload& work, const std::string& where, uint64_t place);
  void tear_last_line(CrashEnv& env, const CrashWorkload& work, const std::string& where, uint64_t place);
  Disk end_of_life(CrashEnv& env, CrashWorkload& work, unsigned life);

  void examine(Disk disk, const CrashWorkload& work, Moment moment);
  [[nodiscard]] Judgement open_and_judge(env::MemEnv& disk, const CrashWorkload& work, const Moment& moment,
                                         uint64_t fingerprint);
  [[nodiscard]] Judgement check_cuts(const env::MemEnv& before, const env::MemEnv& after,
                                     const RecoveryReport& report) const;
  [[nodiscard]] Judgement check_outside_view(env::MemEnv& disk, const Options& options, uint64_t last_seq,
                                             const State& found, bool has_cuts) const;
  [[nodiscard]] Judgement check_backups(env::MemEnv& disk, const CrashWorkload& work, const Moment& moment) const;
  [[nodiscard]] Judgement check_use(env::MemEnv& disk, engine::Engine& engine, const State& found,
                                    const Options& options) const;
  bool wants_recovery_crashed(const Moment& moment, uint64_t fingerprint);  // mutex_ held
  void crash_recovery(Disk disk, const CrashWorkload& work, const Moment& moment, uint64_t fingerprint);

  [[nodiscard]] bool wants(CrashModel model) const { return !settings_.only.has_value() || *settings_.only == model; }
  void fail(const Judgement& judgement, const std::string& where, CrashModel model);
  [[nodiscard]] bool has_enough() const;

  const Settings settings_;
  Ledger ledger_;
  mutable std::mutex mutex_;  // guards the rest
  CrashTally& tally_;
  std::unordered_set<uint64_t> seen_;  // fingerprints of disks, with what was promised
  std::array<unsigned, kCrashModels.size()> percent_owed_{50, 50, 50, 50};  // of a recovery that is crashed
  unsigned failures_ = 0;
};

}  // namespace kvstore::testing
