// crash_runner: real processes, really killed. Again and again a child process opens a store and writes to it from
// several threads; the parent kills it with SIGKILL at a random moment, also while it is opening; then the parent
// checks that the log is JSON but for at most a torn last line (P7), that the store opens, that no
// acknowledged write is missing and that no batch is torn (P1-P3), and lets the next child go on from there.
//
//     crash_runner [--seconds N] [--seed N]      a failure prints the seed that begins the same way
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
#include <set>
#include <thread>

#include "kvstore/kvstore.h"
#include "tests/crash/workload.h"
#include "tests/support/store_test.h"
#include "tests/support/temp_dir.h"

namespace kvstore::crash {
namespace {

constexpr unsigned kThreads = 8;
constexpr unsigned kRunsPerStore = 25;  // then a fresh directory
constexpr unsigned kViolationsMax = 5;  // then it ends
constexpr uint64_t kEntriesMax = 400;   // where keys are evicted: a quarter of all

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
  bool compacts = false;  // one thread compacts again and again, and backs up
  bool evicts = false;
};
constexpr uint64_t kSmallSegment = uint64_t{64} << 10;
constexpr std::array<Mode, 9> kModes = {{
    // in all of them one write in sixteen asks for a sync
    {"mapped, 64 MiB segments", LogIo::kMapped, Durability::kProcess, uint64_t{64} << 20},
    {"mapped, 64 KiB segments", LogIo::kMapped, Durability::kProcess, kSmallSegment},
    {"mapped, compacting", LogIo::kMapped, Durability::kProcess, kSmallSegment, true},
    {"mapped, every write synced", LogIo::kMapped, Durability::kSync, kSmallSegment},
    {"mapped, evicting", LogIo::kMapped, Durability::kProcess, kSmallSegment, false, true},
    {"write, 64 KiB segments", LogIo::kWrite, Durability::kProcess, kSmallSegment},
    {"write, compacting", LogIo::kWrite, Durability::kProcess, kSmallSegment, true},
    {"write, every write synced", LogIo::kWrite, Durability::kSync, kSmallSegment},
    {"write, evicting", LogIo::kWrite, Durability::kProcess, kSmallSegment, false, true},
}};

struct Row {
  uint64_t runs = 0;
  uint64_t acknowledged = 0;
  uint64_t killed_opening = 0;
  uint64_t torn = 0;
  uint64_t unacknowledged_kept = 0;  // under way at the kill, and in the log
  uint64_t backups = 0;              // whole, and the state of one instant
  uint64_t violations = 0;
};

[[noreturn]] void child(const std::string& dir, const Mode& mode, uint64_t seed, Progress& progress) {
  Result<Store> store = Store::open(dir, {.durability = mode.durability,
                                          .sync_interval = std::chrono::milliseconds(5),
                                          .log_io = mode.io,
                                          .segment_bytes = mode.segment_bytes,
                                          .max_entries = mode.evicts ? kEntriesMax : 0,
                                          .when_full = WhenFull::kEvict});
  if (!store.ok()) {
    fmt::print(stderr, "the store does not open: {}\n", store.status().message());
    ::_exit(3);
  }
  progress.opened = true;
  std::array<std::thread, kThreads + 1> threads;
  threads[kThreads] = std::thread([&] {
    for (unsigned round = 0; mode.compacts; ++round) {
      Status done = round == 0 ? store->backup(dir + ".copy").status() : store->compact().status();
      if (!done.ok()) {
        fmt::print(stderr, "{}\n", done.message());
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

  // "" or what went wrong; the next run has a fresh store then, and this one stays for whoever looks into it.
  std::string run() {
    if (runs_of_store_ == 0) start_fresh();
    runs_of_store_ = (runs_of_store_ + 1) % kRunsPerStore;
    Row& row = rows_[mode_];
    ++row.runs;
    std::string wrong = kill_one(row);
    if (!wrong.empty()) {
      ++row.violations;
      wrong += fmt::format("\nthe store is in {}", dir());
      (void)temp_.release();
      runs_of_store_ = 0;
    }
    return wrong;
  }

  void print_table() const {
    fmt::print("{:<27}{:>7}{:>14}{:>16}{:>11}{:>10}{:>9}{:>12}\n", "mode", "kills", "acknowledged", "killed opening",
               "torn tail", "kept more", "backups", "violations");
    for (size_t i = 0; i < kModes.size(); ++i) {
      const Row& row = rows_[i];
      fmt::print("{:<27}{:>7}{:>14}{:>16}{:>11}{:>10}{:>9}{:>12}\n", kModes[i].name, row.runs, row.acknowledged,
                 row.killed_opening, row.torn, row.unacknowledged_kept, row.backups, row.violations);
    }
  }

 private:
  [[nodiscard]] std::string dir() const { return *temp_ / "db"; }
  [[nodiscard]] std::string copy_dir() const { return dir() + ".copy"; }

  std::string kill_one(Row& row) {
    const Mode& mode = kModes[mode_];
    std::filesystem::remove_all(copy_dir());
    progress_->opened = false;
    begin_ = models_;

    // One in four dies while it opens, or soon after; the others while they write.
    const bool early = random_() % 4 == 0;
    const auto delay = std::chrono::microseconds(random_() % (early ? 10'000 : 20'000));
    const pid_t pid = ::fork();
    if (pid < 0) return "fork fails";
    if (pid == 0) child(dir(), mode, store_seed_, *progress_);
    for (int i = 0; !early && !progress_->opened && i < 10'000; ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(500));
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

  void start_fresh() {
    temp_ = std::make_unique<testing::TempDir>();
    mode_ = stores_++ % kModes.size();
    evicted_.clear();
    store_seed_ = random_();
    models_ = {};
    for (auto& acknowledged : progress_->acknowledged) acknowledged = 0;
  }

  std::string check(Row& row) {
    if (!std::filesystem::exists(dir())) return progress_->opened ? "the store is gone" : "";
    if (std::string bad = testing::first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/true); !bad.empty())
      return bad;
    Result<Store> store = Store::open(dir(), {.read_only = true});
    if (!store.ok()) {
      // Killed before the first segment had its name: there is no store yet.
      if (!progress_->opened && store.status().code() == Code::kNotAStore) return "";
      return fmt::format("the store does not open: {}", store.status().message());
    }
    if (!store->recovery().cuts.empty()) ++row.torn;
    if (kModes[mode_].evicts) {
      if (std::string bad = find_evicted(); !bad.empty()) return bad;
    }
    for (unsigned t = 0; t < kThreads; ++t) {
      const uint64_t acknowledged = progress_->acknowledged[t];
      Model& model = models_[t].state;
      for (uint64_t& n = models_[t].operations; n < acknowledged; ++n) {
        apply_to(model, operation(store_seed_, t, n));
        ++row.acknowledged;
      }
      const Model found = contents(*store, prefix_of(t));
      if (is_all_there(found, model)) continue;
      apply_to(model, operation(store_seed_, t, acknowledged));
      if (!is_all_there(found, model)) return difference(t, acknowledged, model, found);
      models_[t].operations = acknowledged + 1;
      progress_->acknowledged[t] = acknowledged + 1;
      ++row.unacknowledged_kept;
    }
    return check_backup(row);
  }

  // The keys whose last change, as the log has it, was that the store evicted them.
  std::string find_evicted() {
    evicted_.clear();
    Result<LogCursor> log = LogCursor::open(dir());
    if (!log.ok()) return fmt::format("the log cannot be read: {}", log.status().message());
    for (;;) {
      Result<const LogRecord*> record = log->next();
      if (!record.ok()) return fmt::format("the log cannot be read: {}", record.status().message());
      if (*record == nullptr) return "";
      for (const LogOp& op : (*record)->ops) {
        if (op.kind == LogOp::Kind::kEvict) {
          evicted_.emplace(op.key);
        } else {
          evicted_.erase(std::string(op.key));
        }
      }
    }
  }

  [[nodiscard]] bool is_all_there(const Model& found, const Model& model) const {
    if (evicted_.empty()) return found == model;
    Model expected = model;
    std::erase_if(expected, [this](const auto& entry) { return evicted_.contains(entry.first); });
    return found == expected;
  }

  // Cut short it does not open; whole it holds, of every thread, the state after some number of its operations.
  std::string check_backup(Row& row) {
    Result<Store> copy = Store::open(copy_dir(), {.read_only = true});
    if (!copy.ok()) return "";
    ++row.backups;
    for (unsigned t = 0; t < kThreads; ++t) {
      const Model found = contents(*copy, prefix_of(t));
      Model state = begin_[t].state;
      uint64_t n = begin_[t].operations;
      while (found != state && n <= models_[t].operations) apply_to(state, operation(store_seed_, t, n++));
      if (found != state) return fmt::format("the backup has a state of thread {} that never was", t);
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
    std::string text =
        fmt::format("thread {}: the state is neither that after {} operations nor after one more", thread, operations);
    for (const auto& [key, value] : expected) {
      const auto at = found.find(key);
      if (at == found.end()) return fmt::format("{}: {} is missing", text, key);
      if (at->second != value)
        return fmt::format("{}: {} has operation {}'s value, expected {}'s", text, key,
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
  std::array<ThreadModel, kThreads> begin_;  // the same when the run began
  std::set<std::string> evicted_;
  unsigned runs_of_store_ = 0;
  std::array<Row, kModes.size()> rows_;
};

}  // namespace
}  // namespace kvstore::crash

int main(int argc, char** argv) {
  uint64_t seed = std::random_device{}();
  uint64_t seconds = 60;
  for (int i = 1; i < argc; i += 2) {
    const bool is_seed = std::strcmp(argv[i], "--seed") == 0;
    if (i + 1 == argc || (!is_seed && std::strcmp(argv[i], "--seconds") != 0)) {
      fmt::print(stderr, "usage: crash_runner [--seconds N] [--seed N]\n");
      return 2;
    }
    (is_seed ? seed : seconds) = std::strtoull(argv[i + 1], nullptr, 10);
  }
  kvstore::crash::Runner runner(seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  unsigned runs = 0;
  unsigned violations = 0;
  for (; std::chrono::steady_clock::now() < end && violations < kvstore::crash::kViolationsMax; ++runs) {
    if (const std::string wrong = runner.run(); !wrong.empty()) {
      ++violations;
      fmt::print("VIOLATION in run {}: {}\nthe same beginning: crash_runner --seed {}\n\n", runs, wrong, seed);
      std::fflush(stdout);
    }
  }
  runner.print_table();
  fmt::print("{} processes killed (crash_runner --seed {}), {} violations\n", runs, seed, violations);
  return violations == 0 ? 0 : 1;
}
