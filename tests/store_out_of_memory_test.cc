// Memory runs out: in every call of the API, at every one of its allocations, once for good and once for a moment. The
// call says so and has changed nothing, or it did what it was asked; nothing throws (P9), and the store goes on.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "kvstore/inspect.h"
#include "kvstore/kvstore.h"
#include "kvstore/repair.h"
#include "tests/support/counting_new.h"
#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

// There are thousands of syncs, none of which needs to reach a disk.
[[maybe_unused]] const bool is_in_memory =
    std::filesystem::is_directory("/dev/shm") && ::setenv("TMPDIR", "/dev/shm", 0) == 0;

using State = std::map<std::string, std::string>;

constexpr uint64_t kAllocationsMax = 20'000;

// Makes `call` with memory for no allocation, for one, for two, … until it needs no more, and tells `after_each` what
// it answered. `refused`: how many allocations fail in a row.
void with_ever_more_memory(uint64_t refused, const std::function<Status()>& call,
                           const std::function<void(const Status&)>& after_each) {
  for (uint64_t allowed = 0;; ++allowed) {
    SCOPED_TRACE(fmt::format("memory for {} allocations, then {} refused", allowed, refused));
    ASSERT_LT(allowed, kAllocationsMax);
    Status status;
    bool ran_out = false;
    {
      const MemoryRunsOut later(allowed, refused);
      status = call();
      ran_out = MemoryRunsOut::has_refused();
    }
    if (!status.ok()) {
      ASSERT_TRUE(ran_out) << status.message();
      ASSERT_TRUE(status.code() == Code::kOutOfMemory || status.code() == Code::kBroken) << status.message();
    }
    ASSERT_NO_FATAL_FAILURE(after_each(status));
    if (!ran_out) return;
  }
}

const std::string kLong(1500, 'v');  // a few of them fill a segment
const std::string kKey(40, 'k');     // too long for std::string's own room, as all names here
const std::string kCounter = "a counter of which the name needs an allocation";
const std::string kDocument =
    R"({"name":"Ada", "born":1815, "works":["Note A","Note B","Note C","Note D","Note E","Note F"]})";
const std::string kPatch = R"({"name":"Ada Lovelace", "died":1852, "works":null, "a new member":{"of":"an object"}})";

struct Call {
  const char* name;
  std::function<Status(Store&)> make;
};

Batch batch_of_everything() {
  Batch batch;
  batch.put(kKey, kLong);
  batch.put_json("a document in a batch, under a long key", kDocument);
  batch.del("no such key, and its name is long as well");
  return batch;
}

const std::vector<Call>& writes() {
  static const Batch batch = batch_of_everything();
  static const WriteOptions synced{.durability = Durability::kSync};
  static const std::vector<Call> calls = {
      {"put", [](Store& store) { return store.put(kKey, kLong); }},
      {"put, synced", [](Store& store) { return store.put(kKey, kLong, synced); }},
      {"put_json", [](Store& store) { return store.put_json(kKey, kDocument); }},
      {"patch", [](Store& store) { return store.patch(kKey, kPatch); }},
      {"del", [](Store& store) { return store.del(kKey).status(); }},
      {"write", [](Store& store) { return store.write(batch); }},
      {"increment", [](Store& store) { return store.increment(kCounter).status(); }},
      {"expire", [](Store& store) { return store.expire(kCounter, std::chrono::hours(1)).status(); }},
      {"persist", [](Store& store) { return store.persist(kCounter).status(); }},
      {"erase_prefix", [](Store& store) { return store.erase_prefix("a document").status(); }},
      {"transact",
       [](Store& store) {
         return store.transact([](Transaction& transaction) {
           (void)transaction.contains(kKey);
           if (const Result<std::vector<Entry>> all = transaction.scan(); !all.ok()) return Status(all.status());
           transaction.put(kKey, kLong);
           transaction.put_json(kDocument, kDocument);
           transaction.del("no such key, and its name is long as well");
           return Status();
         });
       }},
      {"sync", [](Store& store) { return store.sync(); }},
      {"compact", [](Store& store) { return store.compact().status(); }},
  };
  return calls;
}

const std::vector<Call>& reads() {
  static const std::vector<Call> calls = {
      {"read",
       [](Store& store) {
         return store.read(kKey, [](std::string_view) {}) ? Status() : Status(Code::kNotAStore, "");
       }},
      {"contains", [](Store& store) { return store.contains(kKey) ? Status() : Status(Code::kNotAStore, ""); }},
      {"scan", [](Store& store) { return store.scan("a").status(); }},
      {"scan of a range", [](Store& store) { return store.scan("a", "z").status(); }},
      {"for_each", [](Store& store) { return store.for_each([](const EntryView&) {}); }},
      {"snapshot",
       [](Store& store) {
         const Result<Snapshot> snapshot = store.snapshot();
         return snapshot.ok() ? snapshot->scan().status() : snapshot.status();
       }},
      {"stats", [](Store& store) { return store.stats().entries != 0 ? Status() : Status(Code::kNotAStore, ""); }},
  };
  return calls;
}

