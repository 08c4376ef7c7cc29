// Repair: what can still be had of a store that refuses to open, as a new store beside it.
//
// The old directory is only read, never written. Every line whose checksum is right is used: the newest snapshot that
// is whole is the base; the intact entries of damaged newer ones and the intact records of all segments are applied to
// it, the higher sequence number winning key by key. Records that are gone leave holes; they are listed, and so are the
// keys that a lost record may have changed. Where there is a hole the result is no state the store ever had, and says so.
//
// A line that a newer version wrote stops a repair (kUnsupported): to drop what is merely not understood would be a loss.
// Not thread-safe against an owner: a store that is open somewhere is refused (kLocked), because its files move. So is one
// whose files were seen to change meanwhile: a plan takes no lock, so an owner may come and go.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/options.h"
#include "kvstore/status.h"

namespace kvstore::inline v1 {

// The lists of a plan are cut at this length, its counts are not: a plan stays small whatever the files hold.
inline constexpr size_t kRepairListMax = 1000;

// A line that the new store goes without. A line of more than kLineBytesMax comes in pieces.
struct RejectedLine {
  std::string file{};    // path in the old directory
  uint64_t line = 0;     // 1-based
  uint64_t offset = 0;   // byte in the file
  uint64_t bytes = 0;    // without the newline
  std::string reason{};  // "crc mismatch (stored 9ab1c0de, computed 77c012fa)"
};

// Records of which no intact line is left.
struct MissingRecords {
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  bool in_snapshot = false;  // a damaged snapshot was to stand for them; its intact entries are used
};

// A snapshot newer than the base that cannot be trusted as a whole.
struct DamagedSnapshot {
  std::string file{};  // path
  uint64_t last_seq = 0;
  uint64_t entries = 0;                        // intact ones, all used
  std::optional<uint64_t> entries_expected{};  // as its footer says; nullopt: the footer is gone
  std::string reason{};                        // why it is not whole
};

// A place in the kept history of a store that opens: nothing depends on it but looking back. Also a file that cannot be
// read, or that a newer version wrote.
struct DamagedHistory {
  std::string file{};    // path
  std::string reason{};  // with line and byte
};

// What a repair would keep, and what it would go without.
struct RepairPlan {
  bool opens = false;     // nothing to repair: the store opens as it is. The rest tells what is in it
  std::string refusal{};  // else the sentence with which it refuses
  // Of a store that opens: damage that only those meet who look back. A repair mends none of it, since the new store has
  // no history; a compaction that keeps none drops the files.
  std::vector<DamagedHistory> damaged_history{};

  // What is used.
  std::string base{};     // path of the snapshot all else is applied to; empty: from the first record on
  uint64_t base_seq = 0;  // it holds the state after this record
  uint64_t base_entries = 0;
  std::vector<DamagedSnapshot> damaged_snapshots{};
  uint64_t records = 0;          // intact records behind the base
  uint64_t covered_records = 0;  // intact ones that the base stands for
  uint64_t segments = 0;         // files they were read from

  // What is not.
  uint64_t rejected_lines = 0;
  uint64_t rejected_bytes = 0;
  std::vector<RejectedLine> rejected{};  // the first kRepairListMax
  uint64_t missing_records = 0;
  uint64_t missing_ranges = 0;
  std::vector<MissingRecords> missing{};  // the first kRepairListMax

  // What the new store would hold.
  bool has_anything = false;  // false: not one intact record or entry is left, and repair() refuses
  uint64_t last_seq = 0;      // the highest record seen or promised: its number is never given out again
  uint64_t entries = 0;       // live keys
  // Every record up to the last intact one is there: the result is a state that the store once had, though not
  // the last one where records are missing behind it.
  bool is_prefix = false;
  uint64_t stale_keys = 0;                  // live keys that a missing record may have changed or deleted
  std::vector<std::string> stale_sample{};  // the first hundred of them, in the order of their bytes
};

struct RepairOptions {
  unsigned threads = 0;          // that decode lines; 0: as many as there are cores
  bool only_if_damaged = false;  // repair() of a store that opens then does nothing: RepairReport::dir is empty
  std::function<void(const Progress&)> on_progress{};  // from the calling thread
};

struct RepairReport {
  RepairPlan plan{};
  std::string dir{};          // the new store; empty: see RepairOptions::only_if_damaged
  uint64_t bytes = 0;         // of its snapshot
  std::string rejected_as{};  // the rejected lines, one JSON object a line; empty: there were none
  std::string stale_as{};     // the keys that may be stale, likewise
  std::chrono::microseconds duration{0};
};

// What repair() would do. Reads every byte, keeps the state in memory as an opening would, writes nothing. kLocked;
// kNotAStore; kUnsupported; kIoError; kOutOfMemory.
Result<RepairPlan> plan_repair(const std::filesystem::path& dir, const RepairOptions& options = {});

// Writes the state of the plan to `new_dir`, which must not exist or be empty, and must not lie in `dir`: a store with an
// identity of its own and the same sequence numbers. OK: it has been read back, compared, and survives a power cut,
// its directory's name with the exception of Store::backup().
// Rejected lines are kept in its lost+found/. A repair that was cut short leaves a directory that does not open. Fails as
// plan_repair() does, with kInvalidArgument for new_dir, with kNoSpace, and with kCorruption when not one intact
// record or entry is left: an empty store is no repair. Holds the lock of `dir` meanwhile, where it has one and may.
Result<RepairReport> repair(const std::filesystem::path& dir, const std::filesystem::path& new_dir,
                            const RepairOptions& options = {});

}  // namespace kvstore::inline v1
