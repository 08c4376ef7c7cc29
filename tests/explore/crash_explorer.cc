// crash_explorer: many seeded workloads, each crashed at every I/O operation: tests/support/crash_explorer.h. Prints a
// table of what was tried and what broke, and for every violation the command that replays its workload.
//
//     crash_explorer [--seconds N] [--model kill|ext4|reordered|bare]      as many workloads as the time allows
//     crash_explorer --seed N [--model ...]                                exactly this one
//
// Every workload runs in a process of its own, so that a crash or a hang of the store is one violation more, and no
// more than that.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <string>

#include "tests/support/crash_explorer.h"

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

// In a child: `tally` is shared memory. "" or how the child died.
std::string explore(uint64_t seed, std::optional<CrashModel> model, CrashTally& tally) {
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid < 0) return "fork fails";
  if (pid == 0) {
    ::alarm(kHangSeconds);
    CrashExplorer explorer({.seed = seed,
                            .only = model,
                            .on_violation =
                                [&](const std::string& what) {
                                  fmt::print("VIOLATION {}\nreplay: {}\n\n", what, command_for(seed, model));
                                  std::fflush(stdout);
                                }},
                           tally);
    explorer.run();
    ::_exit(0);
  }
  int how = 0;
  if (::waitpid(pid, &how, 0) != pid) return "waitpid fails";
  if (WIFSIGNALED(how)) return WTERMSIG(how) == SIGALRM ? "it hangs" : fmt::format("it died of signal {}", WTERMSIG(how));
  return WEXITSTATUS(how) == 0 ? "" : fmt::format("it ended with code {}", WEXITSTATUS(how));
}

int run(const Arguments& arguments) {
  void* shared = ::mmap(nullptr, sizeof(CrashTally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  CrashTally& of_one = *new (shared) CrashTally{};
  CrashTally all;
  uint64_t seed = arguments.seed.value_or(std::random_device{}());
  uint64_t workloads = 0;
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::seconds(arguments.seconds);
  do {
    of_one = {};
    if (const std::string death = explore(seed, arguments.model, of_one); !death.empty()) {
      ++of_one.row(arguments.model.value_or(CrashModel::kKill)).violations[static_cast<size_t>(Violation::kCrashOrHang)];
      fmt::print("VIOLATION crash/hang: {}\nreplay: {}\n\n", death, command_for(seed, arguments.model));
    }
    all.add(of_one);
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
