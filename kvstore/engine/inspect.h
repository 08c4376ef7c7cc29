// The calls of kvstore/inspect.h on any Env.
#pragma once

#include <functional>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/inspect.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

Result<VerifyReport> verify(env::Env& env, const std::string& dir,
                            const std::function<void(const Progress&)>& on_progress = {});
Result<StoreInfo> info(env::Env& env, const std::string& dir);

}  // namespace kvstore::engine
