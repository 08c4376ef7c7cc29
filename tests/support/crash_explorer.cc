#include "tests/support/crash_explorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "kvstore/engine/inspect.h"
#include "kvstore/wal/file_names.h"
#include "tests/support/rot_damage.h"

namespace kvstore::testing {

using engine::Engine;
using env::MemEnv;

namespace {

constexpr unsigned kFailuresMax = 3;     // of one workload: the rest would be the same again
constexpr unsigned kRecoveriesDeep = 2;  // a recovery is crashed, and the recovery from that
constexpr uint64_t kTornCopies = 3;      // of each line

uint64_t mix(uint64_t a, uint64_t b) { return Dice(a * 0x9e3779b97f4a7c15 + b).next(); }
uint64_t mix(uint64_t a, std::string_view text) { return mix(a, std::hash<std::string_view>()(text)); }

CrashChoice::Names names_of(CrashModel model) {
  switch (model) {
    case CrashModel::kOrdered:
      return CrashChoice::Names::kOrdered;
    case CrashModel::kReordered:
      return CrashChoice::Names::kReordered;
    case CrashModel::kBare:
      return CrashChoice::Names::kBare;
    case CrashModel::kKill:
      break;
  }
  return CrashChoice::Names::kAll;
}

CrashChoice choice_for(CrashModel model, uint64_t seed) {
  return model == CrashModel::kKill ? CrashChoice::keep_everything() : CrashChoice::random(seed, names_of(model));
}

const std::string kNext = "db/" + std::string(wal::kNextSegmentName);

std::string newest_segment(const MemEnv& disk) {
  std::string newest;
  for (const std::string& path : disk.files()) {
    if (path.starts_with("db/") && wal::parse_segment_name(path.substr(3))) newest = path;
  }
  return newest;
}

}  // namespace

// ---- the workload and its lives ---------------------------------------------------------------------

void CrashExplorer::run() {
  CrashWorkload::Plan plan = settings_.plan.value_or(CrashWorkload::plan_of(settings_.seed));
  Disk disk = std::make_unique<MemEnv>(settings_.seed);
  for (unsigned life = 0; life < settings_.lives && disk != nullptr && !has_enough(); ++life) {
    live(life, disk, plan);
    if (Dice(settings_.seed + life).percent(30)) plan.io = plan.io == LogIo::kMapped ? LogIo::kWrite : LogIo::kMapped;
  }
}

void CrashExplorer::live(unsigned life, Disk& disk, const CrashWorkload::Plan& plan) {
  CrashEnv env(std::move(disk));
  env.weaken(settings_.weakness);
  CrashWorkload work(settings_.seed, plan, life, ledger_);
  std::atomic<bool> is_watched = true;
  std::atomic<uint64_t> operations = 0;
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    if (!is_watched || operations++ % settings_.every_nth != 0) return;
    // Not by its number: the store's own threads may come a little earlier or later in the next run.
    CrashEnv::OpInfo unnumbered = op;
    unnumbered.number = 0;
    pull(env, work, fmt::format("life {} {}", life, op.describe()), mix(ledger_.last_seq(), unnumbered.describe()));
  });
  const auto give_up = [&](const std::string& what) {
    fail({Violation::kDisagrees, what}, fmt::format("life {}, without any crash\n{}", life, work.story()),
         CrashModel::kKill);
  };
  if (const std::string wrong = work.open(env); !wrong.empty()) return give_up(wrong);
  ledger_.rewind(work.engine().last_seq(), contents_of(work.engine()));
  for (unsigned step = 0; step < settings_.steps && !has_enough(); ++step) {
    const uint64_t seq_before = ledger_.last_seq();
    if (const std::string wrong = work.step(); !wrong.empty()) return give_up(wrong);
    // Puts into the mapping are no I/O operations: crash between them too.
    const std::string where = fmt::format("life {} after step {}", life, step);
    const uint64_t place = mix(uint64_t{step} + 1'000'000, uint64_t{life});
    if (step % settings_.every_nth == 0) pull(env, work, where, place);
    if (ledger_.last_seq() == seq_before + 1 && wants(CrashModel::kKill)) tear_last_line(env, work, where, place);
  }
  disk = end_of_life(env, work, life);
  is_watched = false;
}

