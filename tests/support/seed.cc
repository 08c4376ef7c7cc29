#include "tests/support/seed.h"

#include <cstdio>
#include <cstdlib>
#include <random>

namespace kvstore::testing {

uint64_t seed() {
  static const uint64_t chosen = [] {
    const char* const given = std::getenv("KVSTORE_SEED");
    const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::fprintf(stderr, "KVSTORE_SEED=%llu replays the random tests of this run\n",
                 static_cast<unsigned long long>(value));
    return value;
  }();
  return chosen;
}

}  // namespace kvstore::testing
