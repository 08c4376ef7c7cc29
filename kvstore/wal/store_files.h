// Which files a store consists of. There is no manifest: the directory listing decides. The state is the newest
// snapshot plus the segments behind it; whatever is older is history, or was about to be removed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/status.h"

namespace kvstore::wal {

struct Segment {
  std::string name{};         // in the store's directory
  format::Seq first_seq = 0;  // from the name, and the header must agree; of the next segment, from the header

  [[nodiscard]] bool is_next() const noexcept;  // still without its number: wal-next.jsonl
  bool operator==(const Segment&) const = default;
};

struct SnapshotFile {
  std::string name{};
  format::Seq last_seq = 0;

  bool operator==(const SnapshotFile&) const = default;
};

struct StoreFiles {
  std::vector<SnapshotFile> snapshots{};  // oldest first
  std::vector<Segment> segments{};        // oldest first; without the next one
  bool has_next = false;                  // wal-next.jsonl is there

  // The record behind which the live segments begin: 0 without a snapshot.
  [[nodiscard]] format::Seq base_seq() const noexcept { return snapshots.empty() ? 0 : snapshots.back().last_seq; }
  // The segments that count for the state.
  [[nodiscard]] std::vector<Segment> live_segments() const;
  bool operator==(const StoreFiles&) const = default;
};

// kNotAStore when the directory does not exist.
Result<StoreFiles> list_store_files(env::Env& env, const std::string& dir);

// The file of the log that some process is writing to (env::File::own()), which is its owner whatever LOCK says; "" for none.
Result<std::string> owned_log_file(env::Env& env, const std::string& dir);
// Somebody has the store open for writing. A hint.
bool is_owned(env::Env& env, const std::string& dir);

Result<uint64_t> size_of_file(env::Env& env, const std::string& path);

// The 1-based number of the line that starts at `offset`.
Result<uint64_t> line_number_at(env::File& file, uint64_t offset);

// "path:line (byte at): what", with path() and offset() set. `file` may be null: then the line is 0.
Status damage_at(env::File* file, const std::string& path, uint64_t at, Code code, std::string_view what);

// Makes the directory's own name survive a power cut. In a place that we may not read there is no way to see to that: an
// error only for who has made the directory there.
Status sync_own_name(env::Env& env, const std::string& dir, bool has_made_it);

// Env::hold_dir() for somebody who only reads. OK where there is no directory: whoever goes on to read says so better.
Status hold_to_read(env::Env& env, const std::string& dir);

// Why nobody else may write: `file`, of the log, is owned (env::File::own()).
Status owned_by_another(const std::string& dir, const std::string& file);

// Why an open store must not touch a name in `dir` any more (env::FileLock::still_named()).
Status directory_replaced(const std::string& dir);

}  // namespace kvstore::wal
