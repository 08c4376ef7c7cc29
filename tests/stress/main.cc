// stress: all features of a store at once, on many threads, round after round: tests/support/store_stress.h. Build it
// with the thread sanitizer (make stress). Prints a line for each round; ends with 1 at the first broken rule.
//
//     stress [--minutes N] [--seconds-each N] [--seed N]
//
// A seed replays the options and what each thread does, not the threads' timing: try it several times.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include "tests/support/store_stress.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

struct Arguments {
  uint64_t minutes = 1;
  uint64_t seconds_each = 4;  // of a round
  uint64_t seed = 0;          // 0: one after the other, from a random one on
};

int run(const Arguments& arguments) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(arguments.minutes);
  uint64_t seed = arguments.seed != 0 ? arguments.seed : std::random_device{}() % 1'000'000 + 1;
  while (std::chrono::steady_clock::now() < end) {
    const TempDir temp;
    StressTally tally;
    constexpr unsigned kLives = 2;
    const std::string wrong = run_stress(
        {.seed = seed, .duration = std::chrono::milliseconds(arguments.seconds_each * 1000 / kLives), .lives = kLives},
        temp / "db", tally);
    fmt::print(
        "seed {:>7}: {} records, {} rotations, {} compactions, {} backups, {} transactions and {} conflicts, "
        "{} evicted; looked at {} snapshots, {} openings, {} records followed\n",
        seed, tally.records, tally.rotations, tally.compactions, tally.backups, tally.transactions, tally.conflicts,
        tally.evicted, tally.snapshots, tally.openings, tally.followed);
    std::fflush(stdout);
    if (!wrong.empty()) {
      fmt::print("FAILED: {}\nreplay: make stress SEED={}\n", wrong, seed);
      return 1;
    }
    if (arguments.seed == 0) ++seed;
  }
  return 0;
}

}  // namespace
}  // namespace kvstore::testing

int main(int argc, char** argv) {
  kvstore::testing::Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const uint64_t number = i + 1 < argc ? std::strtoull(argv[i + 1], nullptr, 10) : 0;
    if (name == "--minutes" && number > 0) {
      arguments.minutes = number;
    } else if (name == "--seconds-each" && number > 0) {
      arguments.seconds_each = number;
    } else if (name == "--seed" && number > 0) {
      arguments.seed = number;
    } else {
      fmt::print(stderr, "usage: stress [--minutes N] [--seconds-each N] [--seed N]\n");
      return 2;
    }
  }
  return kvstore::testing::run(arguments);
}
