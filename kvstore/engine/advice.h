// What to do about damage, where the reading layers know only which file is to blame.
#pragma once

#include <string>
#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/base/shell_word.h"

namespace kvstore::engine {

// A refusal because of damage, its advice completed by the way that needs no copy. Other failures stay as they are.
inline Status advise_repair(Status status, const std::string& dir) {
  if (status.code() != Code::kCorruption) return status;
  return base::error(Code::kCorruption, "{}; where there is none, kvctl repair {} --dry-run", status.message(),
                     base::shell_word(dir))
      .at(status.path(), status.offset());
}

}  // namespace kvstore::engine
