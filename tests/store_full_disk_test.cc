// A real disk that is really full (P8): writes are refused and reads go on, nothing that was acknowledged is lost, room
// lets the writing resume, and never does a store into the mapped log meet a block that is not there (SIGBUS).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "kvstore/kvstore.h"
#include "tests/support/forked.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

using State = std::map<std::string, std::string>;

// As a function that returns the sentence: the child of a fork has no test to fail.
#define MUST(condition, ...) \
  if (!(condition)) return fmt::format("line {}: {} does not hold: {}", __LINE__, #condition, fmt::format(__VA_ARGS__))

std::string value_of(uint64_t number) { return fmt::format("{}|{}", number, std::string(number * 37 % 3000, 'v')); }

Options options_for(LogIo io) {
  return {
      .sync_interval = std::chrono::milliseconds(1), .log_io = io, .segment_bytes = 64 << 10, .compact_at_percent = 0};
}

void write_ballast(const std::string& path, size_t bytes) {
  std::ofstream(path, std::ios::binary) << std::string(bytes, 'b') << std::flush;
}

// "" or how the store differs from what was acknowledged.
std::string compare(const Store& store, const State& expected) {
  Result<Scan> scan = store.scan();
  MUST(scan.ok(), "{}", scan.status().message());
  MUST(scan->size() == expected.size(), "{} keys, expected {}", scan->size(), expected.size());
  auto wanted = expected.begin();
  for (const EntryView entry : *scan) {
    MUST(entry.key == wanted->first && entry.value == wanted->second, "{}", entry.key);
    ++wanted;
  }
  return "";
}

// Puts until the disk has refused `refusals` of them. Half of the keys are overwritten again and again.
std::string fill(Store& store, State& expected, uint64_t& number, int refusals) {
  for (int refused = 0; refused < refusals;) {
    const std::string key = fmt::format("k{}", number % 2 == 0 ? number % 64 : number);
    const std::string value = value_of(++number);
    const Status put = store.put(key, value);
    if (put.ok()) {
      expected[key] = value;
      continue;
    }
    ++refused;
    MUST(put.code() == Code::kNoSpace, "{}", put.message());
    const auto kept = expected.find(key);
    MUST(store.get(key) == (kept == expected.end() ? std::nullopt : std::optional(kept->second)), "{}", key);
  }
  return compare(store, expected);
}

std::string reopen(std::optional<Store>& store, const std::string& dir, LogIo io, const State& expected) {
  if (store.has_value()) {
    const Status closed = store->close();
    MUST(closed.ok(), "{}", closed.message());
    store.reset();
  }
  const Result<VerifyReport> report = verify(dir);
  MUST(report.ok(), "{}", report.status().message());
  MUST(report->findings.empty(), "{}", report->findings.front().message);
  Result<Store> opened = Store::open(dir, options_for(io));
  MUST(opened.ok(), "{}", opened.status().message());
  store.emplace(*std::move(opened));
  return compare(*store, expected);
}

std::string fill_free_go_on(const std::string& root, LogIo io) {
  const std::string dir = root + "/db";
  write_ballast(root + "/ballast1", 400 << 10);
  write_ballast(root + "/ballast2", 400 << 10);
  State expected;
  Result<Store> opened = Store::open(dir, options_for(io));
  MUST(opened.ok(), "{}", opened.status().message());
  std::optional<Store> store(*std::move(opened));
  uint64_t number = 0;
  if (std::string s = fill(*store, expected, number, 20); !s.empty()) return s;

  // What needs more room than there is fails as cleanly.
  for (int round = 0; round < 3; ++round) {
    const Result<CompactionReport> compacted = store->compact();
    MUST(!compacted.ok() && compacted.status().code() == Code::kNoSpace, "{}", compacted.status().message());
    const Result<BackupReport> backup = store->backup(root + "/copy");
    MUST(!backup.ok() && backup.status().code() == Code::kNoSpace, "{}", backup.status().message());
    MUST(!std::filesystem::exists(root + "/copy") || std::filesystem::is_empty(root + "/copy"),
         "a part of a backup is left");
    if (std::string s = fill(*store, expected, number, 5); !s.empty()) return s;
  }
  MUST(!store->stats().broken, "{}", store->stats().last_error);

  std::filesystem::remove(root + "/ballast1");
  Status put = store->put("resumed", "1");
  MUST(put.ok(), "{}", put.message());
  expected["resumed"] = "1";
  if (std::string s = fill(*store, expected, number, 20); !s.empty()) return s;
  if (std::string s = reopen(store, dir, io, expected); !s.empty()) return s;
  if (std::string s = fill(*store, expected, number, 20); !s.empty()) return s;

  // Half of the log is dead: with some room a compaction gives back much.
  std::filesystem::remove(root + "/ballast2");
  for (const auto& [key, value] : State(expected)) {
    if (key.size() < 4) continue;
    put = store->del(key).status();
    if (put.code() == Code::kNoSpace) break;
    MUST(put.ok(), "{}", put.message());
    expected.erase(key);
  }
  const Result<CompactionReport> compacted = store->compact();
  MUST(compacted.ok(), "{}", compacted.status().message());
  for (int i = 0; i < 20; ++i) {
    put = store->put("after", value_of(1000), {.durability = Durability::kSync});
    MUST(put.ok(), "{}", put.message());
  }
  expected["after"] = value_of(1000);
  return reopen(store, dir, io, expected);
}

// The process dies on the full disk. Opening there works or says that there is no room; with room nothing is missing.
std::string die_on_a_full_disk(const std::string& root, LogIo io) {
  const std::string dir = root + "/db";
  write_ballast(root + "/ballast", 400 << 10);
  auto* const acknowledged = shared_between_processes<uint64_t>();
  const std::string died = run_forked(60, [&] {
    Result<Store> store = Store::open(dir, options_for(io));
    if (!store.ok()) ::_exit(3);
    for (uint64_t i = 0; store->put(fmt::format("k{:06}", i), value_of(i)).ok(); ++i) *acknowledged = i + 1;
    ::_exit(store->stats().broken ? 4 : 0);  // without closing
  });
  MUST(died.empty(), "{}", died);
  MUST(*acknowledged > 50, "only {} puts", *acknowledged);
  Result<Store> store = Store::open(dir, options_for(io));
  if (!store.ok()) {
    MUST(store.status().code() == Code::kNoSpace, "{}", store.status().message());
    std::filesystem::remove(root + "/ballast");
    store = Store::open(dir, options_for(io));
  }
  MUST(store.ok(), "{}", store.status().message());
  State expected;
  for (uint64_t i = 0; i < *acknowledged; ++i) expected[fmt::format("k{:06}", i)] = value_of(i);
  if (std::string s = compare(*store, expected); !s.empty()) return s;
  std::filesystem::remove(root + "/ballast");
  const Status put = store->put("resumed", "1", {.durability = Durability::kSync});
  MUST(put.ok(), "{}", put.message());
  const Status closed = store->close();
  MUST(closed.ok(), "{}", closed.message());
  return "";
}

class FullDisk : public ::testing::TestWithParam<std::tuple<SmallDisk, LogIo>> {
 protected:
  void run(std::string (*story)(const std::string&, LogIo)) {
    const auto [kind, io] = GetParam();
    const TempDir temp;
    const std::string root = temp / "small";
    std::filesystem::create_directory(root);
    const SmallDiskOutcome outcome =
        on_small_disk(kind, kind == SmallDisk::kTmpfs ? 2 : 8, root, [&, log_io = io] { return story(root, log_io); });
    if (!outcome.skipped.empty()) GTEST_SKIP() << "no small file system here: " << outcome.skipped;
    EXPECT_EQ(outcome.wrong, "");
  }
};

TEST_P(FullDisk, RefusesCleanlyLosesNothingAndResumes) { run(fill_free_go_on); }
TEST_P(FullDisk, AProcessThatDiesOnItHasLostNothing) { run(die_on_a_full_disk); }

INSTANTIATE_TEST_SUITE_P(Real, FullDisk,
                         ::testing::Combine(::testing::Values(SmallDisk::kTmpfs, SmallDisk::kExt4),
                                            ::testing::Values(LogIo::kMapped, LogIo::kWrite)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param) == SmallDisk::kTmpfs ? "tmpfs" : "ext4") +
                                  (std::get<1>(instance.param) == LogIo::kMapped ? "_mapped" : "_write");
                         });

}  // namespace
}  // namespace kvstore::testing
