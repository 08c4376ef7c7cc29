// Looking into a store without owning it: log lines, verification, and a summary.
//
// None of these calls takes the writer's lock, creates a file or changes one; all work while a writer
// runs. They are for tools such as kvctl and for the person on call; nothing here is on a hot path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/options.h"
#include "kvstore/status.h"

namespace kvstore::inline v1 {

// One operation of a log record. The views live until the cursor moves.
struct LogOp {
  enum class Kind : uint8_t {
    kPut,
    kDel,
    kEvict,  // by the store itself, which had reached its memory limit
  };
  Kind kind = Kind::kPut;
  std::string_view key{};
  std::string_view value{};  // JSON text when is_json
  bool is_json = false;
  int64_t expires_us = 0;  // 0: never
};

// One record, as it stands in the log. The views live until the cursor moves.
struct LogRecord {
  uint64_t seq = 0;
  int64_t ts_us = 0;
  uint64_t synced = 0;  // the voucher on this line, 0 when there is none
  std::string_view by{};
  bool is_batch = false;
  std::vector<LogOp> ops{};
  std::string_view line{};   // the very bytes, newline not included
  std::string_view file{};   // path of the log file
  uint64_t line_number = 0;  // 1-based
  uint64_t offset = 0;       // byte offset of the line in its file
};

// Walks all records of a store that are left, in order: from the first, or from where compaction has kept the log (what
// lies before is in a snapshot, see Store::scan()). Stops at the end, at a torn tail (not an error: see
// torn_tail()), or at damage (an error). Not thread-safe.
class LogCursor {
 public:
  // kNotAStore when there is no store at `dir`.
  static Result<LogCursor> open(const std::filesystem::path& dir);
  LogCursor(LogCursor&&) noexcept;
  LogCursor& operator=(LogCursor&&) noexcept;
  ~LogCursor();

  // The next record, nullptr at the end: behind all that was acknowledged before the call. Called again after the end it
  // looks whether a writer has added more, also in newer segments: that is how `kvctl log --follow` works. kCorruption,
  // kUnsupported, kIoError; kCompacted: a compaction has removed the records that would have come next.
  Result<const LogRecord*> next();
  // What stands behind the last intact record and would be cut by the next opening, if anything.
  [[nodiscard]] const std::optional<CutReport>& torn_tail() const noexcept;

  struct Impl;

 private:
  explicit LogCursor(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

// One finding of verify().
struct Finding {
  enum class Severity : uint8_t {
    kNote,         // no trouble; also a record that a live owner is writing while we look
    kTornTail,     // the rest of a record that was never promised; the next opening for writing cuts it
    kDamage,       // of promised records
    kUnsupported,  // written by a newer version
  };
  Severity severity = Severity::kNote;
  std::string file{};
  uint64_t line = 0;  // 1-based, 0 when the whole file is meant
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string message{};  // a sentence
  std::string advice{};   // what to do next
};

struct VerifyReport {
  uint64_t snapshots = 0;
  uint64_t entries = 0;  // in them
  uint64_t segments = 0;
  uint64_t records = 0;
  uint64_t operations = 0;
  uint64_t bytes = 0;  // of segments and snapshots
  uint64_t last_seq = 0;
  uint64_t synced_seq = 0;  // the highest voucher seen
  std::vector<Finding> findings{};
  [[nodiscard]] bool has(Finding::Severity severity) const noexcept;
};

// Checks every byte of every segment and snapshot against its checksum, sequence and vouchers, those kept as history
// included. Damage is a
// finding, not an error; an error means it could not look (kNotAStore, kIoError).
Result<VerifyReport> verify(const std::filesystem::path& dir,
                            const std::function<void(const Progress&)>& on_progress = {});

// Who holds, or last held, the store.
struct OwnerInfo {
  int64_t pid =
      0;  // 0: nobody that LOCK names; where `alive` is false, too, the store was closed cleanly or LOCK is lost
  std::string host{};
  int64_t started_us = 0;  // when it opened the store
  bool alive = false;      // the lock is held now, or the log's
};

struct SegmentInfo {
  std::string file{};  // name in the store's directory
  uint64_t first_seq = 0;
  uint64_t bytes = 0;   // size of the file
  bool sealed = false;  // ends with a line that names the next
};

struct SnapshotInfo {
  std::string file{};
  uint64_t last_seq = 0;  // it holds the state after this record
  uint64_t entries = 0;
  uint64_t bytes = 0;
  int64_t created_us = 0;
  bool damaged = false;  // and kept for looking back only: verify() tells more; entries and created_us are unknown
};

struct StoreInfo {
  std::string uuid{};
  uint32_t format = 0;
  int64_t created_us = 0;
  uint64_t closed_seq = 0;  // last synced sequence number at the last clean close
  OwnerInfo owner{};
  std::vector<SnapshotInfo> snapshots{};  // oldest first; the state begins with the last
  std::vector<SegmentInfo> segments{};    // oldest first
  uint64_t lost_and_found_files = 0;
};

// Reads headers, footers and LOCK only: cheap for any size of store.
Result<StoreInfo> info(const std::filesystem::path& dir);

}  // namespace kvstore::inline v1
