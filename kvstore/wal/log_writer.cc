#include "kvstore/wal/log_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/base/error.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/active_segment.h"
#include "kvstore/wal/copy_forward.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::wal {

using format::Seq;

namespace {

constexpr size_t kFillBytes = size_t{256} << 10;

// A sync of less has space filled page by page. At this size a sync that makes blocks of kFillBytes dirty writes a few times as
// much as is new, and to fill a page with a system call of its own costs about what that does.
constexpr uint64_t kLittleBytes = uint64_t{64} << 10;

// A sync of less is not worth letting go of the mapping's pages before.
constexpr uint64_t kLetGoBytesMin = uint64_t{1} << 20;

// LogIo::kWrite puts a line together in one buffer, kept between calls unless it has become large.
constexpr size_t kLineBufferBytesMax = size_t{1} << 20;
static_assert(kFillBytes <= kLastStepBytes);

std::string_view filler() {
  static const std::string newlines(kFillBytes, '\n');  // immutable once made
  return newlines;
}

constexpr size_t line_bytes_max(size_t body_bytes) {
  return format::kStampBytesMax + body_bytes + format::kSealBytes + 1;
}

}  // namespace

Body Body::of(std::string_view text) noexcept {
  return {.text = text, .crc = base::crc32c(text), .shift = base::crc32c_shift(text.size())};
}

LogWriter::LogWriter(env::Env& env, Settings settings) noexcept
    : env_(env), settings_(std::move(settings)), syncs_little_(settings_.syncs_little) {}
LogWriter::~LogWriter() = default;

LogWriter::SegmentPtr LogWriter::active() const {
  const std::lock_guard lock(segments_mutex_);
  return active_;
}

std::pair<LogWriter::SegmentPtr, LogWriter::SegmentPtr> LogWriter::full_and_active() const {
  const std::lock_guard lock(segments_mutex_);
  return {full_, active_};
}

// ---- opening and closing -------------------------------------------------------------------------

Result<std::unique_ptr<LogWriter>> LogWriter::open(env::Env& env, Settings settings, Place place) {
  std::unique_ptr<LogWriter> writer(new LogWriter(env, std::move(settings)));
  KV_ASSERT(!writer->settings_.store.empty());
  writer->last_seq_ = writer->synced_seq_ = place.last_seq;
  writer->counters_.log_bytes = writer->bytes_at_sync_ = place.sealed_bytes + place.offset;
  writer->counters_.segments = place.segments;
  const auto open_segment = [&]() -> Result<SegmentPtr> {
    if (place.segment.empty()) return writer->create_segment(place.last_seq + 1);
    auto segment = std::make_shared<ActiveSegment>();
    segment->first_seq = parse_segment_name(place.segment).value_or(0);
    KV_ASSERT(segment->first_seq > 0 && segment->first_seq <= place.last_seq + 1);
    segment->path = join_path(writer->settings_.dir, place.segment);
    if (place.file == nullptr) {
      Result<std::unique_ptr<env::File>> file = env.open(segment->path, env::OpenMode::kReadWrite);
      if (!file.ok()) return std::move(file).status();
      place.file = *std::move(file);
    }
    segment->file = std::move(place.file);
    segment->tail = place.offset;
    const uint64_t capacity = std::max(writer->settings_.segment_bytes, place.offset + kClosingLineBytesMax);
    if (Status s = writer->start_io(*segment, capacity); !s.ok()) return s;
    return segment;
  };
  Result<SegmentPtr> segment = open_segment();
  if (!segment.ok()) return std::move(segment).status();
  writer->active_ = *std::move(segment);
  // Only now that the log can go on without it, and before a record could make it look as if it did go on from there.
  const Status removed = env.remove(join_path(writer->settings_.dir, kNextSegmentName));
  if (removed.sys_errno() == ENOENT) return writer;
  if (!removed.ok()) return Status(removed).with("remove a log segment that was never begun");
  if (Status s = env.sync_dir(writer->settings_.dir); !s.ok()) return s;
  return writer;
}