// What the next life begins with; its last commit becomes the ledger's.
CrashExplorer::Disk CrashExplorer::end_of_life(CrashEnv& env, CrashWorkload& work, unsigned life) {
  Dice dice(mix(settings_.seed, life));
  const uint64_t how = dice.below(3);
  if (how == 0) {
    if (const std::string wrong = work.close(); !wrong.empty()) {
      fail({Violation::kDisagrees, wrong}, work.story(), CrashModel::kKill);
      return nullptr;
    }
  }
  const CrashModel model = how < 2 ? CrashModel::kKill : kCrashModels[1 + dice.below(3)];
  std::string story;
  const uint64_t promised = ledger_.promised(model != CrashModel::kKill);
  const Disk whole = env.crash_clone(choice_for(model, dice.next()), &story);
  Disk left = copy_of(*whole, "db/");
  // Judged like every other crash, and asked how far it goes.
  examine(copy_of(*left), work,
          {.model = model,
           .promised = promised,
           .now_us = work.now_us(),
           .where = fmt::format("life {} at its end; {}", life, story)});
  const Disk probe = copy_of(*left);
  Result<std::unique_ptr<Engine>> engine = Engine::open(*probe, "db", work.options());
  if (!engine.ok()) return nullptr;
  ledger_.survived((*engine)->last_seq());
  return left;
}

// ---- pulling the plug -------------------------------------------------------------------------------

void CrashExplorer::pull(CrashEnv& env, const CrashWorkload& work, const std::string& where, uint64_t place) {
  if (has_enough()) return;
  const auto crash = [&](CrashModel model, const CrashChoice& choice) {
    if (!wants(model)) return;
    Moment moment{.model = model, .promised = ledger_.promised(model != CrashModel::kKill)};
    moment.backups = work.backups();
    moment.repairs = work.repairs();
    std::string story;
    Disk disk = env.crash_clone(choice, &story);
    moment.now_us = work.now_us();
    moment.where = where + "; " + story;
    examine(std::move(disk), work, std::move(moment));
  };
  for (const CrashModel model : kCrashModels) {
    crash(model, choice_for(model, mix(mix(settings_.seed, place), static_cast<uint64_t>(model))));
  }
  crash(CrashModel::kBare, CrashChoice::keep_only_synced());
}

// kill -9 in the middle of the copy of the line that has just been committed.
void CrashExplorer::tear_last_line(CrashEnv& env, const CrashWorkload& work, const std::string& where, uint64_t place) {
  const uint64_t seq = ledger_.last_seq();
  const Disk whole = env.crash_clone(CrashChoice::keep_everything());
  const std::string path = end_of_content(whole->get_file(kNext).value_or("")) > 0 ? kNext : newest_segment(*whole);
  const std::string text = *whole->get_file(path);
  const size_t end = end_of_content(text);
  const size_t begin = text.rfind('\n', end - 1) + 1;
  if (text.compare(begin, 7, "{\"seq\":") != 0 || std::stoull(text.substr(begin + 7, 20)) != seq) return;
  Dice dice(place);
  for (uint64_t i = 0; i < kTornCopies; ++i) {
    const size_t copied = dice.below(end - begin);
    std::string torn = text;
    if (work.plan().io == LogIo::kMapped) {
      std::fill(torn.begin() + static_cast<std::ptrdiff_t>(begin + copied),
                torn.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    } else {
      torn.resize(begin + copied);
    }
    Disk disk = copy_of(*whole);
    disk->put_file(path, torn);
    examine(std::move(disk), work,
            {.model = CrashModel::kKill,
             .promised = seq - 1,
             .backups = {},
             .repairs = {},
             .now_us = work.now_us(),
             .where = fmt::format("{}, {} bytes of its line copied", where, copied)});
  }
}

// The plug is pulled again, at every operation of the opening that follows.
void CrashExplorer::crash_recovery(Disk disk, const CrashWorkload& work, const Moment& moment, uint64_t fingerprint) {
  CrashEnv env(std::move(disk));
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    Moment again = moment;
    std::string story;
    Disk left = env.crash_clone(choice_for(moment.model, mix(fingerprint, op.describe())), &story);
    ++again.depth;
    again.where += fmt::format("\nthen, recovering, {}; {}", op.describe(), story);
    examine(std::move(left), work, std::move(again));
  });
  (void)Engine::open(env, "db", work.options()).ok();  // whether it opens has been judged
}

