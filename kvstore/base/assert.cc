#include "kvstore/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace kvstore::base {

void assert_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "kvstore: assertion failed: %s, %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace kvstore::base