// Needs: the file ends at segment.tail.
Status LogWriter::start_io(ActiveSegment& segment, uint64_t capacity) {
  KV_ASSERT(segment.mapping == nullptr);
  KV_ASSERT(segment.tail <= capacity);
  if (!segment.file->own(true)) {
    return owned_by_another(settings_.dir, std::filesystem::path(segment.path).filename().string());
  }
  segment.counts_names = segment.file->has_name();
  segment.capacity = capacity;
  const uint64_t bytes = settings_.segment_bytes;
  segment.stretch_end = std::max(capacity, bytes <= UINT64_MAX / kStretchMax ? kStretchMax * bytes : bytes);
  segment.filled_end = segment.writeback_end = segment.tail;
  if (settings_.io == LogIo::kWrite) {
    segment.low_water = capacity - std::min(capacity, kLastStepBytes);  // time to make the next segment
    return {};
  }
  Result<char*> mapping = segment.file->map(segment.stretch_end);
  // Addresses may be scarce; then commits wait where it would grow.
  if (!mapping.ok() && segment.stretch_end > capacity) {
    segment.stretch_end = capacity;
    mapping = segment.file->map(capacity);
  }
  if (!mapping.ok()) return std::move(mapping).status().with("this file system may want LogIo::kWrite");
  segment.mapping = *mapping;
  return {};
}

// Needs: commit lock, or the segment is known to nobody else.
Status LogWriter::grow(ActiveSegment& segment, uint64_t capacity) {
  const std::lock_guard lock(segment.extend_mutex);
  KV_ASSERT(capacity > segment.capacity);
  if (segment.mapping != nullptr && capacity > segment.stretch_end) {
    segment.file->unmap();
    segment.mapping = nullptr;
    Result<char*> mapping = segment.file->map(capacity);
    if (!mapping.ok()) {
      Result<char*> as_before = segment.file->map(segment.stretch_end);
      if (!as_before.ok()) return mark_broken(std::move(as_before).status().with("map the log"));
      segment.mapping = *as_before;
      return std::move(mapping).status().with("make room for a long line");
    }
    segment.mapping = *mapping;
  }
  segment.capacity = capacity;
  segment.stretch_end = std::max(segment.stretch_end, capacity);
  return {};
}

Status LogWriter::close() {
  if (closed_) return {};
  closed_ = true;
  Status result = sync();
  KV_ASSERT(!result.ok() || synced_seq() == last_seq());
  KV_ASSERT(!result.ok() || full_and_active().first == nullptr);  // the rotation under way went with it
  const SegmentPtr segment = active();
  segment->file->unmap();
  segment->mapping = nullptr;
  // The filler goes also when the writer is broken: lines end at the tail, whatever reached the disk.
  Status trimmed = segment->file->truncate(segment->tail);
  if (trimmed.ok() && result.ok()) trimmed = segment->file->sync();
  if (result.ok() && !trimmed.ok()) result = std::move(trimmed).with("close the log");
  discard_next();
  const std::lock_guard lock(segments_mutex_);
  retired_.clear();
  return result;
}

void LogWriter::disown() noexcept {
  const std::lock_guard lock(next_mutex_);
  const auto [full, segment] = full_and_active();
  for (const SegmentPtr& each : {full, segment, next_}) {
    if (each != nullptr) each->file->own(false);
  }
}

// ---- making room ---------------------------------------------------------------------------------

// The segment behind the last record must have a name, so one number stays unused and no more segments begin then.
// At a million commits a second they last for 285 years; a file that somebody has written by hand may claim any.
Status LogWriter::check_numbers() const {
  if (last_seq() < format::kIntegerMax - 1) return {};
  return {Code::kNoSpace, "there is no sequence number left. try: export the store into a new one"};
}

