// LogWriter: appends records to the active segment, rotates segments, and syncs.
//
// Two ways to get bytes into the file (LogIo). kMapped: the file is extended ahead in large writes of
// '\n' and records are copied into a shared mapping of it, strictly front to back, so an acknowledged write
// costs no system call and survives kill -9, and a reader sees whole lines and at most one torn one at the end.
// The space is written before it is mapped, so a full disk shows as an error of that write and never as a
// SIGBUS. kWrite: one write a record.
//
// Rotation never waits for a disk (log_rotation.cc). The next segment is made ahead, as wal-next.jsonl, by a background
// thread. When the active one is full:
//   header into the next segment, which becomes the active one        under the commit lock
//   -> sync both -> give the new one its number -> close the full one    by whoever syncs next
// Only then is a record of the new segment vouched for, so no name ever points at bytes that may still vanish. One rotation
// is finished before the next: a segment that is full before grows instead, up to kStretchMax times its size.
//
// The mapping is narrow. The background thread that fills space ahead makes its pages ready, so that commits meet no page
// faults, and lets go of them two steps behind the last, before they are written out: of a page that is mapped, write-back
// takes the right to store, one interrupt of the committing core a page, which cost more than all the rest of a put.
//
// Space is filled in large writes, or page by page while every sync covers little: see File::write_in_pages().
//
// Thread-safety: append(), make_room(), begin_segment() and close() need the store's commit lock. sync(), finish_rotation()
// and extend() may run beside them on any thread. After a failed sync the writer stays broken and repeats that error,
// since nobody knows any more which bytes reached the disk (P8).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/base/latency.h"
#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/options.h"
#include "kvstore/status.h"

namespace kvstore::wal {

// The part of a line that needs no lock, with what is needed to join its checksum to the stamp's.
struct Body {
  std::string_view text{};
  uint32_t crc = 0;
  uint32_t shift = 0;  // crc32c_shift(text.size())

  static Body of(std::string_view text) noexcept;
};

class LogWriter {
 public:
  struct Settings {
    std::string dir{};
    std::string store{};  // uuid
    LogIo io = LogIo::kMapped;
    uint64_t segment_bytes = 0;
    bool syncs_little = false;          // to begin with: see syncs_little_
    std::function<int64_t()> now_us{};  // for `created` in headers
    // Called, from any of the writer's calls, when the space ahead runs low; must be cheap. Its receiver
    // calls extend() on another thread.
    std::function<void()> on_low_room{};
    // Whether `dir` is still the directory that was opened; asked before any name in it is made, changed or removed.
    // Any thread. Empty: it is.
    std::function<bool()> is_ours{};
    // Called under the commit lock after a rotation; must be cheap. Its receiver calls sync() on another thread.
    std::function<void()> on_rotation{};
  };
  // Where a recovered log goes on.
  struct Place {
    std::string segment{};              // file name; empty: a new store
    std::unique_ptr<env::File> file{};  // that segment, owned already; empty: it is opened, and owned from then on
    uint64_t offset = 0;                // behind its last line, newline included
    format::Seq last_seq = 0;
    uint64_t sealed_bytes = 0;  // of earlier segments
    uint64_t segments = 0;      // log files, the active one included
  };

  // Opens the active segment for appending, or creates one. Removes a next segment that is left over. Needs: the file
  // ends at place.offset, and everything in it is synced.
  static Result<std::unique_ptr<LogWriter>> open(env::Env& env, Settings settings, Place place);
  ~LogWriter();

  // Makes sure that a record with a body of this size fits, extending the file or beginning a new segment. On
  // failure nothing is lost and a later call may succeed (kNoSpace, kIoError), unless the writer is broken.
  Status make_room(size_t body_bytes);
  // Writes one record. Needs: make_room(body.text.size()) just returned OK; stamp.seq == last_seq() + 1.
  // kMapped cannot fail; kWrite removes a partial line again (kNoSpace, kIoError). Throws std::bad_alloc (kWrite).
  Status append(const format::Stamp& stamp, const Body& body);

  // Ends the active segment, so that the next record is the first of its file; does nothing when it would be anyway.
  // Fails as make_room() does. Quick if prepare_next() has just been called. Needs the commit lock.
  Status begin_segment();
  // Makes the next segment ahead, unless it is there or begin_segment() would do nothing. Any thread; better without the
  // commit lock, since it waits for the disk, and for the rotation under way.
  Status prepare_next();
  // Returns when the segment begun last has its name and survives a power cut, with all before it. Any thread.
  Status finish_rotation() noexcept;
  // Bytes of lines in the segments before the active one. Needs the commit lock.
  [[nodiscard]] uint64_t full_bytes() const noexcept;
  // Takes `bytes` and `segments` out of the counters: a snapshot covers them now. Needs the commit lock.
  void forget(uint64_t bytes, uint64_t segments) noexcept;

