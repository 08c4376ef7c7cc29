// How LogWriter goes from one segment to the next. What is written in which order, and what a crash in between leaves, is
// in FORMAT.md, "Writing"; the reason for it all is that a commit must not wait for a disk:
//
//   background   create wal-next.jsonl, fill it ahead
//   commit lock  header into it; it is the active one now
//   any sync     sync the full one; sync the next; rename it to its number; sync the directory;
//                closing line into the full one, truncate it to length, sync it
//
// Until the last step no sync counts for a record of the new segment. So the name of a segment still means that
// everything before it is on disk, a closing line that the segment it names is, and wal-next.jsonl means nothing.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/format/encode.h"
#include "kvstore/version.h"
#include "kvstore/wal/active_segment.h"
#include "kvstore/wal/copy_forward.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::wal {

using format::Seq;

std::string LogWriter::segment_header(Seq first_seq) const {
  return format::encode_segment_header(
      {.format = kFormatVersion, .store = settings_.store, .first_seq = first_seq, .created_us = settings_.now_us()});
}

// The first segment of a store, or of its log: nothing before it waits for a sync, so it is made in one go.
Result<LogWriter::SegmentPtr> LogWriter::create_segment(Seq first_seq) {
  auto segment = std::make_shared<ActiveSegment>();
  segment->first_seq = first_seq;
  KV_ASSERT(first_seq > 0);
  segment->path = join_path(settings_.dir, segment_name(first_seq));
  const std::string temporary = segment->path + std::string(kTemporarySuffix);
  const std::string header = segment_header(first_seq);
  const auto create = [&]() -> Status {
    Result<std::unique_ptr<env::File>> file = env_.open(temporary, env::OpenMode::kCreate);
    if (!file.ok()) return std::move(file).status();
    segment->file = *std::move(file);
    segment->tail = header.size();
    if (Status s = segment->file->write_at(0, header); !s.ok()) return s;
    if (Status s = segment->file->sync(); !s.ok()) return s;
    const uint64_t capacity = std::max(settings_.segment_bytes, header.size() + kClosingLineBytesMax);
    if (Status s = start_io(*segment, capacity); !s.ok()) return s;
    if (Status s = env_.rename(temporary, segment->path); !s.ok()) return s;
    return env_.sync_dir(settings_.dir);
  };
  if (Status s = base::guarded(create); !s.ok()) {
    // Opening removes it too. One that was there already is another's.
    if (segment->file != nullptr) (void)env_.remove(temporary).ok();
    return std::move(s).with("begin the log");
  }
  counters_.log_bytes += header.size();
  ++counters_.segments;
  return segment;
}

// The files of a store that somebody has removed live on as long as it is open. Their names may be another store's by now.
Status LogWriter::check_directory() {
  if (!settings_.is_ours || settings_.is_ours()) return {};
  return mark_broken(directory_replaced(settings_.dir));
}

// ---- ahead of time -------------------------------------------------------------------------------

// Needs: next_mutex_ held, and no rotation under way, since its segment has the name until it is finished.
Result<LogWriter::SegmentPtr> LogWriter::create_next() {
  KV_ASSERT(full_and_active().first == nullptr);
  KV_ASSERT(next_ == nullptr);
  if (Status s = check_directory(); !s.ok()) return s;
  auto segment = std::make_shared<ActiveSegment>();
  segment->is_renamed = segment->has_name = false;
  const std::string path = join_path(settings_.dir, kNextSegmentName);
  const auto create = [&]() -> Status {
    Result<std::unique_ptr<env::File>> file = env_.open(path, env::OpenMode::kCreate);
    if (!file.ok()) return std::move(file).status();
    segment->file = *std::move(file);
    if (Status s = start_io(*segment, settings_.segment_bytes); !s.ok()) return s;
    if (segment->mapping != nullptr) {
      segment->step = kLastStepBytes;  // who fills a whole segment is busy
      return extend_to(*segment, std::min<uint64_t>(kFirstStepBytes, settings_.segment_bytes));
    }
    return Status();
  };
  if (Status s = base::guarded(create); !s.ok()) {
    if (segment->file != nullptr) (void)env_.remove(path).ok();
    return std::move(s).with("begin a new log segment");
  }
  return segment;
}

