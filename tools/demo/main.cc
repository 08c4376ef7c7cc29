// demo DIR: kills a writer in the middle of its work, three times, and holds the store to its word.
//
// Each round a child process opens the store and writes from several threads until the parent sends it
// SIGKILL, the signal no program can prepare for. Whenever a write has returned OK, its thread says so in a
// page of memory shared with the parent. Then the parent opens the store and checks:
//   - every acknowledged write is there, with its very value;
//   - of each thread at most the one write that was under way may be there besides (P1);
//   - a batch is there whole or not at all (P3);
//   - what was in the store before is still there.
// Exit code 0: all of it holds. 1: it does not, and the first differences are on stderr.

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/kvstore.h"

namespace {

using kvstore::Batch;
using kvstore::Status;
using kvstore::Store;

constexpr unsigned kRounds = 3;
constexpr unsigned kThreads = 4;
constexpr uint64_t kWritesPerRound = 300'000;  // acknowledged ones, before the parent kills the child
constexpr uint64_t kKeysPerThread = 20'000;    // a thread writes to its keys in turn, over and over
constexpr uint64_t kBatchEvery = 10;           // each tenth write is a batch
constexpr unsigned kDifferencesShown = 10;

// How many writes of each thread have returned OK. Lies in shared memory: it outlives the child.
struct Acknowledged {
  std::array<std::atomic<uint64_t>, kThreads> writes{};

  [[nodiscard]] uint64_t sum() const {
    uint64_t total = 0;
    for (const auto& count : writes) total += count.load(std::memory_order_acquire);
    return total;
  }
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

// The n-th write of a thread, n counting from 1, is a function of n alone: so it can be checked.
std::string key_of(unsigned thread, uint64_t n) { return fmt::format("demo:{}:{}", thread, n % kKeysPerThread); }
std::string batch_key_of(unsigned thread) { return fmt::format("demo:{}:batch", thread); }
std::string value_of(unsigned thread, uint64_t n) { return fmt::format("write {} of thread {}", n, thread); }

[[noreturn]] void fail(std::string_view what) {
  std::fflush(stdout);
  fmt::print(stderr, "demo: {}\n", what);
  std::_Exit(1);  // other threads may be running: no destructors
}

Store open_or_fail(const std::filesystem::path& dir) {
  auto store = Store::open(dir);
  if (!store.ok()) fail(store.status().message());
  return std::move(*store);
}

// ---- the child ----------------------------------------------------------------------------------

Status write_nth(Store& store, unsigned thread, uint64_t n) {
  if (n % kBatchEvery != 0) return store.put(key_of(thread, n), value_of(thread, n));
  Batch batch;
  batch.put(key_of(thread, n), value_of(thread, n));
  batch.put(batch_key_of(thread), value_of(thread, n));
  return store.write(batch);
}

void write_for_ever(Store& store, unsigned thread, std::atomic<uint64_t>& acknowledged) {
  for (uint64_t n = acknowledged.load() + 1;; ++n) {
    if (const Status s = write_nth(store, thread, n); !s.ok()) fail(s.message());
    acknowledged.store(n, std::memory_order_release);  // only now: the write has returned OK
  }
}

[[noreturn]] void be_the_writer(const std::filesystem::path& dir, Acknowledged& acknowledged) {
  Store store = open_or_fail(dir);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&store, &acknowledged, t] { write_for_ever(store, t, acknowledged.writes[t]); });
  }
  for (std::thread& thread : threads) thread.join();
  std::abort();  // write_for_ever() returns never
}

// ---- the parent ---------------------------------------------------------------------------------

// Runs a writer, kills it once it has had enough writes acknowledged, says how fast it was.
void run_and_kill_writer(const std::filesystem::path& dir, Acknowledged& acknowledged) {
  const uint64_t before = acknowledged.sum();
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) fail("cannot fork");
  if (child == 0) be_the_writer(dir, acknowledged);

  // The clock starts at the first acknowledged write: opening is not writing.
  std::optional<std::chrono::steady_clock::time_point> begin;
  while (acknowledged.sum() - before < kWritesPerRound) {
    if (!begin && acknowledged.sum() > before) begin = std::chrono::steady_clock::now();
    if (waitpid(child, nullptr, WNOHANG) != 0) fail("the writer ended by itself");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto end = std::chrono::steady_clock::now();
  const uint64_t writes = acknowledged.sum() - before;
  kill(child, SIGKILL);
  int how = 0;
  waitpid(child, &how, 0);
  if (!WIFSIGNALED(how)) fail("the writer was not killed but ended by itself");

  const std::chrono::duration<double> seconds = end - begin.value_or(end);
  fmt::print("  {} threads, {:.0f} acknowledged writes a second, killed in the middle after {}\n", kThreads,
             static_cast<double>(writes) / std::max(seconds.count(), 1e-3), acknowledged.sum() - before);
}

