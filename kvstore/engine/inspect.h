// The calls of kvstore/inspect.h on any Env.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/inspect.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

Result<VerifyReport> verify(env::Env& env, const std::string& dir,
                            const std::function<void(const Progress&)>& on_progress = {});
// What verify() finds wrong with what is kept for looking back alone: damage, and what a newer version wrote. A file that
// cannot be read is damage here, where verify() fails. kCompacted: a compaction was faster.
Result<std::vector<Finding>> verify_history(env::Env& env, const std::string& dir, std::string store);
Result<StoreInfo> info(env::Env& env, const std::string& dir);

}  // namespace kvstore::engine
