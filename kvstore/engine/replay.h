// Replaying a log into an empty table.
#pragma once

#include <functional>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/options.h"
#include "kvstore/status.h"
#include "kvstore/table/table.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

// Applies every record that `walk` accepts, until its end. Fills the report's counts. Throws std::bad_alloc.
Status replay_log(env::Env& env, const std::string& dir, wal::LogWalk& walk, table::Table& table,
                  const std::function<void(const Progress&)>& on_progress, RecoveryReport& report);

}  // namespace kvstore::engine
