// crash_explorer: many seeded workloads, each crashed at every I/O operation: tests/support/crash_explorer.h. Prints a
// table of what was tried and what broke, and for every violation the command that replays its workload.
//
//     crash_explorer [--seconds N] [--model kill|ext4|reordered|bare]      as many workloads as the time allows
//     crash_explorer --seed N [--model ...]                                exactly this one
//
// Every workload runs in a process of its own, so that a crash or a hang of the store is one violation more, and no
// more than that.
#include "tests/support/crash_explorer.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>

#include "tests/support/forked.h"

namespace kvstore::testing {
namespace {

constexpr unsigned kHangSeconds = 120;  // a workload takes one or two

struct Arguments {
  uint64_t seconds = 60;
  std::optional<uint64_t> seed{};
  std::optional<CrashModel> model{};
};

std::optional<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) return std::nullopt;
    if (name == "--seconds") {
      arguments.seconds = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (name == "--seed") {
      arguments.seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (name == "--model" && crash_model_named(argv[i + 1]).has_value()) {
      arguments.model = crash_model_named(argv[i + 1]);
    } else {
      return std::nullopt;
    }
  }
  return arguments;
}

std::string command_for(uint64_t seed, std::optional<CrashModel> model) {
  return fmt::format("crash_explorer --seed {}{}", seed, model ? fmt::format(" --model {}", name_of(*model)) : "");
}

int run(const Arguments& arguments) {
  CrashTally* const of_one = shared_between_processes<CrashTally>();
  if (of_one == nullptr) return 2;
  CrashTally all;
  uint64_t seed = arguments.seed.value_or(std::random_device{}());
  uint64_t workloads = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::seconds(arguments.seconds);
  do {
    *of_one = {};
    const auto tell = [&](const std::string& what) {
      fmt::print("VIOLATION {}\nreplay: {}\n\n", what, command_for(seed, arguments.model));
      std::fflush(stdout);
    };
    const std::string death = run_forked(kHangSeconds, [&] {
      CrashExplorer({.seed = seed, .only = arguments.model, .on_violation = tell}, *of_one).run();
    });
    if (!death.empty()) {
      tell("crash/hang: " + death);
      ++of_one->row(arguments.model.value_or(CrashModel::kKill))
            .violations[static_cast<size_t>(Violation::kCrashOrHang)];
    }
    all.add(*of_one);
    ++workloads;
    ++seed;
  } while (!arguments.seed.has_value() && std::chrono::steady_clock::now() < end);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{}{} workloads (the last: {}), {} crashed disks in {:.0f} s, {} violations\n", all.table(), workloads,
             command_for(seed - 1, arguments.model), all.states(), seconds, all.violations());
  return all.violations() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvstore::testing

int main(int argc, char** argv) {
  const auto arguments = kvstore::testing::parse(argc, argv);
  if (!arguments.has_value()) {
    fmt::print(stderr, "usage: crash_explorer [--seconds N | --seed N] [--model kill|ext4|reordered|bare]\n");
    return 2;
  }
  return kvstore::testing::run(*arguments);
}
