// What can be chosen when a store is opened and when a write is made, with the defaults that suit
// most programs. All structs are plain aggregates, made for designated initialisers:
//
//     Store::open("mydb", {.durability = Durability::kSync});
//
// Every member has an initialiser, even an empty one: then naming only some of them is free of warnings.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/status.h"

namespace kvstore::inline v1 {

inline constexpr size_t kKeyBytesMax = size_t{64} << 10;    // keys have 1 .. 64 KiB
inline constexpr size_t kValueBytesMax = size_t{64} << 20;  // values have 0 .. 64 MiB
inline constexpr size_t kByBytesMax = 256;                  // `by`: provenance, valid UTF-8
inline constexpr size_t kLineBytesMax = size_t{512} << 20;  // one log line; so much the JSON of a batch may have

// What an acknowledged write outlives (P2). No level lets it die with the process.
enum class Durability : uint8_t {
  kProcess,  // kill -9 at once; a power cut takes at most the last sync_interval
  kSync,     // a power cut; concurrent writers share one sync (group commit)
};

// How the bytes get into the log file.
enum class LogIo : uint8_t {
  kMapped,  // copied into a shared mapping: no system call per write
  kWrite,   // one write(2) per commit: for file systems where mapping is unwise, and for tail -f
};

// What opening does with damage. Damage to promised data is refused under both (P5).
enum class RecoveryPolicy : uint8_t {
  kCutTornTail,      // cut what no sync vouched for, keep it in lost+found/, report it
  kRefuseAnyDamage,  // refuse to open even for a torn tail: for tests and for careful people
};

// What a write does that would go over Options::max_memory or max_entries.
enum class WhenFull : uint8_t {
  kRefuse,  // fails with kOutOfMemory; deleting still works
  kEvict,  // makes room: deletes the keys least likely to be read again (SIEVE), with an "evict" in the log. Fails with
           // kOutOfMemory where that does not help: snapshots keep the memory, or it has come to lie in pieces
};

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// One stretch of bytes that recovery removed from the log.
struct CutReport {
  std::string file{};     // path of the log file
  uint64_t line = 0;      // 1-based line number of the first byte cut
  uint64_t offset = 0;    // byte offset of the first byte cut
  uint64_t bytes = 0;     // how many, trailing blank filler not counted
  std::string reason{};   // "crc mismatch (stored 9ab1c0de, computed 77c012fa)"
  std::string kept_as{};  // where under lost+found/ the bytes are now; empty for a read-only open
};

// What opening found and did.
struct RecoveryReport {
  uint64_t snapshot_seq = 0;      // the snapshot the replay began with holds all records up to this; 0: none
  uint64_t snapshot_entries = 0;  // live keys in it
  uint64_t records = 0;           // log lines replayed
  uint64_t operations = 0;        // puts and deletes in them
  uint64_t bytes = 0;             // log bytes read, those of the snapshot not counted
  uint64_t segments = 0;          // log files read
  uint64_t last_seq = 0;          // sequence number of the last record, 0 for an empty store
  uint64_t synced_seq = 0;        // highest sequence number some voucher promised
  bool clean_close = false;       // the last owner closed the store; otherwise it crashed or runs
  std::chrono::microseconds duration{0};
  std::vector<CutReport> cuts{};  // empty: nothing was lost
};

// What a compaction did.
struct CompactionReport {
  uint64_t seq = 0;      // the snapshot holds the state after this record; 0: the store is empty, nothing was done
  uint64_t entries = 0;  // live keys in it
  uint64_t snapshot_bytes = 0;
  uint64_t log_bytes = 0;      // of the log it replaces
  uint64_t files_removed = 0;  // covered segments and older snapshots
  std::chrono::microseconds duration{0};
};

// What a backup holds.
struct BackupReport {
  uint64_t seq = 0;  // the state after this record
  uint64_t entries = 0;
  uint64_t bytes = 0;
  std::chrono::microseconds duration{0};
};

struct Progress {
  std::string_view step{};  // "replay", "compact", "backup", "verify"; of a repair "read", "apply", "save"
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
};

struct Options {
  Durability durability = Durability::kProcess;   // the default for every write
  std::chrono::milliseconds sync_interval{1000};  // bounds what a power cut can take under kProcess
  LogIo log_io = LogIo::kMapped;
  RecoveryPolicy recovery = RecoveryPolicy::kCutTornTail;
  bool create_if_missing = true;
  bool read_only = false;  // no lock, no change on disk; works beside a writer
  // A log file is rotated at this size, but grows to four times it while the disk is behind. At least 4096.
  uint64_t segment_bytes = uint64_t{64} << 20;
  unsigned replay_threads = 0;  // 0: as many as there are cores