Status LogWriter::make_room(size_t body_bytes) {
  if (is_broken()) return broken();
  if (closed_) return {Code::kClosed, "the store is closed"};
  if (Status s = check_numbers(); !s.ok()) return s;
  ActiveSegment& segment = *active_;  // only the commit lock, which we have, replaces it
  const size_t line = line_bytes_max(body_bytes);
  const uint64_t needed_end = segment.tail + line + kClosingLineBytesMax;
  KV_ASSERT(segment.first_seq <= last_seq() + 1);
  if (needed_end > segment.capacity) {
    if (segment.first_seq > last_seq()) {  // a line larger than a segment, and the first in this one
      if (Status s = grow(segment, needed_end); !s.ok()) return s;
    } else if (needed_end <= segment.stretch_end && full_and_active().first != nullptr) {
      stretch(segment, needed_end);
    } else {
      return rotate(line);
    }
  }
  if (segment.mapping == nullptr) {
    if (segment.tail > segment.low_water.load(std::memory_order_relaxed)) {
      segment.low_water.store(UINT64_MAX, std::memory_order_relaxed);
      settings_.on_low_room();
    }
    return {};
  }
  if (needed_end > segment.filled_end.load(std::memory_order_acquire)) {
    ++counters_.reserve_stalls;
    return extend_to(segment, needed_end);
  }
  if (segment.tail > segment.low_water.load(std::memory_order_relaxed)) {
    segment.low_water.store(UINT64_MAX, std::memory_order_relaxed);  // ask once; extend_to() sets it again
    const bool is_filled = segment.filled_end.load(std::memory_order_relaxed) >= segment.capacity;
    // Or there is nothing to extend.
    if (is_filled && full_and_active().first != nullptr) stretch(segment, segment.capacity);
    settings_.on_low_room();
  }
  return {};
}

// Needs: commit lock, and a rotation under way: without one, what is full is rotated.
void LogWriter::stretch(ActiveSegment& segment, uint64_t needed_end) const noexcept {
  KV_ASSERT(needed_end <= segment.stretch_end);
  segment.capacity = std::min(segment.stretch_end, needed_end + settings_.segment_bytes / 8);
}

void LogWriter::extend() {
  std::vector<SegmentPtr> unmapped_here;
  {
    const std::lock_guard lock(segments_mutex_);
    unmapped_here.swap(retired_);
  }
  const SegmentPtr segment = active();
  if (is_broken()) return;
  if (settings_.io == LogIo::kMapped) {
    const uint64_t end = segment->filled_end.load(std::memory_order_acquire);
    (void)extend_to(*segment, end + 1).ok();  // a failure is met again, and reported, by make_room()
  }
  prepare_next_in_time(*segment);
  start_writeback(*segment);
}

// Fills the file with newlines to at least `needed_end`, by whole steps.
Status LogWriter::extend_to(ActiveSegment& segment, uint64_t needed_end) {
  const std::lock_guard lock(segment.extend_mutex);
  if (segment.mapping == nullptr) return broken();  // grow() has lost it
  uint64_t end = segment.filled_end.load(std::memory_order_relaxed);
  const uint64_t goal =
      std::min(std::max(needed_end, end + segment.step), segment.capacity.load(std::memory_order_relaxed));
  if (end >= goal) return {};
  const uint64_t step = goal - end;
  while (end < goal) {
    const size_t count = std::min<uint64_t>(goal - end, kFillBytes);
    const std::string_view blank = filler().substr(0, count);
    Status s = syncs_little_ ? segment.file->write_in_pages(end, blank) : segment.file->write_at(end, blank);
    if (!s.ok()) {
      if (end >= needed_end) break;
      return std::move(s).with("extend the log");
    }
    segment.file->prepare_pages(end, count);
    end += count;
    KV_ASSERT(end <= goal);
    segment.filled_end.store(end, std::memory_order_release);
  }
  KV_ASSERT(end <= segment.stretch_end);  // beyond the mapping nobody could use it
  segment.step = std::min(segment.step * 2, kLastStepBytes);
  segment.low_water.store(end - std::min(step, end), std::memory_order_relaxed);
  return {};
}

