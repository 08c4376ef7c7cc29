// rot_explorer: many seeded stores, each with its files damaged in every way: tests/support/rot_explorer.h. Prints a
// table of how each ended, and for every violation the command that replays its store.
//
//     rot_explorer [--seconds N]      as many stores as the time allows
//     rot_explorer --seed N           exactly this one
#include "tests/support/rot_explorer.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string_view>

#include "tests/support/forked.h"

namespace kvstore::testing {
namespace {

constexpr unsigned kHangSeconds = 120;  // a store takes one or two

int run(uint64_t seconds, std::optional<uint64_t> only_seed) {
  RotTally* const of_one = shared_between_processes<RotTally>();
  if (of_one == nullptr) return 2;
  RotTally all;
  uint64_t deaths = 0;
  uint64_t seed = only_seed.value_or(std::random_device{}());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  do {
    *of_one = {};
    const auto tell = [&](const std::string& what) {
      fmt::print("VIOLATION {}\nreplay: rot_explorer --seed {}\n\n", what, seed);
      std::fflush(stdout);
    };
    const std::string death =
        run_forked(kHangSeconds, [&] { RotExplorer({.seed = seed, .on_violation = tell}, *of_one).run(); });
    if (!death.empty()) tell("crash/hang: " + death), ++deaths;
    all.add(*of_one);
    ++seed;
  } while (!only_seed.has_value() && std::chrono::steady_clock::now() < end);
  const uint64_t violations = all.violations() + deaths;
  fmt::print("{}{} stores (the last: rot_explorer --seed {}), {} damaged copies, {} crashes and hangs, {} violations\n",
             all.table(), all.stores, seed - 1, all.cases(), deaths, violations);
  return violations == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvstore::testing

int main(int argc, char** argv) {
  uint64_t seconds = 30;
  std::optional<uint64_t> seed;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc || (option != "--seconds" && option != "--seed")) {
      fmt::print(stderr, "usage: rot_explorer [--seconds N | --seed N]\n");
      return 2;
    }
    const uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (option == "--seed") {
      seed = value;
    } else {
      seconds = value;
    }
  }
  return kvstore::testing::run(seconds, seed);
}
