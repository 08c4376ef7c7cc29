#include "kvstore/wal/log_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/base/error.h"
#include "kvstore/format/encode.h"
#include "kvstore/version.h"
#include "kvstore/wal/copy_forward.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::wal {

using format::Seq;

namespace {

// Space is added in steps that double from the first to the last, so that a store of ten keys stays small
// on disk while a busy one extends rarely.
constexpr uint64_t kFirstStepBytes = uint64_t{64} << 10;
constexpr uint64_t kLastStepBytes = uint64_t{4} << 20;
constexpr size_t kFillBytes = size_t{256} << 10;

// LogIo::kWrite puts a line together in one buffer, kept between calls unless it has become large.
constexpr size_t kLineBufferBytesMax = size_t{1} << 20;

// Every segment keeps room for its closing line, so that sealing never needs a disk that has space.
constexpr size_t kClosingLineBytesMax = 160;

std::string_view filler() {
  static const std::string newlines(kFillBytes, '\n');  // immutable once made
  return newlines;
}

constexpr size_t line_bytes_max(size_t body_bytes) {
  return format::kStampBytesMax + body_bytes + format::kSealBytes + 1;
}

// The segment behind the last record must have a name, so one number stays unused and no more segments begin then. At a million commits a second they
// last for 285 years; a file that somebody has written by hand may claim any.
constexpr Seq kLastSeq = format::kIntegerMax - 1;

Status out_of_numbers() { return {Code::kNoSpace, "there is no sequence number left. try: export the store into a new one"}; }

}  // namespace

Body Body::of(std::string_view text) noexcept {
  return {.text = text, .crc = base::crc32c(text), .shift = base::crc32c_shift(text.size())};
}

struct LogWriter::ActiveSegment {
  std::string name;
  std::string path;
  Seq first_seq = 0;                // of the first record in it, there already or still to come
  std::unique_ptr<env::File> file;
  char* mapping = nullptr;          // null under LogIo::kWrite
  uint64_t capacity = 0;            // of the mapping, or where the segment counts as full
  uint64_t tail = 0;                // end of the last line; commit lock
  std::atomic<uint64_t> low_water{0};      // when tail passes it, more space is asked for
  std::atomic<uint64_t> filled_end{0};     // the file holds written bytes up to here
  std::mutex extend_mutex;          // one extends at a time
  uint64_t step = kFirstStepBytes;  // extend_mutex
  uint64_t writeback_end = 0;       // extend_mutex; the kernel was asked to write up to here
};

LogWriter::LogWriter(env::Env& env, Settings settings) noexcept : env_(env), settings_(std::move(settings)) {}
LogWriter::~LogWriter() = default;

std::shared_ptr<LogWriter::ActiveSegment> LogWriter::active() const {
  const std::lock_guard lock(active_mutex_);
  return active_;
}

void LogWriter::replace_active(std::shared_ptr<ActiveSegment> next) {
  const std::lock_guard lock(active_mutex_);
  if (active_ != nullptr) retired_.push_back(std::move(active_));
  active_ = std::move(next);
}

// ---- opening and closing -------------------------------------------------------------------------

Result<std::unique_ptr<LogWriter>> LogWriter::open(env::Env& env, Settings settings, const Place& place) {
  std::unique_ptr<LogWriter> writer(new LogWriter(env, std::move(settings)));
  writer->last_seq_ = writer->synced_seq_ = place.last_seq;
  writer->counters_.log_bytes = place.sealed_bytes + place.offset;
  writer->counters_.segments = place.segments;
  if (place.segment.empty()) {
    Result<std::shared_ptr<ActiveSegment>> created =
        writer->create_segment(place.last_seq + 1, writer->settings_.segment_bytes);
    if (!created.ok()) return std::move(created).status();
    writer->replace_active(*std::move(created));
    return writer;
  }
  auto segment = std::make_shared<ActiveSegment>();
  segment->name = place.segment;
  segment->first_seq = parse_segment_name(place.segment).value_or(0);
  segment->path = join_path(writer->settings_.dir, place.segment);
  Result<std::unique_ptr<env::File>> file = env.open(segment->path, env::OpenMode::kReadWrite);
  if (!file.ok()) return std::move(file).status();
  segment->file = *std::move(file);
  segment->tail = place.offset;
  const uint64_t capacity = std::max(writer->settings_.segment_bytes, place.offset + kClosingLineBytesMax);
  if (Status s = writer->start_io(*segment, capacity); !s.ok()) return s;
  writer->replace_active(std::move(segment));
  return writer;
}

