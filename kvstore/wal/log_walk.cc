#include "kvstore/wal/log_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk_impl.h"

namespace kvstore::wal {

using base::error;
using format::LineKind;
using format::Seq;

// ---- beginning -----------------------------------------------------------------------------------

Status LogWalk::Impl::begin_with_snapshot(const SnapshotFile& newest) {
  Result<SnapshotReader> reader = SnapshotReader::open(env, dir, newest, threads);
  if (!reader.ok()) return std::move(reader).status();
  base = reader->summary();
  if (!uuid.empty() && base->store != uuid) {
    return damage_at(
        nullptr, join_path(dir, newest.name), 0, Code::kCorruption,
        fmt::format("this is a snapshot of store {}, expected one of store {}. try: put the right file back",
                    base->store, uuid));
  }
  KV_ASSERT(base->last_seq == newest.last_seq);  // the reader has compared them
  KV_ASSERT(newest.last_seq == covered);
  uuid = base->store;
  expected = newest.last_seq + 1;
  last_ts_us = base->created_us;
  snapshot.emplace(*std::move(reader));
  return {};
}

Status LogWalk::Impl::begin(const StoreFiles& files, Start start) {
  Result<std::optional<Owner>> noted = read_owner(env, dir);
  const bool no_lock = noted.ok() && !noted->has_value();
  if (!noted.ok() && noted.status().sys_errno() != ENOTDIR) return std::move(noted).status();
  if (noted.ok() && noted->has_value()) owner = **noted;
  uuid = owner.store;
  covered = files.base_seq();
  synced = std::max(owner.closed_seq, covered);
  const bool is_state = start != Start::kHistory;
  segments = is_state ? files.live_segments() : files.segments;

  if (files.segments.empty() && files.snapshots.empty()) {
    if (files.has_next) {
      return error(Code::kCorruption,
                   "{}: of the log only {} is left, which is begun when a segment is nearly full: the files before it "
                   "are "
                   "missing. try: restore the wal-*.jsonl files from a copy",
                   dir, kNextSegmentName)
          .at(dir);
    }
    if (no_lock) return error(Code::kNotAStore, "{}: no store here: it has no log file", dir).at(dir);
    if (owner.store.empty()) return {};  // it died before its first segment had a name
    return error(Code::kCorruption,
                 "{}: no log file is left, but LOCK says that this is store {}{}. try: restore the wal-*.jsonl files "
                 "from a copy; "
                 "or, to begin anew, remove LOCK too",
                 dir, owner.store,
                 owner.closed_seq == 0
                     ? ""
                     : fmt::format(", and that {} records were on disk when it was closed", owner.closed_seq))
        .at(dir);
  }
  if (segments.empty() || (is_state && segments.front().first_seq != covered + 1)) {
    if (covered == 0) {
      return error(Code::kCorruption,
                   "{}: the log begins with {}, so the files with the {} records before it are missing. "
                   "try: restore them from a copy",
                   dir, segments.front().name, segments.front().first_seq - 1)
          .at(dir);
    }
    return error(Code::kCorruption,
                 "{}: the snapshot {} names {} as the next segment, but that file is missing. try: restore it from a "
                 "copy",
                 dir, files.snapshots.back().name, segment_name(covered + 1))
        .at(dir);
  }
  if (is_state) return covered == 0 ? Status() : begin_with_snapshot(files.snapshots.back());
  if (segments.front().first_seq > covered + 1) {
    return error(Code::kCorruption,
                 "{}: the log begins with {}, so the files with the records before it are missing. "
                 "try: restore them from a copy",
                 dir, segments.front().name)
        .at(dir);
  }
  expected = segments.front().first_seq;
  return {};
}

// Opens everything that was listed, if it can. False: by now the listing is another one.
Result<bool> LogWalk::Impl::hold(const StoreFiles& files) {
  constexpr size_t kHeldMax = 64;
  if (segments.size() > kHeldMax) return true;
  Held all;
  bool has_all = true;
  const auto open = [&](const std::string& name) {
    Result<std::unique_ptr<env::File>> opened = env.open(join_path(dir, name), env::OpenMode::kRead);
    has_all = has_all && opened.ok();  // what cannot be opened, reading will meet, and know what it means
    return opened.ok() ? *std::move(opened) : nullptr;
  };
  for (const Segment& segment : segments) all.segments.push_back(open(segment.name));
  if (files.has_next) all.next = open(std::string(kNextSegmentName));
  if (!has_all) all = {};  // there may be too few descriptors
  Result<StoreFiles> now = list_store_files(env, dir);
  if (!now.ok()) {
    const int why = now.status().sys_errno();
    return why == EMFILE || why == ENFILE ? true : Result<bool>(std::move(now).status());
  }
  if (*now != files) return false;
  if (has_all) held = std::move(all);
  return true;
}

// ---- accepting -----------------------------------------------------------------------------------

// kCompacted when it has gone since it was listed, because a compaction beside us was faster, and nobody holds it.
Result<std::unique_ptr<env::File>> LogWalk::Impl::take(size_t i) {
  KV_ASSERT(i < segments.size());
  if (held.has_value() && i < held->segments.size()) return std::move(held->segments[i]);
  Result<std::unique_ptr<env::File>> opened = env.open(join_path(dir, segments[i].name), env::OpenMode::kRead);
  if (opened.ok()) return opened;
  if (opened.status().sys_errno() == ENOENT) {
    Result<bool> gone = was_compacted();
    if (!gone.ok()) return std::move(gone).status();
    if (*gone) return compacted();
  }
  return std::move(opened).status().with("read the log");
}

Status LogWalk::Impl::open_following() {
  if (next_file != nullptr) return {};
  Result<std::unique_ptr<env::File>> opened = take(index + 1);
  if (!opened.ok()) return std::move(opened).status();
  next_file = *std::move(opened);
  return {};
}

Status LogWalk::Impl::open_segment() {
  path = join_path(dir, segments[index].name);
  if (file == nullptr) {  // those behind the first are opened before the walk moves on
    Result<std::unique_ptr<env::File>> opened = take(index);
    if (!opened.ok()) return std::move(opened).status();
    file = *std::move(opened);
  }
  KV_ASSERT(pipeline == nullptr);
  pipeline = std::make_unique<ChunkPipeline>(*file, offset, threads);
  return {};
}

bool LogWalk::Impl::accept_header(std::string_view text) {
  std::vector<format::Op> ops;
  base::Scratch scratch;
  KV_ASSERT(index < segments.size());
  const format::SegmentHeader header = format::decode(text, ops, scratch).header;
  if (header.first_seq != segments[index].first_seq || header.first_seq != expected) return false;
  if (!uuid.empty() && header.store != uuid) return false;
  uuid = header.store;
  in_segment = true;
  KV_ASSERT(expected > 0);
  if (!segments[index].is_next()) synced = std::max(synced, header.first_seq - 1);
  return true;
}

// True when the line belongs exactly here; the place then moves behind it.
bool LogWalk::Impl::accept(const Chunk& chunk, const LineRef& line) {
  if (!in_segment) {
    if (line.kind != LineKind::kSegmentHeader || !accept_header(chunk.text(line))) return false;
  } else if (sealed) {
    return false;
  } else if (line.kind == LineKind::kRecord) {
    if (line.stamp.seq != expected) return false;
    ++expected;
    KV_ASSERT(line.stamp.synced < line.stamp.seq);  // the decoder takes no line that vouches for itself
    last_ts_us = std::max(last_ts_us, line.stamp.ts_us);
    synced = std::max(synced, line.stamp.synced);
  } else if (line.kind == LineKind::kSegmentEnd) {
    std::vector<format::Op> ops;
    base::Scratch scratch;
    const format::SegmentEnd seal = format::decode(chunk.text(line), ops, scratch).end;
    // Of a segment without a record it is the line that closed the one before it: a block of that one's, which came to this
    // segment and shows what it held.
    const bool has_record = expected > segments[index].first_seq;
    if (!has_record || seal.last_seq != expected - 1 || seal.next != segment_name(expected)) return false;
    sealed = true;
  } else {
    return false;
  }
  KV_ASSERT(chunk.offset_of(line) >= offset);  // a walk goes forward
  offset = chunk.end_of(line);
  newline = line.newline;
  bytes_accepted += line.size + 1;
  return true;
}

// nullopt: the snapshot is through.
Result<std::optional<Records>> LogWalk::Impl::next_entries() {
  Result<std::optional<Records>> entries = snapshot->next();
  if (!entries.ok()) return refuse(unless_compacted(std::move(entries).status()));
  KV_ASSERT(base.has_value());
  if (entries->has_value()) {
    const Chunk& chunk = *(*entries)->chunk;
    snapshot_bytes = chunk.offset + chunk.bytes.size();
  } else {
    snapshot_bytes = base->bytes;
    snapshot.reset();
  }
  return entries;
}

Result<std::optional<Records>> LogWalk::Impl::next() {
  lent.reset();
  KV_ASSERT(expected > 0);
  KV_ASSERT(segments.empty() || index < segments.size());
  if (!failure.ok()) return failure;
  if (snapshot.has_value()) {
    Result<std::optional<Records>> entries = next_entries();
    if (!entries.ok() || entries->has_value()) return entries;
  }
  while (!segments.empty()) {
    if (pipeline == nullptr) {
      if (Status s = open_segment(); !s.ok()) return refuse(std::move(s));
    }
    Result<const Chunk*> read = pipeline->next();
    if (!read.ok()) return refuse(std::move(read).status().with("read the log"));

    Result<bool> go_on = true;
    if (*read == nullptr) {
      go_on = finish_segment();
    } else {
      const Chunk& chunk = **read;
      size_t first = chunk.lines.size();  // of the records accepted here: a header stands before, a closing line behind
      size_t last = first;
      size_t i = 0;
      while (i < chunk.lines.size() && accept(chunk, chunk.lines[i])) {
        if (chunk.lines[i].kind == LineKind::kRecord) {
          first = std::min(first, i);
          last = i + 1;
        }
        ++i;
      }
      if (first < chunk.lines.size()) {
        KV_ASSERT(in_segment);  // no record comes before the header
        KV_ASSERT(first < last && last <= i);
        // A bad line behind good ones waits: the next call meets it again, from here, as its second look.
        if (i < chunk.lines.size()) {
          lent = std::exchange(pipeline, nullptr);
          looked_twice = {index, offset};
        }
        return std::optional<Records>(
            Records{&chunk, std::span(chunk.lines).subspan(first, last - first), path, segments[index].first_seq});
      }
      if (i < chunk.lines.size()) go_on = finish_bad_line(chunk, chunk.lines[i]);
    }
    if (!go_on.ok()) return refuse(std::move(go_on).status());
    if (!*go_on) break;
  }
  pipeline.reset();  // a further call starts reading again from the place
  return std::optional<Records>();
}

// ---- the outside ---------------------------------------------------------------------------------

LogWalk::LogWalk(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
LogWalk::LogWalk(LogWalk&&) noexcept = default;
LogWalk::~LogWalk() = default;

namespace {

constexpr int kWalksMin = 20;

Status outrun_times(const std::string& dir, int times) {
  return error(Code::kCompacted,
               "{}: it is compacted faster than it can be read, {} times in a row. try: again when less is written to "
               "it, or read a backup",
               dir, times)
      .at(dir);
}

}  // namespace

// Beside a live writer the listing may be out of date by the time the files are opened: a compaction removes files, but
// only after its snapshot has got its name. So a failure counts when a second listing shows no newer snapshot.
Result<LogWalk> LogWalk::open(env::Env& env, const std::string& dir, unsigned threads, Start start) {
  bool has_failed = false;  // the attempt before, with a snapshot of
  Seq tried = 0;
  for (int attempt = 1;; ++attempt) {
    Result<StoreFiles> files = list_store_files(env, dir);
    if (!files.ok()) return std::move(files).status();
    auto impl = std::make_unique<Impl>(env, dir, threads);
    Status begun = impl->begin(*files, start);
    if (!begun.ok()) {
      if (has_failed && tried == files->base_seq()) return begun;
      if (attempt >= kWalksMin) return outrun_times(dir, attempt);
      has_failed = true;
      tried = files->base_seq();
      continue;
    }
    const Result<bool> is_steady = start == Start::kInstant ? impl->hold(*files) : true;
    if (!is_steady.ok()) return is_steady.status();
    if (*is_steady || attempt >= kWalksMin) return LogWalk(std::move(impl));
    has_failed = false;
  }
}

Result<std::optional<Records>> LogWalk::next() {
  try {
    return impl_->next();
  } catch (const std::bad_alloc&) {  // what was accepted by then is lost, so nothing may be read behind it
    return impl_->refuse(Status(Code::kOutOfMemory, "out of memory"));
  }
}
const WalkEnd& LogWalk::end() const noexcept { return impl_->end; }
const std::string& LogWalk::store_uuid() const noexcept { return impl_->uuid; }
const Owner& LogWalk::owner() const noexcept { return impl_->owner; }
const std::vector<Segment>& LogWalk::segments() const noexcept { return impl_->segments; }
Seq LogWalk::last_seq() const noexcept { return impl_->expected - 1; }
int64_t LogWalk::last_ts_us() const noexcept { return impl_->last_ts_us; }
Seq LogWalk::synced_seq() const noexcept { return impl_->synced; }
uint64_t LogWalk::bytes_accepted() const noexcept { return impl_->bytes_accepted; }
uint64_t LogWalk::bytes_read() const noexcept { return impl_->snapshot_bytes + impl_->bytes_accepted; }
const std::optional<SnapshotReader::Summary>& LogWalk::base() const noexcept { return impl_->base; }

bool WalkAttempts::may_begin_anew() noexcept {
  constexpr auto kForAtLeast = std::chrono::seconds(2);
  if (begun_times_ >= kWalksMin && std::chrono::steady_clock::now() - begun_ >= kForAtLeast) return false;
  ++begun_times_;
  return true;
}

Status WalkAttempts::outrun(const std::string& dir) const { return outrun_times(dir, begun_times_); }

}  // namespace kvstore::wal
