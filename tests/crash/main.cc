// crash_runner: real processes, really killed. Again and again a child process opens a store and writes to it from
// several threads; the parent kills it with SIGKILL at a random moment, also while it is opening; then the parent
// checks that the log is JSON but for at most a torn last line (P7), that the store opens, that no
// acknowledged write is missing and that no batch is torn (P1-P3), and lets the next child go on from there.
//
//     crash_runner [--seed N] [--runs N]      a failure prints the seed that replays it
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <thread>

#include "kvstore/kvstore.h"
#include "tests/crash/workload.h"
#include "tests/support/store_test.h"
#include "tests/support/temp_dir.h"

namespace kvstore::crash {
namespace {

constexpr unsigned kThreads = 4;
constexpr unsigned kRunsPerStore = 25;  // then a fresh directory

// Shared between parent and child: how far each thread has come. It survives the child.
struct Progress {
  std::array<std::atomic<uint64_t>, kThreads> acknowledged;
  std::atomic<bool> opened;
};

// One way to run the store; each gets its row in the table.
struct Mode {
  const char* name;
  LogIo io;
  Durability durability;
  uint64_t segment_bytes;
  bool compacts = false;  // one thread compacts again and again
};
constexpr std::array<Mode, 6> kModes = {{
    {"mapped, 64 MiB segments", LogIo::kMapped, Durability::kProcess, uint64_t{64} << 20},
    {"mapped, 64 KiB segments", LogIo::kMapped, Durability::kProcess, uint64_t{64} << 10},
    {"mapped, compacting", LogIo::kMapped, Durability::kProcess, uint64_t{64} << 10, true},
    {"mapped, every put synced", LogIo::kMapped, Durability::kSync, uint64_t{64} << 10},
    {"write, 64 KiB segments", LogIo::kWrite, Durability::kProcess, uint64_t{64} << 10},
    {"write, compacting", LogIo::kWrite, Durability::kProcess, uint64_t{64} << 10, true},
}};

struct Row {
  uint64_t runs = 0;
  uint64_t acknowledged = 0;
  uint64_t killed_opening = 0;
  uint64_t torn = 0;
  uint64_t unacknowledged_kept = 0;  // under way at the kill, and in the log
};

[[noreturn]] void child(const std::string& dir, const Mode& mode, uint64_t seed, Progress& progress) {
  Result<Store> store = Store::open(dir, {.durability = mode.durability,
                                          .sync_interval = std::chrono::milliseconds(5),
                                          .log_io = mode.io,
                                          .segment_bytes = mode.segment_bytes});
  if (!store.ok()) {
    fmt::print(stderr, "the store does not open: {}\n", store.status().message());
    ::_exit(3);
  }
  progress.opened = true;
  std::array<std::thread, kThreads + 1> threads;
  threads[kThreads] = std::thread([&] {
    while (mode.compacts) {
      if (Result<CompactionReport> report = store->compact(); !report.ok()) {
        fmt::print(stderr, "a compaction fails: {}\n", report.status().message());
        ::_exit(6);
      }
    }
  });
  for (unsigned t = 0; t < kThreads; ++t) {
    threads[t] = std::thread([&, t] {
      for (uint64_t number = progress.acknowledged[t];; ++number) {
        if (const Status s = perform(*store, operation(seed, t, number)); !s.ok()) {
          fmt::print(stderr, "a write fails: {}\n", s.message());
          ::_exit(4);
        }
        progress.acknowledged[t] = number + 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ::_exit(5);  // not reached: the threads end with the process
}

class Runner {
 public:
  explicit Runner(uint64_t seed) : random_(seed) {
    void* shared = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) std::abort();
    progress_ = new (shared) Progress{};
  }

  // "" or what went wrong.
  std::string run(unsigned number) {
    if (number % kRunsPerStore == 0) start_fresh();
    const Mode& mode = kModes[mode_];
    Row& row = rows_[mode_];
    ++row.runs;
    progress_->opened = false;

    // One in four dies while it opens, or soon after; the others while they write.
    const bool early = random_() % 4 == 0;
    const auto delay = std::chrono::microseconds(random_() % (early ? 10'000 : 20'000));
    const pid_t pid = ::fork();
    if (pid < 0) return "fork fails";
    if (pid == 0) child(dir(), mode, store_seed_, *progress_);
    for (int i = 0; !early && !progress_->opened && i < 10'000; ++i) std::this_thread::sleep_for(std::chrono::microseconds(500));
    std::this_thread::sleep_for(delay);
    ::kill(pid, SIGKILL);
    int how = 0;
    if (::waitpid(pid, &how, 0) != pid) return "waitpid fails";
    if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL) {
      return fmt::format("the child ended by itself, with code {}", WEXITSTATUS(how));
    }
    if (!progress_->opened) ++row.killed_opening;
    return check(row);
  }

  void print_table() const {
    fmt::print("{:<26} {:>6} {:>14} {:>15} {:>10} {:>19}\n", "mode", "runs", "acknowledged", "killed opening", "torn tail",
               "kept though not ack");
    for (size_t i = 0; i < kModes.size(); ++i) {
      const Row& row = rows_[i];
      fmt::print("{:<26} {:>6} {:>14} {:>15} {:>10} {:>19}\n", kModes[i].name, row.runs, row.acknowledged,
                 row.killed_opening, row.torn, row.unacknowledged_kept);
    }
  }
  [[nodiscard]] std::string dir() const { return *temp_ / "db"; }

 private:
  void start_fresh() {
    temp_ = std::make_unique<testing::TempDir>();
    mode_ = stores_++ % kModes.size();
    store_seed_ = random_();
    models_ = {};
    for (auto& acknowledged : progress_->acknowledged) acknowledged = 0;
  }

  std::string check(Row& row) {
    if (!std::filesystem::exists(dir())) return progress_->opened ? "the store is gone" : "";
    if (std::string bad = testing::first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/true); !bad.empty()) return bad;
    Result<Store> store = Store::open(dir(), {.read_only = true});
    if (!store.ok()) {
      // Killed before the first segment had its name: there is no store yet.
      if (!progress_->opened && store.status().code() == Code::kNotAStore) return "";
      return fmt::format("the store does not open: {}", store.status().message());
    }
    if (!store->recovery().cuts.empty()) ++row.torn;
    for (unsigned t = 0; t < kThreads; ++t) {
      const uint64_t acknowledged = progress_->acknowledged[t];
      Model& model = models_[t].state;
      for (uint64_t& n = models_[t].operations; n < acknowledged; ++n) {
        apply_to(model, operation(store_seed_, t, n));
        ++row.acknowledged;
      }
      const Model found = contents(*store, prefix_of(t));
      if (found == model) continue;
      apply_to(model, operation(store_seed_, t, acknowledged));
      if (found != model) return difference(t, acknowledged, model, found);
      models_[t].operations = acknowledged + 1;
      progress_->acknowledged[t] = acknowledged + 1;
      ++row.unacknowledged_kept;
    }
    return "";
  }

  static Model contents(const Store& store, const std::string& prefix) {
    Model found;
    Result<Scan> scan = store.scan(prefix);
    if (!scan.ok()) return found;
    for (const EntryView entry : *scan) found.emplace(entry.key, entry.value);
    return found;
  }

  static std::string difference(unsigned thread, uint64_t operations, const Model& expected, const Model& found) {
    std::string text = fmt::format("thread {}: the state is neither that after {} operations nor after one more", thread, operations);
    for (const auto& [key, value] : expected) {
      const auto at = found.find(key);
      if (at == found.end()) return fmt::format("{}: {} is missing", text, key);
      if (at->second != value) return fmt::format("{}: {} has operation {}'s value, expected {}'s", text, key,
                                                  at->second.substr(0, at->second.find(':')), value.substr(0, value.find(':')));
    }
    return text + ": there are keys that should be gone";
  }

  struct ThreadModel {
    Model state;
    uint64_t operations = 0;  // applied to it
  };

  std::mt19937_64 random_;
  Progress* progress_ = nullptr;
  std::unique_ptr<testing::TempDir> temp_;
  uint64_t store_seed_ = 0;
  size_t stores_ = 0;
  size_t mode_ = 0;
  std::array<ThreadModel, kThreads> models_;
  std::array<Row, kModes.size()> rows_;
};

}  // namespace
}  // namespace kvstore::crash

int main(int argc, char** argv) {
  uint64_t seed = std::random_device{}();
  unsigned runs = 1000;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seed") == 0) seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--runs") == 0) runs = static_cast<unsigned>(std::strtoul(argv[i + 1], nullptr, 10));
  }
  fmt::print("seed {}: make crash SEED={} RUNS={}\n", seed, seed, runs);
  std::fflush(stdout);
  kvstore::crash::Runner runner(seed);
  for (unsigned number = 0; number < runs; ++number) {
    if (const std::string wrong = runner.run(number); !wrong.empty()) {
      fmt::print("run {} FAILED: {}\nseed {}; the store is in {}\n", number, wrong, seed, runner.dir());
      std::fflush(stdout);
      ::_exit(1);  // without destructors: the directory stays for whoever looks into it
    }
  }
  runner.print_table();
  fmt::print("{} runs, no acknowledged write lost, no batch torn, every store opened\n", runs);
  return 0;
}
