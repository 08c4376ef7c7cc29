// The whole store, in its default configuration unless a name says otherwise. Each benchmark checks its own result.
//
//     store_bench --benchmark_filter=put
//
// put/fresh and put/overwrite: 16-byte keys in random order, 100-byte printable values, an acknowledged put survives
// kill -9. put/sync: each survives a power cut. get: the same keys. open: replays the log of 1M puts.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/check.h"
#include "bench/thread_times.h"
#include "kvstore/kvstore.h"

namespace {

using kvstore::Durability;
using kvstore::LogIo;
using kvstore::Options;
using kvstore::Store;
using kvstore::bench::require;

constexpr size_t kKeys = 1'000'000;

const std::vector<std::string>& keys() {
  static const std::vector<std::string> shuffled = [] {
    std::vector<std::string> all(kKeys);
    std::mt19937_64 random(1);
    for (size_t i = 0; i < kKeys; ++i) all[i] = fmt::format("{:016x}", i * 0x9e3779b97f4a7c15ULL);
    for (size_t i = kKeys - 1; i > 0; --i) std::swap(all[i], all[random() % (i + 1)]);
    return all;
  }();
  return shuffled;
}

std::string value() {
  std::string text;
  for (int i = 0; i < 100; ++i) text.push_back(static_cast<char>('a' + i % 26));
  return text;
}

// A store in a directory of its own, gone afterwards.
class Scratch {
 public:
  explicit Scratch(Options options = {}) {
    std::string name = (std::filesystem::temp_directory_path() / "kvstore-bench-XXXXXX").string();
    require(::mkdtemp(name.data()) != nullptr, "mkdtemp");
    dir_ = name;
    open(std::move(options));
  }
  ~Scratch() {
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void open(Options options = {}) {
    store_.reset();
    auto opened = Store::open(dir_ / "db", std::move(options));
    require(opened.ok(), opened.status().message());
    store_ = std::make_unique<Store>(*std::move(opened));
  }
  void close() { store_.reset(); }
  Store& operator*() { return *store_; }
  Store* operator->() { return store_.get(); }
  void fill(size_t count) {
    const std::string v = value();
    for (size_t i = 0; i < count; ++i) require(store_->put(keys()[i], v).ok(), "put");
  }

 private:
  std::filesystem::path dir_;
  std::unique_ptr<Store> store_;
};

// Counters, in ns a put: "writer" is the processor time of a writing thread for each put of its own; the others are the store's
// threads, for each put of all.
void put_fresh(benchmark::State& state) {
  const auto threads = static_cast<size_t>(state.range(0));
  const std::string v = value();
  std::atomic<uint64_t> writers_ns = 0;
  std::map<std::string, uint64_t> stores_ns;
  for ([[maybe_unused]] auto _ : state) {
    state.PauseTiming();
    auto store = std::make_unique<Scratch>();
    (void)keys();
    state.ResumeTiming();
    std::vector<std::thread> writers;
    for (size_t t = 0; t < threads; ++t) {
      writers.emplace_back([&, t] {
        for (size_t i = t; i < kKeys; i += threads) require((*store)->put(keys()[i], v).ok(), "put");
        writers_ns += kvstore::bench::own_time_ns();
      });
    }
    for (std::thread& writer : writers) writer.join();
    state.PauseTiming();
    for (const auto& [name, ns] : kvstore::bench::thread_times_ns()) {
      if (name.starts_with("kvstore-")) stores_ns[name.substr(8)] += ns;
    }
    require((*store)->stats().entries == kKeys, "entries are missing");
    store.reset();
    state.ResumeTiming();
  }
  const auto puts = static_cast<double>(state.iterations()) * static_cast<double>(kKeys);
  state.counters["writer"] = static_cast<double>(writers_ns) / puts;
  for (const auto& [name, ns] : stores_ns) state.counters[name] = static_cast<double>(ns) / puts;
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kKeys));
}
BENCHMARK(put_fresh)
    ->Name("put/fresh/100B")
    ->Arg(1)
    ->Arg(2)
    ->ArgName("threads")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void put_overwrite(benchmark::State& state) {
  Scratch store({.log_io = state.range(0) == 0 ? LogIo::kMapped : LogIo::kWrite});
  store.fill(kKeys);
  const std::string v = value();
  size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    require(store->put(keys()[i], v).ok(), "put");
    i = (i + 1) % kKeys;
  }
  require(store->stats().entries == kKeys, "entries changed");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(put_overwrite)->Name("put/overwrite/100B")->Arg(0)->Arg(1)->ArgName("write")->UseRealTime();

