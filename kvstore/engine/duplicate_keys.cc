#include "kvstore/engine/duplicate_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "kvstore/base/assert.h"
#include "kvstore/engine/read_set.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/snapshot_reader.h"

namespace kvstore::engine {

Status DuplicateKeys::check(env::Env& env, const std::string& dir, const wal::SnapshotFile& snapshot) {
  std::sort(hashes_.begin(), hashes_.end());
  std::vector<uint64_t> repeated;
  for (auto at = std::adjacent_find(hashes_.begin(), hashes_.end()); at != hashes_.end();
       at = std::adjacent_find(at + 1, hashes_.end())) {
    repeated.push_back(*at);
  }
  KV_ASSERT(std::is_sorted(repeated.begin(), repeated.end()));
  if (repeated.empty()) return {};

  // Two keys may have one hash, so it is the keys themselves that count.
  std::set<std::string, std::less<>> seen;
  Result<wal::SnapshotReader> reader = wal::SnapshotReader::open(env, dir, snapshot, 1);
  while (reader.ok()) {
    Result<std::optional<wal::Records>> entries = reader->next();
    if (!entries.ok() || !entries->has_value()) break;
    const wal::Chunk& chunk = *(*entries)->chunk;
    for (const wal::LineRef& line : (*entries)->lines) {
      const std::string_view key = chunk.ops[line.op_begin].key;
      if (!std::binary_search(repeated.begin(), repeated.end(), hash_(key))) continue;
      if (seen.emplace(key).second) continue;
      const std::string path = wal::join_path(dir, snapshot.name);
      Result<std::unique_ptr<env::File>> file = env.open(path, env::OpenMode::kRead);
      return wal::damage_at(
          file.ok() ? file->get() : nullptr, path, chunk.offset_of(line), Code::kCorruption,
          fmt::format("the key {} stands here once more, and a snapshot has each key once. try: restore "
                      "this file from a copy or a backup",
                      quoted_key(key)));
    }
  }
  return {};
}

}  // namespace kvstore::engine
