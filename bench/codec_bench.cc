// What a record costs to write and to read: the whole line, as the commit path makes it and as replay takes
// it apart, checksum included. And an entry of a snapshot, as compaction writes it. 16-byte keys; the values differ from record to record, so that no branch
// predictor learns one by heart. Every result is checked.
//
//     codec_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
//
// nlohmann/json and fmt are the references: what one would write without an encoder of one's own. fmt does
// not escape, so it gets only text that needs no escaping, and its checksum is ours.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/base/scratch.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"

namespace {

using kvstore::base::Buffer;
using kvstore::base::crc32c;
using kvstore::base::Scratch;
using namespace kvstore::format;

constexpr size_t kRecordCount = 1024;  // a power of two; about 200 KB of 100-byte values: as cold as L2

enum Texture : int64_t { kAscii, kEscapes, kCyrillic, kCjk, kBinary };

struct Sample {
  std::vector<std::string> keys, values;
  [[nodiscard]] Op op(size_t i) const { return {Op::Kind::kPut, false, keys[i], values[i], 0}; }
};

// `value_bytes` bytes of the texture; Cyrillic and CJK text gets the nearest whole number of characters, with
// a space after every few, as text has.
Sample make_sample(Texture texture, size_t value_bytes) {
  std::mt19937_64 random(17);
  const auto below = [&random](uint64_t count) { return random() % count; };
  Sample sample;
  for (size_t i = 0; i < kRecordCount; ++i) {
    sample.keys.push_back(fmt::format("{:016x}", random()));
    std::string value;
    while (value.size() < value_bytes) {
      switch (texture) {
        case kAscii:
          value += static_cast<char>('#' + below('[' - '#'));
          break;
        case kEscapes:
          value += below(10) == 0 ? "\"\\\n\t"[below(4)] : static_cast<char>('a' + below(26));
          break;
        case kCyrillic:
          value += below(7) == 0 ? " " : std::string{'\xd0', static_cast<char>(0x90 + below(0x30))};
          break;
        case kCjk:
          value += below(12) == 0
                       ? " "
                       : std::string{'\xe4', static_cast<char>(0xb8 + below(8)), static_cast<char>(0x80 + below(0x40))};
          break;
        case kBinary:
          value += static_cast<char>(below(256));
          break;
      }
    }
    sample.values.push_back(std::move(value));
  }
  return sample;
}

const char* name_of(int64_t texture) {
  constexpr const char* kNames[] = {"ascii", "escapes10%", "cyrillic", "cjk", "binary"};
  return kNames[texture];
}

Stamp stamp_of(size_t i) { return {1'000'000 + i, 1763800000000000 + static_cast<int64_t>(i), 0}; }

// As the commit path does it: body and its checksum first, then, under its lock, stamp, joined checksum, seal.
size_t write_line(Buffer& body, char* log, const Stamp& stamp, const Op& op) {
  body.clear();
  encode_body(body, {&op, 1}, false, {});
  const uint32_t body_crc = crc32c(body.view());
  const uint32_t shift = kvstore::base::crc32c_shift(body.size());

  const size_t stamp_size = encode_stamp(log, stamp);
  const uint32_t crc = kvstore::base::crc32c_join(crc32c({log, stamp_size}), body_crc, shift);
  std::memcpy(log + stamp_size, body.data(), body.size());
  encode_seal(log + stamp_size + body.size(), crc);
  log[stamp_size + body.size() + kSealBytes] = '\n';
  return stamp_size + body.size() + kSealBytes + 1;
}

// Stops the run with an error unless `line` reads back as record, or entry, `i` of the sample.
bool is_right(benchmark::State& state, std::string_view line, const Sample& sample, size_t i,
              LineKind kind = LineKind::kRecord) {
  const Stamp stamp = kind == LineKind::kRecord ? stamp_of(i) : Stamp{.seq = stamp_of(i).seq};
  std::vector<Op> ops;
  Scratch scratch;
  line.remove_suffix(1);
  const Line decoded = decode(line, ops, scratch);
  if (decoded.kind == kind && decoded.stamp == stamp && ops[0] == sample.op(i)) return true;
  state.SkipWithError("the line does not read back");
  return false;
}

void set_rates(benchmark::State& state, size_t line_bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(line_bytes));
  state.SetItemsProcessed(state.iterations());
}

