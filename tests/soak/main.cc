// soak: the same few keys, overwritten for a long time. All the log is dead as soon as it is written, so whatever is
// not cleared away shows: the store's directory and its memory must stay within bounds that do not grow with the puts.
//
//     soak [--puts N] [--minutes N] [--compact-min-mib N] [--dir DIR]
//
// Ends after so many puts or minutes, whichever is first, 100 million puts unless told otherwise. Every second it
// measures the directory, by the files' sizes, and RssAnon, and ends with 1 when one is over its bound; every five
// seconds it prints a line. At the end each value is compared, and again after reopening. The options are the defaults
// but for compact_min_bytes.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "kvstore/kvstore.h"
#include "tests/support/process_memory.h"
#include "tests/support/temp_dir.h"

namespace kvstore::soak {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr uint64_t kKeys = 1'000;
constexpr size_t kValueBytes = 100;
constexpr std::chrono::seconds kWarmUp{10};
// Beyond what was held after the warm-up. The data is 0.2 MB, so anything that leaks with the puts is soon over it: 1
// byte a put after some 17 million.
constexpr int64_t kMemoryGrowthBytesMax = int64_t{16} << 20;

struct Arguments {
  uint64_t puts = 0;     // 0: no limit
  uint64_t minutes = 0;  // 0: no limit
  uint64_t compact_min_bytes = Options{}.compact_min_bytes;
  std::string dir{};  // empty: one of its own, gone afterwards
};

// The most the directory may hold, for these options:
//   2 * compact_min_bytes  the log that starts a compaction, and as much again, written until it has ended: it writes
//                          1,000 entries and syncs a few times, so it is given the time of so many puts
//   2 * segment_bytes      the segment that is being written counts from its beginning with the space extended ahead,
//                          and rotation keeps the one before it until that has been trimmed to its length
//   2 * live bytes         the newest snapshot, and the next one beside it before it has its name
uint64_t directory_bytes_max(const Options& options, const Stats& stats) {
  return 2 * options.compact_min_bytes + 2 * options.segment_bytes + 2 * stats.live_bytes;
}

uint64_t directory_bytes(const std::string& dir) {
  uint64_t bytes = 0;
  std::error_code ignored;  // a file may go between being listed and being asked
  for (const auto& entry : std::filesystem::directory_iterator(dir, ignored)) {
    std::error_code gone;
    const uint64_t size = entry.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

std::string key_of(uint64_t number) { return fmt::format("key:{:012}", number % kKeys); }

// Says which put it was, so that a value that is too old, or another key's, is noticed.
void write_value(uint64_t number, std::string& out) {
  out.assign(kValueBytes, 'v');
  fmt::format_to_n(out.data(), kValueBytes, "{:020}", number);
}

// "" or what is wrong: key k must have the value of its last put of `puts` in all.
std::string check(const Store& store, uint64_t puts) {
  const uint64_t expected = std::min(puts, kKeys);
  if (store.stats().entries != expected) return fmt::format("{} entries, expected {}", store.stats().entries, expected);
  std::string value;
  for (uint64_t number = puts - expected; number < puts; ++number) {
    write_value(number, value);
    const std::optional<std::string> got = store.get(key_of(number));
    if (!got) return fmt::format("{} is missing", key_of(number));
    if (*got != value)
      return fmt::format("{} has the value of put {}, expected that of {}", key_of(number), *got, number);
  }
  return "";
}

// Measures, holds the bounds against it, and reports.
class Watch {
 public:
  Watch(const Store& store, const Options& options) : store_(store), options_(options) {}

  // "" or what is over its bound. Called every second.
  std::string look(uint64_t puts) {
    const std::chrono::duration<double> age = SteadyClock::now() - begin_;
    const Stats stats = store_.stats();
    const uint64_t directory = directory_bytes(store_.path());
    const uint64_t directory_max = directory_bytes_max(options_, stats);
    const int64_t memory = testing::anonymous_bytes();
    if (memory < 0) return "/proc/self/status has no RssAnon here";
    directory_peak_ = std::max(directory_peak_, directory);
    memory_peak_ = std::max(memory_peak_, memory);
    if (age <= kWarmUp) memory_warm_ = std::max(memory_warm_, memory);
    if (looks_++ % 5 == 0) {
      fmt::print(
          "{:>6.0f} s {:>12} puts {:>9.0f} /s {:>6} compactions, directory {:>6.1f} of {:.0f} MiB, RssAnon {:>6.1f} "
          "MiB\n",
          age.count(), puts, static_cast<double>(puts - puts_printed_) / (age.count() - age_printed_),
          stats.compactions, mib(directory), mib(directory_max), mib(static_cast<uint64_t>(memory)));
      std::fflush(stdout);
      puts_printed_ = puts;
      age_printed_ = age.count();
    }
    if (directory > directory_max) {
      return fmt::format("the directory has {} bytes, at most {} are allowed", directory, directory_max);
    }
    if (memory > memory_warm_ + kMemoryGrowthBytesMax) {
      return fmt::format("RssAnon is {} bytes, {} after warming up", memory, memory_warm_);
    }
    if (stats.compactions_failed != 0) return fmt::format("a compaction failed: {}", stats.last_error);
    return "";
  }
  void print_peaks() const {
    fmt::print("peaks: directory {:.1f} MiB, RssAnon {:.1f} MiB ({:.1f} after warming up)\n", mib(directory_peak_),
               mib(static_cast<uint64_t>(memory_peak_)), mib(static_cast<uint64_t>(memory_warm_)));
  }

 private:
  static double mib(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

  const Store& store_;
  const Options& options_;
  const SteadyClock::time_point begin_ = SteadyClock::now();
  uint64_t looks_ = 0;
  uint64_t puts_printed_ = 0;
  double age_printed_ = 0;
  uint64_t directory_peak_ = 0;
  int64_t memory_peak_ = 0;
  int64_t memory_warm_ = 0;
};

// "" or what went wrong.
std::string run(const Arguments& arguments, const std::string& dir) {
  const Options options{.compact_min_bytes = arguments.compact_min_bytes};
  Result<Store> store = Store::open(dir, options);
  if (!store.ok()) return std::string(store.status().message());
  if (store->last_seq() != 0) return fmt::format("{} has a store already: choose another directory", dir);

  std::atomic<uint64_t> puts{0};
  std::atomic<bool> stop{false};
  std::atomic<bool> done{false};
  Status failure;
  std::thread writer([&] {
    std::vector<std::string> keys;
    for (uint64_t k = 0; k < kKeys; ++k) keys.push_back(key_of(k));
    std::string value;
    for (uint64_t number = 0; !stop && (arguments.puts == 0 || number < arguments.puts); ++number) {
      write_value(number, value);
      if (failure = store->put(keys[number % kKeys], value); !failure.ok()) break;
      puts.store(number + 1, std::memory_order_relaxed);
    }
    done = true;
  });

  const SteadyClock::time_point begin = SteadyClock::now();
  const SteadyClock::time_point end =
      arguments.minutes == 0 ? SteadyClock::time_point::max() : begin + std::chrono::minutes(arguments.minutes);
  Watch watch(*store, options);
  std::string wrong;
  SteadyClock::time_point next_look = begin;
  while (wrong.empty() && !done && SteadyClock::now() < end) {
    std::this_thread::sleep_until(next_look += std::chrono::seconds(1));
    wrong = watch.look(puts);
  }
  stop = true;
  writer.join();
  const std::chrono::duration<double> took = SteadyClock::now() - begin;
  if (!wrong.empty()) return wrong;
  if (!failure.ok()) return std::string(failure.message());

  watch.print_peaks();
  const Stats stats = store->stats();
  fmt::print("{} puts in {:.1f} s, {} compactions\n", puts.load(), took.count(), stats.compactions);
  if (wrong = check(*store, puts); !wrong.empty()) return wrong;
  if (const Status s = store->close(); !s.ok()) return std::string(s.message());
  store = Store::open(dir, options);
  if (!store.ok()) return std::string(store.status().message());
  if (wrong = check(*store, puts); !wrong.empty()) return fmt::format("reopened: {}", wrong);
  // Each put is a record of its own, whichever snapshot the opening began with.
  if (store->last_seq() != puts)
    return fmt::format("reopened: the last record is {}, expected {}", store->last_seq(), puts.load());
  return "";
}

}  // namespace
}  // namespace kvstore::soak

int main(int argc, char** argv) {
  kvstore::soak::Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* const text = i + 1 < argc ? argv[i + 1] : "";
    const uint64_t number = std::strtoull(text, nullptr, 10);
    if (name == "--puts" && number > 0) {
      arguments.puts = number;
    } else if (name == "--minutes" && number > 0) {
      arguments.minutes = number;
    } else if (name == "--compact-min-mib" && number > 0) {
      arguments.compact_min_bytes = number << 20;
    } else if (name == "--dir" && *text != '\0') {
      arguments.dir = text;
    } else {
      fmt::print(stderr, "usage: soak [--puts N] [--minutes N] [--compact-min-mib N] [--dir DIR]\n");
      return 2;
    }
  }
  if (arguments.puts == 0 && arguments.minutes == 0) arguments.puts = 100'000'000;

  const kvstore::testing::TempDir temp;
  const std::string dir = arguments.dir.empty() ? temp / "db" : arguments.dir;
  if (const std::string wrong = kvstore::soak::run(arguments, dir); !wrong.empty()) {
    fmt::print("FAILED: {}\n", wrong);
    return 1;
  }
  fmt::print("the directory and the memory stayed within their bounds, every value is right, also after reopening\n");
  return 0;
}
