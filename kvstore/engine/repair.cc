// Repair: salvage.h reads and decides, this file writes. The new store is made as a backup is (store_copy.h): with the segment
// alone it does not open, and the lines and keys that a person may want to look at are there whenever it does:
//   segment -> lost+found/rejected-lines.jsonl, stale-keys.jsonl -> snapshot -> sync the directory above -> read back
#include "kvstore/engine/repair.h"

#include <chrono>
#include <memory>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/salvage.h"
#include "kvstore/engine/snapshot.h"
#include "kvstore/engine/store_copy.h"
#include "kvstore/json_writer.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk.h"
#include "kvstore/wal/owner_file.h"
#include "kvstore/wal/snapshot_writer.h"

namespace kvstore::engine {

using base::error;

namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr const char* kRejectedName = "rejected-lines.jsonl";
constexpr const char* kStaleName = "stale-keys.jsonl";

std::string without_slash(std::string dir) {
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  return dir;
}

Status locked(env::Env& env, const std::string& dir) {
  Result<std::optional<wal::Owner>> owner = wal::read_owner(env, dir);
  const std::string who = owner.ok() && owner->has_value() ? wal::describe(**owner) : "another process";
  return error(Code::kLocked, "{}: in use by {}, so its files move while they are read. try: stop it first", dir, who)
      .at(dir);
}

// ---- lost+found ----------------------------------------------------------------------------------

// A file of JSON lines, created with the first of them.
class Keepsake {
 public:
  Keepsake(env::Env& env, std::string path)
      : env_(env), path_(std::move(path)), json_(Pools(), [this](std::string_view bytes) { write(bytes); }) {}
  Keepsake(const Keepsake&) = delete;  // json_ writes here
  Keepsake& operator=(const Keepsake&) = delete;

  // Its lines: rows. Once it has failed there is no need to go on.
  JsonWriter& json() { return json_; }
  Status finish() {
    if (Status s = json_.finish(); !s.ok()) return s;
    return file_ == nullptr ? Status() : file_->sync();
  }
  [[nodiscard]] std::string path() const { return file_ == nullptr ? "" : path_; }

 private:
  void write(std::string_view bytes) {
    Status written = base::guarded([&]() -> Status {
      if (file_ == nullptr) {
        Result<std::unique_ptr<env::File>> file = env_.open(path_, env::OpenMode::kCreate);
        if (!file.ok()) return std::move(file).status();
        file_ = *std::move(file);
      }
      return file_->write_at(written_, bytes);
    });
    written_ += bytes.size();
    if (!written.ok()) json_.fail(std::move(written));
  }

  env::Env& env_;
  const std::string path_;
  std::unique_ptr<env::File> file_;
  uint64_t written_ = 0;
  JsonWriter json_;
};

// A long line is kept in pieces. Of a piece of nothing but NULs, such as a disk shows for blocks that it never wrote, the
// number is kept: there may be gigabytes of them.
Status keep_line(Keepsake& out, const RejectedLine& line, std::string_view bytes) {
  for (size_t begin = 0; begin < bytes.size() || begin == 0; begin += kPieceBytes) {
    const std::string_view piece = bytes.substr(begin, kPieceBytes);
    JsonWriter& json = out.json();
    json.begin_object().bytes("file", line.file).member("line").number(line.line);
    json.member("offset").number(line.offset + begin).member("bytes").number(piece.size()).bytes("reason", line.reason);
    if (piece.find_first_not_of('\0') == std::string_view::npos) {
      json.member("nuls").number(piece.size());
    } else {
      json.bytes("text", piece);
    }
    json.end_object().end_row();
    if (json.failed()) return out.finish();
  }
  return {};
}

// ---- the new store -------------------------------------------------------------------------------

// Calls fn(entry) for every live entry until it fails.
template <typename Fn>
Status for_each_entry(const Salvage& salvage, Fn fn) {
  const table::Table::Pin pin(salvage.table());
  std::vector<const table::Entry*> entries;
  for (size_t shard = 0; shard < table::Table::kShards; ++shard) {
    entries.clear();
    salvage.table().collect_shard(pin, shard, salvage.taken_us(), entries);
    for (const table::Entry* entry : entries) {
      if (Status s = fn(*entry); !s.ok()) return s;
    }
  }
  return {};
}

class Writer {
 public:
  Writer(env::Env& env, Salvage& salvage, RepairReport& report) : env_(env), salvage_(salvage), report_(report) {}

  Status run();
  void remove_all();  // after a failure

 private:
  Status keep_the_rest();
  Status write_log();
  Status write_state();
  Status read_back();