  // Returns when every record appended before the call survives a power cut. May be called concurrently. Reports
  // a lack of memory like any other failure (kOutOfMemory).
  Status sync() noexcept;
  // Extends the space ahead, makes the next segment when it is time, releases old mappings; for a background thread.
  // Failures show in make_room().
  void extend();
  // Syncs, trims the filler, closes. Needs: nobody else is inside. Later appends fail with kClosed.
  Status close();
  // The files are nobody's any more (env::File::own()), also where it is broken: another owner may come.
  void disown() noexcept;

  [[nodiscard]] format::Seq last_seq() const noexcept { return last_seq_.load(std::memory_order_acquire); }
  [[nodiscard]] format::Seq synced_seq() const noexcept { return synced_seq_.load(std::memory_order_acquire); }
  // OK, or the failed sync that broke the writer.
  [[nodiscard]] Status broken() const;
  // Asserts how segments, sequence numbers and sizes must stand to each other; for tests. Needs the commit lock.
  void check() const;
  [[nodiscard]] bool is_broken() const noexcept { return is_broken_.load(std::memory_order_acquire); }

  struct Counters {
    std::atomic<uint64_t> log_bytes{0};  // lines in the segments that no snapshot covers
    std::atomic<uint64_t> segments{0};   // ... which are so many
    std::atomic<uint64_t> syncs{0};
    std::atomic<uint64_t> rotations{0};
    std::atomic<uint64_t> reserve_stalls{0};
    base::LatencyHistogram sync_duration{};      // each fdatasync that covers lines, a failed one too
    base::LatencyHistogram rotation_duration{};  // the part under the commit lock
  };
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }

 private:
  struct ActiveSegment;  // active_segment.h
  using SegmentPtr = std::shared_ptr<ActiveSegment>;

  LogWriter(env::Env& env, Settings settings) noexcept;

  // log_writer.cc
  [[nodiscard]] Status check_numbers() const;  // kNoSpace when there is none for another record
  Status start_io(ActiveSegment& segment, uint64_t capacity);
  Status grow(ActiveSegment& segment, uint64_t capacity);
  void stretch(ActiveSegment& segment, uint64_t needed_end) const noexcept;
  Status extend_to(ActiveSegment& segment, uint64_t needed_end);
  static void start_writeback(ActiveSegment& segment);
  Status write_at_tail(ActiveSegment& segment, std::string_view text);
  Status append_text(ActiveSegment& segment, std::string_view text);
  static void let_go_of_pages(ActiveSegment& segment);
  Status sync_file(ActiveSegment& segment) noexcept;
  Status mark_broken(Status cause) noexcept;
  [[nodiscard]] SegmentPtr active() const;
  [[nodiscard]] std::pair<SegmentPtr, SegmentPtr> full_and_active() const;

  // log_rotation.cc
  Result<SegmentPtr> create_segment(format::Seq first_seq);
  Result<SegmentPtr> create_next();
  Result<SegmentPtr> take_next(uint64_t capacity);
  Status rotate(size_t line_bytes_max);
  Status finish_rotation_locked(const SegmentPtr& full, ActiveSegment& next) noexcept;
  static Status seal(ActiveSegment& full);
  void prepare_next_in_time(ActiveSegment& segment);
  void discard_next() noexcept;
  Status check_directory();
  [[nodiscard]] std::string segment_header(format::Seq first_seq) const;

  env::Env& env_;
  const Settings settings_;
  Counters counters_;

  // Which segments there are. Writes to the first two need the commit lock, too.
  mutable std::mutex segments_mutex_;
  SegmentPtr active_;
  SegmentPtr full_;                  // sealed by the rotation under way: it and active_ wait for their syncs
  std::vector<SegmentPtr> retired_;  // sealed and synced; extend() unmaps them off the commit path

  mutable std::mutex next_mutex_;  // one makes or takes it at a time; locked before the other mutexes
  SegmentPtr next_;                // made ahead: wal-next.jsonl, blank

  base::Buffer line_;  // kWrite: the line under way; commit lock

  std::atomic<format::Seq> last_seq_{0};
  std::atomic<format::Seq> synced_seq_{0};  // grows under sync_mutex_
  std::mutex sync_mutex_;
  uint64_t bytes_at_sync_ = 0;      // log_bytes at the last one; sync_mutex_
  std::atomic<bool> syncs_little_;  // the last one covered less than kLittleBytes
  std::atomic<bool> is_broken_{false};
  mutable std::mutex broken_mutex_;
  Status broken_;
  bool closed_ = false;
};

}  // namespace kvstore::wal
