// Where one directory lies, by what the paths name and not by how they are spelled.
#pragma once

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace kvstore::base {

// Whether `inner`, which need not exist, is the directory `outer` or lies somewhere in it: links and dots followed. False
// where that cannot be found out; whoever goes on to open them will say why.
[[nodiscard]] inline bool lies_in(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const auto followed = [](const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::path whole = std::filesystem::absolute(path, error);
    return error ? std::filesystem::path() : std::filesystem::weakly_canonical(whole, error);
  };
  const std::filesystem::path a = followed(inner);
  const std::filesystem::path b = followed(outer);
  if (a.empty() || b.empty()) return false;
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).second == b.end();
}

}  // namespace kvstore::base
