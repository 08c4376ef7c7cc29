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

// Copies what `torn` describes to lost+found/ and syncs it; fills its kept_as.
Status keep_torn_tail(env::Env& env, const std::string& dir, CutReport& torn);

// Where the log goes on.
struct Settled {
  std::string segment{};  // file name; empty: the store has none yet
  uint64_t length = 0;    // of that segment
};

// Completes a rotation that was under way, blanks out what is cut, trims the active segment to its last record (filler
// and torn rest go), completes its last newline, gives it its number; syncs it, every other file that `walk` has read, and the
// directory. A stray next segment stays, until wal::LogWriter is opened. Needs: the walk is at its end.
Result<Settled> settle_log(env::Env& env, const std::string& dir, const wal::LogWalk& walk);

}  // namespace kvstore::engine