// Which log, and how many allocations fail in a row.
class StoreOutOfMemory : public StoreTest, public ::testing::WithParamInterface<std::tuple<LogIo, uint64_t>> {
 protected:
  [[nodiscard]] static Options options() {
    return {.sync_interval = std::chrono::hours(1),
            .log_io = std::get<LogIo>(GetParam()),
            .segment_bytes = 4096,
            .replay_threads = 1,
            .compact_at_percent = 0};
  }
  [[nodiscard]] static uint64_t refused() { return std::get<uint64_t>(GetParam()); }

  // What a copy that failed may leave: nothing; and where no memory was left for removing it, files that do not open.
  [[nodiscard]] static bool is_no_store(const std::filesystem::path& copy) {
    if (!std::filesystem::exists(copy) || std::filesystem::is_empty(copy)) return true;
    return refused() != 1 && !Store::open(copy, {.read_only = true}).ok();
  }

  // Keys and documents in a snapshot and in some segments behind it.
  Store& open_filled() {
    Store& store = open(options());
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(store.put(fmt::format("entry {}", i), kLong).ok());
    EXPECT_TRUE(store.compact().ok());
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(store.put(fmt::format("later entry {}", i), kLong).ok());
    EXPECT_TRUE(store.put(kKey, "value").ok());
    EXPECT_TRUE(store.put_json("a document, under a key that is long", kDocument).ok());
    EXPECT_TRUE(store.increment(kCounter).ok());
    return store;
  }
};

TEST_P(StoreOutOfMemory, ARefusedWriteChangesNothingAndTheNextOneGoesThrough) {
  open_filled();
  for (const Call& call : writes()) {
    SCOPED_TRACE(call.name);
    State before = contents_of(*store_);
    uint64_t probes = 0;
    with_ever_more_memory(
        refused(), [&] { return call.make(*store_); },
        [&](const Status& status) {
          if (store_->stats().broken) {  // by a sync that found no memory: reopening tells what is there
            before = contents_of(*store_);
            store_.reset();  // close() would repeat the failure
            ASSERT_EQ(contents_of(open(options())), before);
          } else if (!status.ok()) {
            ASSERT_EQ(contents_of(*store_), before) << status.message();
          }
          const Status next = store_->put("probe", fmt::format("{}{}", ++probes, kLong));
          ASSERT_TRUE(next.ok()) << next.message();
          ASSERT_TRUE(store_->increment(kCounter).ok());
          before = contents_of(*store_);
        });
    if (HasFatalFailure()) return;
  }
}

TEST_P(StoreOutOfMemory, ReadsThatCopyNothingAnswerOrSaySo) {
  open_filled();
  for (const Call& call : reads()) {
    SCOPED_TRACE(call.name);
    with_ever_more_memory(
        refused(), [&] { return call.make(*store_); }, [](const Status&) {});
    if (HasFatalFailure()) return;
  }
}

TEST_P(StoreOutOfMemory, ABackupThatFailsLeavesNothingBehind) {
  const Store& store = open_filled();
  const State before = contents_of(store);
  const std::filesystem::path copy = dir().parent_path() / "a copy in a directory with a long name";
  with_ever_more_memory(
      refused(), [&] { return store_->backup(copy).status(); },
      [&](const Status& status) {
        if (status.ok()) {
          const Result<Store> restored = Store::open(copy, {.read_only = true});
          ASSERT_TRUE(restored.ok()) << restored.status().message();
          ASSERT_EQ(contents_of(*restored), before);
        } else {
          ASSERT_TRUE(is_no_store(copy));
        }
        std::filesystem::remove_all(copy);
      });
}

TEST_P(StoreOutOfMemory, AnOpeningThatFailsLosesNothing) {
  const State before = contents_of(open_filled());
  close();
  const std::string torn = R"({"seq":99,"ts":"20)";
  const auto tear = [&] {
    const std::filesystem::path newest = log_files_of(dir()).back();
    write_bytes(newest, bytes_of(newest) + torn);
  };
  tear();
  const std::filesystem::path path = dir();
  with_ever_more_memory(
      refused(), [&] { return Store::open(path, options()).status(); },
      [&](const Status&) {
        ASSERT_EQ(contents_of(open(options())), before);
        close();
        std::filesystem::remove_all(path / "lost+found");
        tear();
      });
  open(options());
}