  // Compaction: once snapshot and log together hold more than this share of what the live data needs, and the log at
  // least compact_min_bytes. 0 percent: only by hand.
  unsigned compact_at_percent = 200;
  uint64_t compact_min_bytes = uint64_t{64} << 20;
  // What compaction leaves of the log before it, for looking back: whole intervals between snapshots, the newest first,
  // as far as they fit into so many bytes, or end no longer ago than this.
  uint64_t keep_history_bytes = 0;
  std::chrono::seconds keep_history_for{0};

  // Reused memory (pools.h): so much of it may lie idle in each of the store's three pools; what comes back larger than
  // pool_giant_bytes is freed at once. wipe_buffers overwrites with zeros what was written, on return.
  size_t pool_bytes_max = size_t{16} << 20;
  size_t pool_giant_bytes = size_t{1} << 20;
  bool wipe_buffers = false;

  // Limits on the live data; 0: none. max_memory counts what keys, values and index take from the system
  // (Stats::table_bytes), to within 4 MiB, not the log's mapping, which is the page cache. A store that holds more when it
  // is opened is opened all the same. Deletions are never refused, and take what they need for themselves meanwhile.
  // Overwritten values that a snapshot still sees count too; where a compaction or a backup sees them, and no snapshot, a
  // write without room waits for its end. A single write that adds more than max_memory less 4 MiB, or more keys than
  // max_entries, is refused, and evicts nothing.
  uint64_t max_memory = 0;  // bytes; at least 8 MiB
  uint64_t max_entries = 0;
  WhenFull when_full = WhenFull::kRefuse;

  // Callbacks must not call the store, cancel_compaction() apart, nor wait for who does: its locks may be held while they run.
  //
  // Called about ten times a second and at the end, when done_bytes == total_bytes: from the opening thread while a replay
  // runs, and from the thread that compacts or backs up while it does. What it throws ends that with kIoError.
  std::function<void(const Progress&)> on_progress{};
  // Called once, from the opening thread, before open() returns, also when nothing was cut.
  std::function<void(const RecoveryReport&)> on_recovery{};
  // Called at most once, from the store's own thread: a background sync failed, so the store is broken (P8).
  std::function<void(const Status&)> on_background_error{};
  // Receives the store's log lines, from any thread; what it throws is dropped. Unset: the store is silent (P9).
  std::function<void(LogLevel, std::string_view)> log_sink{};
  // Microseconds since the epoch, for `ts` and expiry; any thread, throws nothing. Unset: the system's real-time clock.
  std::function<int64_t()> now_us{};
};

struct WriteOptions {
  std::optional<Durability> durability{};  // unset: the store's
  std::chrono::microseconds ttl{0};        // 0: never expires; negative is refused
  std::optional<int64_t> expires_us{};     // absolute expiry, microseconds since the epoch; instead of ttl
  std::optional<uint64_t> if_version{};    // write only if the key's version is this; kConflict otherwise
  bool if_absent = false;                  // write only if the key is absent; kConflict otherwise
  std::string_view by{};                   // provenance, kept in the log: at most kByBytesMax, UTF-8
};

}  // namespace kvstore::inline v1
