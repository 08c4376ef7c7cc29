// The version of the library (semantic versioning) and of the log format it writes. CMake reads the
// three numbers from here, so this is the only place to change them.
#pragma once

#include <cstdint>

#define KVSTORE_VERSION_MAJOR 0
#define KVSTORE_VERSION_MINOR 1
#define KVSTORE_VERSION_PATCH 0

namespace kvstore::inline v1 {

inline constexpr uint32_t kFormatVersion = 1;  // FORMAT.md, "Version history"

}  // namespace kvstore::inline v1