void encode_record(benchmark::State& state) {
  const Sample sample = make_sample(static_cast<Texture>(state.range(0)), static_cast<size_t>(state.range(1)));
  Buffer body(16 << 10);
  std::vector<char> log(16 << 10);
  size_t i = 0, bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    bytes += write_line(body, log.data(), stamp_of(i), sample.op(i));
    benchmark::ClobberMemory();
  }
  for (i = 0; i < kRecordCount; ++i) {
    const size_t size = write_line(body, log.data(), stamp_of(i), sample.op(i));
    if (!is_right(state, {log.data(), size}, sample, i)) return;
  }
  state.SetLabel(name_of(state.range(0)));
  set_rates(state, bytes);
}

// A line of a snapshot, as compaction writes them one behind the other.
void encode_entry_line(benchmark::State& state) {
  const Sample sample = make_sample(static_cast<Texture>(state.range(0)), static_cast<size_t>(state.range(1)));
  Buffer out(1 << 20);
  size_t i = 0, bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    if (out.size() > (512 << 10)) out.clear();
    const size_t before = out.size();
    encode_entry(out, sample.op(i), stamp_of(i).seq);
    bytes += out.size() - before;
    benchmark::ClobberMemory();
  }
  for (i = 0; i < kRecordCount; ++i) {
    out.clear();
    encode_entry(out, sample.op(i), stamp_of(i).seq);
    if (!is_right(state, out.view(), sample, i, LineKind::kEntry)) return;
  }
  state.SetLabel(name_of(state.range(0)));
  set_rates(state, bytes);
}

void encode_body_only(benchmark::State& state) {
  const Sample sample = make_sample(static_cast<Texture>(state.range(0)), static_cast<size_t>(state.range(1)));
  Buffer body(16 << 10);
  size_t i = 0, bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    body.clear();
    const Op op = sample.op(i);
    encode_body(body, {&op, 1}, false, {});
    bytes += body.size();
    benchmark::ClobberMemory();
  }
  if (!body.view().starts_with(R"("op":"put","key)")) state.SkipWithError("wrong body");
  state.SetLabel(name_of(state.range(0)));
  set_rates(state, bytes);
}

// What nobody can beat: copying key and value.
void copy_only(benchmark::State& state) {
  const Sample sample = make_sample(kAscii, static_cast<size_t>(state.range(1)));
  std::vector<char> log(16 << 10);
  size_t i = 0, bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    std::memcpy(log.data(), sample.keys[i].data(), sample.keys[i].size());
    std::memcpy(log.data() + sample.keys[i].size(), sample.values[i].data(), sample.values[i].size());
    bytes += sample.keys[i].size() + sample.values[i].size();
    benchmark::ClobberMemory();
  }
  if (std::memcmp(log.data(), sample.keys[i].data(), 16) != 0) state.SkipWithError("wrong copy");
  set_rates(state, bytes);
}

void encode_by_nlohmann(benchmark::State& state) {
  const Sample sample = make_sample(static_cast<Texture>(state.range(0)), static_cast<size_t>(state.range(1)));
  const auto line_of = [&sample](size_t i) {
    const Stamp stamp = stamp_of(i);
    const nlohmann::ordered_json record = {
        {"seq", stamp.seq}, {"ts", stamp.ts_us}, {"op", "put"}, {"key", sample.keys[i]}, {"value", sample.values[i]}};
    std::string line = record.dump();
    line.pop_back();
    const uint32_t crc = crc32c(line);
    line.resize(line.size() + kSealBytes);
    encode_seal(line.data() + line.size() - kSealBytes, crc);
    line += '\n';
    return line;
  };
  size_t i = 0, bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    const std::string line = line_of(i);
    benchmark::DoNotOptimize(line.data());
    bytes += line.size();
  }
  if (!is_right(state, line_of(i), sample, i)) return;
  state.SetLabel(name_of(state.range(0)));
  set_rates(state, bytes);
}