  env::Env& env_;
  Salvage& salvage_;
  RepairReport& report_;
  std::string uuid_;  // of the new store
  bool has_segment_ = false;
  bool has_lost_and_found_ = false;
};

Status Writer::keep_the_rest() {
  KV_ASSERT(salvage_.stale().size() == report_.plan.stale_keys);
  const std::string lost_and_found = wal::join_path(report_.dir, wal::kLostAndFoundName);
  const bool has_rest = report_.plan.rejected_lines != 0 || report_.plan.stale_keys != 0;
  if (!has_rest) return {};
  if (Status s = env_.create_dir(lost_and_found); !s.ok()) return s;
  has_lost_and_found_ = true;
  Keepsake rejected(env_, wal::join_path(lost_and_found, kRejectedName));
  Status kept = salvage_.for_each_rejected(
      [&](const RejectedLine& line, std::string_view bytes) { return keep_line(rejected, line, bytes); });
  if (kept.ok()) kept = rejected.finish();
  report_.rejected_as = rejected.path();
  if (!kept.ok()) return kept;

  Keepsake stale(env_, wal::join_path(lost_and_found, kStaleName));
  for (const table::Entry* entry : salvage_.stale()) {
    stale.json()
        .begin_object()
        .bytes("key", entry->key())
        .member("version")
        .number(entry->seq())
        .end_object()
        .end_row();
    if (stale.json().failed()) break;
  }
  kept = stale.finish();
  report_.stale_as = stale.path();
  if (!kept.ok()) return kept;
  if (Status s = env_.sync_dir(lost_and_found); !s.ok()) return s;
  return env_.sync_dir(report_.dir);  // before the snapshot's name
}

// The segment behind the state: while it stands there alone the directory does not open.
Status Writer::write_log() {
  KV_ASSERT(!has_segment_);  // a directory of its own, claimed just now
  uuid_ = env_.new_uuid();
  Status s = write_segment(env_, report_.dir, uuid_, report_.plan.last_seq, salvage_.taken_us());
  has_segment_ = s.ok();
  return s;
}

Status Writer::write_state() {
  if (report_.plan.last_seq == 0) return {};  // a store that was never written to
  Result<std::unique_ptr<wal::SnapshotWriter>> out = wal::SnapshotWriter::create(
      env_, {.dir = report_.dir, .store = uuid_, .last_seq = report_.plan.last_seq, .created_us = salvage_.taken_us()});
  if (!out.ok()) return std::move(out).status();
  Status added =
      for_each_entry(salvage_, [&](const table::Entry& entry) { return (*out)->add(put_of(entry), entry.seq()); });
  if (!added.ok()) return added;
  KV_ASSERT((*out)->entries() == report_.plan.entries);  // the plan has counted the same
  if (Status s = (*out)->finish(); !s.ok()) return s;
  report_.bytes = (*out)->bytes();
  KV_ASSERT(report_.bytes > 0);  // header and footer at least
  return {};
}

// Every entry must come back as it is in memory.
Status Writer::read_back() {
  Result<wal::LogWalk> walk = wal::LogWalk::open(env_, report_.dir, 1);
  if (!walk.ok()) return std::move(walk).status();
  const table::Table& table = salvage_.table();
  uint64_t entries = 0;
  for (;;) {
    Result<std::optional<wal::Records>> records = walk->next();
    if (!records.ok()) return std::move(records).status();
    if (!records->has_value()) break;
    const wal::Chunk& chunk = *(*records)->chunk;
    for (const wal::LineRef& line : (*records)->lines) {
      const format::Op& op = chunk.ops[line.op_begin];
      const table::Entry* entry = table.newest(op.key, table.hash(op.key));
      if (entry == nullptr || entry->seq() != line.stamp.seq || !(put_of(*entry) == op)) {
        return error(Code::kIoError, "an entry differs from what was written").at(report_.dir);
      }
      ++entries;
    }
  }
  if (entries == report_.plan.entries && walk->last_seq() == report_.plan.last_seq) return {};
  return error(Code::kIoError, "{} entries were written, {} came back", report_.plan.entries, entries).at(report_.dir);
}

Status Writer::run() {
  KV_ASSERT(report_.plan.has_anything);
  KV_ASSERT(!report_.dir.empty());
  KV_ASSERT(report_.rejected_as.empty() && report_.stale_as.empty());
  KV_ASSERT(report_.plan.last_seq < format::kIntegerMax);
  Result<bool> is_new = claim_directory(env_, report_.dir);
  if (!is_new.ok()) return std::move(is_new).status();
  if (Status s = wal::sync_own_name(env_, report_.dir, *is_new); !s.ok()) return s;
  // First, or what a crash leaves would be taken for the place of a new store. A store that was never written to is one.
  const bool log_first = report_.plan.last_seq != 0;
  if (log_first) {
    if (Status s = write_log(); !s.ok()) return s;
  }
  if (Status s = keep_the_rest(); !s.ok()) return std::move(s).with("keep the rejected lines");
  if (!log_first) {
    if (Status s = write_log(); !s.ok()) return s;
  }
  if (Status s = write_state(); !s.ok()) return s;
  if (Status s = env_.sync_dir(report_.dir); !s.ok()) return s;
  return read_back().with("read it back");
}

void Writer::remove_all() {
  if (has_segment_) remove_copy(env_, report_.dir, report_.plan.last_seq);
  for (const char* name : {kRejectedName, kStaleName}) {
    if (!has_lost_and_found_) break;
    (void)env_.remove(wal::join_path(wal::join_path(report_.dir, wal::kLostAndFoundName), name)).ok();
  }
}

Status check_writable(const RepairPlan& plan, const std::string& dir) {
  if (!plan.has_anything) {
    return error(Code::kCorruption,
                 "{}: no intact line is left, and an empty store would be no repair. try: restore a backup", dir)
        .at(dir);
  }
  if (plan.last_seq >= format::kIntegerMax) {
    return error(Code::kCorruption,
                 "{}: some line promises record {}, which is the last number there is: no store can go on "
                 "behind it. try: find that line in a copy of the directory and take it out",
                 dir, plan.last_seq)
        .at(dir);
  }
  return {};
}

bool lies_in(const std::string& inner, const std::string& outer) {
  KV_ASSERT(outer == "/" || !outer.ends_with('/'));  // without_slash() has gone over it
  return inner == outer || outer == "/" || (inner.starts_with(outer) && inner[outer.size()] == '/');
}

}  // namespace

