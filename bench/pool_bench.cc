// What the buffer pool is worth: one sealed log line, made in three ways. Each checks its own result.
//
//     pool_bench --benchmark_filter=line
//
// line/pooled: into a leased buffer, as Store does. line/fresh: the same encoder, a new buffer each time.
// line/document: a JSON document built and dumped into a new string, the design that needs no encoder.
// The number is the size of the value in bytes; 60 makes a line of 158. against/*: pooled and the other run turn and
// turn about, a thousand lines each; times_faster is the median of these rounds, low and high bound the middle 80 %.
// lease: only the lease and its return, nothing encoded. allocations and bytes: from operator new, per line.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/crc32c.h"
#include "kvstore/base/pool.h"
#include "kvstore/format/encode.h"
#include "tests/support/counting_new.h"

namespace {

namespace base = kvstore::base;
namespace format = kvstore::format;
namespace testing = kvstore::testing;

using base::Buffer;
using base::BufferPool;

constexpr std::string_view kKey = "user:00001234";
constexpr int64_t kTime = 1'763'800'000'123'456;

std::string value_of(size_t size) {
  constexpr std::string_view kText = "Ada Lovelace, 12 St James's Square, London, since 1835-07-08";
  std::string value;
  while (value.size() < size) value.append(kText.substr(0, size - value.size()));
  return value;
}

// Where the log would be: takes a line in pieces, and keeps the latest only.
class Log {
 public:
  char* begin_line() { return bytes_.data(); }
  void append(std::string_view piece) {
    std::copy(piece.begin(), piece.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(size_));
    size_ += piece.size();
  }
  void start_with(size_t size) { size_ = size; }
  void seal(uint32_t crc) {
    format::encode_seal(bytes_.data() + size_, crc);
    size_ += format::kSealBytes;
  }
  [[nodiscard]] std::string_view line() const { return {bytes_.data(), size_}; }

 private:
  std::vector<char> bytes_ = std::vector<char>(64 << 10);
  size_t size_ = 0;
};

void encode_into(Buffer& buffer, uint64_t seq, std::string_view value, Log& log) {
  const format::Op op{.kind = format::Op::Kind::kPut, .key = kKey, .value = value};
  format::encode_body(buffer, {&op, 1}, false, {});
  const uint32_t body_crc = base::crc32c(buffer.view());
  const uint32_t shift = base::crc32c_shift(buffer.size());
  log.start_with(format::encode_stamp(log.begin_line(), {.seq = seq, .ts_us = kTime}));
  const uint32_t stamp_crc = base::crc32c(log.line());
  log.append(buffer.view());
  log.seal(base::crc32c_join(stamp_crc, body_crc, shift));
}

BufferPool& pool() {
  static BufferPool shared({});
  return shared;
}

using Encode = void (*)(uint64_t seq, std::string_view value, Log& log);

void pooled(uint64_t seq, std::string_view value, Log& log) {
  encode_into(*pool().lease(kKey.size() + value.size() + 100), seq, value, log);
}

void fresh(uint64_t seq, std::string_view value, Log& log) {
  Buffer buffer;
  encode_into(buffer, seq, value, log);
}

void document(uint64_t seq, std::string_view value, Log& log) {
  nlohmann::ordered_json json;
  json["seq"] = seq;
  json["ts"] = kTime;
  json["op"] = "put";
  json["key"] = kKey;
  json["value"] = value;
  std::string text = json.dump();
  text.pop_back();  // the seal brings its own brace
  log.start_with(0);
  log.append(text);
  log.seal(base::crc32c(text));
}

void check(Encode encode, std::string_view value) {
  Log log;
  encode(1'000'007, value, log);
  std::string expected =
      fmt::format(R"({{"seq":1000007,"ts":1763800000123456,"op":"put","key":"user:00001234","value":"{}")", value);
  expected.append(fmt::format(R"(,"crc":"{:08x}"}})", base::crc32c(expected)));
  if (log.line() == expected) return;
  fmt::print(stderr, "pool_bench: made {}\ninstead of {}\n", log.line(), expected);
  std::abort();
}

void line(benchmark::State& state, Encode encode) {
  const std::string value = value_of(static_cast<size_t>(state.range(0)));
  check(encode, value);
  Log log;
  uint64_t seq = 1'000'000;
  const auto before = testing::allocations;
  for ([[maybe_unused]] auto _ : state) {
    encode(++seq, value, log);
    benchmark::DoNotOptimize(log.line());
  }
  const auto made = testing::allocations - before;
  const auto per_line = [](uint64_t count) {
    return benchmark::Counter(static_cast<double>(count), benchmark::Counter::kAvgIterations);
  };
  state.counters["allocations"] = per_line(made.calls);
  state.counters["bytes"] = per_line(made.bytes);
  state.SetItemsProcessed(state.iterations());
}

void against(benchmark::State& state, Encode other) {
  const std::string value = value_of(static_cast<size_t>(state.range(0)));
  Log log;
  const auto seconds_for = [&](Encode encode) {
    const auto begin = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < 1'000; ++i) {
      encode(1'000'000 + i, value, log);
      benchmark::DoNotOptimize(log.line());
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<double> ratios;
  for ([[maybe_unused]] auto _ : state) {
    const double pooled_seconds = seconds_for(pooled);
    ratios.push_back(seconds_for(other) / pooled_seconds);
  }
  std::sort(ratios.begin(), ratios.end());
  const auto at = [&](double part) {
    return ratios[static_cast<size_t>(part * static_cast<double>(ratios.size() - 1))];
  };
  state.counters["times_faster"] = at(0.5);
  state.counters["low"] = at(0.1);
  state.counters["high"] = at(0.9);
}

void lease(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(pool().lease()->data());
}

void fresh_buffer(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(Buffer(1024).data());
}

void sizes(benchmark::internal::Benchmark* benchmark) { benchmark->Arg(60)->Arg(1'000)->Arg(10'000); }

BENCHMARK_CAPTURE(line, pooled, pooled)->Apply(sizes);
BENCHMARK_CAPTURE(line, fresh, fresh)->Apply(sizes);
BENCHMARK_CAPTURE(line, document, document)->Apply(sizes);
BENCHMARK_CAPTURE(against, fresh, fresh)->Apply(sizes);
BENCHMARK_CAPTURE(against, document, document)->Apply(sizes);
BENCHMARK_CAPTURE(line, pooled_by_two, pooled)->Arg(60)->Threads(2)->UseRealTime();
BENCHMARK_CAPTURE(line, fresh_by_two, fresh)->Arg(60)->Threads(2)->UseRealTime();
BENCHMARK(lease)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK(fresh_buffer)->ThreadRange(1, 2)->UseRealTime();

}  // namespace
