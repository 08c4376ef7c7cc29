// verify(): reads every byte that a store has on disk, and turns refusals into findings.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/base/shell_word.h"
#include "kvstore/engine/advice.h"
#include "kvstore/engine/duplicate_keys.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

namespace {

using Severity = Finding::Severity;

// A refusal of the walk, as a finding. The sentence ends in ". try: ..." where there is advice.
Finding finding_of(const Status& status, Severity severity, uint64_t line, const std::string& dir) {
  KV_ASSERT(!status.ok());
  constexpr std::string_view kTry = ". try: ";
  const std::string_view sentence = status.message();
  const size_t end = sentence.rfind(kTry);
  std::string_view advice = end == std::string_view::npos ? "" : sentence.substr(end + kTry.size());
  // Right for whoever met the damage while opening; here it has just been done.
  const std::string verify_first = fmt::format("kvctl verify {}, then ", base::shell_word(dir));
  if (advice.starts_with(verify_first)) advice.remove_prefix(verify_first.size());
  return {.severity = severity,
          .file = std::string(status.path()),
          .line = line,
          .offset = status.offset().value_or(0),
          .bytes = 0,
          .message = std::string(sentence.substr(0, end)),
          .advice = std::string(advice)};
}

// What stands behind the last record. An owner cuts a torn tail before it writes anything, so what looks like one
// beside an owner is the record that it is writing.
Finding finding_of(const CutReport& torn, bool is_owned) {
  KV_ASSERT(torn.kept_as.empty());  // whoever looks moves nothing
  const std::string place = fmt::format("{}:{} (byte {})", torn.file, torn.line, torn.offset);
  Finding finding{.severity = is_owned ? Severity::kNote : Severity::kTornTail,
                  .file = torn.file,
                  .line = torn.line,
                  .offset = torn.offset,
                  .bytes = torn.bytes,
                  .message = {},
                  .advice = {}};
  if (is_owned) {
    finding.message = fmt::format(
        "{}: {} bytes of a record that the process which has the store open is writing just now", place, torn.bytes);
  } else {
    finding.message = fmt::format("{}: {} bytes: {}", place, torn.bytes, torn.reason);
    finding.advice = "opening the store for writing, which cuts these bytes and keeps them in lost+found/";
  }
  return finding;
}

// How the rest of a damaged file looks: how many of the lines behind `offset` are intact.
std::string look_behind(env::File& file, uint64_t offset) {
  wal::ChunkReader reader(file, offset);
  wal::Chunk chunk;
  uint64_t intact = 0;
  uint64_t damaged = 0;
  for (;;) {
    Result<bool> more = reader.next(chunk);
    if (!more.ok() || !*more) break;
    wal::decode_chunk(chunk);
    for (const wal::LineRef& line : chunk.lines) {
      const bool is_bad = line.kind == format::LineKind::kUnsealed || line.kind == format::LineKind::kBadCrc ||
                          line.kind == format::LineKind::kMalformed;
      ++(is_bad ? damaged : intact);
    }
  }
  return fmt::format("from there on this file has {} intact and {} damaged lines", intact, damaged);
}

class Verifier {
 public:
  enum class Unreadable : uint8_t { kEnds, kIsDamage };  // what a file does that cannot be read
  Verifier(env::Env& env, const std::string& dir, const std::function<void(const Progress&)>& on_progress,
           Unreadable unreadable = Unreadable::kEnds)
      : env_(env), dir_(dir), on_progress_(on_progress), unreadable_(unreadable) {}

  // kCompacted: a writer's compaction came in between; begin again.
  Status run();
  Status check_history(const wal::StoreFiles& files);
  VerifyReport report;
  std::string store;  // its uuid

 private:
  [[nodiscard]] uint64_t bytes_to_read() const;
  Status check_state();
  Status check_successor(const wal::StoreFiles& files, const wal::SnapshotFile& snapshot);
  void count(const wal::Records& records);
  static void add_keys(const wal::Records& records, DuplicateKeys& keys);
  Status add_refusal(const Status& refusal);