// Needs: the file ends at segment.tail.
Status LogWriter::start_io(ActiveSegment& segment, uint64_t capacity) {
  segment.capacity = capacity;
  segment.filled_end = segment.writeback_end = segment.tail;
  if (settings_.io == LogIo::kWrite) return {};
  Result<char*> mapping = segment.file->map(capacity);
  if (!mapping.ok()) return std::move(mapping).status().with("this file system may want LogIo::kWrite");
  segment.mapping = *mapping;
  return {};
}

Result<std::shared_ptr<LogWriter::ActiveSegment>> LogWriter::create_segment(Seq first_seq, uint64_t capacity) {
  auto segment = std::make_shared<ActiveSegment>();
  segment->name = segment_name(first_seq);
  segment->first_seq = first_seq;
  segment->path = join_path(settings_.dir, segment->name);
  const std::string temporary = segment->path + std::string(kTemporarySuffix);
  const std::string header = format::encode_segment_header({.format = kFormatVersion,
                                                            .store = settings_.store,
                                                            .first_seq = first_seq,
                                                            .created_us = settings_.now_us()});
  const auto write_temporary = [&]() -> Status {
    Result<std::unique_ptr<env::File>> file = env_.open(temporary, env::OpenMode::kCreate);
    if (!file.ok()) return std::move(file).status();
    segment->file = *std::move(file);
    segment->tail = header.size();
    if (Status s = segment->file->write_at(0, header); !s.ok()) return s;
    if (Status s = segment->file->sync(); !s.ok()) return s;
    if (Status s = start_io(*segment, std::max(capacity, header.size() + kClosingLineBytesMax)); !s.ok()) return s;
    return env_.rename(temporary, segment->path);
  };
  if (Status s = write_temporary(); !s.ok()) {
    (void)env_.remove(temporary).ok();  // opening removes it too
    return std::move(s).with("begin a new log segment");
  }
  // From here on the name exists, and whether it survives a power cut is unknown when this fails.
  if (Status s = env_.sync_dir(settings_.dir); !s.ok()) return mark_broken(std::move(s).with("begin a new log segment"));
  counters_.log_bytes += header.size();
  ++counters_.segments;
  return segment;
}

Status LogWriter::close() {
  if (closed_) return {};
  closed_ = true;
  const std::shared_ptr<ActiveSegment> segment = active();
  Status result = sync();
  segment->file->unmap();
  segment->mapping = nullptr;
  // The filler goes also when the writer is broken: lines end at the tail, whatever reached the disk.
  Status trimmed = segment->file->truncate(segment->tail);
  if (trimmed.ok() && result.ok()) trimmed = segment->file->sync();
  if (result.ok() && !trimmed.ok()) result = std::move(trimmed).with("close the log");
  const std::lock_guard lock(active_mutex_);
  retired_.clear();
  return result;
}

// ---- making room ---------------------------------------------------------------------------------

Status LogWriter::make_room(size_t body_bytes) {
  if (is_broken()) return broken();
  if (closed_) return {Code::kClosed, "the store is closed"};
  if (last_seq() >= kLastSeq) return out_of_numbers();
  ActiveSegment& segment = *active_;  // only the commit lock, which we have, replaces it
  const size_t line = line_bytes_max(body_bytes);
  const uint64_t needed_end = segment.tail + line + kClosingLineBytesMax;
  if (needed_end > segment.capacity) return rotate(line);
  if (segment.mapping == nullptr) return {};
  if (needed_end > segment.filled_end.load(std::memory_order_acquire)) {
    ++counters_.reserve_stalls;
    return extend_to(segment, needed_end);
  }
  if (segment.tail > segment.low_water.load(std::memory_order_relaxed)) {
    segment.low_water.store(UINT64_MAX, std::memory_order_relaxed);  // ask once; extend_to() sets it again
    settings_.on_low_room();
  }
  return {};
}

