// The table by itself: no log, no encoding. 16-byte keys in random order, 100-byte values, one operation a commit.
// Every benchmark checks its answers, so the compiler cannot drop the work. N is the number of entries.
//
//   table_fill/N          fresh keys into an empty table, as replay does it (load, in windows)
//   table_fill_helped/N   the same with a helper thread that touches memory ahead
//   table_insert/N        fresh keys, a commit each; longest_us: the longest one, what growing costs at worst
//   table_overwrite/N     existing keys, a commit each
//   table_hit, _miss/N    single finds of random keys; a hit copies the value
//   table_find_many/N     the same as table_hit, 32 at a time
//   table_hot/threads:T   finds in a hot set of 1000 keys, by T readers
//   table_hot_beside_writer/N  the same by one reader, while a writer overwrites N keys
//   table_scan/N          a pin, and every entry under it
//   table_open            an empty table, as kvctl needs one for every command
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/table/table.h"

namespace kvstore::table {
namespace {

constexpr size_t kValueBytes = 100;
constexpr uint64_t kHotKeys = 1000;

// The finaliser of SplitMix64 (G. Steele et al., "Fast splittable pseudorandom number generators", 2014): a
// permutation of the 64-bit numbers in random order.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// The key of a number. Those of different numbers differ.
struct Key {
  explicit Key(uint64_t number) : words{mix(number), number * 0x9e3779b97f4a7c15} {}
  [[nodiscard]] std::string_view view() const { return {reinterpret_cast<const char*>(words.data()), 16}; }
  std::array<uint64_t, 2> words;
};

// Numbers below `end` in random order, with little work.
class RandomNumbers {
 public:
  RandomNumbers(uint64_t seed, uint64_t end) : state_(seed), end_(end) {}
  uint64_t next() {
    __extension__ using Product = unsigned __int128;
    return static_cast<uint64_t>(static_cast<Product>(mix(state_++)) * end_ >> 64);
  }

