#include "kvstore/wal/log_walk.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/wal/segment_name.h"

namespace kvstore::wal {

using base::error;
using format::LineKind;
using format::Seq;

Result<std::vector<Segment>> list_segments(env::Env& env, const std::string& dir) {
  Result<std::vector<std::string>> names = env.list(dir);
  if (!names.ok()) {
    const int cause = names.status().sys_errno();
    if (cause == ENOENT) return error(Code::kNotAStore, "{}: no such directory", dir).at(dir);
    if (cause == ENOTDIR) return error(Code::kNotAStore, "{}: not a directory, so not a store", dir).at(dir);
    return std::move(names).status();
  }
  std::vector<Segment> segments;
  for (std::string& name : *names) {
    if (const std::optional<Seq> first = parse_segment_name(name)) segments.push_back({std::move(name), *first});
  }
  std::sort(segments.begin(), segments.end(), [](const Segment& a, const Segment& b) { return a.first_seq < b.first_seq; });
  return segments;
}

Result<uint64_t> line_number_at(env::File& file, uint64_t offset) {
  std::array<char, size_t{64} << 10> block;
  uint64_t line = 1;
  for (uint64_t at = 0; at < offset;) {
    const size_t want = std::min<uint64_t>(block.size(), offset - at);
    Result<size_t> got = file.read_at(at, {block.data(), want});
    if (!got.ok()) return std::move(got).status();
    line += static_cast<uint64_t>(std::count(block.data(), block.data() + *got, '\n'));
    if (*got < want) break;
    at += *got;
  }
  return line;
}

struct LogWalk::Impl {
  env::Env& env;
  std::string dir;
  unsigned threads;

  std::vector<Segment> segments;
  Owner owner;
  std::string uuid;

  // The place: segments[index], behind everything accepted.
  size_t index = 0;
  uint64_t offset = 0;
  bool newline = true;
  bool in_segment = false;        // its header has been accepted
  bool sealed = false;            // its closing line has been accepted
  std::unique_ptr<env::File> file;
  std::unique_ptr<ChunkPipeline> pipeline;   // null: to be opened at `offset`
  std::unique_ptr<ChunkPipeline> lent;       // keeps the handed-out chunk alive when `pipeline` is done with
  std::string path;

  // The second look (head comment): the place where reading has already been done twice.
  std::optional<std::pair<size_t, uint64_t>> looked_twice;

  Seq expected = 1;
  int64_t last_ts_us = 0;
  Seq synced = 0;
  uint64_t bytes_accepted = 0;
  Status failure;                 // once set, every next() repeats it
  WalkEnd end;

  Impl(env::Env& e, std::string d, unsigned t) : env(e), dir(std::move(d)), threads(t) {}

  [[nodiscard]] bool is_last() const { return index + 1 == segments.size(); }

  Result<std::optional<Records>> next();
  Status open_segment();
  bool accept(const Chunk& chunk, const LineRef& line);
  bool accept_header(std::string_view text);
  bool second_look();
  Result<bool> finish_segment();
  Result<bool> finish_bad_line(const Chunk& chunk, const LineRef& line);
  Result<bool> rotation_was_cut_short();
  void move_on();
  void leave_unsettled();
  Result<Seq> highest_voucher_behind(uint64_t from);
  Result<uint64_t> end_of_content(uint64_t from);
  Status damage(Code code, uint64_t at, std::string_view what);
  Status refuse(Status status);
};

// ---- accepting -----------------------------------------------------------------------------------

Status LogWalk::Impl::open_segment() {
  path = join_path(dir, segments[index].name);
  if (file == nullptr) {
    Result<std::unique_ptr<env::File>> opened = env.open(path, env::OpenMode::kRead);
    if (!opened.ok()) return std::move(opened).status().with("read the log");
    file = *std::move(opened);
  }
  pipeline = std::make_unique<ChunkPipeline>(*file, offset, threads);
  return {};
}

bool LogWalk::Impl::accept_header(std::string_view text) {
  std::vector<format::Op> ops;
  base::Scratch scratch;
  const format::SegmentHeader header = format::decode(text, ops, scratch).header;
  if (header.first_seq != segments[index].first_seq || header.first_seq != expected) return false;
  if (!uuid.empty() && header.store != uuid) return false;
  uuid = header.store;
  in_segment = true;
  synced = std::max(synced, header.first_seq - 1);
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
    last_ts_us = std::max(last_ts_us, line.stamp.ts_us);
    synced = std::max(synced, line.stamp.synced);
  } else if (line.kind == LineKind::kSegmentEnd) {
    std::vector<format::Op> ops;
    base::Scratch scratch;
    const format::SegmentEnd seal = format::decode(chunk.text(line), ops, scratch).end;
    if (seal.last_seq != expected - 1 || seal.next != segment_name(expected)) return false;
    sealed = true;
  } else {
    return false;
  }
  offset = chunk.end_of(line);
  newline = line.newline;
  bytes_accepted += line.size + 1;
  return true;
}

