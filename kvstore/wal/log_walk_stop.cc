// Where LogWalk stops, and whether it may: the ends of files, and lines that do not belong where they stand.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/base/shell_word.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_header.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk_impl.h"

namespace kvstore::wal {

using format::LineKind;
using format::Seq;

Status LogWalk::Impl::refuse(Status status) {
  KV_ASSERT(!status.ok());
  failure = status;
  pipeline.reset();
  return status;
}

Status LogWalk::Impl::damage(Code code, uint64_t at, std::string_view what) {
  return unless_compacted(damage_at(file.get(), path, at, code, what));
}

// What is wrong with a held file is no harm to the state once a compaction covers it.
Status LogWalk::Impl::unless_compacted(Status status) {
  const bool is_damage = status.code() == Code::kCorruption || status.code() == Code::kUnsupported;
  if (!held.has_value() || !is_damage) return status;
  const Result<bool> gone = was_compacted();
  return gone.ok() && *gone ? compacted() : status;
}

// Whether a compaction may have removed what this walk is about to read: a newer snapshot covers it, or, within what was
// covered from the beginning, the oldest segment has gone meanwhile. (Removing begins with the oldest. A listing
// that has not changed tells of damage, and who began again because of it would do so for ever.)
Result<bool> LogWalk::Impl::was_compacted() {
  Result<StoreFiles> files = list_store_files(env, dir);
  if (!files.ok()) return std::move(files).status();
  if (expected > covered || files->base_seq() > covered) return files->base_seq() >= expected;
  return files->segments.empty() || files->segments.front().first_seq > segments.front().first_seq;
}

Status LogWalk::Impl::compacted() {
  return base::error(Code::kCompacted,
                     "{}: the log from record {} on has been compacted away. try: read from the beginning again", dir,
                     expected)
      .at(dir);
}

// False once the place has been looked at twice already; otherwise arranges for the second look.
bool LogWalk::Impl::second_look() {
  const std::pair<size_t, uint64_t> place{index, offset};
  if (looked_twice == place) return false;
  looked_twice = place;
  pipeline.reset();
  return true;
}

// The same for what is damage because something behind it was promised. Beside a writer the promise may be younger than the
// second look: the line was still under way then. Only what is bad when it is read after the promise is damaged.
bool LogWalk::Impl::look_after_promise() {
  const std::pair<size_t, uint64_t> place{index, offset};
  if (looked_after_promise == place) return false;
  looked_after_promise = place;
  pipeline.reset();
  return true;
}

void LogWalk::Impl::move_on() {
  KV_ASSERT(!is_last() && next_file != nullptr);
  KV_ASSERT(in_segment);
  KV_ASSERT(segments[index].first_seq <= expected);
  ++index;
  offset = 0;
  newline = true;
  in_segment = sealed = false;
  pipeline.reset();
  file = std::move(next_file);
}

// Goes on to the next segment; the next opening for writing puts the end of this one right.
void LogWalk::Impl::leave_unsettled() {
  KV_ASSERT(index + 2 == segments.size());  // only of the newest segment a rotation can be under way
  KV_ASSERT(segments[index + 1].first_seq == expected);
  end.unsettled = {
      .segment = segments[index].name, .offset = offset, .last_seq = expected - 1, .closing_line_missing = !sealed};
  move_on();
}

namespace {

// Where the last byte ends that is no newline. Other blanks are kept: a power cut may have made them of something.
Result<uint64_t> end_of_content(env::File& file, uint64_t from) {
  uint64_t content_end = from;
  ChunkReader reader(file, from);
  Chunk chunk;
  for (;;) {
    Result<bool> more = reader.next(chunk);
    if (!more.ok()) return std::move(more).status();
    if (!*more) return content_end;
    const size_t last = chunk.bytes.view().find_last_not_of('\n');
    if (last != std::string_view::npos) content_end = chunk.offset + last + 1;
  }
}

}  // namespace

Result<LogWalk::Impl::Next> LogWalk::Impl::open_next() {
  Result<std::unique_ptr<env::File>> opened = env.open(join_path(dir, kNextSegmentName), env::OpenMode::kRead);
  if (opened.status().sys_errno() == ENOENT) return Next();
  if (!opened.ok()) return std::move(opened).status().with("read the log");
  Result<Seq> first_seq = number_of_next(**opened);
  if (!first_seq.ok()) return std::move(first_seq).status();
  return Next{.file = *std::move(opened), .first_seq = *first_seq};
}

// 0: none. A header without its newline may be one that the disk had no room for; the writer then takes that file back.
Result<Seq> LogWalk::Impl::number_of_next(env::File& next) {
  Result<std::optional<FileHeader>> header = read_header(next);
  if (!header.ok()) return std::move(header).status();
  const bool is_ours = header->has_value() && !(*header)->is_snapshot && (*header)->offset == 0 && (*header)->newline &&
                       (*header)->store == uuid;
  return is_ours ? (*header)->number : Seq{0};
}

// Segments from `known` on have come since, so the next segment that is held has its number, if it ever got one. It may be the
// first of them, or have been removed again: then it comes before them. Else it had no part in the log.
Status LogWalk::Impl::place_held_next(size_t known) {
  if (!held.has_value() || held->next == nullptr) return {};
  std::unique_ptr<env::File> was_next = std::exchange(held->next, nullptr);
  Result<Seq> number = number_of_next(*was_next);
  if (!number.ok()) return std::move(number).status();
  if (*number <= segments[known - 1].first_seq || *number > segments[known].first_seq) return {};
  KV_ASSERT(next_file == nullptr);  // nothing stood behind the last segment till now
  next_file = std::move(was_next);
  if (*number == segments[known].first_seq) return {};
  segments.resize(known);
  segments.push_back({segment_name(*number), *number});
  return {};
}

// Adds what came behind the last segment known, wal-next.jsonl too if it goes on from exactly here. False: nothing.
// Twice, because between listing and opening that file may have got its number, and another one its place.
Result<bool> LogWalk::Impl::find_more_segments() {
  constexpr int kLooksMax = 100;  // a writer may be as fast as that; a stale listing stays as it is
  has_stray_next = false;
  for (int look = 1;; ++look) {
    Result<StoreFiles> files = list_store_files(env, dir);
    if (!files.ok()) return std::move(files).status();
    const size_t known = segments.size();
    const Seq last = segments.back().first_seq;
    for (Segment& segment : files->segments) {
      if (segment.first_seq == last) segments[known - 1].name = segment.name;  // it may have been the next one till now
      if (segment.first_seq > last) segments.push_back(std::move(segment));
    }
    if (segments.size() > known) {
      if (Status s = place_held_next(known); !s.ok()) return s;
      return true;
    }
    if (!files->has_next || segments.back().is_next()) return false;
    Result<Next> next = open_next();
    if (!next.ok()) return std::move(next).status();
    if (next->file == nullptr && look == kLooksMax) return false;
    if (next->file == nullptr) continue;
    if (next->first_seq == segments.back().first_seq) return false;  // half a rename: another name of that file
    if (next->first_seq == expected) {
      KV_ASSERT(expected > last);
      next_file = std::move(next->file);
      if (held.has_value()) held->next.reset();  // the same file, or one that never got a number
      segments.push_back({std::string(kNextSegmentName), expected});
      return true;
    }
    has_stray_next = look > 1;
    if (has_stray_next) return false;
  }
}

namespace {

// The highest sequence number that a line behind byte `from` promises; 0: none does.
Result<Seq> highest_voucher_in(env::File& file, uint64_t from) {
  Seq highest = 0;
  ChunkReader reader(file, from);
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

}  // namespace

// Whether the last segment goes on from exactly here, and nothing vouches for a record in it: then the rotation that began
// it was under way, and what should be the end of this one may look like anything.
Result<bool> LogWalk::Impl::rotation_was_under_way() {
  if (is_last()) {
    Result<bool> more = find_more_segments();
    if (!more.ok()) return more;
  }
  if (index + 2 != segments.size() || segments[index + 1].first_seq != expected) return false;
  if (segments[index + 1].is_next()) return true;
  if (owner.closed_seq >= expected) return false;
  // One rotation is finished before the next begins: a next segment behind the following one says that this one's is.
  Result<Next> next = open_next();
  if (!next.ok()) return std::move(next).status();
  if (next->first_seq > segments[index + 1].first_seq) return false;
  if (Status s = open_following(); !s.ok()) return s;
  Result<Seq> promised = highest_voucher_in(*next_file, 0);
  if (!promised.ok()) return std::move(promised).status();
  return *promised < expected;
}

// The end of the file was reached. True: go on reading.
Result<bool> LogWalk::Impl::finish_segment() {
  if (!in_segment) {
    if (second_look()) return true;
    return damage(
        Code::kCorruption, 0,
        "the file has no header line, though it got its name only once the header was on disk: it was emptied. "
        "try: restore this file from a copy; the other files are as they were");
  }
  if (is_last()) {  // a writer may have rotated meanwhile
    Result<bool> more = find_more_segments();
    if (!more.ok()) return more;
    if (*more) return pipeline.reset(), true;
  }

  if (!is_last()) {
    const Segment& following = segments[index + 1];
    if (following.first_seq == expected && sealed) {
      Status opened = open_following();
      if (opened.code() == Code::kCompacted && has_read_all_held()) return end_at_instant(), false;
      if (!opened.ok()) return opened;
      return move_on(), true;
    }
    Result<bool> under_way = rotation_was_under_way();
    if (under_way.status().code() == Code::kCompacted && look_after_promise()) return true;  // it is whole by now
    if (!under_way.ok()) return under_way;
    if (*under_way) {
      // Beside a writer the closing line, or a record before it, may be there by now.
      if (second_look()) return true;
      return leave_unsettled(), true;
    }
    if (second_look() || look_after_promise()) return true;
    Result<bool> gone = was_compacted();
    if (!gone.ok()) return std::move(gone).status();
    if (*gone && following.first_seq != expected) {
      if (!has_read_all_held()) return compacted();
      return end_at_instant(), false;
    }
    if (following.first_seq == expected) {
      return damage(Code::kCorruption, offset,
                    "the closing line is missing, though records of the next segment were promised. "
                    "try: restore this file from a copy");
    }
    return damage(
        Code::kCorruption, offset,
        fmt::format("the file ends with record {}, but the next one, {}, begins with record {}: promised records "
                    "are missing between them. try: restore the missing file or lines from a copy",
                    expected - 1, following.name, following.first_seq));
  }

  Result<Seq> in_next = highest_voucher_in_next();
  if (!in_next.ok()) return std::move(in_next).status();
  const Seq promised = std::max(*in_next, owner.closed_seq);
  if (sealed || promised >= expected) {
    if (second_look() || look_after_promise()) return true;
    if (sealed) {
      return damage(Code::kCorruption, offset,
                    fmt::format("the closing line names {} as the next segment, but that file is missing. "
                                "try: restore it from a copy",
                                segment_name(expected)));
    }
    return damage(
        Code::kCorruption, offset,
        fmt::format("the log ends with record {}, but {} says that record {} was on disk: the file was cut short. "
                    "try: restore it from a copy",
                    expected - 1, owner.closed_seq >= expected ? kLockName : kNextSegmentName, promised));
  }
  end.cuts.clear();
  if (Status s = end_here(); !s.ok()) return s;
  return !end.cuts.empty() && second_look();
}

// The same for a next segment that does not go on from here. Without a header of our store its lines say nothing about it.
Result<Seq> LogWalk::Impl::highest_voucher_in_next() {
  if (!has_stray_next) return Seq{0};
  Result<Next> next = open_next();
  if (!next.ok()) return std::move(next).status();
  return next->first_seq == 0 ? Seq{0} : highest_voucher_in(*next->file, 0);
}

// The highest sequence number that anything behind byte `from` of this segment, or beyond it, promises.
Result<Seq> LogWalk::Impl::highest_voucher_behind(uint64_t from) {
  Seq highest = std::max(synced, owner.closed_seq);
  for (size_t i = index + 1; i < segments.size(); ++i) highest = std::max(highest, segments[i].first_seq - 1);
  Result<Seq> here = highest_voucher_in(*file, from);
  if (!here.ok()) return here;
  Result<Seq> in_next = highest_voucher_in_next();
  if (!in_next.ok()) return in_next;
  return std::max({highest, *here, *in_next});
}

void LogWalk::Impl::note_place() {
  end.previous_segment = index > 0 ? segments[index - 1].name : "";
  end.segment = segments[index].name;
  end.first_seq = segments[index].first_seq;
  end.offset = offset;
  end.newline_missing = !newline;
}

// The log ends at the place; behind it stands nothing, or what end.cuts has already. A next segment that does not go on
// from here goes as a whole.
Status LogWalk::Impl::end_here() {
  KV_ASSERT(is_last());
  KV_ASSERT(in_segment);
  KV_ASSERT(!sealed);  // what it names would have to follow
  KV_ASSERT(end.cuts.size() <= 1);
  note_place();
  if (!has_stray_next) return {};
  Result<Next> next = open_next();
  if (!next.ok()) return std::move(next).status();
  if (next->file == nullptr) return {};
  Result<uint64_t> content_end = end_of_content(*next->file, 0);
  if (!content_end.ok()) return std::move(content_end).status();
  if (*content_end == 0) return {};  // made ahead, and not begun
  end.cuts.push_back(
      {.file = join_path(dir, kNextSegmentName),
       .line = 1,
       .offset = 0,
       .bytes = *content_end,
       .reason = fmt::format("it does not go on from record {}, with which the log ends, and no sync promised "
                             "what it holds",
                             expected - 1),
       .kept_as = {}});
  return {};
}

// What comes next has been removed meanwhile. All that was there when the walk began has been read.
void LogWalk::Impl::end_at_instant() {
  KV_ASSERT(sealed && !is_last());
  segments.resize(index + 1);
  next_file.reset();
  end = {};
  note_place();
}

// `line` does not belong where it stands. True: go on reading.
Result<bool> LogWalk::Impl::finish_bad_line(const Chunk& chunk, const LineRef& line) {
  if (second_look()) return true;
  const uint64_t at = chunk.offset_of(line);
  KV_ASSERT(at >= offset);
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
  Result<bool> under_way = rotation_was_under_way();
  if (under_way.status().code() == Code::kCompacted && look_after_promise()) return true;  // it is whole by now
  if (!under_way.ok()) return under_way;
  if (*under_way) return leave_unsettled(), true;
  if (sealed) {
    return damage(Code::kCorruption, at, "a line stands behind the closing line. try: restore this file from a copy");
  }

  Result<Seq> promised = highest_voucher_behind(offset);
  if (!promised.ok()) return std::move(promised).status();
  // No rotation was under way, so all of a segment with another one behind it was on disk, its closing line included.
  const bool vouched = *promised >= expected || !is_last();
  if (vouched && look_after_promise()) return true;
  const bool is_record = line.kind == LineKind::kRecord;
  const bool is_end = line.kind == LineKind::kSegmentEnd;
  // A whole line of another file, where nothing was promised: what the disk held before these blocks became ours.
  const bool is_stale = !vouched && (line.kind == LineKind::kEntry || line.kind == LineKind::kSnapshotHeader ||
                                     line.kind == LineKind::kSnapshotEnd || line.kind == LineKind::kSegmentHeader ||
                                     line.kind == LineKind::kOwner);
  const format::LineFacts facts{
      .newline = line.newline,
      .sealed = line.kind != LineKind::kUnsealed,
      .crc_ok = line.kind != LineKind::kUnsealed && line.kind != LineKind::kBadCrc,
      .well_formed = is_record || is_end || is_stale || line.kind == LineKind::kUnknownOp,
      .known_op = line.kind != LineKind::kUnknownOp,
      .next_seq = false,  // else accept() had taken it
      .vouched = vouched,
  };
  std::string cause = explain(text, decoded);
  if (is_record) cause = fmt::format("record {} stands where record {} belongs", line.stamp.seq, expected);
  if (is_end)
    cause = fmt::format("a closing line for record {} stands where record {} belongs", decoded.end.last_seq, expected);

  switch (format::judge(facts)) {
    case format::Verdict::kUnsupported:
      return damage(Code::kUnsupported, at, fmt::format("{}. try: a newer version of this program", cause));
    case format::Verdict::kAccept:  // not reached: next_seq is false
    case format::Verdict::kCorrupt:
      return damage(
          Code::kCorruption, at,
          fmt::format("{}; {}; {}. try: kvctl verify {}, then restore this file from a copy", cause, format::why(facts),
                      is_last() ? fmt::format("records up to {} were promised to be on disk", *promised)
                                : fmt::format("all of this file was on disk before anything was promised in {}",
                                              segments[index + 1].name),
                      base::shell_word(dir)));
    case format::Verdict::kCut:
      break;
  }
  KV_ASSERT(is_last());             // only the end of the log is ever cut
  KV_ASSERT(*promised < expected);  // ... and nothing that was promised
  Result<uint64_t> content_end = end_of_content(*file, at);
  if (!content_end.ok()) return std::move(content_end).status();
  Result<uint64_t> number = line_number_at(*file, at);
  if (!number.ok()) return std::move(number).status();
  KV_ASSERT(*content_end >= at);
  end.cuts = {{.file = path,
               .line = *number,
               .offset = at,
               .bytes = *content_end - at,
               .reason = fmt::format("{}; {}", cause, format::why(facts)),
               .kept_as = {}}};
  if (Status s = end_here(); !s.ok()) return s;
  return false;
}

}  // namespace kvstore::wal
