// What a writer notices of a compaction. One thread overwrites random keys at full speed, and every single put is timed:
// for some seconds with the store left alone, then while compact() runs, and so on in turn, so that what else the machine
// does falls on both alike.
//
//     compaction_bench [--entries N] [--rounds N] [--idle-seconds N]
//
// 16-byte keys, 100-byte values, the default options but for automatic compaction, which is off. Two promises are held
// beside what was measured:
//   p99.9   of a put while compacting is at most twice that of a put at rest (the mean of the phases before and after)
//   memory  grows by at most what is overwritten meanwhile and 16 MiB: no second copy of the data
//
// Ends with 1 when the store is wrong afterwards (each value is compared, also after reopening), not when it is slow.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/check.h"
#include "kvstore/kvstore.h"
#include "kvstore/table/entry.h"
#include "tests/support/process_memory.h"

namespace kvstore {
namespace {

using SteadyClock = std::chrono::steady_clock;
using testing::anonymous_bytes;

constexpr double kRatioPromised = 2.0;
constexpr int64_t kGrowthAllowedBytes = int64_t{16} << 20;  // beyond what is overwritten
constexpr size_t kSamplesMax = 30'000'000;                  // of one phase; later puts of it are not timed

struct Arguments {
  uint64_t entries = 5'000'000;
  unsigned rounds = 5;
  unsigned idle_seconds = 3;
};

using bench::fail;
using bench::require;

double mib(std::integral auto bytes) { return static_cast<double>(bytes) / (1 << 20); }

// ---- the data ------------------------------------------------------------------------------------

constexpr size_t kKeyBytes = 16;
constexpr size_t kValueBytes = 100;
constexpr size_t kEntryBytes = table::Entry::kHeaderBytes + kKeyBytes + kValueBytes;
static_assert(kEntryBytes % 8 == 0);  // so the arena hands out just as much

void write_hex(uint64_t number, char* out) {
  for (size_t i = 16; i-- > 0; number >>= 4) out[i] = "0123456789abcdef"[number & 15];
}

// Key i, and its value after it was written `version` times: both numbers stand in it, and it ends in filler.
class Words {
 public:
  Words() { value_.fill('v'); }
  std::string_view key(uint64_t index) {
    write_hex(index * 0x9e3779b97f4a7c15, key_.data());  // odd, so a bijection
    return {key_.data(), key_.size()};
  }
  std::string_view value(uint64_t index, uint32_t version) {
    write_hex(index, value_.data());
    write_hex(version, value_.data() + 16);
    return {value_.data(), value_.size()};
  }

