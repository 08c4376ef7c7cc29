// The calls of an Env and of its files by name, for the environments that count, watch or fail them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvstore::testing {

enum class EnvOp : uint8_t {
  kOpen,  // kRead and kReadWrite
  kCreate,
  kRead,
  kWrite,
  kSize,
  kTruncate,
  kSync,
  kMap,
  kRename,
  kRemove,
  kList,
  kCreateDir,
  kSyncDir,
  kLock,
};

inline constexpr std::array<std::string_view, 14> kEnvOpNames = {
    "open", "create", "read",   "write", "size",       "truncate", "sync",
    "map",  "rename", "remove", "list",  "create_dir", "sync_dir", "lock",
};
inline constexpr size_t kEnvOpCount = kEnvOpNames.size();
static_assert(kEnvOpCount == static_cast<size_t>(EnvOp::kLock) + 1);

[[nodiscard]] constexpr std::string_view name_of(EnvOp op) noexcept { return kEnvOpNames[static_cast<size_t>(op)]; }

}  // namespace kvstore::testing
