// What this process holds of the system's memory.
#pragma once

#include <cstdint>
#include <cstdio>

namespace kvstore::testing {

// RssAnon of /proc/self/status: heap, arenas and stacks, without the log's mapping, which is the page cache; -1 where
// the kernel does not say.
[[nodiscard]] inline int64_t anonymous_bytes() noexcept {
  std::FILE* file = std::fopen("/proc/self/status", "re");
  if (file == nullptr) return -1;
  char line[256];
  long long kib = 0;
  int64_t bytes = -1;
  while (bytes < 0 && std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "RssAnon: %lld kB", &kib) == 1) bytes = int64_t{kib} * 1024;
  }
  std::fclose(file);
  return bytes;
}

}  // namespace kvstore::testing