TEST_P(StoreOutOfMemory, AThreadThatDecodesTheLogMayFail) {
  const State before = contents_of(open_filled());
  close();
  Options threaded = options();
  threaded.replay_threads = 4;
  const std::filesystem::path path = dir();
  bool ran_out = true;
  for (uint64_t allowed = 0; ran_out; ++allowed) {
    SCOPED_TRACE(allowed);
    ASSERT_LT(allowed, kAllocationsMax);
    {
      const MemoryRunsOutElsewhere later(allowed);
      const Result<Store> store = Store::open(path, threaded);
      ran_out = MemoryRunsOutElsewhere::has_refused();
      ASSERT_TRUE(store.ok() || (ran_out && store.status().code() == Code::kOutOfMemory)) << store.status().message();
      if (store.ok()) {
        ASSERT_EQ(contents_of(*store), before);
      }
    }
  }
}

// The store's own threads sync, rotate and compact beside the writes.
TEST_P(StoreOutOfMemory, AThreadOfTheStoreMayFail) {
  Options busy = options();
  busy.sync_interval = std::chrono::milliseconds(1);
  busy.compact_at_percent = 150;
  busy.compact_min_bytes = 8192;
  State expected;
  for (uint64_t allowed = 0; allowed < 60; ++allowed) {
    SCOPED_TRACE(allowed);
    {
      const MemoryRunsOutElsewhere later(allowed);
      Result<Store> store = Store::open(dir(), busy);
      ASSERT_TRUE(store.ok()) << store.status().message();
      for (int i = 0; i < 40; ++i) {
        const std::string key = fmt::format("key {}", i % 7);
        const std::string value = fmt::format("{} {} {}", allowed, i, kLong);
        if (!store->put(key, value).ok()) break;  // the log is broken since some sync
        expected[key] = value;
      }
      ASSERT_EQ(contents_of(*store), expected);
    }
    const Result<Store> again = Store::open(dir(), {.read_only = true});
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ(contents_of(*again), expected);
  }
}

TEST_P(StoreOutOfMemory, AClosingThatFailsLosesNothing) {
  State before = contents_of(open_filled());
  with_ever_more_memory(
      refused(), [&] { return store_->close(); },
      [&](const Status&) {
        store_.reset();  // a second close() would repeat the failure
        ASSERT_EQ(contents_of(open(options())), before);
        ASSERT_TRUE(store_->increment(kCounter).ok());
        before = contents_of(*store_);
      });
}

TEST_P(StoreOutOfMemory, LookingInsideSaysSo) {
  open_filled();
  close();
  const std::filesystem::path path = dir();
  const std::filesystem::path repaired = path.parent_path() / "what repair has made of it, in a new directory";
  const std::vector<std::pair<const char*, std::function<Status()>>> calls = {
      {"verify", [&] { return verify(path).status(); }},
      {"info", [&] { return info(path).status(); }},
      {"read-only", [&] { return Store::open(path, {.read_only = true, .replay_threads = 1}).status(); }},
      {"cursor",
       [&]() -> Status {
         Result<LogCursor> cursor = LogCursor::open(path);
         if (!cursor.ok()) return cursor.status();
         for (;;) {
           const Result<const LogRecord*> record = cursor->next();
           if (!record.ok()) return record.status();
           if (*record == nullptr) return {};
         }
       }},
      {"plan_repair", [&] { return plan_repair(path, {.threads = 1}).status(); }},
      {"repair", [&] { return repair(path, repaired, {.threads = 1}).status(); }},
  };
  for (const auto& [name, call] : calls) {
    SCOPED_TRACE(name);
    with_ever_more_memory(refused(), call, [&](const Status& status) {
      const Result<VerifyReport> report = verify(path);
      ASSERT_TRUE(report.ok() && report->findings.empty());
      if (!status.ok()) {
        ASSERT_TRUE(is_no_store(repaired));
      }
      std::filesystem::remove_all(repaired);
    });
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, StoreOutOfMemory,
                         ::testing::Combine(::testing::Values(LogIo::kMapped, LogIo::kWrite),
                                            ::testing::Values(uint64_t{1}, UINT64_MAX)),
                         [](const auto& instance) {
                           return fmt::format("{}_{}",
                                              std::get<LogIo>(instance.param) == LogIo::kMapped ? "mapped" : "write",
                                              std::get<uint64_t>(instance.param) == 1 ? "once" : "for_good");
                         });

}  // namespace
}  // namespace kvstore::testing
