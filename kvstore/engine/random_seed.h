// A seed for a table's hash, so that nobody can choose keys that collide.
#pragma once

#include <cstdint>
#include <random>

namespace kvstore::engine {

inline uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace kvstore::engine