  env::Env& env_;
  const std::string& dir_;
  const std::function<void(const Progress&)>& on_progress_;
  const Unreadable unreadable_;
  std::optional<format::Seq> base_seq_;  // of the state that was read; nullopt: it was not
  uint64_t total_bytes_ = 0;
  uint64_t done_bytes_ = 0;
  uint64_t next_progress_ = 0;
};

// OK: it is a finding now. Otherwise the reason why verifying cannot go on.
Status Verifier::add_refusal(const Status& refusal) {
  KV_ASSERT(!refusal.ok());
  const bool is_unreadable = refusal.code() == Code::kIoError && unreadable_ == Unreadable::kIsDamage;
  if (refusal.code() != Code::kCorruption && refusal.code() != Code::kUnsupported && !is_unreadable) return refusal;
  uint64_t number = 0;
  std::string behind;
  Result<std::unique_ptr<env::File>> file = env_.open(std::string(refusal.path()), env::OpenMode::kRead);
  if (file.ok() && refusal.offset().has_value() && !is_unreadable) {
    Result<uint64_t> counted = wal::line_number_at(**file, *refusal.offset());
    if (counted.ok()) number = *counted;
    behind = look_behind(**file, *refusal.offset());
  }
  const bool newer = refusal.code() == Code::kUnsupported;
  report.findings.push_back(finding_of(refusal, newer ? Severity::kUnsupported : Severity::kDamage, number, dir_));
  if (!behind.empty()) {
    report.findings.push_back({.severity = Severity::kNote,
                               .file = std::string(refusal.path()),
                               .line = number,
                               .offset = refusal.offset().value_or(0),
                               .bytes = 0,
                               .message = std::move(behind),
                               .advice = {}});
  }
  return {};
}

void Verifier::count(const wal::Records& records) {
  KV_ASSERT(!records.lines.empty());
  KV_ASSERT(records.chunk != nullptr);
  constexpr uint64_t kProgressBytes = uint64_t{16} << 20;
  if (records.lines.front().kind == format::LineKind::kEntry) {
    report.entries += records.lines.size();
  } else {
    report.records += records.lines.size();
    for (const wal::LineRef& line : records.lines) report.operations += line.op_count;
  }
  done_bytes_ += records.chunk->bytes.size();
  if (on_progress_ && done_bytes_ >= next_progress_) {
    on_progress_({.step = "verify", .done_bytes = done_bytes_, .total_bytes = std::max(done_bytes_, total_bytes_)});
    next_progress_ = done_bytes_ + kProgressBytes;
  }
}

// Those of a snapshot's entries; records may name a key as often as they like.
void Verifier::add_keys(const wal::Records& records, DuplicateKeys& keys) {
  if (records.lines.front().kind != format::LineKind::kEntry) return;
  for (const wal::LineRef& line : records.lines) keys.add(records.chunk->ops[line.op_begin].key);
}

// What an opening would read: the newest snapshot and the segments behind it.
Status Verifier::check_state() {
  const Result<std::optional<wal::Owner>> owner = wal::read_owner(env_, dir_);
  if (owner.ok() && owner->has_value()) store = (*owner)->store;
  Result<wal::LogWalk> walk = wal::LogWalk::open(env_, dir_, 1, wal::LogWalk::Start::kInstant);
  if (!walk.ok()) return add_refusal(advise_repair(walk.status(), dir_));
  base_seq_ = walk->base().has_value() ? walk->base()->last_seq : 0;
  if (walk->base().has_value()) {
    ++report.snapshots;
    report.bytes += walk->base()->bytes;
  }
  bool looked_again = false;
  DuplicateKeys keys;
  for (;;) {
    Result<std::optional<wal::Records>> records = walk->next();
    if (!records.ok()) {
      if (Status s = add_refusal(advise_repair(records.status(), dir_)); !s.ok()) return s;
      break;
    }
    if (records->has_value()) {
      count(**records);
      add_keys(**records, keys);
      continue;
    }
    if (walk->end().cuts.empty()) break;
    const bool is_owned = wal::is_owned(env_, dir_);
    if (!is_owned && !std::exchange(looked_again, true)) continue;  // an owner may have finished the record and gone
    for (const CutReport& cut : walk->end().cuts) report.findings.push_back(finding_of(cut, is_owned));
    break;
  }
  if (walk->base().has_value()) {
    const format::Seq base = walk->base()->last_seq;
    if (Status s = keys.check(env_, dir_, {.name = wal::snapshot_name(base), .last_seq = base}); !s.ok()) {
      if (Status stop = add_refusal(advise_repair(std::move(s), dir_)); !stop.ok()) return stop;
    }
  }
  KV_ASSERT(!walk->base().has_value() || walk->last_seq() >= walk->base()->last_seq);
  if (!walk->store_uuid().empty()) store = walk->store_uuid();
  report.segments += walk->segments().size();
  report.bytes += walk->bytes_accepted();
  report.last_seq = walk->last_seq();
  report.synced_seq = walk->synced_seq();
  return {};
}

// Compaction removes a snapshot before the segments behind it, and no crash can turn that round. A segment that is missing
// between others is found by reading them.
Status Verifier::check_successor(const wal::StoreFiles& files, const wal::SnapshotFile& snapshot) {
  const std::string name = wal::segment_name(snapshot.last_seq + 1);
  if (!files.segments.empty() && files.segments.front().first_seq <= snapshot.last_seq + 1) return {};
  Result<wal::StoreFiles> now = wal::list_store_files(env_, dir_);
  if (!now.ok()) return std::move(now).status();
  const auto is_same = [&](const wal::SnapshotFile& file) { return file.name == snapshot.name; };
  if (std::ranges::none_of(now->snapshots, is_same)) return {Code::kCompacted, "a snapshot was removed"};
  const std::string path = wal::join_path(dir_, name);
  return add_refusal(base::error(Code::kCorruption,
                                 "{}: missing, though {} stands before it. try: restore this file from a copy; it is "
                                 "kept for looking back only",
                                 path, snapshot.name)
                         .at(path));
}

// What compaction has left for looking back.
Status Verifier::check_history(const wal::StoreFiles& files) {
  const format::Seq base = files.base_seq();
  for (const wal::SnapshotFile& snapshot : files.snapshots) {
    if (snapshot.last_seq == base) break;
    KV_ASSERT(snapshot.last_seq < base);  // the newest is the base
    Result<wal::SnapshotReader> reader = wal::SnapshotReader::open(env_, dir_, snapshot, 1);
    Status refusal = reader.ok() ? Status() : reader.status();
    DuplicateKeys keys;
    while (refusal.ok()) {
      Result<std::optional<wal::Records>> entries = reader->next();
      refusal = entries.status();
      if (!entries.ok() || !entries->has_value()) break;
      count(**entries);
      add_keys(**entries, keys);
    }
    if (refusal.ok()) refusal = keys.check(env_, dir_, snapshot);
    if (refusal.sys_errno() == ENOENT) return {Code::kCompacted, "a snapshot was removed"};
    if (!refusal.ok()) {
      if (Status s = add_refusal(refusal); !s.ok()) return s;
    }
    ++report.snapshots;
    if (reader.ok()) report.bytes += reader->summary().bytes;
    if (refusal.ok() && reader->summary().store == store) {
      if (Status s = check_successor(files, snapshot); !s.ok()) return s;
    }
  }
  if (files.segments.empty() || files.segments.front().first_seq > base) return {};
  Result<wal::LogWalk> walk = wal::LogWalk::open(env_, dir_, 1, wal::LogWalk::Start::kHistory);
  if (!walk.ok()) return add_refusal(walk.status());
  const auto is_live = [&](std::string_view path) {
    return std::ranges::any_of(files.live_segments(),
                               [&](const wal::Segment& segment) { return path == wal::join_path(dir_, segment.name); });
  };
  const bool has_live = is_live(wal::join_path(dir_, wal::segment_name(base + 1)));
  uint64_t bytes = 0;
  for (;;) {  // as far as the live segments, so that what stands behind the last record is judged, too
    Result<std::optional<wal::Records>> records = walk->next();
    const bool is_through = walk->last_seq() >= base;
    // check_state() tells of the live segments, also of one that is missing.
    if (!records.ok() && (is_live(records.status().path()) || (is_through && !has_live))) break;
    if (!records.ok()) return add_refusal(records.status());
    if (!records->has_value() || (*records)->first_seq > base) break;
    count(**records);
    bytes = walk->bytes_accepted();
  }
  // What beside a rotation is a closing line under way is damage where a snapshot stands on this file.
  if (const auto& unsettled = walk->end().unsettled; unsettled.has_value()) {
    const std::string path = wal::join_path(dir_, unsettled->segment);
    const char* what = unsettled->closing_line_missing ? "the closing line is missing or damaged"
                                                       : "something stands behind the closing line";
    if (!is_live(path)) {
      return add_refusal(base::error(Code::kCorruption,
                                     "{} (byte {}): {}, though all of this file was on disk before {} was. "
                                     "try: restore this file from a copy; it is kept for looking back only",
                                     path, unsettled->offset, what, wal::snapshot_name(base))
                             .at(path, unsettled->offset));
    }
  }
  KV_ASSERT(files.segments.size() >= files.live_segments().size());
  report.segments += files.segments.size() - files.live_segments().size();
  report.bytes += bytes;
  return {};
}

// About so many, for the progress alone: what is wrong with a file is for the checks to find.
uint64_t Verifier::bytes_to_read() const {
  const Result<wal::StoreFiles> files = wal::list_store_files(env_, dir_);
  if (!files.ok()) return 0;
  uint64_t total = 0;
  const auto add = [&](const std::string& name) {
    const Result<uint64_t> size = wal::size_of_file(env_, wal::join_path(dir_, name));
    if (size.ok()) total += *size;
  };
  for (const wal::SnapshotFile& snapshot : files->snapshots) add(snapshot.name);
  for (const wal::Segment& segment : files->segments) add(segment.name);
  return total;
}

Status Verifier::run() {
  if (on_progress_) total_bytes_ = bytes_to_read();
  if (Status s = check_state(); !s.ok()) return s;
  Result<wal::StoreFiles> files = wal::list_store_files(env_, dir_);
  if (!files.ok()) return std::move(files).status();
  if (base_seq_.has_value()) {  // of a newer snapshot only another run can tell
    std::erase_if(files->snapshots, [&](const auto& snapshot) { return snapshot.last_seq > *base_seq_; });
    if (files->base_seq() != *base_seq_) return {};  // compacted, and the history before it, too
  }
  return check_history(*files);
}

}  // namespace

Result<VerifyReport> verify(env::Env& env, const std::string& dir,
                            const std::function<void(const Progress&)>& on_progress) {
  wal::WalkAttempts attempts;
  for (;;) {
    Verifier verifier(env, dir, on_progress);
    Status done = verifier.run();
    if (done.ok()) return std::move(verifier.report);
    if (done.code() != Code::kCompacted) return done;
    if (!attempts.may_begin_anew()) return attempts.outrun(dir);
  }
}

Result<std::vector<Finding>> verify_history(env::Env& env, const std::string& dir, std::string store) {
  const std::function<void(const Progress&)> silent;
  Verifier verifier(env, dir, silent, Verifier::Unreadable::kIsDamage);
  verifier.store = std::move(store);
  Result<wal::StoreFiles> files = wal::list_store_files(env, dir);
  if (!files.ok()) return std::move(files).status();
  if (Status s = verifier.check_history(*files); !s.ok()) return s;
  std::vector<Finding> wrong;
  for (Finding& finding : verifier.report.findings) {
    if (finding.severity == Severity::kDamage || finding.severity == Severity::kUnsupported)
      wrong.push_back(std::move(finding));
  }
  return wrong;
}

}  // namespace kvstore::engine
