// Making a store out of a state: a snapshot and an empty segment behind it, in a directory of its own. Backup and repair
// do it in this order:
//   claim_directory() -> wal::sync_own_name() -> write_segment() -> a wal::SnapshotWriter, to its finish()
//   -> read everything back
// The segment comes first. Cut short at any point, what is there begins in the middle and refuses to open; it
// never opens as less.
#pragma once

#include <cstdint>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/status.h"

namespace kvstore::engine {

// kInvalidArgument when `dir` has no name, or is there and not empty; an empty lost+found, which a failed attempt may have
// left, does not count.
Status check_directory_is_free(env::Env& env, const std::string& dir);
// The same, and creates it unless it is there: true.
Result<bool> claim_directory(env::Env& env, const std::string& dir);

// Whether `path` is a directory itself: a symbolic link to one is none.
Status check_is_directory(env::Env& env, const std::string& path);

// The empty segment behind record `last_seq`, on disk when the call returns. On failure there is none, or it is another's.
Status write_segment(env::Env& env, const std::string& dir, const std::string& uuid, format::Seq last_seq,
                     int64_t created_us);

// Removes what the above and the snapshot writer have made; best effort, after a failure.
void remove_copy(env::Env& env, const std::string& dir, format::Seq last_seq);

}  // namespace kvstore::engine
