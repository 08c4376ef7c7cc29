// The calls of repair.h on the operating system's files.
#include "kvstore/repair.h"

#include <filesystem>

#include "kvstore/base/error.h"
#include "kvstore/base/lies_in.h"
#include "kvstore/engine/repair.h"

namespace kvstore::inline v1 {

Result<RepairPlan> plan_repair(const std::filesystem::path& dir, const RepairOptions& options) {
  return base::guarded([&] { return engine::plan_repair(env::posix_env(), dir.string(), options); });
}

Result<RepairReport> repair(const std::filesystem::path& dir, const std::filesystem::path& new_dir,
                            const RepairOptions& options) {
  return base::guarded([&]() -> Result<RepairReport> {
    if (!new_dir.empty() && base::lies_in(new_dir, dir)) {
      return base::error(Code::kInvalidArgument,
                         "repair: {} lies in {}, which is to stay as it is. try: a directory beside it",
                         new_dir.string(), dir.string());
    }
    return engine::repair(env::posix_env(), dir.string(), new_dir.string(), options);
  });
}

}  // namespace kvstore::inline v1