Result<RepairPlan> plan_repair(env::Env& env, std::string dir, const RepairOptions& options) {
  dir = without_slash(std::move(dir));
  Result<RepairPlan> plan = base::guarded([&]() -> Result<RepairPlan> {
    if (wal::is_owned(env, dir)) return locked(env, dir);
    Salvage salvage(env, dir, options);
    Status read = salvage.read();
    // Since when, nobody knows, and any failure may be due to it.
    if (wal::is_owned(env, dir)) return locked(env, dir);
    if (!read.ok()) return read;
    return salvage.plan();
  });
  if (!plan.ok()) return std::move(plan).status().with("repair");
  return plan;
}

Result<RepairReport> repair(env::Env& env, std::string dir, std::string new_dir, const RepairOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  dir = without_slash(std::move(dir));
  RepairReport report;
  report.dir = without_slash(std::move(new_dir));
  const std::string lock_path = wal::join_path(dir, wal::kLockName);
  const auto run = [&]() -> Status {
    if (lies_in(report.dir, dir)) {
      return error(Code::kInvalidArgument, "{} lies in {}, which is to stay as it is. try: a directory beside it",
                   report.dir, dir);
    }
    if (Status s = check_directory_is_free(env, report.dir); !s.ok()) return s;
    // Nobody may open the store meanwhile. Only where LOCK is there: making one would be a change, and whoever has the
    // store open has a LOCK. Where it cannot be written, say on a read-only file system, nobody can own the store either.
    Result<std::unique_ptr<env::File>> lock_file = env.open(lock_path, env::OpenMode::kReadWrite);
    std::unique_ptr<env::FileLock> lock;
    if (lock_file.ok()) {
      Result<std::unique_ptr<env::FileLock>> taken = env.lock(lock_path);
      if (!taken.ok() && taken.status().code() == Code::kLocked) return locked(env, dir);
      if (!taken.ok()) return std::move(taken).status();
      lock = *std::move(taken);
      if (Result<std::string> owned = wal::owned_log_file(env, dir); owned.ok() && !owned->empty())
        return locked(env, dir);
    } else if (wal::is_owned(env, dir)) {
      return locked(env, dir);
    } else if (const int why = lock_file.status().sys_errno(); why == EMFILE || why == ENFILE) {
      return std::move(lock_file).status().with("look for an owner");
    }
    Salvage salvage(env, dir, options);
    if (Status s = salvage.read(); !s.ok()) return lock == nullptr && wal::is_owned(env, dir) ? locked(env, dir) : s;
    report.plan = salvage.plan();
    if (report.plan.opens && options.only_if_damaged) {
      report.dir.clear();
      return {};
    }
    if (Status s = check_writable(report.plan, dir); !s.ok()) return s;
    Writer writer(env, salvage, report);
    Status written = base::guarded([&] { return writer.run(); });
    KV_ASSERT(!written.ok() || salvage.stale().empty() == report.stale_as.empty());
    if (!written.ok()) writer.remove_all();
    return written;
  };
  Status result = base::guarded(run);
  if (!result.ok()) return std::move(result).with("repair");
  report.duration = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  return report;
}

}  // namespace kvstore::engine
