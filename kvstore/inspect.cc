// LogCursor: the public face of wal::LogWalk. Read-only by construction: like verify.cc and info.cc it never opens a
// file for writing or touches the lock.
#include "kvstore/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/engine/advice.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::inline v1 {

// ---- LogCursor -----------------------------------------------------------------------------------

namespace {

LogOp::Kind kind_of(const format::Op& op) {
  switch (op.kind) {
    case format::Op::Kind::kPut:
      break;
    case format::Op::Kind::kDel:
      return LogOp::Kind::kDel;
    case format::Op::Kind::kEvict:
      return LogOp::Kind::kEvict;
  }
  return LogOp::Kind::kPut;
}

}  // namespace

struct LogCursor::Impl {
  Impl(std::unique_ptr<env::Env> e, wal::LogWalk w, std::string d)
      : env(std::move(e)), walk(std::move(w)), dir(std::move(d)) {}

  const std::unique_ptr<env::Env> env;
  wal::LogWalk walk;
  const std::string dir;
  std::optional<wal::Records> records;  // the chunk at hand
  size_t next_line = 0;                 // in it
  std::vector<format::Op> ops;
  base::Scratch scratch;
  LogRecord record;
  std::optional<CutReport> torn;

  // Line numbers are counted along the way. The next chunk begins where this one ends, or, of a file that grows, behind the
  // line told last.
  struct Counted {
    uint64_t bytes = 0;     // of the segment, from its beginning
    uint64_t newlines = 0;  // in these
  };
  format::Seq counted_segment = 0;
  Counted line_end;
  Counted chunk_end;

  static uint64_t newlines_in(std::string_view text) {
    return static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
  }
  // By the number that the segment has or gets: what its path names may by now be the segment after it.
  [[nodiscard]] Result<std::unique_ptr<env::File>> reopen_segment() const {
    const std::string numbered = wal::join_path(dir, wal::segment_name(records->first_seq));
    Result<std::unique_ptr<env::File>> file = env->open(numbered, env::OpenMode::kRead);
    if (file.status().sys_errno() != ENOENT) return file;
    Result<std::unique_ptr<env::File>> next = env->open(std::string(records->path), env::OpenMode::kRead);
    file = env->open(numbered, env::OpenMode::kRead);
    return file.ok() ? std::move(file) : std::move(next);
  }
  [[nodiscard]] Counted count_anew(uint64_t bytes) const {
    Result<std::unique_ptr<env::File>> file = reopen_segment();
    const Result<uint64_t> line = file.ok() ? wal::line_number_at(**file, bytes) : std::move(file).status();
    return {.bytes = bytes, .newlines = line.ok() ? *line - 1 : 0};  // unreadable: the walk has met that, or will
  }
  uint64_t number_of(const wal::LineRef& line) {
    if (records->first_seq != counted_segment) {
      counted_segment = records->first_seq;
      line_end = chunk_end = {};
    }
    const wal::Chunk& chunk = *records->chunk;
    const std::string_view text = chunk.bytes.view();
    const uint64_t at = chunk.offset_of(line);
    Counted here = line_end;
    if (here.bytes < chunk.offset || here.bytes > at) {
      here = chunk_end.bytes == chunk.offset ? chunk_end : count_anew(chunk.offset);
    }
    here.newlines += newlines_in(text.substr(here.bytes - chunk.offset, at - here.bytes));
    line_end = {.bytes = chunk.end_of(line), .newlines = here.newlines + (line.newline ? 1 : 0)};
    if (&line == &records->lines.back()) {
      chunk_end = {.bytes = chunk.offset + text.size(),
                   .newlines = line_end.newlines + newlines_in(text.substr(line_end.bytes - chunk.offset))};
    }
    return here.newlines + 1;
  }

  Result<const LogRecord*> step();
};

LogCursor::LogCursor(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
LogCursor::LogCursor(LogCursor&&) noexcept = default;
LogCursor& LogCursor::operator=(LogCursor&&) noexcept = default;
LogCursor::~LogCursor() = default;

Result<LogCursor> LogCursor::open(const std::filesystem::path& dir) {
  return base::guarded([&]() -> Result<LogCursor> {
    Result<std::unique_ptr<env::Env>> env = env::posix_env_for(dir);
    if (!env.ok()) return std::move(env).status().with("open");
    if (Status s = wal::hold_to_read(**env, dir.string()); !s.ok()) return s;
    Result<wal::LogWalk> walk = wal::LogWalk::open(**env, dir.string(), 1, wal::LogWalk::Start::kHistory);
    if (!walk.ok()) return engine::advise_repair(std::move(walk).status(), dir.string());
    return LogCursor(std::make_unique<Impl>(*std::move(env), *std::move(walk), dir.string()));
  });
}

Result<const LogRecord*> LogCursor::next() {
  return base::guarded([this] { return impl_->step(); });
}

Result<const LogRecord*> LogCursor::Impl::step() {
  Impl& c = *this;
  if (!c.records.has_value() || c.next_line == c.records->lines.size()) {
    Result<std::optional<wal::Records>> read = c.walk.next();
    // The walk reads ahead: its first end after records is that of an earlier moment, and records may stand there by now.
    if (read.ok() && !read->has_value() && c.records.has_value()) read = c.walk.next();
    if (!read.ok()) return engine::advise_repair(std::move(read).status(), c.dir);
    c.records = *std::move(read);
    c.next_line = 0;
    c.torn.reset();
    if (!c.records.has_value()) {
      if (!c.walk.end().cuts.empty()) c.torn = c.walk.end().cuts.front();
      return static_cast<const LogRecord*>(nullptr);
    }
  }
  const wal::Chunk& chunk = *c.records->chunk;
  const wal::LineRef& ref = c.records->lines[c.next_line];
  c.ops.clear();
  c.scratch.clear();
  const format::Line line = format::decode(chunk.text(ref), c.ops, c.scratch);

  LogRecord& out = c.record;
  out.seq = line.stamp.seq;
  out.ts_us = line.stamp.ts_us;
  out.synced = line.stamp.synced;
  out.by = line.by;
  out.is_batch = line.is_batch;
  out.ops.clear();
  for (const format::Op& op : c.ops) {
    out.ops.push_back(
        {.kind = kind_of(op), .key = op.key, .value = op.value, .is_json = op.is_json, .expires_us = op.expires_us});
  }
  out.line = chunk.text(ref);
  out.file = c.records->path;
  out.line_number = c.number_of(ref);
  out.offset = chunk.offset_of(ref);
  ++c.next_line;  // only now that nothing throws any more
  return &out;
}

const std::optional<CutReport>& LogCursor::torn_tail() const noexcept { return impl_->torn; }

// ---- verify --------------------------------------------------------------------------------------

bool VerifyReport::has(Finding::Severity severity) const noexcept {
  return std::any_of(findings.begin(), findings.end(), [severity](const Finding& f) { return f.severity == severity; });
}

Result<VerifyReport> verify(const std::filesystem::path& dir, const std::function<void(const Progress&)>& on_progress) {
  return base::guarded("verify", [&] { return engine::verify(env::posix_env(), dir.string(), on_progress); });
}

Result<StoreInfo> info(const std::filesystem::path& dir) {
  return base::guarded("info", [&] { return engine::info(env::posix_env(), dir.string()); });
}

}  // namespace kvstore::inline v1