Result<std::optional<Records>> LogWalk::Impl::next() {
  lent.reset();
  if (!failure.ok()) return failure;
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
        // A bad line behind good ones waits: the next call meets it again, from here, as its second look.
        if (i < chunk.lines.size()) {
          lent = std::exchange(pipeline, nullptr);
          looked_twice = {index, offset};
        }
        return std::optional<Records>(Records{&chunk, std::span(chunk.lines).subspan(first, last - first), path});
      }
      if (i < chunk.lines.size()) go_on = finish_bad_line(chunk, chunk.lines[i]);
    }
    if (!go_on.ok()) return refuse(std::move(go_on).status());
    if (!*go_on) break;
  }
  pipeline.reset();  // a further call starts reading again from the place
  return std::optional<Records>();
}

// ---- stopping ------------------------------------------------------------------------------------

Status LogWalk::Impl::refuse(Status status) {
  failure = status;
  pipeline.reset();
  return status;
}

Status LogWalk::Impl::damage(Code code, uint64_t at, std::string_view what) {
  uint64_t number = 0;
  if (file != nullptr) {
    if (Result<uint64_t> counted = line_number_at(*file, at); counted.ok()) number = *counted;
  }
  return error(code, "{}:{} (byte {}): {}", path, number, at, what).at(path, at);
}

// False once the place has been looked at twice already; otherwise arranges for the second look.
bool LogWalk::Impl::second_look() {
  const std::pair<size_t, uint64_t> place{index, offset};
  if (looked_twice == place) return false;
  looked_twice = place;
  pipeline.reset();
  return true;
}

void LogWalk::Impl::move_on() {
  ++index;
  offset = 0;
  newline = true;
  in_segment = sealed = false;
  pipeline.reset();
  file.reset();
}

// Goes on to the next segment; the next opening for writing puts the end of this one right.
void LogWalk::Impl::leave_unsettled() {
  end.unsettled_segment = segments[index].name;
  end.unsettled_offset = offset;
  end.closing_line_missing = !sealed;
  move_on();
}

// Complete up to the next segment's first record, which is the last and has no record yet: the crash came
// between the birth of the new segment and the end of the sealing of this one.
Result<bool> LogWalk::Impl::rotation_was_cut_short() {
  if (index + 2 != segments.size() || segments[index + 1].first_seq != expected) return false;
  Result<std::unique_ptr<env::File>> following =
      env.open(join_path(dir, segments[index + 1].name), env::OpenMode::kRead);
  if (!following.ok()) return std::move(following).status();
  ChunkReader reader(**following, 0);
  Chunk chunk;
  bool header = false;
  for (;;) {
    Result<bool> more = reader.next(chunk);
    if (!more.ok()) return std::move(more).status();
    if (!*more) return header;
    decode_chunk(chunk);
    for (const LineRef& line : chunk.lines) {
      if (header || line.kind != LineKind::kSegmentHeader) return false;
      header = true;
    }
  }
}

