// LogCursor, verify() and info(): the public face of wal::LogWalk. Read-only by construction: nothing here
// opens a file for writing or touches the lock.
#include "kvstore/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cerrno>
#include <utility>

#include "kvstore/engine/inspect.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/segment_name.h"

namespace kvstore::inline v1 {

// ---- LogCursor -----------------------------------------------------------------------------------

struct LogCursor::Impl {
  explicit Impl(wal::LogWalk w) : walk(std::move(w)) {}

  wal::LogWalk walk;
  std::optional<wal::Records> records;   // the chunk at hand
  size_t next_line = 0;                  // in it
  std::vector<format::Op> ops;
  base::Scratch scratch;
  LogRecord record;
  std::optional<CutReport> torn;

  // Line numbers are counted along the way: `counted` bytes of `counted_file` hold `newlines` newlines.
  std::string counted_file;
  uint64_t counted = 0;
  uint64_t newlines = 0;

  uint64_t number_of(const wal::Chunk& chunk, const wal::LineRef& line, std::string_view path) {
    if (path != counted_file) {
      counted_file = path;
      counted = newlines = 0;
    }
    // Everything before the chunk was in an earlier chunk, or is filler between two readings of a growing file.
    const std::string_view text = chunk.bytes.view();
    const uint64_t from = std::max(counted, chunk.offset) - chunk.offset;
    newlines += static_cast<uint64_t>(std::count(text.begin() + static_cast<ptrdiff_t>(from), text.begin() + line.begin, '\n'));
    counted = chunk.offset_of(line);
    return newlines + 1;
  }
};

LogCursor::LogCursor(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
LogCursor::LogCursor(LogCursor&&) noexcept = default;
LogCursor& LogCursor::operator=(LogCursor&&) noexcept = default;
LogCursor::~LogCursor() = default;

Result<LogCursor> LogCursor::open(const std::filesystem::path& dir) {
  Result<wal::LogWalk> walk = wal::LogWalk::open(env::posix_env(), dir.string(), 1);
  if (!walk.ok()) return std::move(walk).status();
  return LogCursor(std::make_unique<Impl>(*std::move(walk)));
}

Result<const LogRecord*> LogCursor::next() {
  Impl& c = *impl_;
  if (!c.records.has_value() || c.next_line == c.records->lines.size()) {
    Result<std::optional<wal::Records>> records = c.walk.next();
    if (!records.ok()) return std::move(records).status();
    c.records = *std::move(records);
    c.next_line = 0;
    c.torn.reset();
    if (!c.records.has_value()) {
      if (c.walk.end().kind == wal::WalkEnd::Kind::kTorn) c.torn = c.walk.end().torn;
      return static_cast<const LogRecord*>(nullptr);
    }
  }
  const wal::Chunk& chunk = *c.records->chunk;
  const wal::LineRef& ref = c.records->lines[c.next_line++];
  c.ops.clear();
  c.scratch.clear();
  const format::Line line = format::decode(chunk.text(ref), c.ops, c.scratch);

  LogRecord& record = c.record;
  record.seq = line.stamp.seq;
  record.ts_us = line.stamp.ts_us;
  record.synced = line.stamp.synced;
  record.by = line.by;
  record.is_batch = line.is_batch;
  record.ops.clear();
  for (const format::Op& op : c.ops) {
    record.ops.push_back({.kind = op.kind == format::Op::Kind::kPut ? LogOp::Kind::kPut : LogOp::Kind::kDel,
                          .key = op.key,
                          .value = op.value,
                          .is_json = op.is_json,
                          .expires_us = op.expires_us});
  }
  record.line = chunk.text(ref);
  record.file = c.records->path;
  record.line_number = c.number_of(chunk, ref, c.records->path);
  record.offset = chunk.offset_of(ref);
  return &record;
}

const std::optional<CutReport>& LogCursor::torn_tail() const noexcept { return impl_->torn; }

// ---- verify --------------------------------------------------------------------------------------

bool VerifyReport::has(Finding::Severity severity) const noexcept {
  return std::any_of(findings.begin(), findings.end(), [severity](const Finding& f) { return f.severity == severity; });
}

Result<VerifyReport> verify(const std::filesystem::path& dir, const std::function<void(const Progress&)>& on_progress) {
  return engine::verify(env::posix_env(), dir.string(), on_progress);
}

Result<StoreInfo> info(const std::filesystem::path& dir) { return engine::info(env::posix_env(), dir.string()); }

}  // namespace kvstore::inline v1

namespace kvstore::engine {

namespace {

using Severity = Finding::Severity;

// A refusal of the walk, as a finding. The sentence ends in "try: ...", which is the advice.
Finding finding_of(const Status& status, Severity severity, uint64_t line) {
  const std::string_view sentence = status.message();
  const size_t advice = sentence.rfind(" try: ");
  return {.severity = severity,
          .file = std::string(status.path()),
          .line = line,
          .offset = status.offset().value_or(0),
          .bytes = 0,
          .message = std::string(sentence.substr(0, advice)),
          .advice = advice == std::string_view::npos ? "" : std::string(sentence.substr(advice + 6))};
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

}  // namespace

Result<VerifyReport> verify(env::Env& env, const std::string& dir, const std::function<void(const Progress&)>& on_progress) {
  constexpr uint64_t kProgressBytes = uint64_t{16} << 20;
  VerifyReport report;
  const auto add_refusal = [&](const Status& refusal) -> Status {
    if (refusal.code() != Code::kCorruption && refusal.code() != Code::kUnsupported) return refusal;
    uint64_t number = 0;
    std::string behind;
    Result<std::unique_ptr<env::File>> file = env.open(std::string(refusal.path()), env::OpenMode::kRead);
    if (file.ok() && refusal.offset().has_value()) {
      Result<uint64_t> counted = wal::line_number_at(**file, *refusal.offset());
      if (counted.ok()) number = *counted;
      behind = look_behind(**file, *refusal.offset());
    }
    const bool newer = refusal.code() == Code::kUnsupported;
    report.findings.push_back(finding_of(refusal, newer ? Severity::kUnsupported : Severity::kDamage, number));
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
  };

  Result<wal::LogWalk> walk = wal::LogWalk::open(env, dir, 1);
  if (!walk.ok()) {
    if (Status s = add_refusal(walk.status()); !s.ok()) return s;
    return report;
  }
  uint64_t total_bytes = 0;
  uint64_t next_progress = kProgressBytes;
  if (on_progress) {
    Result<StoreInfo> summary = info(env, dir);
    if (!summary.ok()) return std::move(summary).status();
    for (const SegmentInfo& segment : summary->segments) total_bytes += segment.bytes;
  }
  for (;;) {
    Result<std::optional<wal::Records>> records = walk->next();
    if (!records.ok()) {
      if (Status s = add_refusal(records.status()); !s.ok()) return s;
      break;
    }
    if (!records->has_value()) {
      const wal::WalkEnd& end = walk->end();
      if (end.kind == wal::WalkEnd::Kind::kTorn) {
        report.findings.push_back({.severity = Severity::kTornTail,
                                   .file = end.torn.file,
                                   .line = end.torn.line,
                                   .offset = end.torn.offset,
                                   .bytes = end.torn.bytes,
                                   .message = fmt::format("{}:{} (byte {}): {} bytes: {}", end.torn.file, end.torn.line,
                                                          end.torn.offset, end.torn.bytes, end.torn.reason),
                                   .advice = env.is_locked(wal::join_path(dir, wal::kLockName))
                                                 ? "nothing: a process has the store open, and may be writing this line now"
                                                 : "nothing: the next opening for writing cuts it and keeps it in lost+found/"});
      }
      break;
    }
    report.records += (*records)->lines.size();
    for (const wal::LineRef& line : (*records)->lines) report.operations += line.op_count;
    if (on_progress && walk->bytes_accepted() >= next_progress) {
      on_progress({.step = "verify", .done_bytes = walk->bytes_accepted(), .total_bytes = total_bytes});
      next_progress = walk->bytes_accepted() + kProgressBytes;
    }
  }
  report.segments = walk->segments().size();
  report.bytes = walk->bytes_accepted();
  report.last_seq = walk->last_seq();
  report.synced_seq = walk->synced_seq();
  return report;
}

// ---- info ----------------------------------------------------------------------------------------

namespace {

constexpr size_t kLookBytes = 1024;  // a header and a closing line are shorter

struct Ends {
  uint64_t bytes = 0;
  bool sealed = false;
};

// Reads the first and last few bytes of a segment. A header of a known kind fills `out`'s identity.
Result<Ends> look_at_ends(env::Env& env, const std::string& path, bool is_first, StoreInfo& out) {
  Result<std::unique_ptr<env::File>> file = env.open(path, env::OpenMode::kRead);
  if (!file.ok()) return std::move(file).status();
  Result<uint64_t> size = (*file)->size();
  if (!size.ok()) return std::move(size).status();
  std::vector<format::Op> ops;
  base::Scratch scratch;
  std::string bytes(kLookBytes, '\0');
  if (is_first) {
    Result<size_t> got = (*file)->read_at(0, bytes);
    if (!got.ok()) return std::move(got).status();
    const std::string_view text = std::string_view(bytes).substr(0, *got);
    const format::Line line = format::decode(text.substr(0, text.find('\n')), ops, scratch);
    if (line.kind == format::LineKind::kSegmentHeader) {
      out.uuid = line.header.store;
      out.format = line.header.format;
      out.created_us = line.header.created_us;
    }
  }
  Result<size_t> got = (*file)->read_at(*size - std::min<uint64_t>(*size, kLookBytes), bytes);
  if (!got.ok()) return std::move(got).status();
  std::string_view text = std::string_view(bytes).substr(0, *got);
  text = text.substr(0, text.find_last_not_of('\n') + 1);
  text = text.substr(text.rfind('\n') + 1);
  const bool sealed = format::decode(text, ops, scratch).kind == format::LineKind::kSegmentEnd;
  return Ends{.bytes = *size, .sealed = sealed};
}

}  // namespace

Result<StoreInfo> info(env::Env& env, const std::string& dir) {
  Result<std::vector<wal::Segment>> segments = wal::list_segments(env, dir);
  if (!segments.ok()) return std::move(segments).status();
  Result<std::optional<wal::Owner>> owner = wal::read_owner(env, dir);
  if (!owner.ok()) return std::move(owner).status();
  if (segments->empty() && !owner->has_value()) {
    return Status(Code::kNotAStore, fmt::format("{}: no store here: it has no log file", dir)).at(dir);
  }
  StoreInfo out;
  if (owner->has_value()) {
    out.uuid = (*owner)->store;
    out.closed_seq = (*owner)->closed_seq;
    out.owner = {.pid = (*owner)->pid,
                 .host = (*owner)->host,
                 .started_us = (*owner)->started_us,
                 .alive = env.is_locked(wal::join_path(dir, wal::kLockName))};
  }
  for (const wal::Segment& segment : *segments) {
    Result<Ends> ends = look_at_ends(env, wal::join_path(dir, segment.name), out.segments.empty(), out);
    if (!ends.ok()) return std::move(ends).status();
    out.segments.push_back(
        {.file = segment.name, .first_seq = segment.first_seq, .bytes = ends->bytes, .sealed = ends->sealed});
  }
  Result<std::vector<std::string>> lost = env.list(wal::join_path(dir, wal::kLostAndFoundName));
  if (lost.ok()) out.lost_and_found_files = lost->size();
  return out;
}

}  // namespace kvstore::engine