void print_recovery(const kvstore::RecoveryReport& report) {
  fmt::print("  reopened: {} records, {} bytes, {} segments in {} ms; last seq {}, of which {} known to be on disk\n",
             report.records, report.bytes, report.segments, report.duration.count() / 1000, report.last_seq,
             report.synced_seq);
  for (const kvstore::CutReport& cut : report.cuts) {
    fmt::print("  cut: {} line {} byte {}, {} bytes: {}; kept as {}\n", cut.file, cut.line, cut.offset, cut.bytes,
               cut.reason, cut.kept_as);
  }
  if (report.cuts.empty()) fmt::print("  nothing had to be cut\n");
}

// Counts what differs from the promise, and shows the first few.
class Differences {
 public:
  void add(std::string_view key, const std::optional<std::string>& found, std::string_view expected) {
    if (++count_ > kDifferencesShown) return;
    fmt::print(stderr, "demo: {}: expected \"{}\", found {}\n", key, expected,
               found ? fmt::format("\"{}\"", *found) : "nothing");
  }
  [[nodiscard]] uint64_t count() const { return count_; }

 private:
  uint64_t count_ = 0;
};

// The last acknowledged value of every key of one thread, or, on one key, that of the write under way.
void check_thread(const Store& store, unsigned thread, uint64_t acknowledged, Differences& differences) {
  const uint64_t under_way = acknowledged + 1;
  const uint64_t first = acknowledged > kKeysPerThread ? acknowledged - kKeysPerThread + 1 : 1;
  for (uint64_t n = first; n <= acknowledged; ++n) {
    const std::string key = key_of(thread, n);
    const auto found = store.get(key);
    const bool overwritten = n + kKeysPerThread == under_way && found == value_of(thread, under_way);
    if (found != value_of(thread, n) && !overwritten) differences.add(key, found, value_of(thread, n));
  }

  // The batch under way is there on both of its keys or on neither.
  const bool newer =
      under_way % kBatchEvery == 0 && store.get(key_of(thread, under_way)) == value_of(thread, under_way);
  const uint64_t last_batch = newer ? under_way : acknowledged - acknowledged % kBatchEvery;
  if (last_batch == 0) return;
  const auto found = store.get(batch_key_of(thread));
  if (found != value_of(thread, last_batch)) {
    differences.add(batch_key_of(thread), found, value_of(thread, last_batch));
  }
}

uint64_t count_of_others(const Store& store) {
  const auto all = store.scan();
  const auto ours = store.scan("demo:");
  if (!all.ok() || !ours.ok()) fail("out of memory");
  return all->size() - ours->size();
}

void reopen_and_check(const std::filesystem::path& dir, const Acknowledged& acknowledged, uint64_t others) {
  Store store = open_or_fail(dir);
  print_recovery(store.recovery());
  Differences differences;
  for (unsigned t = 0; t < kThreads; ++t) check_thread(store, t, acknowledged.writes[t].load(), differences);
  if (differences.count() > 0) fail(fmt::format("{} acknowledged writes are missing or wrong", differences.count()));
  if (count_of_others(store) != others) fail("keys that were there before are gone");
  fmt::print("  all {} acknowledged writes accounted for\n", acknowledged.sum());
  if (const Status s = store.close(); !s.ok()) fail(s.message());
}

Acknowledged& shared_memory() {
  void* page = mmap(nullptr, sizeof(Acknowledged), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) fail("cannot map a shared page");
  return *new (page) Acknowledged;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: demo DIR\n");
    return 2;
  }
  const std::filesystem::path dir = argv[1];
  Acknowledged& acknowledged = shared_memory();
  const uint64_t others = count_of_others(open_or_fail(dir));
  for (unsigned round = 1; round <= kRounds; ++round) {
    fmt::print("round {} of {}\n", round, kRounds);
    run_and_kill_writer(dir, acknowledged);
    reopen_and_check(dir, acknowledged, others);
  }
}
