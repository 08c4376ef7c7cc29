// info(): what a store is, from headers, footers and LOCK alone.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_header.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/owner_file.h"
#include "kvstore/wal/snapshot_reader.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::engine {

namespace {

constexpr size_t kLookBytes = 1024;  // a closing line is shorter

struct Ends {
  uint64_t bytes = 0;
  bool sealed = false;
};

// Reads the first and last few bytes of a segment. A header of a known kind fills `out`'s identity.
Result<Ends> look_at_ends(env::Env& env, const std::string& path, bool is_first, StoreInfo& out) {
  Result<std::unique_ptr<env::File>> file = env.open(path, env::OpenMode::kRead);
  if (!file.ok()) return std::move(file).status();
  Result<uint64_t> size = (*file)->size();
  if (!size.ok()) return std::move(size).status();
  if (is_first) {
    Result<std::optional<wal::FileHeader>> header = wal::read_header(**file);
    if (!header.ok()) return std::move(header).status();
    if (header->has_value() && !(*header)->is_snapshot) {
      out.uuid = (*header)->store;
      out.format = (*header)->format;
      out.created_us = (*header)->created_us;
    }
  }
  std::vector<format::Op> ops;
  base::Scratch scratch;
  std::string bytes(kLookBytes, '\0');
  Result<size_t> got = (*file)->read_at(*size - std::min<uint64_t>(*size, kLookBytes), bytes);
  if (!got.ok()) return std::move(got).status();
  KV_ASSERT(*got <= kLookBytes);
  std::string_view text = std::string_view(bytes).substr(0, *got);
  text = text.substr(0, text.find_last_not_of(format::kBlankBytes) + 1);
  text = text.substr(text.rfind('\n') + 1);
  const bool sealed = format::decode(text, ops, scratch).kind == format::LineKind::kSegmentEnd;
  return Ends{.bytes = *size, .sealed = sealed};
}

}  // namespace

Result<StoreInfo> info(env::Env& env, const std::string& dir) {
  Result<wal::StoreFiles> files = wal::list_store_files(env, dir);
  if (!files.ok()) return std::move(files).status();
  Result<std::optional<wal::Owner>> owner = wal::read_owner(env, dir);
  if (!owner.ok()) return std::move(owner).status();
  if (files->segments.empty() && files->snapshots.empty() && !files->has_next && !owner->has_value()) {
    return Status(Code::kNotAStore, fmt::format("{}: no store here: it has no log file", dir)).at(dir);
  }
  StoreInfo out;
  if (owner->has_value()) {
    out.uuid = (*owner)->store;
    out.closed_seq = (*owner)->closed_seq;
    out.owner = {.pid = (*owner)->pid, .host = (*owner)->host, .started_us = (*owner)->started_us};
  }
  out.owner.alive = wal::is_owned(env, dir);
  for (const wal::SnapshotFile& snapshot : files->snapshots) {
    Result<wal::SnapshotReader> reader = wal::SnapshotReader::open(env, dir, snapshot, 1);
    if (!reader.ok() && reader.status().sys_errno() == ENOENT) continue;  // a writer's compaction was faster
    const bool is_damaged = reader.status().code() == Code::kCorruption || reader.status().code() == Code::kUnsupported;
    if (is_damaged && snapshot.last_seq < files->base_seq()) {  // history, which counts for nothing in the state
      Result<uint64_t> bytes = wal::size_of_file(env, wal::join_path(dir, snapshot.name));
      if (!bytes.ok() && bytes.status().sys_errno() == ENOENT) continue;
      if (!bytes.ok()) return std::move(bytes).status();
      out.snapshots.push_back({.file = snapshot.name, .last_seq = snapshot.last_seq, .bytes = *bytes, .damaged = true});
      continue;
    }
    if (!reader.ok()) return std::move(reader).status();
    const wal::SnapshotReader::Summary& summary = reader->summary();
    KV_ASSERT(summary.last_seq == snapshot.last_seq);  // the reader has compared them
    KV_ASSERT(out.snapshots.empty() || out.snapshots.back().last_seq < snapshot.last_seq);
    out.snapshots.push_back({.file = snapshot.name,
                             .last_seq = snapshot.last_seq,
                             .entries = summary.entries,
                             .bytes = summary.bytes,
                             .created_us = summary.created_us});
  }
  for (const wal::Segment& segment : files->segments) {
    Result<Ends> ends = look_at_ends(env, wal::join_path(dir, segment.name), out.segments.empty(), out);
    if (!ends.ok() && ends.status().sys_errno() == ENOENT) continue;
    if (!ends.ok()) return std::move(ends).status();
    KV_ASSERT(out.segments.empty() || out.segments.back().first_seq < segment.first_seq);
    out.segments.push_back(
        {.file = segment.name, .first_seq = segment.first_seq, .bytes = ends->bytes, .sealed = ends->sealed});
  }
  for (const std::string_view name : {wal::kLostAndFoundName, wal::kOwnLostAndFoundName}) {
    Result<std::vector<std::string>> lost = env.list(wal::join_path(dir, name));
    if (lost.ok()) out.lost_and_found_files += lost->size();
  }
  return out;
}

}  // namespace kvstore::engine