 private:
  std::array<char, kKeyBytes> key_{};
  std::array<char, kValueBytes> value_{};
};

// ---- one phase -----------------------------------------------------------------------------------

struct Phase {
  uint64_t puts = 0;
  double seconds = 0;
  std::array<double, 3> quantiles_us{};  // of kQuantiles
  double max_us = 0;
  int64_t memory_before = 0;
  int64_t memory_peak = 0;
  uint64_t distinct = 0;  // keys overwritten, each counted once: the snapshot needs one old version of each
  CompactionReport report{};
};
constexpr std::array<double, 3> kQuantiles = {0.5, 0.99, 0.999};
constexpr size_t kP999 = 2;

class Bench {
 public:
  explicit Bench(const Arguments& arguments)
      : arguments_(arguments), versions_(arguments.entries, 1), versions_before_(versions_) {
    samples_ns_.resize(kSamplesMax);  // touches them: their pages must not count as the store's, nor fault within a put
    if (anonymous_bytes() < 0) fail("/proc/self/status has no RssAnon here");
    std::string name = (std::filesystem::temp_directory_path() / "kvstore-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("mkdtemp fails");
    dir_ = name;
    open();
    for (uint64_t i = 0; i < arguments_.entries; ++i) require(store_->put(words_.key(i), words_.value(i, 1)), "fill");
  }
  ~Bench() {
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  int run();

 private:
  void open() {
    store_.reset();
    Result<Store> opened = Store::open(dir_ / "db", {.compact_at_percent = 0});
    if (!opened.ok()) fail(opened.status().message());
    store_.emplace(*std::move(opened));
  }
  Phase run_phase(bool compacting);
  void write_until(const std::atomic<bool>& stop, Phase& phase);
  void check(std::string_view when);

  const Arguments arguments_;
  std::filesystem::path dir_;
  std::optional<Store> store_;
  Words words_;
  std::mt19937_64 random_{1};
  std::vector<uint32_t> versions_;         // of each key: how often it was written
  std::vector<uint32_t> versions_before_;  // ... when the phase under way began
  std::vector<uint32_t> samples_ns_;       // of the phase under way
};

// The writer's thread.
void Bench::write_until(const std::atomic<bool>& stop, Phase& phase) {
  const SteadyClock::time_point begin = SteadyClock::now();
  while (!stop.load(std::memory_order_relaxed)) {
    const uint64_t index = random_() % arguments_.entries;
    const std::string_view key = words_.key(index);
    const std::string_view value = words_.value(index, ++versions_[index]);
    const SteadyClock::time_point before = SteadyClock::now();
    const Status status = store_->put(key, value);
    const auto took = std::chrono::nanoseconds(SteadyClock::now() - before).count();
    require(status, "put");
    if (phase.puts < kSamplesMax) {
      constexpr int64_t kLongest = std::numeric_limits<uint32_t>::max();  // 4.3 s
      samples_ns_[phase.puts] = static_cast<uint32_t>(std::min<int64_t>(took, kLongest));
    }
    ++phase.puts;
  }
  phase.seconds = std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

Phase Bench::run_phase(bool compacting) {
  Phase phase;
  versions_before_ = versions_;
  phase.memory_before = phase.memory_peak = anonymous_bytes();
  std::atomic<bool> stop{false};
  std::thread writer([&] { write_until(stop, phase); });
  std::atomic<bool> stop_sampling{false};
  std::thread sampler([&] {
    while (!stop_sampling) {
      phase.memory_peak = std::max(phase.memory_peak, anonymous_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  if (compacting) {
    Result<CompactionReport> report = store_->compact();
    if (!report.ok()) fail(report.status().message());
    phase.report = *report;
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(arguments_.idle_seconds));
  }
  stop = true;
  writer.join();
  stop_sampling = true;
  sampler.join();

  for (size_t i = 0; i < versions_.size(); ++i) phase.distinct += versions_[i] != versions_before_[i] ? 1 : 0;
  const auto end = samples_ns_.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(phase.puts, kSamplesMax));
  std::sort(samples_ns_.begin(), end);
  const auto count = static_cast<size_t>(end - samples_ns_.begin());
  if (count == 0) fail("not one put in a whole phase");
  for (size_t i = 0; i < kQuantiles.size(); ++i) {
    const auto rank = static_cast<size_t>(kQuantiles[i] * static_cast<double>(count));
    phase.quantiles_us[i] = samples_ns_[std::min(rank, count - 1)] / 1e3;
  }
  phase.max_us = samples_ns_[count - 1] / 1e3;
  return phase;
}

void Bench::check(std::string_view when) {
  if (const uint64_t entries = store_->stats().entries; entries != arguments_.entries) {
    fail(fmt::format("{}: {} entries, expected {}", when, entries, arguments_.entries));
  }
  for (uint64_t i = 0; i < arguments_.entries; ++i) {
    bool same = false;
    const bool found =
        store_->read(words_.key(i), [&](std::string_view got) { same = got == words_.value(i, versions_[i]); });
    if (!found || !same) fail(fmt::format("{}: entry {} is {}", when, i, found ? "not what was put last" : "missing"));
  }
}

// ---- the report ----------------------------------------------------------------------------------

void print_phase(std::string_view name, const Phase& phase) {
  fmt::print("{:<12} {:>9} {:>7.0f} {:>8.2f} {:>8.2f} {:>8.2f} {:>9.0f}\n", name, phase.puts,
             static_cast<double>(phase.puts) / phase.seconds / 1e3, phase.quantiles_us[0], phase.quantiles_us[1],
             phase.quantiles_us[kP999], phase.max_us);
  std::fflush(stdout);
}

// "1.42 (1.20-1.71)": the median of all rounds (of an even number the upper one), and the smallest and the largest.
std::string spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", values[values.size() / 2], values.front(), values.back());
}

int Bench::run() {
  fmt::print("{} entries of {} bytes each in memory\n", arguments_.entries, kEntryBytes);
  fmt::print("{:<12} {:>9} {:>7} {:>8} {:>8} {:>8} {:>9}\n", "phase", "puts", "k/s", "p50 us", "p99", "p99.9", "max");
  std::vector<Phase> compacting;
  std::vector<double> ratios;
  Phase before = run_phase(false);
  print_phase("idle", before);
  for (unsigned round = 0; round < arguments_.rounds; ++round) {
    compacting.push_back(run_phase(true));
    print_phase("compacting", compacting.back());
    const Phase after = run_phase(false);
    print_phase("idle", after);
    ratios.push_back(compacting.back().quantiles_us[kP999] /
                     ((before.quantiles_us[kP999] + after.quantiles_us[kP999]) / 2));
    before = after;
  }

  // Only the first round puts memory to the test: what it took is used again by the later ones.
  // The promise counts every put. The snapshot needs no more than one old version of each key: that is in brackets.
  fmt::print(
      "\nMiB    seconds  snapshot  RssAnon before    peak  growth  overwritten (distinct)  growth - overwritten\n");
  bool memory_holds = true;
  for (size_t i = 0; i < compacting.size(); ++i) {
    const Phase& phase = compacting[i];
    const int64_t growth = phase.memory_peak - phase.memory_before;
    const auto overwritten = static_cast<int64_t>(phase.puts * kEntryBytes);
    memory_holds &= growth <= overwritten + kGrowthAllowedBytes;
    fmt::print("{:<6} {:>7.2f} {:>9.0f} {:>15.0f} {:>7.0f} {:>7.1f} {:>12.1f} {:>10} {:>21.1f}\n", i + 1,
               std::chrono::duration<double>(phase.report.duration).count(), mib(phase.report.snapshot_bytes),
               mib(phase.memory_before), mib(phase.memory_peak), mib(growth), mib(overwritten),
               fmt::format("({:.1f})", mib(phase.distinct * kEntryBytes)), mib(growth - overwritten));
  }
  std::sort(ratios.begin(), ratios.end());
  fmt::print("\np99.9 compacting / idle: {}; promised: at most {}: {}\n", spread(ratios), kRatioPromised,
             ratios[ratios.size() / 2] <= kRatioPromised ? "kept" : "NOT KEPT");
  fmt::print("growth <= overwritten + {:.0f} MiB: {}\n", mib(kGrowthAllowedBytes), memory_holds ? "kept" : "NOT KEPT");

  check("at the end");
  require(store_->close(), "close");
  open();
  check("reopened");
  fmt::print("every one of {} values is right, also after reopening\n", arguments_.entries);
  return 0;
}

}  // namespace
}  // namespace kvstore

int main(int argc, char** argv) {
  kvstore::Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name.starts_with("--benchmark_")) continue;  // make bench gives the same arguments to every program
    const uint64_t number = i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0;
    if (name == "--entries" && number > 0) {
      arguments.entries = number;
    } else if (name == "--rounds" && number > 0) {
      arguments.rounds = static_cast<unsigned>(number);
    } else if (name == "--idle-seconds" && number > 0) {
      arguments.idle_seconds = static_cast<unsigned>(number);
    } else {
      fmt::print(stderr, "usage: compaction_bench [--entries N] [--rounds N] [--idle-seconds N]\n");
      return 2;
    }
  }
  return kvstore::Bench(arguments).run();
}
