// The seed of a random test: KVSTORE_SEED from the environment, otherwise a fresh one.
#pragma once

#include <cstdint>

namespace kvstore::testing {

// The same for the whole test program, which prints it on first use: "KVSTORE_SEED=91 replays ...".
[[nodiscard]] uint64_t seed();

}  // namespace kvstore::testing
