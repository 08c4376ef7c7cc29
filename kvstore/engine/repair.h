// The calls of kvstore/repair.h on any Env.
#pragma once

#include <string>

#include "kvstore/env/env.h"
#include "kvstore/repair.h"

namespace kvstore::engine {

Result<RepairPlan> plan_repair(env::Env& env, std::string dir, const RepairOptions& options = {});
Result<RepairReport> repair(env::Env& env, std::string dir, std::string new_dir, const RepairOptions& options = {});

}  // namespace kvstore::engine