void LogWriter::extend() {
  std::vector<std::shared_ptr<ActiveSegment>> unmapped_here;
  {
    const std::lock_guard lock(active_mutex_);
    unmapped_here.swap(retired_);
  }
  unmapped_here.clear();
  const std::shared_ptr<ActiveSegment> segment = active();
  if (segment->mapping == nullptr || is_broken()) return;
  const uint64_t end = segment->filled_end.load(std::memory_order_acquire);
  (void)extend_to(*segment, end + 1).ok();  // a failure is met again, and reported, by make_room()
}

// Fills the file with newlines to at least `needed_end`, by whole steps.
Status LogWriter::extend_to(ActiveSegment& segment, uint64_t needed_end) {
  const std::lock_guard lock(segment.extend_mutex);
  uint64_t end = segment.filled_end.load(std::memory_order_relaxed);
  const uint64_t goal = std::min(std::max(needed_end, end + segment.step), segment.capacity);
  if (end >= goal) return {};
  const uint64_t step = goal - end;
  while (end < goal) {
    const size_t count = std::min<uint64_t>(goal - end, kFillBytes);
    if (Status s = segment.file->write_at(end, filler().substr(0, count)); !s.ok()) {
      if (end >= needed_end) break;
      return std::move(s).with("extend the log");
    }
    end += count;
    segment.filled_end.store(end, std::memory_order_release);
  }
  segment.step = std::min(segment.step * 2, kLastStepBytes);
  segment.low_water.store(end - std::min(step / 2, end), std::memory_order_relaxed);
  // What lies a step behind the space just added is complete: start writing it, so that a sync or a rotation
  // finds little left to do.
  const uint64_t complete = end - std::min(end, 2 * kLastStepBytes);
  if (complete > segment.writeback_end) {
    segment.file->start_writeback(segment.writeback_end, complete - segment.writeback_end);
    segment.writeback_end = complete;
  }
  return {};
}

Status LogWriter::rotate(size_t line_bytes_max) {
  const auto begin = std::chrono::steady_clock::now();
  ActiveSegment& old = *active_;
  const Seq last = last_seq();
  // Once the new segment has its name nothing may throw any more, so the memory for the rest is taken here.
  const std::string closing_line = format::encode_segment_end({.last_seq = last, .next = segment_name(last + 1)});
  KV_ASSERT(closing_line.size() <= kClosingLineBytesMax);
  {
    const std::lock_guard lock(active_mutex_);
    retired_.reserve(retired_.size() + 1);
  }
  if (old.mapping != nullptr) {  // only a segment just reopened can lack the room
    if (Status s = extend_to(old, old.tail + kClosingLineBytesMax); !s.ok()) return s;
  }
  if (Status s = sync_segment(old, last); !s.ok()) return s;
  Result<std::shared_ptr<ActiveSegment>> created =
      create_segment(last + 1, std::max<uint64_t>(settings_.segment_bytes, line_bytes_max + 2 * kClosingLineBytesMax));
  if (!created.ok()) return std::move(created).status();

  if (Status s = append_text(old, closing_line); !s.ok()) {  // kWrite on a full disk: the old segment goes on
    Status undone = env_.remove((*created)->path);
    if (undone.ok()) undone = env_.sync_dir(settings_.dir);
    --counters_.segments;
    counters_.log_bytes -= (*created)->tail;  // its header
    s = std::move(s).with("seal the log segment");
    return undone.ok() ? s : mark_broken(std::move(s));
  }
  {
    const std::lock_guard lock(old.extend_mutex);
    old.capacity = old.tail;                    // nobody extends it any more
    (void)old.file->truncate(old.tail).ok();    // else the filler stays: blank lines are legal
  }
  if (Status s = sync_segment(old, last); !s.ok()) return std::move(s).with("seal the log segment");
  replace_active(*std::move(created));
  ++counters_.rotations;
  counters_.rotation_duration.record_since(begin);
  settings_.on_low_room();
  return make_room(line_bytes_max - format::kStampBytesMax - format::kSealBytes - 1);
}

Status LogWriter::begin_segment() {
  if (is_broken()) return broken();
  if (closed_) return {Code::kClosed, "the store is closed"};
  if (active_->first_seq == last_seq() + 1) return {};
  if (last_seq() >= kLastSeq) return out_of_numbers();
  return rotate(line_bytes_max(0));
}

void LogWriter::forget(uint64_t bytes, uint64_t segments) noexcept {
  counters_.log_bytes -= bytes;
  counters_.segments -= segments;
}