// What lies two steps behind the space added last is complete: have it written out, so that a sync or a rotation finds little
// left to do. Without extend_mutex where the disk may be waited for, since a commit that is short of room takes it.
void LogWriter::start_writeback(ActiveSegment& segment) {
  uint64_t begin = 0;
  uint64_t end = 0;
  {
    const std::lock_guard lock(segment.extend_mutex);
    const uint64_t filled = segment.filled_end.load(std::memory_order_relaxed);
    begin = segment.writeback_end;
    end = filled - std::min(filled, 2 * kLastStepBytes);
    if (segment.mapping == nullptr || end <= begin) return;
    segment.writeback_end = end;
    segment.file->let_go_of_pages(begin, end - begin);
  }
  segment.file->start_writeback(begin, end - begin);
}

uint64_t LogWriter::full_bytes() const noexcept {
  KV_ASSERT(active_->tail <= counters_.log_bytes);
  return counters_.log_bytes - active_->tail;
}

void LogWriter::forget(uint64_t bytes, uint64_t segments) noexcept {
  KV_ASSERT(bytes <= counters_.log_bytes);
  KV_ASSERT(segments < counters_.segments);  // the active one stays
  counters_.log_bytes -= bytes;
  counters_.segments -= segments;
}

// ---- appending and syncing -----------------------------------------------------------------------

// kWrite. Of what cannot be written whole nothing stays.
Status LogWriter::write_at_tail(ActiveSegment& segment, std::string_view text) {
  Status s = segment.file->write_at(segment.tail, text);
  if (s.ok()) return s;
  if (Status cut = segment.file->truncate(segment.tail); !cut.ok()) {
    return mark_broken(std::move(s).with("append to the log, then remove the partial line"));
  }
  return std::move(s).with("append to the log");
}

Status LogWriter::append_text(ActiveSegment& segment, std::string_view text) {
  KV_ASSERT(text.ends_with('\n'));
  if (segment.mapping != nullptr) {
    KV_ASSERT(segment.tail + text.size() <= segment.filled_end.load(std::memory_order_relaxed));
    copy_forward(segment.mapping + segment.tail, text);
  } else if (Status s = write_at_tail(segment, text); !s.ok()) {
    return s;
  }
  segment.tail += text.size();
  counters_.log_bytes.store(counters_.log_bytes.load(std::memory_order_relaxed) + text.size(),
                            std::memory_order_relaxed);
  return {};
}

Status LogWriter::append(const format::Stamp& stamp, const Body& body) {
  KV_ASSERT(stamp.seq == last_seq_.load(std::memory_order_relaxed) + 1);
  KV_ASSERT(stamp.synced < stamp.seq);  // nothing vouches for itself
  ActiveSegment& segment = *active_;
  KV_ASSERT(segment.first_seq <= stamp.seq);
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
  // One at a time: Linux tells each failed write-back to only one sync of an open file. A second sync beside the one
  // that fails would return OK for the same lost bytes, and might vouch for them before the writer is marked broken.
  const std::lock_guard lock(sync_mutex_);
  if (is_broken()) return broken();
  // In this order: a record that is in an older segment than these two was synced by the rotation between.
  const Seq covers = last_seq();
  KV_ASSERT(synced_seq() <= covers);
  const auto [full, segment] = full_and_active();
  const uint64_t bytes = counters_.log_bytes.load(std::memory_order_relaxed);
  const uint64_t covered = bytes - std::min(bytes, bytes_at_sync_);  // a compaction may have taken off more than came
  if (full == nullptr && covered >= kLetGoBytesMin) let_go_of_pages(*segment);
  syncs_little_ = covered < kLittleBytes;
  bytes_at_sync_ = bytes;
  Status s = full != nullptr ? finish_rotation_locked(full, *segment) : sync_file(*segment);
  if (s.ok() && synced_seq() < covers) synced_seq_.store(covers, std::memory_order_release);
  return s;
}

