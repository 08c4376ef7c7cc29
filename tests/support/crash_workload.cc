#include "tests/support/crash_workload.h"

#include <fmt/format.h>

#include <utility>

#include "kvstore/engine/repair.h"

namespace kvstore::testing {

using engine::Engine;

namespace {

constexpr uint64_t kKeys = 16;
constexpr uint64_t kEntriesMax = 8;
constexpr uint64_t kSegmentBytes = 4096;
constexpr uint64_t kBackupsMax = 2;  // they make every crash dearer
constexpr uint64_t kRepairsMax = 1;  // they do, too
constexpr uint64_t kOpeningDiesPercent = 25;
constexpr uint64_t kOpeningCallsMax = 40;  // after about as many it is open
constexpr int64_t kSecondUs = 1'000'000;

}  // namespace

CrashWorkload::Plan CrashWorkload::plan_of(uint64_t seed) {
  Dice dice(seed ^ 0x706c616e);
  return {.io = dice.percent(60) ? LogIo::kMapped : LogIo::kWrite,
          .evicts = dice.percent(25),
          .keeps_history = dice.percent(40),
          .is_sync = dice.percent(15),
          .is_uniform = dice.percent(25),
          .compacts_beside = dice.percent(10)};
}

Options CrashWorkload::options() const {
  Options options{.durability = plan_.is_sync ? Durability::kSync : Durability::kProcess,
                  .sync_interval = std::chrono::hours(1),  // all syncs are the workload's own
                  .log_io = plan_.io,
                  .segment_bytes = kSegmentBytes,
                  .replay_threads = 1,
                  .compact_at_percent = 0};  // all compactions too
  if (plan_.keeps_history) options.keep_history_bytes = 12'000;
  if (plan_.evicts) options.max_entries = kEntriesMax, options.when_full = WhenFull::kEvict;
  options.now_us = [this] { return now_us(); };
  return options;
}

std::string CrashWorkload::open(env::Env& env) {
  env_ = &env;
  return open_engine();
}

// What it has done may be on disk or not when the next one comes, which takes it for what an earlier life has left.
void CrashWorkload::openings_that_die() {
  while (dice_.percent(kOpeningDiesPercent)) {
    const uint64_t calls = 1 + dice_.below(kOpeningCallsMax);
    tell(fmt::format("an opening that dies at call {}", calls));
    process_ = std::make_unique<FaultEnv>(*env_);
    process_->fail({.nth = calls, .from_then_on = true, .bytes_written = dice_.below(100)});
    (void)Engine::open(*process_, "db", options()).ok();
  }
}

std::string CrashWorkload::open_engine() {
  openings_that_die();
  process_ = std::make_unique<FaultEnv>(*env_);
  Result<std::unique_ptr<Engine>> engine = Engine::open(*process_, "db", options());
  if (!engine.ok()) return fmt::format("open: {}", engine.status().message());
  engine_ = *std::move(engine);
  tell(fmt::format("open (last_seq {})", engine_->last_seq()));
  if (plan_.compacts_beside) start_compactor();
  return "";
}

std::string CrashWorkload::close() {
  tell("close");
  stop_compactor();
  const Status closed = engine_->close();
  engine_.reset();
  if (!closed.ok()) return fmt::format("close: {}", closed.message());
  ledger_.synced();
  return "";
}

std::string CrashWorkload::reopen() {
  if (std::string wrong = close(); !wrong.empty()) return wrong;
  return open_engine();
}

// kill -9, and the next process finds what the kernel has, on disk or not.
std::string CrashWorkload::die_and_reopen() {
  die();
  return open_dead();
}

void CrashWorkload::die() {
  tell("die");
  stop_compactor();
  process_->fail({.from_then_on = true});
  engine_.reset();
}

std::string CrashWorkload::open_dead() {
  if (std::string wrong = open_engine(); !wrong.empty()) return wrong;
  if (engine_->last_seq() != ledger_.last_seq()) {
    return fmt::format("after a death the store ends with commit {}, not {}", engine_->last_seq(), ledger_.last_seq());
  }
  ledger_.synced();
  return "";
}

std::string CrashWorkload::compact() {
  tell("compact");
  Result<CompactionReport> report = engine_->compact();
  return report.ok() ? "" : fmt::format("{}", report.status().message());
}

std::string CrashWorkload::backup() {
  if (backup_count_ == kBackupsMax) return "";
  const std::string dir = fmt::format("copy{}", ++backup_count_);
  tell("backup to " + dir);
  Result<BackupReport> report = engine_->backup(dir);
  if (!report.ok()) return fmt::format("{}", report.status().message());
  const std::lock_guard lock(mutex_);
  backups_.push_back({dir, report->seq});
  return "";
}

// A copy of the store as it lies there, open, with one damage done to it; beside it the store lives on.
std::string CrashWorkload::repair_damaged_copy() {
  FileBytes files = files_in(*process_, "db");
  std::optional<CrashRepair> wanted = repair_in_peace(files, /*damaged=*/true, options(), dice_);
  if (!wanted.has_value()) return "";  // nothing is left of it; that a repair says so is tested elsewhere
  if (std::string wrong = ledger_.judge_salvage(wanted->state); !wrong.empty()) return wrong;
  wanted->from = "hurt";
  const auto copy = [&]() -> Status {
    if (Status s = process_->create_dir(wanted->from); !s.ok()) return s;
    for (const auto& [name, bytes] : files) {
      Result<std::unique_ptr<env::File>> file = process_->open(wanted->from + "/" + name, env::OpenMode::kCreate);
      if (!file.ok()) return std::move(file).status();
      if (Status s = (*file)->write_at(0, bytes); !s.ok()) return s;
      if (Status s = (*file)->sync(); !s.ok()) return s;
    }
    if (Status s = process_->sync_dir(wanted->from); !s.ok()) return s;
    return process_->sync_dir(".");
  };
  if (Status s = copy(); !s.ok()) return fmt::format("copy: {}", s.message());
  wanted->old = std::move(files);
  return repair(*std::move(wanted), *process_);
}

// The store itself, as its death has left it.
std::string CrashWorkload::die_and_repair() {
  die();
  FileBytes files = files_in(*env_, "db");
  const FileBytes before = files;
  std::optional<CrashRepair> wanted = repair_in_peace(files, /*damaged=*/false, options(), dice_);
  if (!wanted.has_value()) return "a store that died cannot be repaired";
  const Judgement judgement = ledger_.judge(wanted->last_seq, wanted->state, ledger_.promised(false), now_us());
  if (judgement.violation != Violation::kNone) return "repaired: " + judgement.sentence;
  wanted->from = "db";
  if (std::string wrong = repair(*std::move(wanted), *env_); !wrong.empty()) return wrong;
  if (files_in(*env_, "db") != before) return "repairing the store has changed it";
  return open_dead();
}

std::string CrashWorkload::repair(CrashRepair wanted, env::Env& env) {
  tell(fmt::format("repair {}", wanted.from));
  wanted.to = "mended";
  const std::string from = wanted.from;
  const uint64_t last_seq = wanted.last_seq;
  {
    const std::lock_guard lock(mutex_);
    repairs_.push_back(std::move(wanted));
  }
  const Result<RepairReport> report = engine::repair(env, from, "mended");
  if (!report.ok()) return fmt::format("{}", report.status().message());
  if (report->plan.last_seq != last_seq) return "two repairs of the same files have two plans";
  const std::lock_guard lock(mutex_);
  repairs_.back().is_done = true;
  return "";
}

std::vector<CrashRepair> CrashWorkload::repairs() const {
  const std::lock_guard lock(mutex_);
  return repairs_;
}

std::vector<CrashWorkload::Backup> CrashWorkload::backups() const {
  const std::lock_guard lock(mutex_);
  return backups_;
}

void CrashWorkload::tell(const std::string& what) {
  const std::lock_guard lock(mutex_);
  story_ += what + "\n";
}

std::string CrashWorkload::story() const {
  const std::lock_guard lock(mutex_);
  return story_;
}

void CrashWorkload::start_compactor() {
  compactor_stops_ = false;
  compactor_ = std::thread([this] {
    for (int i = 0; !compactor_stops_; ++i) {
      std::string wrong = compact();
      if (wrong.empty() && i % 8 == 2) wrong = backup();
      if (wrong.empty()) continue;
      const std::lock_guard lock(mutex_);
      compactor_failure_ = wrong;
      return;
    }
  });
}

void CrashWorkload::stop_compactor() {
  compactor_stops_ = true;
  if (compactor_.joinable()) compactor_.join();
}

std::string CrashWorkload::key() { return fmt::format("k{:02}", dice_.below(kKeys)); }

std::string CrashWorkload::value() {
  const uint64_t shape = dice_.below(100);
  const uint64_t bytes = shape == 0 ? 5000 : shape < 5 ? 900 : dice_.below(120);
  const uint64_t padding = plan_.is_uniform ? 40 : bytes;
  std::string text = fmt::format("{:02}.{:05}:", life_, ++counter_);
  if (!plan_.is_uniform && dice_.percent(5)) return text + std::string(padding, '\xff');  // base64 in the log
  return text + std::string(padding, 'v');
}

std::string CrashWorkload::step() {
  now_us_ += static_cast<int64_t>(dice_.below(2 * kSecondUs));
  {
    const std::lock_guard lock(mutex_);
    if (!compactor_failure_.empty()) return compactor_failure_;
  }
  const bool repairs_now = dice_.percent(plan_.repair_percent) && !plan_.compacts_beside;
  if (repairs_now && repairs().size() < kRepairsMax) {
    return dice_.percent(50) ? repair_damaged_copy() : die_and_repair();
  }
  const uint64_t choice = dice_.below(100);
  if (choice < 87) return write();
  if (choice < 90) {
    tell("sync");
    if (Status s = engine_->sync(); !s.ok()) return fmt::format("sync: {}", s.message());
    ledger_.synced();
    return "";
  }
  if (choice >= 98) return die_and_reopen();
  if (choice >= 96) return reopen();
  if (plan_.compacts_beside) return "";
  return choice < 95 ? compact() : backup();
}

// One commit, whatever its kind. What the store would not write is not intended either.
std::string CrashWorkload::write() {
  const State before = alive_at(ledger_.current(), now_us());
  State next = before;
  const bool durable = plan_.is_sync || dice_.percent(12);
  const WriteOptions plain{.durability = durable ? Durability::kSync : Durability::kProcess};
  const auto set = [&](const std::string& k, std::string bytes, int64_t expires_us = 0, bool is_json = false) {
    next[k] = {.bytes = std::move(bytes), .is_json = is_json, .expires_us = expires_us, .version = 0};
  };
  Status done;
  const uint64_t choice = plan_.is_uniform ? 0 : dice_.below(100);
  const std::string k = key();
  if (choice < 40) {
    const std::string v = value();
    WriteOptions options = plain;
    if (!plan_.is_uniform && dice_.percent(20))
      options.expires_us = now_us() + kSecondUs * static_cast<int64_t>(1 + dice_.below(40));
    set(k, v, options.expires_us.value_or(0));
    ledger_.intend(next, plan_.evicts);
    done = engine_->put(k, v, false, options);
  } else if (choice < 48) {
    const std::string document = fmt::format(R"({{"life":{},"number":{},"text":"é"}})", life_, ++counter_);
    set(k, document, 0, true);
    ledger_.intend(next, plan_.evicts);
    done = engine_->put(k, document, true, plain);
  } else if (choice < 60) {
    Batch batch;
    for (uint64_t i = 0, n = 1 + dice_.below(5); i < n; ++i) {
      const std::string each = key();
      if (dice_.percent(25)) {
        batch.del(each);
        next.erase(each);
      } else {
        const std::string v = value();
        batch.put(each, v);
        set(each, v);
      }
    }
    ledger_.intend(next, plan_.evicts);
    done = engine_->write(batch, plain);
  } else if (choice < 72) {
    Result<Transaction> transaction = engine_->begin();
    if (!transaction.ok()) return fmt::format("begin: {}", transaction.status().message());
    for (uint64_t i = 0, n = 1 + dice_.below(4); i < n; ++i) {
      const std::string each = key();
      (void)transaction->get(each);
      const std::string v = value();
      transaction->put(each, v);
      set(each, v);
    }
    if (dice_.percent(10)) {
      transaction->rollback();
      return "";
    }
    ledger_.intend(next, plan_.evicts);
    done = transaction->commit(plain);
  } else if (choice < 82) {
    if (next.erase(k) == 0) return "";
    ledger_.intend(next);
    done = engine_->del(k, plain).status();
  } else if (choice < 90) {
    const std::string counter = "n" + std::to_string(dice_.below(2));
    const auto at = next.find(counter);
    const int64_t old = at == next.end() ? 0 : std::stoll(at->second.bytes);
    set(counter, std::to_string(old + 7), at == next.end() ? 0 : at->second.expires_us);
    ledger_.intend(next, plan_.evicts);
    done = engine_->increment(counter, 7, plain).status();
  } else if (choice < 98) {
    const auto at = next.find(k);
    if (at == next.end()) return "";
    const bool persists = dice_.percent(50);
    if (persists && at->second.expires_us == 0) return "";
    const std::chrono::microseconds ttl = std::chrono::seconds(1 + dice_.below(30));
    at->second.expires_us = persists ? 0 : now_us() + ttl.count();
    at->second.version = 0;
    ledger_.intend(next, plan_.evicts);
    done = persists ? engine_->persist(k, plain).status() : engine_->expire(k, ttl, plain).status();
  } else {
    if (next.empty()) return "";
    next.clear();
    ledger_.intend(next);
    done = engine_->erase_prefix("", plain).status();
  }
  if (!done.ok()) {
    ledger_.refused();
    return fmt::format("write: {}", done.message());
  }
  tell(fmt::format("commit {}{}", engine_->last_seq(), durable ? " synced" : ""));
  return ledger_.committed(engine_->last_seq(), contents_of(*engine_), now_us(), durable);
}

}  // namespace kvstore::testing