// ---- appending and syncing -----------------------------------------------------------------------

Status LogWriter::append_text(ActiveSegment& segment, std::string_view text) {
  if (segment.mapping != nullptr) {
    KV_ASSERT(segment.tail + text.size() <= segment.filled_end.load(std::memory_order_relaxed));
    copy_forward(segment.mapping + segment.tail, text);
  } else if (Status s = segment.file->write_at(segment.tail, text); !s.ok()) {
    if (Status cut = segment.file->truncate(segment.tail); !cut.ok()) {
      return mark_broken(std::move(s).with("append to the log, then remove the partial line"));
    }
    return std::move(s).with("append to the log");
  }
  segment.tail += text.size();
  counters_.log_bytes.store(counters_.log_bytes.load(std::memory_order_relaxed) + text.size(), std::memory_order_relaxed);
  return {};
}

Status LogWriter::append(const format::Stamp& stamp, const Body& body) {
  KV_ASSERT(stamp.seq == last_seq_.load(std::memory_order_relaxed) + 1);
  ActiveSegment& segment = *active_;
  std::array<char, format::kStampBytesMax> stamp_text;
  const std::string_view head(stamp_text.data(), format::encode_stamp(stamp_text.data(), stamp));
  std::array<char, format::kSealBytes + 1> seal;
  format::encode_seal(seal.data(), base::crc32c_join(base::crc32c(head), body.crc, body.shift));
  seal.back() = '\n';
  const std::string_view tail(seal.data(), seal.size());

  if (segment.mapping != nullptr) {
    char* out = segment.mapping + segment.tail;
    const uint64_t line = head.size() + body.text.size() + tail.size();
    KV_ASSERT(segment.tail + line <= segment.filled_end.load(std::memory_order_relaxed));
    out = copy_forward(out, head);
    out = copy_forward(out, body.text);
    copy_forward(out, tail);
    segment.tail += line;
    counters_.log_bytes.store(counters_.log_bytes.load(std::memory_order_relaxed) + line, std::memory_order_relaxed);
  } else {
    if (line_.capacity() > kLineBufferBytesMax) line_ = base::Buffer();
    line_.clear();
    line_.append(head);
    line_.append(body.text);
    line_.append(tail);
    if (Status s = append_text(segment, line_.view()); !s.ok()) return s;
  }
  last_seq_.store(stamp.seq, std::memory_order_release);
  return {};
}

Status LogWriter::sync() noexcept {
  // In this order: a record that is in an older segment than `segment` was synced by the rotation between.
  const Seq covers = last_seq();
  const std::shared_ptr<ActiveSegment> segment = active();
  return sync_segment(*segment, covers);
}

// One at a time: Linux tells each failed write-back to only one sync of an open file. A second sync beside the one
// that fails would return OK for the same lost bytes, and might vouch for them before the writer is marked broken.
Status LogWriter::sync_segment(ActiveSegment& segment, Seq covers) noexcept {
  const std::lock_guard lock(sync_mutex_);
  if (is_broken()) return broken();
  Status s;
  const auto begin = std::chrono::steady_clock::now();
  try {
    s = segment.file->sync();
  } catch (const std::bad_alloc&) {  // and whether the disk had already failed, nobody will ever tell us
    s = Status(Code::kOutOfMemory, "out of memory");
  }
  counters_.sync_duration.record_since(begin);
  if (!s.ok()) return mark_broken(std::move(s).with("sync the log"));
  ++counters_.syncs;
  if (synced_seq() < covers) synced_seq_.store(covers, std::memory_order_release);
  return {};
}

Status LogWriter::mark_broken(Status cause) noexcept {
  const std::lock_guard lock(broken_mutex_);
  if (broken_.ok()) {
    std::string sentence = "the store is broken";  // short enough to need no memory
    try {
      sentence = fmt::format("the store refuses writes since an earlier failure ({}); which bytes are on disk is unknown. "
                             "try: close and reopen the store",
                             cause.message());
    } catch (const std::bad_alloc&) {
    }
    broken_ = Status(Code::kBroken, std::move(sentence)).at(cause.path());
    is_broken_.store(true, std::memory_order_release);
  }
  return cause;
}

Status LogWriter::broken() const {
  const std::lock_guard lock(broken_mutex_);
  return broken_;
}

}  // namespace kvstore::wal
