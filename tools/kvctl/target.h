// The directory that backup and repair write a new store to.
#pragma once

#include <string>

#include "kvstore/status.h"
#include "tools/kvctl/outcome.h"

namespace kvctl {

// What the library says of a copy to `target` that failed, with what it does not know. `another` is the advice to write
// somewhere else, for a target that is not free.
[[nodiscard]] Outcome copy_failure(const kvstore::Status& status, const std::string& target, std::string another);

}  // namespace kvctl