void encode_by_fmt(benchmark::State& state) {
  const Sample sample = make_sample(kAscii, static_cast<size_t>(state.range(1)));
  fmt::memory_buffer line;
  const auto write = [&](size_t i) {
    const Stamp stamp = stamp_of(i);
    line.clear();
    fmt::format_to(std::back_inserter(line), R"({{"seq":{},"ts":{},"op":"put","key":"{}","value":"{}")", stamp.seq,
                   stamp.ts_us, sample.keys[i], sample.values[i]);
    const uint32_t crc = crc32c({line.data(), line.size()});
    fmt::format_to(std::back_inserter(line), ",\"crc\":\"{:08x}\"}}\n", crc);
  };
  size_t i = 0, bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    write(i);
    benchmark::ClobberMemory();
    bytes += line.size();
  }
  if (!is_right(state, {line.data(), line.size()}, sample, i)) return;
  set_rates(state, bytes);
}

void decode_line(benchmark::State& state, LineKind kind) {
  const Sample sample = make_sample(static_cast<Texture>(state.range(0)), static_cast<size_t>(state.range(1)));
  std::vector<std::string> lines;
  for (size_t i = 0; i < kRecordCount; ++i) {
    const Op op = sample.op(i);
    if (kind == LineKind::kRecord) {
      lines.push_back(encode_line(stamp_of(i), {&op, 1}));
    } else {
      Buffer out;
      encode_entry(out, op, stamp_of(i).seq);
      lines.emplace_back(out.view());
    }
    if (!is_right(state, lines[i], sample, i, kind)) return;
  }
  std::vector<Op> ops;
  Scratch scratch;
  size_t i = 0, bytes = 0, right = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    ops.clear();
    scratch.clear();
    const Line line = decode({lines[i].data(), lines[i].size() - 1}, ops, scratch);
    benchmark::DoNotOptimize(ops.data());
    right += line.kind == kind;
    bytes += lines[i].size();
  }
  if (right != static_cast<size_t>(state.iterations())) state.SkipWithError("a line was not read as what it is");
  state.SetLabel(name_of(state.range(0)));
  set_rates(state, bytes);
}

void decode_record(benchmark::State& state) { decode_line(state, LineKind::kRecord); }
void decode_entry(benchmark::State& state) { decode_line(state, LineKind::kEntry); }

void decode_by_nlohmann(benchmark::State& state) {
  const Sample sample = make_sample(static_cast<Texture>(state.range(0)), static_cast<size_t>(state.range(1)));
  std::vector<std::string> lines;
  for (size_t i = 0; i < kRecordCount; ++i) {
    const Op op = sample.op(i);
    lines.push_back(encode_line(stamp_of(i), {&op, 1}));
  }
  size_t i = 0, bytes = 0, right = 0;
  for ([[maybe_unused]] auto _ : state) {
    i = (i + 1) % kRecordCount;
    const bool sealed = crc32c({lines[i].data(), lines[i].size() - 1 - kSealBytes}) != 0;
    const nlohmann::json record = nlohmann::json::parse(lines[i]);
    right += sealed && record["key"].get_ref<const std::string&>() == sample.keys[i];
    bytes += lines[i].size();
  }
  if (right != static_cast<size_t>(state.iterations())) state.SkipWithError("a line was not read as a record");
  state.SetLabel(name_of(state.range(0)));
  set_rates(state, bytes);
}

void every_texture(benchmark::internal::Benchmark* bench) {
  for (const int64_t texture : {kAscii, kEscapes, kCyrillic, kCjk, kBinary}) bench->Args({texture, 100});
  bench->Args({kAscii, 1000});
}

BENCHMARK(encode_record)->Apply(every_texture);
BENCHMARK(encode_entry_line)->Apply(every_texture);
BENCHMARK(encode_body_only)->Apply(every_texture);
BENCHMARK(copy_only)->Args({kAscii, 100})->Args({kAscii, 1000});
BENCHMARK(encode_by_nlohmann)->Args({kAscii, 100})->Args({kAscii, 1000});
BENCHMARK(encode_by_fmt)->Args({kAscii, 100})->Args({kAscii, 1000});
BENCHMARK(decode_record)->Apply(every_texture);
BENCHMARK(decode_entry)->Apply(every_texture);
BENCHMARK(decode_by_nlohmann)->Args({kAscii, 100});

}  // namespace
