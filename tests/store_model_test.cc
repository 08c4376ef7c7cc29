// The store against a plain model: millions of random operations on few keys, with snapshots, transactions, expiry,
// eviction, compaction, backup and reopening, and the same answers wanted under every combination of options.
//
// KVSTORE_SEED=n replays a failure; KVSTORE_MODEL_OPERATIONS=n does more than the unit run's.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/env/mem_env.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

using engine::Engine;

constexpr uint64_t kKeys = 200;
constexpr uint64_t kMaxEntries = 120;  // under the combinations with a limit

// What the store should be.
struct Model {
  struct Value {
    std::string bytes;
    bool is_json = false;
    uint64_t version = 0;
    int64_t expires_us = 0;
    bool operator==(const Value&) const = default;
  };
  std::map<std::string, Value> values;  // expired ones included
  uint64_t seq = 0;

  [[nodiscard]] const Value* find(const std::string& key, int64_t now_us) const {
    const auto found = values.find(key);
    if (found == values.end() || (found->second.expires_us != 0 && found->second.expires_us <= now_us)) return nullptr;
    return &found->second;
  }
  [[nodiscard]] std::vector<std::string> live(std::string_view prefix, std::string_view from, std::string_view to,
                                              int64_t now_us) const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : values) {
      if (find(key, now_us) == nullptr || !key.starts_with(prefix) || key < from || (!to.empty() && key >= to))
        continue;
      keys.push_back(key);
    }
    return keys;
  }
};

Model::Value value_of(const Entry& entry) {
  return {.bytes = entry.value, .is_json = entry.is_json, .version = entry.version, .expires_us = entry.expires_us};
}

enum class Limit { kNone, kRefuse, kEvict };

struct Combination {
  LogIo io;
  uint64_t segment_bytes;
  Limit limit;
  bool compacts_by_itself;
  uint64_t keep_history_bytes;
  Durability durability;
  [[nodiscard]] std::string name() const {
    return fmt::format("{} {} limit={} auto={} history={} {}", io == LogIo::kMapped ? "mapped" : "write", segment_bytes,
                       static_cast<int>(limit), compacts_by_itself, keep_history_bytes,
                       durability == Durability::kSync ? "sync" : "process");
  }
};