// The end of the file was reached. True: go on reading.
Result<bool> LogWalk::Impl::finish_segment() {
  if (is_last()) {  // a writer may have rotated meanwhile
    Result<std::vector<Segment>> again = list_segments(env, dir);
    if (!again.ok()) return std::move(again).status();
    if (again->size() > segments.size()) {
      segments = *std::move(again);
      pipeline.reset();
      return true;
    }
  }
  if (!in_segment) {
    if (second_look()) return true;
    return damage(Code::kCorruption, 0,
                  "the file has no header line, though it got its name only once the header was on disk: it was emptied. "
                  "try: restore this file from a copy; the other files are as they were");
  }

  if (!is_last()) {
    const Segment& following = segments[index + 1];
    if (following.first_seq == expected && sealed) return move_on(), true;
    Result<bool> cut_short = rotation_was_cut_short();
    if (!cut_short.ok()) return std::move(cut_short).status();
    if (*cut_short) return leave_unsettled(), true;
    if (second_look()) return true;
    if (following.first_seq == expected) {
      return damage(Code::kCorruption, offset, "the closing line is missing, though a later segment has records. "
                                               "try: restore this file from a copy");
    }
    return damage(Code::kCorruption, offset,
                  fmt::format("the file ends with record {}, but the next one, {}, begins with record {}: promised records "
                              "are missing between them. try: restore the missing file or lines from a copy",
                              expected - 1, following.name, following.first_seq));
  }

  if (sealed || owner.closed_seq >= expected) {
    if (second_look()) return true;
    if (sealed) {
      return damage(Code::kCorruption, offset,
                    fmt::format("the closing line names {} as the next segment, but that file is missing. "
                                "try: restore it from a copy",
                                segment_name(expected)));
    }
    return damage(Code::kCorruption, offset,
                  fmt::format("the log ends with record {}, but LOCK says that record {} was on disk when the store was "
                              "closed: the file was cut short. try: restore it from a copy",
                              expected - 1, owner.closed_seq));
  }
  end.kind = WalkEnd::Kind::kClean;
  end.torn = {};
  end.segment = segments[index].name;
  end.offset = offset;
  end.newline_missing = !newline;
  return false;
}

// The highest sequence number that anything behind byte `from` of this segment, or beyond it, promises.
Result<Seq> LogWalk::Impl::highest_voucher_behind(uint64_t from) {
  Seq highest = std::max(synced, owner.closed_seq);
  for (size_t i = index + 1; i < segments.size(); ++i) highest = std::max(highest, segments[i].first_seq - 1);
  ChunkReader reader(*file, from);
  Chunk chunk;
  std::vector<format::Op> ops;
  base::Scratch scratch;
  for (;;) {
    Result<bool> more = reader.next(chunk);
    if (!more.ok()) return std::move(more).status();
    if (!*more) return highest;
    decode_chunk(chunk);
    for (const LineRef& line : chunk.lines) {
      if (line.kind == LineKind::kRecord) highest = std::max(highest, line.stamp.synced);
      if (line.kind == LineKind::kSegmentEnd) {  // written only after a sync of all before it
        highest = std::max(highest, format::decode(chunk.text(line), ops, scratch).end.last_seq);
      }
    }
  }
}

// Where the last byte that is no newline ends.
Result<uint64_t> LogWalk::Impl::end_of_content(uint64_t from) {
  uint64_t content_end = from;
  ChunkReader reader(*file, from);
  Chunk chunk;
  for (;;) {
    Result<bool> more = reader.next(chunk);
    if (!more.ok()) return std::move(more).status();
    if (!*more) return content_end;
    const size_t last = chunk.bytes.view().find_last_not_of('\n');
    if (last != std::string_view::npos) content_end = chunk.offset + last + 1;
  }
}

