// The log by itself, without table or encoding: what an append costs, and what a sync does. Each benchmark reads its log
// back and counts the records.
//
//   log_append/V/write:0|1    records with values of V bytes, one after the other; write:0 is LogIo::kMapped, write:1 kWrite
//   log_append_sync/V/...     the same, each followed by a sync: what a single durable writer pays
//
// The directory is TMPDIR's (/tmp); syncs are worth something only where that is a real disk.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "bench/check.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/log_writer.h"

namespace kvstore::wal {
namespace {

constexpr int64_t kTime = 1'763'800'000'123'456;

using bench::require;

// A log of its own with the thread that keeps space ahead of it and syncs after a rotation, as a store has.
class Log {
 public:
  explicit Log(LogIo io) {
    std::string name = (std::filesystem::temp_directory_path() / "kvstore-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    dir_ = name;
    Result<std::unique_ptr<LogWriter>> opened = LogWriter::open(env::posix_env(),
                                                                {.dir = name,
                                                                 .store = "00000000-0000-4000-8000-000000000000",
                                                                 .io = io,
                                                                 .segment_bytes = uint64_t{64} << 20,
                                                                 .now_us = [] { return kTime; },
                                                                 .on_low_room = [this] { wake(kLowRoom); },
                                                                 .on_rotation = [this] { wake(kRotation); }},
                                                                {});
    require(opened.status(), "open");
    writer_ = *std::move(opened);
    helper_ = std::thread([this] {
      while (true) {
        wake_.wait(0);
        const unsigned reasons = wake_.exchange(0);
        if ((reasons & kOver) != 0) return;
        if ((reasons & kLowRoom) != 0) writer_->extend();
        if ((reasons & kRotation) != 0) require(writer_->sync(), "sync after a rotation");
      }
    });
  }
  ~Log() {
    wake(kOver);
    helper_.join();
    require(writer_->close(), "close");
    check();
    std::filesystem::remove_all(dir_);
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void append(const Body& body) {
    require(writer_->make_room(body.text.size()), "make_room");
    require(writer_->append({.seq = ++seq_, .ts_us = kTime}, body), "append");
  }
  void sync() { require(writer_->sync(), "sync"); }

 private:
  enum Reason : unsigned { kLowRoom = 1, kRotation = 2, kOver = 4 };

  void wake(Reason reason) {
    wake_.fetch_or(reason);
    wake_.notify_one();
  }
  void check() {
    uint64_t records = 0;
    for (const auto& file : std::filesystem::directory_iterator(dir_)) {
      std::ifstream in(file.path());
      for (std::string line; std::getline(in, line);) records += line.starts_with("{\"seq\":") ? 1 : 0;
    }
    if (records == seq_) return;
    fmt::print(stderr, "log_bench: the log holds {} records, {} were appended\n", records, seq_);
    std::abort();
  }

  std::filesystem::path dir_;
  std::atomic<unsigned> wake_{0};  // of Reason
  std::unique_ptr<LogWriter> writer_;
  std::thread helper_;
  format::Seq seq_ = 0;
};

void run(benchmark::State& state, bool synced) {
  const std::string value(static_cast<size_t>(state.range(0)), 'v');
  const format::Op op{.kind = format::Op::Kind::kPut, .key = "0123456789abcdef", .value = value};
  base::Buffer text;
  format::encode_body(text, {&op, 1}, false, {});
  const Body body = Body::of(text.view());
  {
    Log log(state.range(1) == 0 ? LogIo::kMapped : LogIo::kWrite);
    for (int i = 0; i < 1000; ++i) log.append(body);  // warm-up
    for ([[maybe_unused]] auto _ : state) {
      log.append(body);
      if (synced) log.sync();
    }
  }
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(body.text.size()));
}

void append(benchmark::State& state) { run(state, false); }
BENCHMARK(append)
    ->Name("log_append")
    ->ArgsProduct({{100, 1000, 10'000}, {0, 1}})
    ->ArgNames({"", "write"})
    ->UseRealTime();

void append_sync(benchmark::State& state) { run(state, true); }
BENCHMARK(append_sync)
    ->Name("log_append_sync")
    ->ArgsProduct({{100, 1000}, {0, 1}})
    ->ArgNames({"", "write"})
    ->UseRealTime();

}  // namespace
}  // namespace kvstore::wal

BENCHMARK_MAIN();