std::vector<Combination> combinations() {
  std::vector<Combination> all;
  for (const LogIo io : {LogIo::kMapped, LogIo::kWrite})
    for (const uint64_t segment_bytes : {4096, 1 << 20})
      for (const Limit limit : {Limit::kNone, Limit::kRefuse, Limit::kEvict})
        for (const bool by_itself : {false, true})
          for (const uint64_t history : {0, 30'000})
            for (const Durability durability : {Durability::kProcess, Durability::kSync})
              all.push_back({io, segment_bytes, limit, by_itself, history, durability});
  return all;
}

class StoreModel {
 public:
  explicit StoreModel(uint64_t seed) : random_(seed) {}

  void run(uint64_t operations) {
    std::vector<Combination> all = combinations();
    std::shuffle(all.begin(), all.end(), random_);
    const uint64_t each = operations / all.size() + 1;
    for (const Combination& combination : all) {
      open(combination);
      for (uint64_t i = 0; i < each; ++i) {
        now_us_ += static_cast<int64_t>(random_() % 2000);
        step();
        if (::testing::Test::HasFatalFailure()) {
          ADD_FAILURE() << "KVSTORE_SEED=" << seed() << ", operation " << done_ << " under " << combination.name();
          return;
        }
        ++done_;
      }
      close();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  struct Pinned {
    Snapshot snapshot;
    Model model;
    int64_t taken_us;
  };

  void open(const Combination& combination) {
    combination_ = combination;
    Options options{.durability = combination.durability,
                    .sync_interval = std::chrono::hours(1),
                    .log_io = combination.io,
                    .segment_bytes = combination.segment_bytes,
                    .replay_threads = 1 + static_cast<unsigned>(random_() % 2),
                    .compact_at_percent = combination.compacts_by_itself ? 200U : 0U,
                    .compact_min_bytes = 20'000,
                    .keep_history_bytes = combination.keep_history_bytes,
                    .max_entries = combination.limit == Limit::kNone ? 0 : kMaxEntries,
                    .when_full = combination.limit == Limit::kEvict ? WhenFull::kEvict : WhenFull::kRefuse,
                    .now_us = [this] { return now_us_.load(); }};
    Result<std::unique_ptr<Engine>> opened = Engine::open(env_, "db", std::move(options));
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    engine_ = *std::move(opened);
    ASSERT_EQ(engine_->last_seq(), model_.seq);
    check_everything();
  }

  void close() {
    check_everything();
    pinned_.clear();
    engine_->check();
    ASSERT_TRUE(engine_->close().ok());
    engine_.reset();
    Result<VerifyReport> report = engine::verify(env_, "db");
    ASSERT_TRUE(report.ok()) << report.status().message();
    for (const Finding& finding : report->findings) FAIL() << finding.message;
    ASSERT_EQ(report->last_seq, model_.seq);
  }

  std::string key() { return fmt::format("{}{}", random_() % 3, random_() % (kKeys / 3)); }
  std::string bytes() {
    return std::string(random_() % 8 == 0 ? random_() % 300 : random_() % 20, 'v') + std::to_string(random_() % 1000);
  }

  // What a write of these changes made of the model, when the store said OK. Evictions come in front of it.
  void committed(const std::map<std::string, std::optional<Model::Value>>& changes) {
    const uint64_t last = engine_->last_seq();
    ASSERT_GT(last, model_.seq);
    if (last > model_.seq + 1) take_evictions(changes);
    model_.seq = last;
    for (const auto& [key, value] : changes) {
      if (value.has_value()) {
        Model::Value with_version = *value;
        with_version.version = last;
        model_.values[key] = with_version;
      } else {
        model_.values.erase(key);
      }
    }
  }
  // The victims are whatever is missing, but for what this very write has changed.
  void take_evictions(const std::map<std::string, std::optional<Model::Value>>& changes) {
    ASSERT_EQ(combination_.limit, Limit::kEvict);
    uint64_t missing = 0;
    for (auto at = model_.values.begin(); at != model_.values.end();) {
      const bool gone =
          !changes.contains(at->first) && model_.find(at->first, now_us_) != nullptr && !engine_->contains(at->first);
      missing += gone ? 1 : 0;
      at = gone ? model_.values.erase(at) : std::next(at);
    }
    // It may have been opened with more than the limit; but room is made for no more than is needed.
    ASSERT_LE(missing, kKeys - kMaxEntries + 10);
    ASSERT_LE(engine_->stats().entries, kMaxEntries);
  }
  [[nodiscard]] bool refused(const Status& status) const {
    return status.code() == Code::kOutOfMemory && combination_.limit == Limit::kRefuse;
  }

  void check(const std::optional<Entry>& found, const Model::Value* expected, const std::string& key) {
    ASSERT_EQ(found.has_value(), expected != nullptr) << key;
    if (expected != nullptr) {
      ASSERT_TRUE(value_of(*found) == *expected)
          << key << ": " << found->value << " version " << found->version << ", expected " << expected->bytes
          << " version " << expected->version;
    }
  }
  void check(const Result<Scan>& scan, const std::vector<std::string>& expected) {
    ASSERT_TRUE(scan.ok());
    std::vector<std::string> found;
    for (const EntryView entry : *scan) found.emplace_back(entry.key);
    ASSERT_EQ(found, expected);
  }
  void check_everything() {
    check(engine_->snapshot()->scan(), model_.live("", "", "", now_us_));
    for (const std::string& key : model_.live("", "", "", now_us_))
      check(engine_->get_entry(key), model_.find(key, now_us_), key);
  }

  void step() {
    switch (random_() % 64) {
      default:
        return put();
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
        return del();
      case 6:
      case 7:
      case 8:
        return batch();
      case 9:
      case 10:
        return increment();
      case 11:
      case 12:
      case 13:
        return compare_and_set();
      case 14:
      case 15:
        return expiry();
      case 16:
      case 17:
      case 18:
      case 19:
      case 20:
      case 21:
        return transaction();
      case 22:
      case 23:
        return pin();
      case 24:
      case 25:
      case 26:
        return look_at_pin();
      case 27:
        return look_at_range();
      case 28:
      case 29:
      case 30:
      case 31:
      case 32:
      case 33:
      case 34:
      case 35:
        return get();
      case 36:
        return rare();
    }
  }

  void get() {
    const std::string k = key();
    check(engine_->get_entry(k), model_.find(k, now_us_), k);
    const std::array<std::string, 3> keys = {key(), key(), k};
    const std::array<std::string_view, 3> views = {keys[0], keys[1], keys[2]};
    const auto values = engine_->multi_get(views);
    for (size_t i = 0; i < keys.size(); ++i) {
      const Model::Value* expected = model_.find(keys[i], now_us_);
      ASSERT_EQ(values[i].has_value(), expected != nullptr);
      if (expected == nullptr) continue;
      ASSERT_EQ(*values[i], expected->bytes);
    }
  }
  void put() {
    const std::string k = key();
    Model::Value value{.bytes = bytes()};
    WriteOptions options;
    value.is_json = random_() % 8 == 0;
    if (value.is_json) value.bytes = fmt::format(R"({{"n": {}}})", random_() % 100);
    if (random_() % 8 == 0) {
      options.ttl = std::chrono::microseconds(1 + random_() % 100'000);
      value.expires_us = now_us_ + options.ttl.count();
    }
    if (random_() % 8 == 0) options.durability = Durability::kSync;
    const Status s = engine_->put(k, value.bytes, value.is_json, options);
    if (refused(s)) return;
    ASSERT_TRUE(s.ok()) << s.message();
    committed({{k, value}});
  }
  void del() {
    const std::string k = key();
    const bool there = model_.find(k, now_us_) != nullptr;
    const Result<bool> gone = engine_->del(k, {});
    ASSERT_TRUE(gone.ok()) << gone.status().message();
    ASSERT_EQ(*gone, there);
    if (there) committed({{k, std::nullopt}});
  }
  void batch() {
    Batch batch;
    std::map<std::string, std::optional<Model::Value>> changes;
    for (uint64_t i = 0; i < 1 + random_() % 6; ++i) {
      const std::string k = key();
      if (random_() % 3 == 0) {
        batch.del(k);
        changes[k] = std::nullopt;
      } else {
        changes[k] = Model::Value{.bytes = bytes()};
        batch.put(k, changes[k]->bytes);
      }
    }
    const Status s = engine_->write(batch, {});
    if (refused(s)) return;
    ASSERT_TRUE(s.ok()) << s.message();
    committed(changes);
  }
  void increment() {
    const std::string k = "n" + std::to_string(random_() % 4);
    const Model::Value* before = model_.find(k, now_us_);
    Model::Value after = before != nullptr ? *before : Model::Value{.bytes = "0"};
    const Result<int64_t> sum = engine_->increment(k, 3, {});
    if (refused(sum.status())) return;
    ASSERT_TRUE(sum.ok()) << sum.status().message();
    if (engine_->last_seq() > model_.seq + 1)
      after = Model::Value{.bytes = std::to_string(*sum - 3)};  // it may have been the victim
    ASSERT_EQ(std::to_string(*sum), std::to_string(std::stoll(after.bytes) + 3));
    after.bytes = std::to_string(*sum);
    after.is_json = false;
    after.expires_us = engine_->get_entry(k)->expires_us;
    committed({{k, after}});
  }
  void compare_and_set() {
    const std::string k = key();
    const Model::Value* before = model_.find(k, now_us_);
    const uint64_t version = before != nullptr ? before->version : 0;
    const uint64_t asked = random_() % 2 == 0 ? version : random_() % (model_.seq + 1);
    const Model::Value value{.bytes = bytes()};
    WriteOptions options;
    options.if_version = asked;
    const uint64_t seq_before = engine_->last_seq();
    const Status s = engine_->put(k, value.bytes, false, options);
    if (refused(s)) return;
    if (combination_.limit == Limit::kEvict && engine_->last_seq() > seq_before + (s.ok() ? 1 : 0)) {
      // Room was made first: the key itself may have been the victim, whatever the answer.
      take_evictions({{k, std::nullopt}});
      if (!s.ok() && !engine_->contains(k)) model_.values.erase(k);
      model_.seq = engine_->last_seq() - (s.ok() ? 1 : 0);
      if (s.ok()) committed({{k, value}});
      return;
    }
    ASSERT_EQ(s.ok(), asked == version) << s.message();
    if (s.ok()) committed({{k, value}});
  }
  void expiry() {
    const std::string k = key();
    const Model::Value* before = model_.find(k, now_us_);
    if (random_() % 2 == 0) {
      const auto ttl = std::chrono::microseconds(1 + random_() % 50'000);
      const Result<bool> done = engine_->expire(k, ttl, {});
      if (refused(done.status())) return;
      ASSERT_TRUE(done.ok()) << done.status().message();
      finish_expiry(k, before, *done, now_us_ + ttl.count());
    } else {
      const uint64_t seq_before = engine_->last_seq();
      const Result<bool> done = engine_->persist(k, {});
      if (refused(done.status())) return;
      ASSERT_TRUE(done.ok()) << done.status().message();
      if (*done && engine_->last_seq() == seq_before) return;  // it never expired anyway
      finish_expiry(k, before, *done, 0);
    }
    const auto left = engine_->ttl(k);
    ASSERT_EQ(left.has_value(), model_.find(k, now_us_) != nullptr);
  }
  void finish_expiry(const std::string& k, const Model::Value* before, bool done, int64_t expires_us) {
    if (combination_.limit == Limit::kEvict && !done && before != nullptr) {  // the key itself was the victim
      model_.values.erase(k);
      take_evictions({});
      model_.seq = engine_->last_seq();
      return;
    }
    ASSERT_EQ(done, before != nullptr);
    if (!done) return;
    Model::Value after = *before;
    after.expires_us = expires_us;
    committed({{k, after}});
  }
  void transaction() {
    Result<Transaction> begun = engine_->begin();
    ASSERT_TRUE(begun.ok());
    Transaction& txn = *begun;
    const std::string read = key();
    check(txn.get_entry(read), model_.find(read, now_us_), read);
    const bool scans = random_() % 4 == 0;
    const std::string prefix = std::to_string(random_() % 3);
    if (scans) {
      Result<std::vector<Entry>> scan = txn.scan(prefix);
      ASSERT_TRUE(scan.ok());
      ASSERT_EQ(scan->size(), model_.live(prefix, "", "", now_us_).size());
    }
    const std::string written = key();
    const Model::Value value{.bytes = bytes()};
    txn.put(written, value.bytes);
    ASSERT_EQ(txn.get(written), value.bytes);
    // Somebody else gets in between, or not.
    bool conflicts = false;
    if (random_() % 3 == 0) {
      const std::string other = key();
      const Model::Value others{.bytes = bytes()};
      const Status s = engine_->put(other, others.bytes, false, {});
      if (!refused(s)) {
        ASSERT_TRUE(s.ok()) << s.message();
        const uint64_t before = model_.seq;
        committed({{other, others}});
        conflicts = other == read || (scans && other.starts_with(prefix)) || model_.seq > before + 1;
        if (model_.seq > before + 1) return;  // evictions: whether they touch what was read is not the model's to say
      }
    }
    if (random_() % 5 == 0) {
      txn.rollback();
      return;
    }
    const uint64_t seq_before = engine_->last_seq();
    const Status s = txn.commit();
    if (refused(s)) return;
    if (s.code() == Code::kConflict &&
        engine_->last_seq() > seq_before) {  // room was made at the price of what was read
      take_evictions({});
      model_.seq = engine_->last_seq();
      return;
    }
    // What came in between may have been the victim: then all is again as it was read.
    if (s.ok() && engine_->last_seq() > seq_before + 1) conflicts = false;
    ASSERT_EQ(s.code() == Code::kConflict, conflicts) << s.message();
    if (conflicts) return;
    ASSERT_TRUE(s.ok()) << s.message();
    committed({{written, value}});
  }

  void pin() {
    if (pinned_.size() >= 4) pinned_.erase(pinned_.begin() + static_cast<ptrdiff_t>(random_() % pinned_.size()));
    Result<Snapshot> snapshot = engine_->snapshot();
    ASSERT_TRUE(snapshot.ok());
    ASSERT_EQ(snapshot->seq(), model_.seq);
    ASSERT_EQ(snapshot->taken_us(), now_us_);
    pinned_.push_back({*std::move(snapshot), model_, now_us_});
  }
  void look_at_pin() {
    if (pinned_.empty()) return;
    const Pinned& pinned = pinned_[random_() % pinned_.size()];
    const std::string k = key();
    check(pinned.snapshot.get_entry(k), pinned.model.find(k, pinned.taken_us), k);
    if (random_() % 16 == 0) check(pinned.snapshot.scan(), pinned.model.live("", "", "", pinned.taken_us));
    if (random_() % 16 == 0) {
      uint64_t count = 0;
      ASSERT_TRUE(pinned.snapshot.for_each([&](const EntryView&) { ++count; }).ok());
      ASSERT_EQ(count, pinned.model.live("", "", "", pinned.taken_us).size());
    }
  }
  void look_at_range() {
    std::string from = key(), to = key();
    if (to < from) std::swap(from, to);
    if (from != to) check(engine_->snapshot()->scan(from, to), model_.live("", from, to, now_us_));
    const std::string prefix = std::to_string(random_() % 30);
    check(engine_->snapshot()->scan(prefix), model_.live(prefix, "", "", now_us_));
  }

  void rare() {
    switch (random_() % 24) {
      case 0:
        return compact();
      case 1:
        return reopen();
      case 2: {
        const std::string prefix = std::to_string(random_() % 100);
        const std::vector<std::string> doomed = model_.live(prefix, "", "", now_us_);
        const Result<uint64_t> erased = engine_->erase_prefix(prefix, {});
        ASSERT_TRUE(erased.ok()) << erased.status().message();
        ASSERT_EQ(*erased, doomed.size());
        std::map<std::string, std::optional<Model::Value>> changes;
        for (const std::string& k : doomed) changes[k] = std::nullopt;
        if (!doomed.empty()) committed(changes);
        return;
      }
      case 3: {
        if (random_() % 8 != 0) return;
        const std::string copy = fmt::format("copy{}", done_);
        const Result<BackupReport> report = engine_->backup(copy);
        ASSERT_TRUE(report.ok()) << report.status().message();
        ASSERT_EQ(report->entries, model_.live("", "", "", now_us_).size());
        Result<std::unique_ptr<Engine>> backup =
            Engine::open(env_, copy, {.now_us = [this] { return now_us_.load(); }});
        ASSERT_TRUE(backup.ok()) << backup.status().message();
        ASSERT_EQ((*backup)->last_seq(), model_.seq);
        check((*backup)->snapshot()->scan(), model_.live("", "", "", now_us_));
        ASSERT_TRUE((*backup)->close().ok());
        const Result<std::vector<std::string>> names = env_.list(copy);
        for (const std::string& name : *names) ASSERT_TRUE(env_.remove(fmt::format("{}/{}", copy, name)).ok());
        return;
      }
      default:
        now_us_ += 20'000;  // time passes
    }
  }
  void compact() {
    const Result<CompactionReport> report = engine_->compact();
    ASSERT_TRUE(report.ok()) << report.status().message();
    if (report->files_removed > 0 && combination_.keep_history_bytes == 0) {
      ASSERT_EQ(report->entries, model_.live("", "", "", now_us_).size());
    }
  }
  void reopen() {
    close();
    if (!::testing::Test::HasFatalFailure()) open(combination_);
  }

  std::mt19937_64 random_;
  env::MemEnv env_;
  std::atomic<int64_t> now_us_{1'763'800'000'000'000};
  Combination combination_{};
  Model model_;
  std::unique_ptr<Engine> engine_;
  std::deque<Pinned> pinned_;  // after engine_: they go first
  uint64_t done_ = 0;
};

TEST(StoreModelTest, GivesTheSameAnswersAsAPlainModelUnderEveryCombinationOfOptions) {
  const char* more = std::getenv("KVSTORE_MODEL_OPERATIONS");
  StoreModel(seed()).run(more != nullptr ? std::strtoull(more, nullptr, 10) : 100'000);
}

}  // namespace
}  // namespace kvstore::testing
