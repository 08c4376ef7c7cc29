// A workload that can be recomputed: what thread `t` does as its n-th operation follows from (seed, t, n) alone.
// Each thread writes keys of its own, so after a crash each thread's keys must hold exactly the state after its
// first n operations, for n = what it had acknowledged, or one more (the one under way).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kvstore/store.h"

namespace kvstore::crash {

struct Operation {
  enum class Kind : uint8_t { kPut, kPutJson, kDel, kBatch, kTransaction } kind = Kind::kPut;
  struct Change {
    std::string key;
    std::string value;  // unused when is_del
    bool is_del = false;
  };
  std::vector<Change> changes;  // one, but for kBatch and kTransaction
  bool durable = false;         // ask for kSync
};

[[nodiscard]] Operation operation(uint64_t seed, unsigned thread, uint64_t number);
[[nodiscard]] Status perform(Store& store, const Operation& operation);

using Model = std::map<std::string, std::string>;
void apply_to(Model& model, const Operation& operation);

// "t3/": every key of a thread starts with it.
[[nodiscard]] std::string prefix_of(unsigned thread);

}  // namespace kvstore::crash