// By turns, since by chance a short run had none at all; only a recovery's own recoveries are chosen by chance.
bool CrashExplorer::wants_recovery_crashed(const Moment& moment, uint64_t fingerprint) {
  if (moment.depth >= kRecoveriesDeep) return false;
  if (moment.depth > 0) return Dice(fingerprint).percent(settings_.again_percent);
  unsigned& owed = percent_owed_[static_cast<size_t>(moment.model)];
  owed += settings_.again_percent;
  if (owed < 100) return false;
  owed -= 100;
  return true;
}

// ---- looking at what is left ------------------------------------------------------------------------

void CrashExplorer::examine(Disk disk, const CrashWorkload& work, Moment moment) {
  if (has_enough()) return;
  const uint64_t fingerprint = mix(fingerprint_of(*disk), moment.promised);
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    CrashTally::Row& row = tally_.row(moment.model);
    ++row.states;
    row.recovering += moment.depth > 0 ? 1 : 0;
    row.repairing += moment.depth == 0 && !moment.repairs.empty() && !moment.repairs.back().is_done ? 1 : 0;
    if (!seen_.insert(fingerprint).second) return;
    ++row.distinct;
    again = wants_recovery_crashed(moment, fingerprint);
  }
  if (again) crash_recovery(copy_of(*disk), work, moment, fingerprint);
  const Judgement judgement = open_and_judge(*disk, work, moment, fingerprint);
  if (judgement.violation != Violation::kNone) fail(judgement, moment.where + "\n" + work.story(), moment.model);
}

Judgement CrashExplorer::open_and_judge(MemEnv& disk, const CrashWorkload& work, const Moment& moment,
                                        uint64_t fingerprint) {
  Options options = work.options();
  options.now_us = [now_us = moment.now_us] { return now_us; };
  const Disk before = copy_of(disk);
  Result<std::unique_ptr<Engine>> engine = Engine::open(disk, "db", options);
  if (!engine.ok()) return {Violation::kRefused, std::string(engine.status().message())};
  const uint64_t last_seq = (*engine)->last_seq();
  const State found = contents_of(**engine);
  const RecoveryReport& report = (*engine)->recovery();
  {
    const std::lock_guard lock(mutex_);
    ++(report.cuts.empty() ? tally_.row(moment.model).intact : tally_.row(moment.model).cut);
  }
  if (Judgement j = ledger_.judge(last_seq, found, moment.promised, moment.now_us); j.violation != Violation::kNone)
    return j;
  if (Judgement j = check_cuts(*before, disk, report); j.violation != Violation::kNone) return j;
  if (Judgement j = check_backups(disk, work, moment); j.violation != Violation::kNone) return j;
  if (Judgement j = judge_repairs(disk, moment.repairs, options); j.violation != Violation::kNone) return j;
  if (fingerprint % 4 == 0) {
    if (Judgement j = check_outside_view(*before, options, last_seq, found, !report.cuts.empty());
        j.violation != Violation::kNone)
      return j;
    return check_use(disk, **engine, found, options);
  }
  return {};
}