// Before much of a segment is synced: log_writer.h, "The mapping is narrow". The next stores bring back the few pages that
// they need.
void LogWriter::let_go_of_pages(ActiveSegment& segment) {
  const std::lock_guard lock(segment.extend_mutex);
  if (segment.mapping == nullptr) return;
  const uint64_t begin = segment.writeback_end;  // what lies before was let go then
  segment.file->let_go_of_pages(begin, segment.filled_end.load(std::memory_order_relaxed) - begin);
}

// Needs: sync_mutex_ held.
Status LogWriter::sync_file(ActiveSegment& segment) noexcept {
  const auto begin = std::chrono::steady_clock::now();
  // Without memory: whether the disk had already failed, nobody will ever tell us.
  Status s = base::guarded([&] { return segment.file->sync(); });
  counters_.sync_duration.record_since(begin);
  if (!s.ok()) return mark_broken(std::move(s).with("sync the log"));
  ++counters_.syncs;
  if (!segment.counts_names || segment.file->has_name()) return s;
  return mark_broken(
      base::error(Code::kIoError,
                  "{}: it was removed, or its directory, while the store was open: what is in it is lost "
                  "when the store is closed, and a backup made before saves it",
                  segment.path)
          .at(segment.path));
}

Status LogWriter::mark_broken(Status cause) noexcept {
  KV_ASSERT(!cause.ok());
  const std::lock_guard lock(broken_mutex_);
  if (broken_.ok()) {
    broken_ = base::error(Code::kBroken,
                          "the store refuses writes since an earlier failure ({}); which bytes are on disk is unknown. "
                          "try: close and reopen the store",
                          cause.message())
                  .at(cause.path());
    is_broken_.store(true, std::memory_order_release);
  }
  return cause;
}

// Beside the writer's own threads, which may extend, sync, and make the next segment meanwhile. So what they change is read
// in the order that leaves nothing to chance: synced_seq() first, since it only grows.
void LogWriter::check() const {
  const Seq synced = synced_seq();
  const Seq last = last_seq();
  const auto [full, segment] = full_and_active();
  KV_ASSERT(synced <= last);
  KV_ASSERT(segment != nullptr);
  KV_ASSERT(segment->first_seq > 0 && segment->first_seq <= last + 1);
  KV_ASSERT(counters_.segments >= (full != nullptr ? 2U : 1U));
  if (is_broken()) KV_ASSERT(!broken().ok());
  if (full != nullptr) {
    KV_ASSERT(full->first_seq < segment->first_seq);
    KV_ASSERT(full->closing_line.ends_with('\n'));
    KV_ASSERT(synced < segment->first_seq);  // of the new segment nothing counts until the full one is closed
  }
  {
    const std::lock_guard lock(segment->extend_mutex);
    KV_ASSERT(segment->tail > 0);  // its header
    KV_ASSERT(segment->tail + kClosingLineBytesMax <= segment->capacity);
    KV_ASSERT(segment->capacity <= segment->stretch_end);
    KV_ASSERT((segment->mapping != nullptr) == (settings_.io == LogIo::kMapped && !closed_));
    if (segment->mapping != nullptr) {
      KV_ASSERT(segment->tail <= segment->filled_end);
      KV_ASSERT(segment->filled_end <= segment->capacity);
      KV_ASSERT(segment->writeback_end <= segment->filled_end);
    }
  }
  const std::lock_guard lock(next_mutex_);
  if (next_ == nullptr) return;
  KV_ASSERT(full_and_active().first == nullptr);  // there is one wal-next.jsonl at most
  KV_ASSERT(!next_->has_name && next_->first_seq == 0);
  KV_ASSERT(next_->tail == 0);  // blank: it means nothing yet
}

Status LogWriter::broken() const {
  const std::lock_guard lock(broken_mutex_);
  return broken_;
}

}  // namespace kvstore::wal