Status LogWriter::prepare_next() {
  const std::lock_guard lock(next_mutex_);
  if (active()->first_seq == last_seq() + 1) return {};
  if (is_broken()) return broken();
  if (next_ != nullptr) return {};
  if (full_and_active().first != nullptr) {
    if (Status s = finish_rotation(); !s.ok()) return s;
  }
  Result<SegmentPtr> made = create_next();
  if (!made.ok()) return std::move(made).status();
  next_ = *std::move(made);
  return {};
}

// Not before the active segment is nearly full, so that a small store has no file that it never needs.
void LogWriter::prepare_next_in_time(ActiveSegment& segment) {
  if (settings_.io == LogIo::kMapped) {  // kWrite asks when it is time
    const std::lock_guard lock(segment.extend_mutex);
    if (segment.filled_end.load(std::memory_order_relaxed) + 4 * kLastStepBytes < segment.capacity) return;
  }
  if (full_and_active().first != nullptr) return;               // whoever syncs comes first
  (void)base::guarded([this] { return prepare_next(); }).ok();  // a failure is met again, and reported, by make_room()
}

// The next segment, with room for a line that needs `capacity`. Needs: next_mutex_ held until it is the active one, or
// somebody would make another of its name.
Result<LogWriter::SegmentPtr> LogWriter::take_next(uint64_t capacity) {
  KV_ASSERT(next_->first_seq == 0);
  KV_ASSERT(!next_->has_name);
  KV_ASSERT(next_->tail == 0);  // blank
  if (capacity > next_->capacity) {
    if (Status s = grow(*next_, capacity); !s.ok()) return s;
  }
  return std::exchange(next_, nullptr);
}

void LogWriter::discard_next() noexcept {
  const std::lock_guard lock(next_mutex_);
  if (next_ == nullptr) return;
  next_.reset();
  if (!base::guarded([this] { return check_directory(); }).ok()) return;
  const auto remove = [this] { return env_.remove(join_path(settings_.dir, kNextSegmentName)); };
  if (!base::guarded(remove).ok()) return;  // opening removes it too
  // After a power cut it might be back with whatever stood in its blocks, and pass for a torn log.
  (void)base::guarded([this] { return env_.sync_dir(settings_.dir); }).ok();
}

// ---- the switch ----------------------------------------------------------------------------------

// Needs: the active segment has a record, or the new one would get its name.
Status LogWriter::rotate(size_t line_bytes_max) {
  const auto begin = std::chrono::steady_clock::now();
  ActiveSegment& old = *active_;
  const Seq last = last_seq();
  KV_ASSERT(old.first_seq <= last);
  // Once the header is written nothing may throw any more, so the memory for the rest is taken here.
  const std::string header = segment_header(last + 1);
  std::string path = join_path(settings_.dir, segment_name(last + 1));
  old.closing_line = format::encode_segment_end({.last_seq = last, .next = segment_name(last + 1)});
  KV_ASSERT(old.closing_line.size() <= kClosingLineBytesMax);
  if (old.mapping != nullptr) {  // only a segment just reopened can lack the room
    if (Status s = extend_to(old, old.tail + kClosingLineBytesMax); !s.ok()) return s;
  } else if (Status s = write_at_tail(old, std::string(old.closing_line.size(), '\n')); !s.ok()) {
    return std::move(s).with(
        "begin a new log segment");  // later, on a disk that is full by then, it needs no new block
  }
  if (Status s = prepare_next(); !s.ok()) return s;  // long done, unless writing outruns the disk
  const std::lock_guard lock(next_mutex_);
  KV_ASSERT(next_ != nullptr);  // only we take it, and we have the commit lock
  Result<SegmentPtr> taken =
      take_next(std::max<uint64_t>(settings_.segment_bytes, header.size() + line_bytes_max + kClosingLineBytesMax));
  if (!taken.ok()) return std::move(taken).status();
  SegmentPtr next = *std::move(taken);
  if (next->mapping != nullptr) {
    KV_ASSERT(header.size() <= next->filled_end.load(std::memory_order_relaxed));
  }
  KV_ASSERT(next->capacity >= header.size() + line_bytes_max + kClosingLineBytesMax);
  next->first_seq = last + 1;
  next->path = std::move(path);
  if (Status s = append_text(*next, header); !s.ok()) {  // kWrite on a full disk: the old segment goes on
    // Were it left with a header, what is appended now could not be told from a torn closing line after a crash.
    const Status removed = env_.remove(join_path(settings_.dir, kNextSegmentName));
    s = std::move(s).with("begin a new log segment");
    return removed.ok() ? s : mark_broken(std::move(s));
  }
  KV_ASSERT(next->tail == header.size());
  KV_ASSERT(last_seq() == last);  // the commit lock is ours
  counters_.log_bytes += old.closing_line.size();
  {
    const std::lock_guard segments_lock(segments_mutex_);
    KV_ASSERT(full_ == nullptr);  // one rotation at a time
    full_ = std::exchange(active_, std::move(next));
  }
  ++counters_.segments;
  ++counters_.rotations;
  counters_.rotation_duration.record_since(begin);
  settings_.on_rotation();
  return make_room(line_bytes_max - format::kStampBytesMax - format::kSealBytes - 1);
}