 private:
  uint64_t state_;
  uint64_t end_;
};

format::Op put_op(const Key& key, std::string_view value) {
  return {.kind = format::Op::Kind::kPut, .is_json = false, .key = key.view(), .value = value, .expires_us = 0};
}

void commit(Table& table, const format::Op& op, uint64_t hash, Seq seq) {
  Entry* staged = table.stage(op, hash);
  table.link(staged, hash, seq);
  table.publish(seq);
}

void load_range(Table& table, uint64_t begin, uint64_t end) {
  constexpr size_t kWindow = 32;
  std::vector<Key> keys(kWindow, Key(0));
  std::array<uint64_t, kWindow> hashes{};
  const std::string value(kValueBytes, 'v');
  for (uint64_t number = begin; number < end; number += kWindow) {
    const size_t count = std::min<uint64_t>(kWindow, end - number);
    for (size_t i = 0; i < count; ++i) {
      keys[i] = Key(number + i);
      hashes[i] = table.hash(keys[i].view());
      table.prefetch_bucket(hashes[i]);
    }
    for (size_t i = 0; i < count; ++i) table.prefetch_entry(keys[i].view(), hashes[i]);
    for (size_t i = 0; i < count; ++i) table.load(put_op(keys[i], value), hashes[i], number + i + 1);
  }
}

double bytes_over(const Table& table) {
  const TableStats stats = table.stats();
  return static_cast<double>(stats.memory_bytes - stats.key_bytes - stats.value_bytes) /
         static_cast<double>(stats.entries);
}

// A table of N entries, kept from one benchmark to the next: building one of 10M takes seconds.
struct Filled {
  uint64_t entries = 0;
  Seq seq = 0;
  std::unique_ptr<Table> table;
};
Filled& filled(uint64_t entries) {
  static Filled kept;
  if (kept.entries != entries) {
    kept.table = nullptr;
    kept.table = std::make_unique<Table>(1);
    kept.entries = entries;
    load_range(*kept.table, 0, entries);
    kept.table->finish_load(kept.seq = entries);
  }
  return kept;
}

void fill(benchmark::State& state, bool helped) {
  const auto entries = static_cast<uint64_t>(state.range(0));
  for ([[maybe_unused]] auto _ : state) {
    Table table(1);
    std::atomic<bool> done{!helped};
    std::thread helper([&] {
      while (!done.load()) {
        if (!table.prepare_memory()) std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    });
    table.expect(entries);
    load_range(table, 0, entries);
    done.store(true);
    helper.join();
    table.finish_load(entries);
    KV_ASSERT(table.stats().entries == entries);
    state.PauseTiming();  // the destructor is not part of it
    state.counters["bytes_over"] = bytes_over(table);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * entries));
}

void table_fill(benchmark::State& state) { fill(state, false); }
void table_fill_helped(benchmark::State& state) { fill(state, true); }

void table_insert(benchmark::State& state) {
  const auto entries = static_cast<uint64_t>(state.range(0));
  const std::string value(kValueBytes, 'v');
  using Clock = std::chrono::steady_clock;
  for ([[maybe_unused]] auto _ : state) {
    Table table(1);
    std::array<Clock::duration, 3> longest{};  // the three longest, ascending
    Clock::time_point last = Clock::now();
    const Clock::time_point begin = last;
    for (uint64_t number = 0; number < entries; ++number) {
      const Key key(number);
      commit(table, put_op(key, value), table.hash(key.view()), number + 1);
      const Clock::time_point now = Clock::now();
      if (now - last > longest[0]) {
        longest[0] = now - last;
        std::sort(longest.begin(), longest.end());
      }
      last = now;
    }
    state.SetIterationTime(std::chrono::duration<double>(last - begin).count());
    KV_ASSERT(table.stats().entries == entries);
    state.counters["longest_us"] = std::chrono::duration<double, std::micro>(longest[2]).count();
    state.counters["third_us"] = std::chrono::duration<double, std::micro>(longest[0]).count();
    state.counters["bytes_over"] = bytes_over(table);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * entries));
}

void table_overwrite(benchmark::State& state) {
  Filled& my = filled(static_cast<uint64_t>(state.range(0)));
  const std::string value(kValueBytes, 'w');
  static uint64_t seed = 0;
  RandomNumbers numbers(seed += uint64_t{1} << 40, my.entries);
  for ([[maybe_unused]] auto _ : state) {
    const Key key(numbers.next());
    commit(*my.table, put_op(key, value), my.table->hash(key.view()), ++my.seq);
  }
  KV_ASSERT(my.table->stats().entries == my.entries);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
  state.counters["bytes_over"] = bytes_over(*my.table);
}

// As Store::get() does, into a buffer that is there already.
bool get(const Table& table, const Key& key, char* out) {
  const Table::ReadGuard guard(table);
  const Entry* entry = table.find(key.view(), table.hash(key.view()));
  if (entry == nullptr) return false;
  std::memcpy(out, entry->value().data(), entry->value().size());
  benchmark::DoNotOptimize(out);
  return true;
}

void table_hit(benchmark::State& state) {
  const Filled& my = filled(static_cast<uint64_t>(state.range(0)));
  RandomNumbers numbers(uint64_t{1} << 50, my.entries);
  std::array<char, kValueBytes> copy{};
  uint64_t found = 0;
  for ([[maybe_unused]] auto _ : state) found += get(*my.table, Key(numbers.next()), copy.data()) ? 1 : 0;
  KV_ASSERT(found == static_cast<uint64_t>(state.iterations()));
  state.SetItemsProcessed(static_cast<int64_t>(found));
}

void table_miss(benchmark::State& state) {
  const Filled& my = filled(static_cast<uint64_t>(state.range(0)));
  RandomNumbers numbers(uint64_t{1} << 51, my.entries);
  std::array<char, kValueBytes> copy{};
  uint64_t found = 0;
  for ([[maybe_unused]] auto _ : state) found += get(*my.table, Key(my.entries + numbers.next()), copy.data()) ? 1 : 0;
  KV_ASSERT(found == 0);
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}

void table_find_many(benchmark::State& state) {
  constexpr size_t kMany = 32;
  const Filled& my = filled(static_cast<uint64_t>(state.range(0)));
  RandomNumbers numbers(uint64_t{1} << 52, my.entries);
  std::vector<Key> keys(kMany, Key(0));
  std::array<std::string_view, kMany> views;
  std::array<const Entry*, kMany> found{};
  std::array<char, kValueBytes> copy{};
  for ([[maybe_unused]] auto _ : state) {
    for (size_t i = 0; i < kMany; ++i) {
      keys[i] = Key(numbers.next());
      views[i] = keys[i].view();
    }
    const Table::ReadGuard guard(*my.table);
    my.table->find_many(views, found);
    for (const Entry* entry : found) {
      KV_ASSERT(entry != nullptr);
      std::memcpy(copy.data(), entry->value().data(), entry->value().size());
      benchmark::DoNotOptimize(copy.data());
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kMany));
}

void read_hot_set(benchmark::State& state, const Table& table) {
  RandomNumbers numbers(static_cast<uint64_t>(state.thread_index()) << 40, kHotKeys);
  std::array<char, kValueBytes> copy{};
  uint64_t found = 0;
  for ([[maybe_unused]] auto _ : state) found += get(table, Key(numbers.next()), copy.data()) ? 1 : 0;
  KV_ASSERT(found == static_cast<uint64_t>(state.iterations()));
  state.SetItemsProcessed(static_cast<int64_t>(found));
}

void table_hot(benchmark::State& state) {
  static const std::unique_ptr<Table> table = [] {
    auto made = std::make_unique<Table>(1);
    load_range(*made, 0, kHotKeys);
    made->finish_load(kHotKeys);
    return made;
  }();
  read_hot_set(state, *table);
}

// The writer overwrites random keys of N as fast as it can. With N = 1000 those are the very keys that are read.
void table_hot_beside_writer(benchmark::State& state) {
  const auto entries = static_cast<uint64_t>(state.range(0));
  Table table(1);
  load_range(table, 0, entries);
  Seq seq = entries;
  table.finish_load(seq);
  std::atomic<bool> done{false};
  uint64_t commits = 0;
  std::thread writer([&] {
    const std::string value(kValueBytes, 'w');
    RandomNumbers numbers(uint64_t{1} << 53, entries);
    for (; !done.load(std::memory_order_relaxed); ++commits) {
      const Key key(numbers.next());
      commit(table, put_op(key, value), table.hash(key.view()), ++seq);
    }
  });
  read_hot_set(state, table);
  done.store(true);
  writer.join();
  state.counters["commits_per_s"] = benchmark::Counter(static_cast<double>(commits), benchmark::Counter::kIsRate);
}

void table_scan(benchmark::State& state) {
  const Filled& my = filled(static_cast<uint64_t>(state.range(0)));
  std::vector<const Entry*> found;
  for ([[maybe_unused]] auto _ : state) {
    found.clear();
    const Table::Pin pin(*my.table);
    my.table->collect(pin, {}, found);
    KV_ASSERT(found.size() == my.entries);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * my.entries));
}

