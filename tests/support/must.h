// For the bodies of fuzzers: stops where a debugger or the fuzzer sees it, in every build.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace kvstore::testing {

inline void must(bool holds, std::string_view what = "the backtrace says which") {
  if (holds) return;
  std::fprintf(stderr, "fuzz: a promise does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

}  // namespace kvstore::testing
