// RotExplorer: builds stores, closed cleanly or crashed, damages copies of their files in every way that
// rot_damage.h knows, and opens them. Each must end in one of three ways:
//
//     intact    exactly the right state
//     repaired  of a crashed store: the state after a prefix of its commits, with a report that names what was cut,
//               and all of that under lost+found/
//     refused   with a sentence that names the file, in it the place, and what to do; and nothing was changed
//
// One exception, documented in FORMAT.md (the end of "Recovery"): the newest segment of a crashed store, cut between
// two lines or replaced by an older copy, or its wal-next.jsonl gone, looks as if a power cut had taken the last lines.
// It opens shorter, without a report.
//
// A read-only opening and verify() must come to the same verdict and change nothing.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "kvstore/env/mem_env.h"
#include "kvstore/options.h"
#include "tests/support/ledger.h"
#include "tests/support/rot_damage.h"

namespace kvstore::testing {

enum class RotOutcome : uint8_t {
  kIntact,
  kRepaired,
  kRefused,
  kShorter,     // the exception
  kWrong,       // violations from here on: a state that never was
  kStale,       // one that was, and is not what the store says
  kSilentLoss,  // less, and no report; or what was cut is not kept
  kBadRefusal,  // without a place or advice, or files were changed
  kDisagrees,   // verify(), a read-only opening, or the store after the opening says otherwise
};
inline constexpr std::array<std::string_view, 9> kRotOutcomeNames = {
    "intact", "repaired", "refused", "shorter", "wrong", "stale", "silent loss", "bad refusal", "disagrees",
};
inline constexpr size_t kRotOutcomeCount = kRotOutcomeNames.size();
[[nodiscard]] constexpr bool is_violation(RotOutcome outcome) noexcept { return outcome >= RotOutcome::kWrong; }

// By whether the store was closed, damage and file. A plain aggregate, as CrashTally.
struct RotTally {
  using Row = std::array<uint64_t, kRotOutcomeCount>;
  std::array<std::array<std::array<Row, kFileCount>, kDamageCount>, 2> rows{};
  uint64_t stores = 0;

  [[nodiscard]] Row& row(bool is_closed, const Damage& damage) noexcept {
    return rows[is_closed ? 0 : 1][static_cast<size_t>(damage.kind)][static_cast<size_t>(damage.file_kind)];
  }
  [[nodiscard]] uint64_t cases() const noexcept;
  [[nodiscard]] uint64_t violations() const noexcept;
  void add(const RotTally& other) noexcept;
  [[nodiscard]] std::string table() const;
};

class RotExplorer {
 public:
  struct Settings {
    uint64_t seed = 1;
    unsigned steps = 60;    // of the workload that builds the store
    uint64_t samples = 40;  // random places for each file and kind of damage
    std::function<void(const std::string&)> on_violation{};
  };
  RotExplorer(Settings settings, RotTally& tally) : settings_(std::move(settings)), tally_(tally) {}

  // One store, all its damages.
  void run();

 private:
  // A store before the damage, and what opening it shows.
  struct Whole {
    std::unique_ptr<env::MemEnv> disk;
    std::unique_ptr<env::MemEnv> older;
    bool is_closed = false;
    uint64_t last_seq = 0;
    State state;
    int64_t now_us = 0;
  };
  struct Verdict {
    RotOutcome outcome = RotOutcome::kIntact;
    std::string sentence{};
  };

  // "" or what went wrong.
  std::string build(uint64_t seed, Ledger& ledger, Whole& out) const;
  [[nodiscard]] Options options_for(bool read_only) const;
  [[nodiscard]] Verdict examine(const Damage& damage) const;
  [[nodiscard]] Verdict judge_refusal(const Status& refusal, const env::MemEnv& before, const env::MemEnv& after) const;
  [[nodiscard]] Verdict judge_opened(const Damage& damage, uint64_t last_seq, const State& found,
                                     const RecoveryReport& report, const env::MemEnv& before,
                                     const env::MemEnv& after) const;
  [[nodiscard]] Verdict compare_with_looking(env::MemEnv& disk, const Damage& damage, const Verdict& opened,
                                             uint64_t last_seq, const State& found) const;

  const Settings settings_;
  RotTally& tally_;
  Ledger ledger_;
  Whole whole_;
};

}  // namespace kvstore::testing
