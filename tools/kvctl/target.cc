#include "tools/kvctl/target.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "kvstore/inspect.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

namespace fs = std::filesystem;

// What a copy that was cut short leaves: the segment behind the state, and no snapshot before it. (A store that has lost its
// snapshot looks the same, so this is a reason to tell, and none to remove anything.)
bool looks_unfinished(const std::string& target) {
  const kvstore::Result<kvstore::StoreInfo> info = kvstore::info(target);
  return info.ok() && info->snapshots.empty() && !info->segments.empty() && info->segments.front().first_seq > 1;
}

}  // namespace

Outcome copy_failure(const kvstore::Status& status, const std::string& target, std::string another) {
  Outcome outcome = status;
  const fs::path named = fs::path(target).has_filename() ? fs::path(target) : fs::path(target).parent_path();
  if (status.sys_errno() == ENOENT && status.path() == named.string()) {
    const fs::path parent = named.parent_path();
    std::error_code error;
    if (!parent.empty() && !fs::exists(parent, error)) {
      outcome.sentence = fmt::format("{}: the directory that it is to lie in is missing", target);
      outcome.advice = fmt::format("mkdir -p {}", path_argument(parent.string()));
    }
  }
  if (outcome.exit != Exit::kUsage) return outcome;
  const bool is_not_empty = !status.path().empty();  // the one refusal that names a path
  if (is_not_empty && looks_unfinished(target)) {
    another += fmt::format("; or, where an interrupted backup or repair has left {}, remove it first", target);
  }
  return std::move(outcome).advise(std::move(another));
}

}  // namespace kvctl
