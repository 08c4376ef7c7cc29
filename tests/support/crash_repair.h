// A repair that a crashed workload makes of its own store, and what a crash at any moment of it may leave: the old
// directory as it was, and a new one that either does not open or holds all that was promised.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/env/mem_env.h"
#include "kvstore/options.h"
#include "tests/support/crash_model.h"
#include "tests/support/ledger.h"

namespace kvstore::testing {

using FileBytes = std::map<std::string, std::string>;  // name in a directory -> content

// The files that stand in `dir` itself; a name that cannot be read has no bytes.
[[nodiscard]] FileBytes files_in(env::Env& env, const std::string& dir);

struct CrashRepair {
  std::string from{};
  std::string to{};
  FileBytes
      old{};  // what `from` holds, synced; empty where that is the store of the workload, which has a judge of its own
  uint64_t last_seq = 0;  // what the plan promises
  State state{};          // ... and what a repair that nobody disturbs makes of the same files
  bool is_prefix = false;
  bool is_done = false;  // it was reported so
};

// Repairs a copy of `files` in memory and returns what that gives, with its plan: nullopt where nothing can be had of
// them. `damaged`: one damage is done to the copy before, and to `files`.
[[nodiscard]] std::optional<CrashRepair> repair_in_peace(FileBytes& files, bool damaged, const Options& options,
                                                         Dice& dice);

// Whether `disk` holds what it must of every repair there was.
[[nodiscard]] Judgement judge_repairs(env::MemEnv& disk, const std::vector<CrashRepair>& repairs,
                                      const Options& options);

}  // namespace kvstore::testing
