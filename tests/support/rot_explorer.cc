#include "tests/support/rot_explorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/owner_file.h"
#include "tests/support/crash_env.h"
#include "tests/support/crash_workload.h"

namespace kvstore::testing {

using engine::Engine;
using env::MemEnv;

namespace {
constexpr unsigned kViolationsTold = 5;  // of one store
}  // namespace

// ---- building ---------------------------------------------------------------------------------------

std::string RotExplorer::build(uint64_t seed, Ledger& ledger, Whole& out) const {
  Dice dice(seed);
  CrashWorkload::Plan plan = CrashWorkload::plan_of(seed);
  CrashEnv env(std::make_unique<MemEnv>(seed));
  CrashWorkload work(seed, plan, 0, ledger);
  if (std::string wrong = work.open(env); !wrong.empty()) return wrong;
  const uint64_t steps = dice.percent(5) ? 0 : 1 + dice.below(settings_.steps);
  for (uint64_t step = 0; step < steps; ++step) {
    if (step == steps / 2) out.older = env.crash_clone(CrashChoice::keep_everything());
    if (std::string wrong = work.step(); !wrong.empty()) return wrong;
  }
  if (dice.percent(15)) {
    if (Result<CompactionReport> report = work.engine().compact(); !report.ok())
      return std::string(report.status().message());
  }
  out.is_closed = dice.percent(60);
  if (out.is_closed) {
    if (std::string wrong = work.close(); !wrong.empty()) return wrong;
  }
  const bool is_power_cut = !out.is_closed && dice.percent(40);
  const CrashChoice choice =
      is_power_cut ? CrashChoice::random(dice.next(), CrashChoice::Names::kOrdered) : CrashChoice::keep_everything();
  out.disk = copy_of(*env.crash_clone(choice), "db/");
  out.now_us = work.now_us();
  if (out.older == nullptr) out.older = copy_of(*out.disk);
  return "";
}

Options RotExplorer::options_for(bool read_only) const {
  return {.sync_interval = std::chrono::hours(1),
          .read_only = read_only,
          .segment_bytes = 4096,
          .replay_threads = 1,
          .compact_at_percent = 0,
          .now_us = [now_us = whole_.now_us] { return now_us; }};
}

void RotExplorer::run() {
  Ledger foreign_ledger;
  Whole foreign;
  std::string wrong = build(settings_.seed, ledger_, whole_);
  if (wrong.empty()) wrong = build(settings_.seed ^ 0x666f7265, foreign_ledger, foreign);
  if (wrong.empty()) {
    const std::unique_ptr<MemEnv> copy = copy_of(*whole_.disk);
    Result<std::unique_ptr<Engine>> engine = Engine::open(*copy, "db", options_for(true));
    if (engine.ok()) {
      whole_.last_seq = (*engine)->last_seq();
      whole_.state = contents_of(**engine);
    } else if (engine.status().code() != Code::kNotAStore) {  // lost power before it was one
      wrong = engine.status().message();
    }
  }
  if (!wrong.empty()) {
    ++tally_.row(whole_.is_closed, {})[static_cast<size_t>(RotOutcome::kDisagrees)];
    if (settings_.on_violation) settings_.on_violation("without any damage: " + wrong);
    return;
  }
  ++tally_.stores;
  Dice dice(settings_.seed + 1);
  unsigned told = 0;
  for (const Damage& damage : damages_for(*whole_.disk, *foreign.disk, *whole_.older, settings_.samples, dice)) {
    const Verdict verdict = examine(damage);
    ++tally_.row(whole_.is_closed, damage)[static_cast<size_t>(verdict.outcome)];
    if (!is_violation(verdict.outcome) || !settings_.on_violation || told++ >= kViolationsTold) continue;
    settings_.on_violation(fmt::format("{}: {}\n{} of a {} store",
                                       kRotOutcomeNames[static_cast<size_t>(verdict.outcome)], verdict.sentence,
                                       damage.describe(), whole_.is_closed ? "closed" : "crashed"));
  }
}

// ---- judging ----------------------------------------------------------------------------------------

RotExplorer::Verdict RotExplorer::examine(const Damage& damage) const {
  const std::unique_ptr<MemEnv> disk = copy_of(*whole_.disk);
  apply(damage, *disk);
  const std::unique_ptr<MemEnv> before = copy_of(*disk);
  Result<std::unique_ptr<Engine>> engine = Engine::open(*disk, "db", options_for(false));
  if (!engine.ok()) {
    const Verdict verdict = judge_refusal(engine.status(), *before, *disk);
    return is_violation(verdict.outcome) ? verdict : compare_with_looking(*before, damage, verdict, 0, {});
  }
  const uint64_t last_seq = (*engine)->last_seq();
  const State found = contents_of(**engine);
  Verdict verdict = judge_opened(damage, last_seq, found, (*engine)->recovery(), *before, *disk);
  if (is_violation(verdict.outcome)) return verdict;
  verdict = compare_with_looking(*before, damage, verdict, last_seq, found);
  if (is_violation(verdict.outcome)) return verdict;

  // It is a store like any other now.
  const auto use = [&]() -> Status {
    if (Status s = (*engine)->put("after", "damage", false, {}); !s.ok()) return s;
    if (Status s = (*engine)->close(); !s.ok()) return s;
    Result<std::unique_ptr<Engine>> again = Engine::open(*disk, "db", options_for(false));
    if (!again.ok()) return std::move(again).status();
    State expected = found;
    expected["after"] = {.bytes = "damage", .is_json = false, .expires_us = 0, .version = last_seq + 1};
    if (contents_of(**again) != expected)
      return {Code::kCorruption, "the state is not what was opened and one put more"};
    return {};
  };
  const Status used = use();
  return used.ok() ? verdict : Verdict{RotOutcome::kDisagrees, fmt::format("after it was opened: {}", used.message())};
}

RotExplorer::Verdict RotExplorer::judge_refusal(const Status& refusal, const MemEnv& before,
                                                const MemEnv& after) const {
  const std::string_view text = refusal.message();
  const auto bad = [&](std::string_view why) {
    return Verdict{RotOutcome::kBadRefusal, fmt::format("{}: \"{}\" ({})", why, text, code_name(refusal.code()))};
  };
  if (refusal.code() != Code::kCorruption && refusal.code() != Code::kUnsupported) return bad("an unlikely code");
  if (text.find("try: ") == std::string_view::npos) return bad("no advice");
  if (refusal.path().empty() || text.find(refusal.path()) == std::string_view::npos) return bad("no file");
  if (refusal.offset().has_value() &&
      text.find(fmt::format("(byte {})", *refusal.offset())) == std::string_view::npos) {
    return bad("no place");
  }
  for (const std::string& path : before.files()) {
    if (path == "db/LOCK" || path.ends_with(".tmp")) continue;  // LOCK has named us for a moment
    if (before.get_file(path) != after.get_file(path)) return bad("and " + path + " was changed");
  }
  const std::unique_ptr<MemEnv> lock_before = copy_of(before);
  const std::unique_ptr<MemEnv> lock_after = copy_of(after);
  const Result<std::optional<wal::Owner>> was = wal::read_owner(*lock_before, "db");
  const Result<std::optional<wal::Owner>> is = wal::read_owner(*lock_after, "db");
  if (was.ok() && was->has_value() &&
      (!is.ok() || !is->has_value() || (*is)->closed_seq != (*was)->closed_seq || (*is)->store != (*was)->store)) {
    return bad("and LOCK says something else now");
  }
  return {RotOutcome::kRefused, ""};
}

namespace {

// Whether the last segment with a number names another one.
bool ends_in_a_closing_line(const MemEnv& disk) {
  std::string last;
  for (const std::string& path : disk.files()) {
    const size_t name = path.rfind('/') + 1;
    if (path.starts_with("db/") && wal::parse_segment_name(path.substr(name)).has_value()) last = std::max(last, path);
  }
  return disk.get_file(last).value_or("").find("{\"kvstore\":\"end\"") != std::string::npos;
}

}  // namespace

RotExplorer::Verdict RotExplorer::judge_opened(const Damage& damage, uint64_t last_seq, const State& found,
                                               const RecoveryReport& report, const MemEnv& before,
                                               const MemEnv& after) const {
  for (const CutReport& cut : report.cuts) {
    const std::string text = before.get_file(cut.file).value_or("");
    if (cut.offset > text.size() || after.get_file(cut.kept_as) != text.substr(cut.offset, cut.bytes)) {
      return {RotOutcome::kSilentLoss, fmt::format("{} does not hold what was cut", cut.kept_as)};
    }
  }
  if (last_seq == whole_.last_seq && found == whole_.state) {
    return {report.cuts.empty() ? RotOutcome::kIntact : RotOutcome::kRepaired, ""};
  }
  const Judgement judgement = ledger_.judge(last_seq, found, 0, whole_.now_us);
  if (judgement.violation == Violation::kStale) return {RotOutcome::kStale, judgement.sentence};
  if (judgement.violation != Violation::kNone) return {RotOutcome::kWrong, judgement.sentence};
  const std::string less = fmt::format("it ends with commit {}, before the damage with {}", last_seq, whole_.last_seq);
  // A copy from before a power cut may well hold more than that has left.
  const bool may_be_more = damage.kind == DamageKind::kOlder;
  if (whole_.is_closed || (last_seq > whole_.last_seq && !may_be_more)) return {RotOutcome::kSilentLoss, less};
  if (!report.cuts.empty()) return {RotOutcome::kRepaired, ""};
  const bool can_end_between_lines = damage.kind == DamageKind::kCutAtLine || damage.kind == DamageKind::kCutAnywhere ||
                                     damage.kind == DamageKind::kOlder;
  const bool is_newest = damage.file_kind == FileKind::kActive || damage.file_kind == FileKind::kNext;
  const bool may_be_gone = damage.file_kind == FileKind::kNext &&
                           (damage.kind == DamageKind::kDeleted || damage.kind == DamageKind::kEmptied);
  // In the moment between a segment's number and the closing line before it, only the name itself tells of the segment.
  const bool was_not_named_yet =
      damage.file_kind == FileKind::kActive && damage.kind == DamageKind::kDeleted && !ends_in_a_closing_line(before);
  const bool is_exception = may_be_gone || was_not_named_yet || (is_newest && can_end_between_lines);
  return {is_exception ? RotOutcome::kShorter : RotOutcome::kSilentLoss, less};
}

// What a person would see who looks before opening.
RotExplorer::Verdict RotExplorer::compare_with_looking(MemEnv& disk, const Damage& damage, const Verdict& opened,
                                                       uint64_t last_seq, const State& found) const {
  const auto differs = [&](std::string why) { return Verdict{RotOutcome::kDisagrees, std::move(why)}; };
  const uint64_t fingerprint = fingerprint_of(disk);
  const Result<VerifyReport> report = engine::verify(disk, "db");
  const Result<std::unique_ptr<Engine>> engine = Engine::open(disk, "db", options_for(true));
  if (fingerprint_of(disk) != fingerprint) return differs("looking has changed the files");
  const bool is_no_store = !engine.ok() && engine.status().code() == Code::kNotAStore;
  if (is_no_store && last_seq == 0 && opened.outcome == RotOutcome::kIntact) return opened;
  if (!report.ok()) return differs(fmt::format("verify fails: {}", report.status().message()));
  const bool has_damage = report->has(Finding::Severity::kDamage) || report->has(Finding::Severity::kUnsupported);
  if (opened.outcome == RotOutcome::kRefused) {
    if (engine.ok()) return differs("refused for writing, but it opens read-only");
    if (!has_damage) return differs("refused, but verify has seen nothing");
    for (const Finding& finding : report->findings) {
      if (finding.severity == Finding::Severity::kDamage && (finding.advice.empty() || finding.file.empty())) {
        return differs(fmt::format("verify gives no file or no advice: {}", finding.message));
      }
    }
    return opened;
  }
  if (!engine.ok()) return differs(fmt::format("opens for writing, but not read-only: {}", engine.status().message()));
  if ((*engine)->last_seq() != last_seq || contents_of(**engine) != found)
    return differs("a read-only opening shows another state");
  if (opened.outcome == RotOutcome::kRepaired && !report->has(Finding::Severity::kTornTail))
    return differs("verify has not seen what was cut");
  // Files that do not count for the state may be damaged: verify() tells, an opening does not look.
  const bool may_be_history = damage.file_kind == FileKind::kHistory || damage.kind == DamageKind::kDuplicated ||
                              damage.kind == DamageKind::kSwapped;
  if (has_damage && !may_be_history)
    return differs("it opens, but verify has seen damage: " + report->findings.front().message);
  return opened;
}

// ---- counting ---------------------------------------------------------------------------------------

namespace {

template <typename Fn>
void for_each_row(const RotTally& tally, Fn&& fn) {
  for (size_t closed = 0; closed < tally.rows.size(); ++closed) {
    for (size_t damage = 0; damage < kDamageCount; ++damage) {
      for (size_t file = 0; file < kFileCount; ++file) fn(closed, damage, file, tally.rows[closed][damage][file]);
    }
  }
}

}  // namespace

uint64_t RotTally::cases() const noexcept {
  uint64_t sum = 0;
  for_each_row(*this,
               [&](size_t, size_t, size_t, const Row& row) { sum = std::accumulate(row.begin(), row.end(), sum); });
  return sum;
}

uint64_t RotTally::violations() const noexcept {
  uint64_t sum = 0;
  for_each_row(*this, [&](size_t, size_t, size_t, const Row& row) {
    for (size_t i = 0; i < row.size(); ++i) sum += is_violation(static_cast<RotOutcome>(i)) ? row[i] : 0;
  });
  return sum;
}

void RotTally::add(const RotTally& other) noexcept {
  stores += other.stores;
  for_each_row(other, [&](size_t closed, size_t damage, size_t file, const Row& row) {
    for (size_t i = 0; i < row.size(); ++i) rows[closed][damage][file][i] += row[i];
  });
}

std::string RotTally::table() const {
  std::string text = fmt::format("{:<8} {:<16} {:<15}", "store", "damage", "file");
  for (const std::string_view name : kRotOutcomeNames) text += fmt::format("  {:>8}", name);
  text += "\n";
  for_each_row(*this, [&](size_t closed, size_t damage, size_t file, const Row& row) {
    if (std::accumulate(row.begin(), row.end(), uint64_t{0}) == 0) return;
    text +=
        fmt::format("{:<8} {:<16} {:<15}", closed == 0 ? "closed" : "crashed", kDamageNames[damage], kFileNames[file]);
    for (size_t i = 0; i < row.size(); ++i)
      text += fmt::format("  {:>{}}", row[i], std::max<size_t>(8, kRotOutcomeNames[i].size()));
    text += "\n";
  });
  return text;
}

}  // namespace kvstore::testing
