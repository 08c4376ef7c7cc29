// DuplicateKeys: whether a key stands twice in a snapshot. An opening finds out by loading it; whoever only reads it asks
// this, at eight bytes an entry (sixteen while they are being added): hashes first, and the file once more where two of
// them are alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/engine/random_seed.h"
#include "kvstore/env/env.h"
#include "kvstore/status.h"
#include "kvstore/table/hash.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::engine {

class DuplicateKeys {
 public:
  // Throws std::bad_alloc, like check().
  void add(std::string_view key) { hashes_.push_back(hash_(key)); }
  // Needs: add() was called for every entry of `snapshot` that can be read. kCorruption names the place where a key stands
  // once more. OK where none does, or where the file is not there any more or cannot be read to its end.
  Status check(env::Env& env, const std::string& dir, const wal::SnapshotFile& snapshot);

 private:
  const table::KeyHash hash_{random_seed()};
  std::vector<uint64_t> hashes_;
};

}  // namespace kvstore::engine