// `line` does not belong where it stands. True: go on reading.
Result<bool> LogWalk::Impl::finish_bad_line(const Chunk& chunk, const LineRef& line) {
  if (second_look()) return true;
  const uint64_t at = chunk.offset_of(line);
  const std::string_view text = chunk.text(line);
  std::vector<format::Op> ops;
  base::Scratch scratch;
  const format::Line decoded = format::decode(text, ops, scratch);

  if (!in_segment) {
    if (line.kind == LineKind::kUnknownOp) {
      return damage(Code::kUnsupported, at, "written in a newer format. try: a newer version of this program");
    }
    if (line.kind != LineKind::kSegmentHeader) {
      return damage(Code::kCorruption, at,
                    fmt::format("no segment header: {}. try: restore this file from a copy", explain(text, decoded)));
    }
    return damage(Code::kCorruption, at,
                  fmt::format("the header is that of record {} of store {}, expected record {} of store {}: a file of "
                              "another place or store. try: put the right file back",
                              decoded.header.first_seq, decoded.header.store, expected, uuid));
  }
  // A torn closing line; or zeros behind it, where the file was to be cut and only its bytes reached the disk.
  Result<bool> cut_short = rotation_was_cut_short();
  if (!cut_short.ok()) return std::move(cut_short).status();
  if (*cut_short) return leave_unsettled(), true;
  if (sealed) {
    return damage(Code::kCorruption, at, "a line stands behind the closing line. try: restore this file from a copy");
  }

  Result<Seq> promised = highest_voucher_behind(offset);
  if (!promised.ok()) return std::move(promised).status();
  const bool is_record = line.kind == LineKind::kRecord;
  const bool is_end = line.kind == LineKind::kSegmentEnd;
  const format::LineFacts facts{
      .newline = line.newline,
      .sealed = line.kind != LineKind::kUnsealed,
      .crc_ok = line.kind != LineKind::kUnsealed && line.kind != LineKind::kBadCrc,
      .well_formed = is_record || is_end || line.kind == LineKind::kUnknownOp,
      .known_op = line.kind != LineKind::kUnknownOp,
      .next_seq = false,  // else accept() had taken it
      .vouched = *promised >= expected,
  };
  std::string cause = explain(text, decoded);
  if (is_record) cause = fmt::format("record {} stands where record {} belongs", line.stamp.seq, expected);
  if (is_end) cause = fmt::format("a closing line for record {} stands where record {} belongs", decoded.end.last_seq, expected);

  switch (format::judge(facts)) {
    case format::Verdict::kUnsupported:
      return damage(Code::kUnsupported, at, fmt::format("{}. try: a newer version of this program", cause));
    case format::Verdict::kAccept:  // not reached: next_seq is false
    case format::Verdict::kCorrupt:
      return damage(Code::kCorruption, at,
                    fmt::format("{}; {}; records up to {} were promised to be on disk. "
                                "try: kvctl verify {}, then restore this file from a copy",
                                cause, format::why(facts), *promised, dir));
    case format::Verdict::kCut:
      break;
  }
  Result<uint64_t> content_end = end_of_content(at);
  if (!content_end.ok()) return std::move(content_end).status();
  Result<uint64_t> number = line_number_at(*file, at);
  if (!number.ok()) return std::move(number).status();
  end.kind = WalkEnd::Kind::kTorn;
  end.torn = {.file = path,
              .line = *number,
              .offset = at,
              .bytes = *content_end - at,
              .reason = fmt::format("{}; {}", cause, format::why(facts)),
              .kept_as = {}};
  end.segment = segments[index].name;
  end.offset = offset;
  end.newline_missing = !newline;
  return false;
}

// ---- the outside ---------------------------------------------------------------------------------

LogWalk::LogWalk(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
LogWalk::LogWalk(LogWalk&&) noexcept = default;
LogWalk& LogWalk::operator=(LogWalk&&) noexcept = default;
LogWalk::~LogWalk() = default;

Result<LogWalk> LogWalk::open(env::Env& env, const std::string& dir, unsigned threads) {
  auto impl = std::make_unique<Impl>(env, dir, threads);
  Result<std::optional<Owner>> owner = read_owner(env, dir);
  const bool no_lock = owner.ok() && !owner->has_value();
  if (!owner.ok() && owner.status().sys_errno() != ENOTDIR) return std::move(owner).status();
  Result<std::vector<Segment>> segments = list_segments(env, dir);
  if (!segments.ok()) return std::move(segments).status();
  if (owner.ok() && owner->has_value()) impl->owner = **owner;
  impl->segments = *std::move(segments);
  impl->uuid = impl->owner.store;
  impl->synced = impl->owner.closed_seq;

  const Seq vouched = impl->owner.closed_seq;
  if (impl->segments.empty()) {
    if (no_lock) return error(Code::kNotAStore, "{}: no store here: it has no log file", dir).at(dir);
    if (vouched > 0) {
      return error(Code::kCorruption,
                   "{}: no log file is left, but LOCK says that {} records were on disk when the store was closed. "
                   "try: restore the wal-*.jsonl files from a copy",
                   dir, vouched)
          .at(dir);
    }
  } else if (const Segment& first = impl->segments.front(); first.first_seq != 1) {
    return error(Code::kCorruption,
                 "{}: the log begins with {}, so the files with the {} records before it are missing. "
                 "try: restore them from a copy",
                 dir, first.name, first.first_seq - 1)
        .at(dir);
  }
  return LogWalk(std::move(impl));
}

Result<std::optional<Records>> LogWalk::next() { return impl_->next(); }
const WalkEnd& LogWalk::end() const noexcept { return impl_->end; }
const std::string& LogWalk::store_uuid() const noexcept { return impl_->uuid; }
const Owner& LogWalk::owner() const noexcept { return impl_->owner; }
const std::vector<Segment>& LogWalk::segments() const noexcept { return impl_->segments; }
Seq LogWalk::last_seq() const noexcept { return impl_->expected - 1; }
int64_t LogWalk::last_ts_us() const noexcept { return impl_->last_ts_us; }
Seq LogWalk::synced_seq() const noexcept { return impl_->synced; }
uint64_t LogWalk::bytes_accepted() const noexcept { return impl_->bytes_accepted; }

}  // namespace kvstore::wal
