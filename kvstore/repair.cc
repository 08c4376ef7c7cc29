// The calls of repair.h on the operating system's files.
#include "kvstore/repair.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "kvstore/base/error.h"
#include "kvstore/engine/repair.h"

namespace kvstore::inline v1 {

namespace {

namespace fs = std::filesystem;

// By what the paths name, not by how they are spelled: links and dots followed. The engine has compared the spellings.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  std::error_code ignored;  // what cannot be followed is for the engine to find out
  const fs::path a = fs::weakly_canonical(inner, ignored);
  const fs::path b = fs::weakly_canonical(outer, ignored);
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).second == b.end();
}

}  // namespace

Result<RepairPlan> plan_repair(const std::filesystem::path& dir, const RepairOptions& options) {
  return base::guarded([&] { return engine::plan_repair(env::posix_env(), dir.string(), options); });
}

Result<RepairReport> repair(const std::filesystem::path& dir, const std::filesystem::path& new_dir,
                            const RepairOptions& options) {
  return base::guarded([&]() -> Result<RepairReport> {
    if (!new_dir.empty() && lies_in(new_dir, dir)) {
      return base::error(Code::kInvalidArgument,
                         "repair: {} lies in {}, which is to stay as it is. try: a directory beside it",
                         new_dir.string(), dir.string());
    }
    return engine::repair(env::posix_env(), dir.string(), new_dir.string(), options);
  });
}

}  // namespace kvstore::inline v1