// Every byte that stood behind the last line is named by the report, and kept.
Judgement CrashExplorer::check_cuts(const MemEnv& before, const MemEnv& after, const RecoveryReport& report) const {
  for (const CutReport& cut : report.cuts) {
    const std::string text = before.get_file(cut.file).value_or("");
    const std::string kept = after.get_file(cut.kept_as).value_or("(nothing)");
    if (cut.offset > text.size() || text.substr(cut.offset, cut.bytes) != kept) {
      return {Violation::kSilentLoss, fmt::format("{} does not hold what was cut", cut.kept_as)};
    }
  }
  std::string newest = newest_segment(before);
  if (newest.empty()) return {};
  std::string is_now = newest;
  const std::string next = before.get_file(kNext).value_or("");
  const bool next_goes = std::any_of(report.cuts.begin(), report.cuts.end(),
                                     [](const CutReport& cut) { return cut.file == kNext && cut.offset == 0; });
  const auto header_of = [](const std::string& text) { return text.substr(0, text.find('\n')); };
  const bool is_half_a_rename = header_of(next) == header_of(before.get_file(newest).value_or(""));
  if (end_of_content(next) > 0 && !next_goes && !is_half_a_rename) {
    newest = kNext;  // it got its number, maybe shorter than it was
    is_now = newest_segment(after);
  }
  const std::string text = before.get_file(newest).value_or("");
  const std::string now = after.get_file(is_now).value_or("");
  const size_t content = end_of_content(text);
  const size_t kept = std::min(end_of_content(now), content);
  if (now.compare(0, kept, text, 0, kept) != 0) return {Violation::kSilentLoss, "recovery has changed what it kept"};
  const bool is_reported = std::any_of(report.cuts.begin(), report.cuts.end(), [&](const CutReport& cut) {
    return cut.file == newest && cut.offset + cut.bytes >= content;  // blank lines behind it may go with it
  });
  if (kept < content && !is_reported) {
    return {Violation::kSilentLoss, fmt::format("{} has lost bytes {} to {} without a report", newest, kept, content)};
  }
  return {};
}

// verify() and a read-only opening see the same, and change nothing.
Judgement CrashExplorer::check_outside_view(MemEnv& disk, const Options& options, uint64_t last_seq, const State& found,
                                            bool has_cuts) const {
  const uint64_t fingerprint = fingerprint_of(disk);
  Options to_look = options;
  to_look.read_only = true;
  Result<VerifyReport> report = engine::verify(disk, "db");
  Result<std::unique_ptr<Engine>> engine = Engine::open(disk, "db", to_look);
  if (!report.ok() || !engine.ok()) {
    const Status& why = engine.ok() ? report.status() : engine.status();
    // Crashed before the first segment had its name: to an opening for writing it is a new store.
    if (last_seq == 0 && why.code() == Code::kNotAStore) return {};
    return {Violation::kDisagrees, fmt::format("opens for writing, but not to look: {}", why.message())};
  }
  if ((*engine)->last_seq() != last_seq || contents_of(**engine) != found) {
    return {Violation::kDisagrees, "a read-only opening shows another state"};
  }
  for (const Finding& finding : report->findings) {
    if (finding.severity == Finding::Severity::kDamage || finding.severity == Finding::Severity::kUnsupported) {
      return {Violation::kDisagrees, "verify: " + finding.message};
    }
  }
  if (report->has(Finding::Severity::kTornTail) != has_cuts) {
    return {Violation::kDisagrees,
            has_cuts ? "verify has not seen what was cut" : "verify sees a torn tail that was not cut"};
  }
  if (fingerprint_of(disk) != fingerprint) return {Violation::kDisagrees, "looking has changed the files"};
  return {};
}

