#include "tools/kvctl/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "kvstore/inspect.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

namespace fs = std::filesystem;

// What a copy that was cut short leaves: a snapshot, or part of one, and no log. (A store that has lost its log looks the
// same, so this is a reason to tell, and none to remove anything.)
bool looks_unfinished(const std::string& target) {
  const kvstore::Result<kvstore::StoreInfo> info = kvstore::info(target);
  if (info.ok() && !info->segments.empty()) return false;
  std::error_code error;
  for (fs::directory_iterator file(target, error); !error && file != fs::directory_iterator(); file.increment(error)) {
    if (file->path().filename().string().starts_with("snapshot-")) return true;
  }
  return false;
}

}  // namespace

bool lies_in(const std::string& target, const std::string& dir) {
  std::error_code error;
  const fs::path outer = fs::canonical(dir, error);
  if (error || target.empty()) return false;
  const fs::path inner = fs::weakly_canonical(fs::absolute(target, error), error);
  return !error && std::ranges::mismatch(outer, inner).in1 == outer.end();
}

Outcome copy_failure(const kvstore::Status& status, const std::string& target, std::string another) {
  Outcome outcome = status;
  if (status.sys_errno() == ENOENT && status.path() == target) {
    const fs::path parent = fs::path(target).parent_path();
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