Status LogWriter::begin_segment() {
  if (is_broken()) return broken();
  if (closed_) return {Code::kClosed, "the store is closed"};
  if (active_->first_seq == last_seq() + 1) return {};
  if (Status s = check_numbers(); !s.ok()) return s;
  return rotate(format::kStampBytesMax + format::kSealBytes + 1);
}

// ---- afterwards ----------------------------------------------------------------------------------

Status LogWriter::finish_rotation() noexcept {
  if (full_and_active().first == nullptr) return {};
  return sync();
}

// Needs: sync_mutex_ held. What a full disk or too many open files keep from happening breaks nothing: the next sync goes
// on from there.
Status LogWriter::finish_rotation_locked(const SegmentPtr& full, ActiveSegment& next) noexcept {
  KV_ASSERT(full->first_seq < next.first_seq);
  KV_ASSERT(synced_seq() < next.first_seq);  // nothing of the new segment is vouched for before the last step
  try {
    {
      const std::lock_guard lock(segments_mutex_);
      retired_.reserve(retired_.size() + 1);  // what comes last must not fail
    }
    if (!next.has_name) {
      let_go_of_pages(*full);
      if (Status s = sync_file(*full); !s.ok()) return s;
      const Seq last = next.first_seq - 1;
      if (synced_seq() < last) synced_seq_.store(last, std::memory_order_release);
      let_go_of_pages(next);
      if (Status s = sync_file(next); !s.ok()) return s;
      constexpr std::string_view kStep = "name a new log segment";
      if (!next.is_renamed) {
        if (Status s = check_directory(); !s.ok()) return s;
        Status s = env_.rename(join_path(settings_.dir, kNextSegmentName), next.path).with(kStep);
        if (!s.ok()) return s.code() == Code::kNoSpace ? s : mark_broken(std::move(s));
        next.is_renamed = true;
      }
      if (Status s = env_.sync_dir(settings_.dir).with(kStep); !s.ok()) {
        const bool lacks_descriptors = s.sys_errno() == EMFILE || s.sys_errno() == ENFILE;  // no sync has failed then
        return lacks_descriptors ? s : mark_broken(std::move(s));
      }
      KV_ASSERT(synced_seq() == next.first_seq - 1);
      next.has_name = true;
    } else if (Status s = sync_file(next); !s.ok()) {  // sealing failed last time, and records have come since
      return s;
    }
    if (Status s = seal(*full); !s.ok()) return std::move(s).with("seal the log segment");
    if (Status s = sync_file(*full); !s.ok()) return s;
    const std::lock_guard lock(segments_mutex_);
    KV_ASSERT(full_ == full);
    retired_.push_back(full);
    full_.reset();
    return {};
  } catch (const std::bad_alloc&) {
    return mark_broken(Status(Code::kOutOfMemory, "begin a new log segment: out of memory"));
  }
}

// Needs: nobody appends to it any more. May be done twice.
Status LogWriter::seal(ActiveSegment& full) {
  const std::lock_guard lock(full.extend_mutex);
  KV_ASSERT(full.closing_line.ends_with('\n'));
  const uint64_t end = full.tail + full.closing_line.size();
  if (full.mapping != nullptr) {
    KV_ASSERT(end <= full.filled_end.load(std::memory_order_relaxed));
    copy_forward(full.mapping + full.tail, full.closing_line);
  } else if (Status s = full.file->write_at(full.tail, full.closing_line); !s.ok()) {
    return s;
  }
  KV_ASSERT(end <= full.capacity || full.mapping == nullptr);
  full.capacity = end;            // nobody extends it any more
  if (full.mapping != nullptr) {  // nor is there more of it to write out
    full.filled_end = end;
    full.writeback_end = std::min(full.writeback_end, end);
  }
  (void)full.file->truncate(end).ok();  // else the filler stays: blank lines are legal
  return {};
}

}  // namespace kvstore::wal