// A cache at its limit, of memory or of entries, with room for about half of the keys: each put is of a new one.
void put_evicting(benchmark::State& state) {
  Options options{.when_full = kvstore::WhenFull::kEvict};
  if (state.range(0) == 0) {
    options.max_memory = uint64_t{80} << 20;
  } else {
    options.max_entries = kKeys / 2;
  }
  Scratch store(options);
  const std::string v = value();
  uint64_t refused = 0;
  for (const std::string& key : keys()) refused += store->put(key, v).ok() ? 0 : 1;
  const uint64_t evicted_before = store->stats().evicted;
  size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    refused += store->put(keys()[i], v).ok() ? 0 : 1;
    i = (i + 1) % kKeys;
  }
  const uint64_t evicted = store->stats().evicted - evicted_before;
  require(state.iterations() < 10'000 || evicted > static_cast<uint64_t>(state.iterations()) / 2, "hardly evicted");
  require(refused <= 1 + static_cast<uint64_t>(state.iterations()) / 10'000, "often refused");
  state.counters["refused"] = static_cast<double>(refused);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(put_evicting)->Name("put/evicting/100B")->Arg(0)->Arg(1)->ArgName("entries")->UseRealTime();

void put_sync(benchmark::State& state) {
  static std::unique_ptr<Scratch> store;
  if (state.thread_index() == 0) store = std::make_unique<Scratch>(Options{.durability = Durability::kSync});
  const std::string v = value();
  size_t i = static_cast<size_t>(state.thread_index()) * 10'000;
  for ([[maybe_unused]] auto _ : state) require((*store)->put(keys()[i++ % kKeys], v).ok(), "put");
  if (state.thread_index() == 0) {
    require((*store)->stats().synced_seq == (*store)->last_seq(), "a write was acknowledged too early");
    store.reset();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(put_sync)->Name("put/sync/100B")->Threads(1)->Threads(8)->Threads(64)->UseRealTime();

void batch_of_1000(benchmark::State& state) {
  Scratch store;
  const std::string v = value();
  size_t i = 0;
  kvstore::Batch batch;
  for ([[maybe_unused]] auto _ : state) {
    batch.clear();
    for (int n = 0; n < 1000; ++n) batch.put(keys()[i++ % kKeys], v);
    require(store->write(batch).ok(), "write");
  }
  state.SetItemsProcessed(state.iterations() * 1000);
}
BENCHMARK(batch_of_1000)->Name("batch/1000x100B")->UseRealTime();

void get_one(benchmark::State& state) {
  Scratch store;
  store.fill(kKeys);
  const bool hit = state.range(0) == 1;
  const std::string v = value();
  size_t i = 0;
  size_t found = 0;
  for ([[maybe_unused]] auto _ : state) {
    // All keys in turn, but not as they were put: entries put one after the other lie side by side.
    std::string_view key = keys()[i = (i + 618'033) % kKeys];
    if (!hit) key = key.substr(1);
    found += store->read(key, [&](std::string_view got) { require(got.size() == v.size(), "a wrong value"); }) ? 1 : 0;
  }
  require(found == (hit ? static_cast<size_t>(state.iterations()) : 0), "hits and misses are mixed up");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(get_one)->Name("get/1M")->Arg(1)->Arg(0)->ArgName("hit")->UseRealTime();

void open_after_kill(benchmark::State& state) {
  Scratch store;
  store.fill(kKeys);
  store.close();
  for ([[maybe_unused]] auto _ : state) {
    store.open({.read_only = true});
    require(store->stats().entries == kKeys, "entries are missing");
    state.PauseTiming();
    store.close();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kKeys));
}
BENCHMARK(open_after_kill)->Name("open/1M puts")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