// A backup that was reported as done is whole; any other is whole or does not open.
Judgement CrashExplorer::check_backups(MemEnv& disk, const CrashWorkload& work, const Moment& moment) const {
  Result<std::vector<std::string>> names = disk.list("");
  if (!names.ok()) return {Violation::kDisagrees, std::string(names.status().message())};
  const auto is_done = [&](const std::string& dir) {
    return std::any_of(moment.backups.begin(), moment.backups.end(),
                       [&](const auto& backup) { return backup.dir == dir; });
  };
  for (const CrashWorkload::Backup& backup : moment.backups) {
    if (std::find(names->begin(), names->end(), backup.dir) == names->end()) {
      return {Violation::kLostAcknowledged, fmt::format("{} is gone", backup.dir)};
    }
  }
  for (const std::string& dir : *names) {
    if (!dir.starts_with("copy")) continue;
    Options options = work.options();
    options.read_only = true;
    options.now_us = [now_us = moment.now_us] { return now_us; };
    Result<std::unique_ptr<Engine>> engine = Engine::open(disk, dir, options);
    if (!engine.ok()) {
      if (is_done(dir)) return {Violation::kRefused, std::string(engine.status().message())};
      continue;
    }
    Judgement judgement = ledger_.judge((*engine)->last_seq(), contents_of(**engine), 0, moment.now_us);
    if (judgement.violation == Violation::kNone) continue;
    judgement.sentence = fmt::format("{}: {}", dir, judgement.sentence);
    return judgement;
  }
  return {};
}

// What recovery left is a whole store: it takes writes, closes, has no complaint, and opens again with all of it.
// Now and then it is compacted: what the crash has left is in nobody's way.
Judgement CrashExplorer::check_use(MemEnv& disk, Engine& engine, const State& found, const Options& options) const {
  engine.check();
  const uint64_t last_seq = engine.last_seq();
  const auto use = [&]() -> Status {
    Options unlimited = options;
    unlimited.max_entries = 0;
    if (Status s = engine.close(); !s.ok()) return s;
    Result<std::unique_ptr<Engine>> again = Engine::open(disk, "db", unlimited);
    if (!again.ok()) return std::move(again).status();
    if (Status s = (*again)->put("after", "crash", false, {}); !s.ok()) return s;
    if (last_seq % 4 == 0) {
      Result<CompactionReport> compacted = (*again)->compact();
      if (!compacted.ok()) return std::move(compacted).status();
    }
    if (Status s = (*again)->close(); !s.ok()) return s;
    Result<VerifyReport> report = engine::verify(disk, "db");
    if (!report.ok()) return std::move(report).status();
    for (const Finding& finding : report->findings) return {Code::kCorruption, finding.message};
    Result<std::unique_ptr<Engine>> third = Engine::open(disk, "db", unlimited);
    if (!third.ok()) return std::move(third).status();
    State expected = found;
    expected["after"] = {.bytes = "crash", .is_json = false, .expires_us = 0, .version = last_seq + 1};
    if ((*third)->last_seq() != last_seq + 1 || contents_of(**third) != expected) {
      return {Code::kCorruption, "the state is not what was recovered and one put more"};
    }
    return {};
  };
  const Status used = use();
  return used.ok() ? Judgement()
                   : Judgement{Violation::kDisagrees, fmt::format("after the recovery: {}", used.message())};
}

// ---- counting ---------------------------------------------------------------------------------------

void CrashExplorer::fail(const Judgement& judgement, const std::string& where, CrashModel model) {
  const std::lock_guard lock(mutex_);
  ++failures_;
  ++tally_.row(model).violations[static_cast<size_t>(judgement.violation)];
  if (settings_.on_violation) {
    settings_.on_violation(fmt::format("{}: {}\n{}", name_of(judgement.violation), judgement.sentence, where));
  }
}

bool CrashExplorer::has_enough() const {
  const std::lock_guard lock(mutex_);
  return failures_ >= kFailuresMax;
}

}  // namespace kvstore::testing
