// Opening: the log of 1M puts, and the snapshot that a compaction makes of it, read back by one thread and by two. The files
// are in the page cache. Each opening checks the number of entries and a sample of the values.
//
//   replay_log/V/threads:T        16-byte keys, values of V bytes
//   replay_snapshot/V/threads:T
//
// The store lies in the directory that TMPDIR names (/tmp).
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "bench/check.h"
#include "kvstore/kvstore.h"

namespace {

using kvstore::Options;
using kvstore::Store;
using kvstore::bench::require;

constexpr uint64_t kEntries = 1'000'000;

std::string key_of(uint64_t index) { return fmt::format("{:016x}", index * 0x9e3779b97f4a7c15ULL); }

std::string value_of(uint64_t index, size_t bytes) {
  std::string value = fmt::format("{:016x}", index);
  value.resize(bytes, 'v');
  return value;
}

Store open(const std::filesystem::path& dir, Options options) {
  kvstore::Result<Store> opened = Store::open(dir, std::move(options));
  require(opened.ok(), opened.status().message());
  return *std::move(opened);
}

void replay(benchmark::State& state, bool from_snapshot) {
  const auto value_bytes = static_cast<size_t>(state.range(0));
  const auto threads = static_cast<unsigned>(state.range(1));
  std::string name = (std::filesystem::temp_directory_path() / "kvstore-bench-XXXXXX").string();
  require(::mkdtemp(name.data()) != nullptr, "mkdtemp");
  const std::filesystem::path dir = std::filesystem::path(name) / "db";
  {
    Store store = open(dir, {.compact_at_percent = 0});
    for (uint64_t i = 0; i < kEntries; ++i) require(store.put(key_of(i), value_of(i, value_bytes)).ok(), "put");
    if (from_snapshot) require(store.compact().ok(), "compact");
    require(store.close().ok(), "close");
  }
  uint64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir))
    bytes += file.is_regular_file() ? file.file_size() : 0;
  // Once for nothing: memory that the host of a virtual machine hands out for the first time costs microseconds a page, and
  // that was most of the time of the first opening with 1000-byte values.
  open(dir, {.read_only = true});
  for ([[maybe_unused]] auto _ : state) {
    auto store = std::make_unique<Store>(open(dir, {.read_only = true, .replay_threads = threads}));
    state.PauseTiming();
    require(store->stats().entries == kEntries, "entries are missing");
    for (uint64_t i = 0; i < kEntries; i += 997)
      require(store->get(key_of(i)) == value_of(i, value_bytes), "a wrong value");
    store.reset();
    state.ResumeTiming();
  }
  std::filesystem::remove_all(name);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kEntries));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void replay_log(benchmark::State& state) { replay(state, false); }
void replay_snapshot(benchmark::State& state) { replay(state, true); }

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgsProduct({{100, 1000}, {1, 2}})
      ->ArgNames({"", "threads"})
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(0.3);
}
BENCHMARK(replay_log)->Apply(sizes);
BENCHMARK(replay_snapshot)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
