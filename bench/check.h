// What the benchmarks check their own results with: a wrong one ends the program with 1, and says so.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "kvstore/status.h"

namespace kvstore::bench {

[[noreturn]] inline void fail(std::string_view what) {
  fmt::print(stderr, "{}: {}\n", program_invocation_short_name, what);
  std::quick_exit(1);  // other threads may be at work
}
inline void require(bool holds, std::string_view what) {
  if (!holds) fail(what);
}
inline void require(const Status& status, std::string_view step) {
  if (!status.ok()) fail(fmt::format("{}: {}", step, status.message()));
}

}  // namespace kvstore::bench
