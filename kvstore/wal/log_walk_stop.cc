// Where LogWalk stops, and whether it may: the ends of files, and lines that do not belong where they stand.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk_impl.h"

namespace kvstore::wal {

using format::LineKind;
using format::Seq;

Status LogWalk::Impl::refuse(Status status) {
  failure = status;
  pipeline.reset();
  return status;
}

Status LogWalk::Impl::damage(Code code, uint64_t at, std::string_view what) {
  return damage_at(file.get(), path, at, code, what);
}

// Whether a newer snapshot than the one this walk knows covers what it is about to read.
Result<bool> LogWalk::Impl::was_compacted() {
  Result<StoreFiles> files = list_store_files(env, dir);
  if (!files.ok()) return std::move(files).status();
  return files->base_seq() >= expected;
}

Status LogWalk::Impl::compacted() {
  return base::error(Code::kCompacted, "{}: the log from record {} on has been compacted away. try: read from the beginning again",
                     dir, expected)
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
    Result<StoreFiles> again = list_store_files(env, dir);
    if (!again.ok()) return std::move(again).status();
    if (!again->segments.empty() && again->segments.back().first_seq > segments.back().first_seq) {
      for (Segment& segment : again->segments) {
        if (segment.first_seq > segments.back().first_seq) segments.push_back(std::move(segment));
      }
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
    Result<bool> gone = was_compacted();
    if (!gone.ok()) return std::move(gone).status();
    if (*gone && following.first_seq != expected) return compacted();
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
  // A whole line of another file, where nothing was promised: what the disk held before these blocks became ours.
  const bool is_stale = *promised < expected &&
                        (line.kind == LineKind::kEntry || line.kind == LineKind::kSnapshotHeader ||
                         line.kind == LineKind::kSnapshotEnd || line.kind == LineKind::kSegmentHeader || line.kind == LineKind::kOwner);
  const format::LineFacts facts{
      .newline = line.newline,
      .sealed = line.kind != LineKind::kUnsealed,
      .crc_ok = line.kind != LineKind::kUnsealed && line.kind != LineKind::kBadCrc,
      .well_formed = is_record || is_end || is_stale || line.kind == LineKind::kUnknownOp,
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
  // Only the end of the log may be cut. Here another segment begins with the very record that was expected.
  if (!is_last()) {
    return damage(Code::kCorruption, at,
                  fmt::format("{}; the closing line should stand here, since {} follows. try: kvctl verify {}, then restore "
                              "this file from a copy",
                              cause, segments[index + 1].name, dir));
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

}  // namespace kvstore::wal
