// Processor time by thread: what a benchmark's own threads took, and what the store's did beside them.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "bench/check.h"

namespace kvstore::bench {

// Of the calling thread, since it began.
inline uint64_t own_time_ns() {
  timespec t{};
  require(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0, "clock_gettime");
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

// Of every living thread of this process since it began, by name; threads of one name together. From
// /proc/self/task/*/schedstat, whose first number is nanoseconds on a processor.
inline std::map<std::string, uint64_t> thread_times_ns() {
  std::map<std::string, uint64_t> times;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(task.path() / "comm");
    std::ifstream schedstat(task.path() / "schedstat");
    std::string name;
    uint64_t ns = 0;
    if (std::getline(comm, name) && schedstat >> ns) times[name] += ns;
  }
  return times;
}

}  // namespace kvstore::bench
