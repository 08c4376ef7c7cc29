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

// By what the paths name, not by how they are spelled: links and dots followed. The engine compares the spellings.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  const auto followed = [](const fs::path& path) {  // empty where that fails: the engine will find out why
    std::error_code error;
    const fs::path whole = fs::absolute(path, error);
    return error ? fs::path() : fs::weakly_canonical(whole, error);
  };
  const fs::path a = followed(inner);
  const fs::path b = followed(outer);
  if (a.empty() || b.empty()) return false;
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
