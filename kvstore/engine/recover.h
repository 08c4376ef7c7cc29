// What opening for writing does to the files before the first append, so that the log ends exactly at its last
// record and everything replayed is on disk. Each step may be cut by a crash and done again.
#pragma once

#include <string>

#include "kvstore/env/env.h"
#include "kvstore/options.h"
#include "kvstore/status.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

// Removes *.tmp files: a rename that never happened. Returns how many.
Result<size_t> remove_leftovers(env::Env& env, const std::string& dir);

// Copies the torn rest that `end` describes to lost+found/ and syncs it; fills end.torn.kept_as.
Status keep_torn_tail(env::Env& env, const std::string& dir, CutReport& torn);

// Completes a rotation that was cut short, trims the active segment to its last record (filler and torn rest
// go; the rest is blanked out first), completes its last newline, syncs file and directory. Returns the segment's length, 0 when there is none.
Result<uint64_t> settle_log(env::Env& env, const std::string& dir, const wal::WalkEnd& end, format::Seq last_seq);

}  // namespace kvstore::engine
