#include "tests/support/crash_repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/repair.h"
#include "tests/support/rot_damage.h"

namespace kvstore::testing {

using engine::Engine;
using env::MemEnv;

FileBytes files_in(env::Env& env, const std::string& dir) {
  FileBytes files;
  const Result<std::vector<std::string>> names = env.list(dir);
  if (!names.ok()) return files;
  for (const std::string& name : *names) {
    std::string& bytes = files[name];
    Result<std::unique_ptr<env::File>> file = env.open(dir + "/" + name, env::OpenMode::kRead);
    if (!file.ok()) continue;  // a directory
    bytes.resize((*file)->size().ok() ? *(*file)->size() : 0);
    const Result<size_t> read = (*file)->read_at(0, std::span<char>(bytes));
    bytes.resize(read.ok() ? *read : 0);
  }
  return files;
}

std::optional<CrashRepair> repair_in_peace(FileBytes& files, bool damaged, const Options& options, Dice& dice) {
  MemEnv disk(dice.next());
  for (const auto& [name, bytes] : files) disk.put_file("db/" + name, bytes);
  if (damaged) {
    const std::vector<Damage> damages = damages_for(disk, disk, disk, 2, dice);
    apply(damages[dice.below(damages.size())], disk);
    files = files_in(disk, "db");
  }
  const Result<RepairReport> report = engine::repair(disk, "db", "mended");
  if (!report.ok()) return std::nullopt;
  Options read_only = options;
  read_only.read_only = true;
  Result<std::unique_ptr<Engine>> engine = Engine::open(disk, "mended", read_only);
  if (!engine.ok()) return std::nullopt;
  CrashRepair repair;
  repair.last_seq = report->plan.last_seq;
  repair.is_prefix = report->plan.is_prefix;
  repair.state = contents_of(**engine);
  return repair;
}

namespace {

Judgement judge_repair(MemEnv& disk, const CrashRepair& repair, const Options& options) {
  if (!repair.old.empty() && files_in(disk, repair.from) != repair.old) {
    return {Violation::kSilentLoss, fmt::format("repairing {} has changed it", repair.from)};
  }
  Result<std::unique_ptr<Engine>> engine = Engine::open(disk, repair.to, options);
  if (!engine.ok()) {
    if (!repair.is_done) return {};
    return {Violation::kRefused, std::string(engine.status().message())};
  }
  if ((*engine)->last_seq() == repair.last_seq && contents_of(**engine) == repair.state) return {};
  return {Violation::kLostAcknowledged,
          fmt::format("{}, repaired {}, opens as less or as something else: it ends with {}, and should with {}",
                      repair.to, repair.is_done ? "and done" : "in part", (*engine)->last_seq(), repair.last_seq)};
}

}  // namespace

Judgement judge_repairs(MemEnv& disk, const std::vector<CrashRepair>& repairs, const Options& options) {
  Options read_only = options;
  read_only.read_only = true;
  for (CrashRepair repair : repairs) {
    repair.state = alive_at(repair.state, options.now_us());
    if (Judgement judgement = judge_repair(disk, repair, read_only); judgement.violation != Violation::kNone) {
      return judgement;
    }
  }
  return {};
}

}  // namespace kvstore::testing