void table_open(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    Table table(1);
    const Key key(1);
    commit(table, put_op(key, "v"), table.hash(key.view()), 1);
    benchmark::DoNotOptimize(table.published());
  }
}

// Memory the machine hands out for the first time is several times slower to touch than memory it has had
// before, and the first benchmarks of a run would pay for it.
const bool memory_is_warm = [] {
  const size_t bytes = size_t{2} << 30;
  std::vector<char> touched(bytes, 1);
  benchmark::DoNotOptimize(touched.data());
  return true;
}();

void sizes(benchmark::internal::Benchmark* b) { b->Arg(1'000'000)->Arg(10'000'000); }

BENCHMARK(table_open);
BENCHMARK(table_hot)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(table_hot_beside_writer)->Arg(kHotKeys)->Arg(1'000'000)->UseRealTime();
BENCHMARK(table_fill)->Apply(sizes)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(table_fill_helped)->Apply(sizes)->Iterations(1)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(table_insert)->Apply(sizes)->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
// One size after the other, so that each table is filled once.
#define KV_BENCH_FILLED(entries)                                                     \
  BENCHMARK(table_hit)->Arg(entries)->Unit(benchmark::kNanosecond);                  \
  BENCHMARK(table_miss)->Arg(entries)->Unit(benchmark::kNanosecond);                 \
  BENCHMARK(table_find_many)->Arg(entries)->Unit(benchmark::kNanosecond);            \
  BENCHMARK(table_scan)->Arg(entries)->Unit(benchmark::kMillisecond)->Iterations(1); \
  BENCHMARK(table_overwrite)->Arg(entries)->Unit(benchmark::kNanosecond)
KV_BENCH_FILLED(1'000);  // all in cache: what the instructions alone cost
KV_BENCH_FILLED(1'000'000);
KV_BENCH_FILLED(10'000'000);
#undef KV_BENCH_FILLED

}  // namespace
}  // namespace kvstore::table
