// The release of pins, schedule by schedule: every order in which a writer, two readers that pin and let go, and the
// housekeeping can come one after the other, for as many steps as are few enough to try them all. After each step every
// standing pin must see exactly its instant, and once the housekeeping has come to rest a version is held exactly if a
// standing pin can see it: none goes a step too early, and none stays for ever.
//
// Steps are whole calls: the table's writer side is one caller at a time anyway, and what a pin's birth and death race
// with inside of them is table_concurrency_test.cc's, under the thread sanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::Contents;
using testing::put_op;
using testing::TestTable;

constexpr std::array<std::string_view, 2> kKeys = {"a", "b"};
constexpr int64_t kExpiresUs = 1000;

enum class Step : uint8_t {
  kPutA,
  kPutB,
  kDelA,
  kExpiringA,  // put with an expiry that the sweep finds past
  kBatch,      // both keys at once
  kPin1,
  kPin2,
  kCopy2,  // the second reader takes the first one's instant
  kUnpin1,
  kUnpin2,
  kDump1,  // the first reader goes on with its walk over all shards, a third at a time
  kSweep,
  kEvict,  // the victim, deleted as the store does it
  kTidy,   // one step of it
  kTurn,   // an empty commit: what rides on commits goes on
};

std::string_view name_of(Step step) {
  constexpr std::array<std::string_view, 15> kNames = {"put a", "put b", "del a",  "put a expiring", "batch",
                                                       "pin 1", "pin 2", "copy 2", "unpin 1",        "unpin 2",
                                                       "dump",  "sweep", "evict",  "tidy",           "turn"};
  return kNames[static_cast<size_t>(step)];
}

// One table and what a plain model says of it.
class World {
 public:
  World() { t_.table.track_use(); }

  // False: the step means nothing now, and the schedule is skipped.
  bool take(Step step) {
    switch (step) {
      case Step::kPutA:
        return put("a", 0);
      case Step::kPutB:
        return put("b", 0);
      case Step::kExpiringA:
        return put("a", kExpiresUs);
      case Step::kDelA:
        return newest().contains("a") && remove("a");
      case Step::kBatch: {
        const std::string value = next_value();
        t_.commit({put_op("a", value), put_op("b", value)});
        set("a", value, 0);
        set("b", value, 0);
        return true;
      }
      case Step::kPin1:
        return pin(0);
      case Step::kPin2:
        return pin(1);
      case Step::kCopy2:
        if (pins_[1] != nullptr || pins_[0] == nullptr) return false;
        pins_[1] = std::make_unique<Table::Pin>(*pins_[0]);
        clocks_[1] = clocks_[0];
        return true;
      case Step::kUnpin1:
        dump_.reset();
        return unpin(0);
      case Step::kUnpin2:
        return unpin(1);
      case Step::kDump1:
        return dump_some();
      case Step::kSweep:
        return sweep();
      case Step::kEvict:
        return evict();
      case Step::kTidy:
        t_.table.tidy(1);
        return true;
      case Step::kTurn:
        t_.table.publish(t_.seq);
        return true;
    }
    return false;
  }

  // What must hold after every step.
  [[nodiscard]] std::string check() {
    for (size_t i = 0; i < pins_.size(); ++i) {
      if (pins_[i] == nullptr) continue;
      const Contents expected = alive_at(pins_[i]->seq(), clocks_[i]);
      if (std::string wrong = difference(visible(*pins_[i], clocks_[i]), expected); !wrong.empty()) {
        return "pin " + std::to_string(i + 1) + ": " + wrong;
      }
    }
    return "";
  }

  // What must hold once nothing is left to do, with the pins that stand, and then as they go, in the order given.
  [[nodiscard]] std::string check_release(std::array<size_t, 2> order) {
    if (std::string wrong = check_held(); !wrong.empty()) return wrong;
    for (const size_t i : order) {
      if (pins_[i] == nullptr) continue;
      pins_[i].reset();
      dump_.reset();
      if (std::string wrong = check(); !wrong.empty()) return "after a release: " + wrong;
      if (std::string wrong = check_held(); !wrong.empty()) return "after a release: " + wrong;
    }
    t_.table.check();  // nothing leaks
    return "";
  }

 private:
  struct Value {
    std::string bytes;
    int64_t expires_us = 0;
  };
  using State = std::map<std::string, Value>;

  [[nodiscard]] const State& newest() const { return states_.back(); }
  std::string next_value() { return "v" + std::to_string(t_.seq + 1); }
  // The state after the commit that has just been made.
  State& now() {
    while (states_.size() <= t_.seq) states_.push_back(states_.back());
    return states_.back();
  }
  void set(const std::string& key, const std::string& value, int64_t expires_us) {
    now()[key] = {value, expires_us};
    history_[key][t_.seq] = false;
  }
  bool put(const std::string& key, int64_t expires_us) {
    const std::string value = next_value();
    format::Op op = put_op(key, value);
    op.expires_us = expires_us;
    t_.commit({op});
    set(key, value, expires_us);
    return true;
  }
  bool remove(const std::string& key) {
    t_.del(key);
    now().erase(key);
    history_[key][t_.seq] = true;
    return true;
  }
  bool pin(size_t i) {
    if (pins_[i] != nullptr) return false;
    pins_[i] = std::make_unique<Table::Pin>(t_.table);
    clocks_[i] = clock_us_;  // after the pin, as the sweep wants it
    return true;
  }
  bool unpin(size_t i) {
    if (pins_[i] == nullptr) return false;
    pins_[i].reset();
    return true;
  }

  // Compaction walks shard by shard, and commits come in between.
  struct Dump {
    size_t shard;
    Contents found;
  };
  bool dump_some() {
    if (pins_[0] == nullptr) return false;
    if (!dump_.has_value()) dump_ = Dump{.shard = 0, .found = {}};
    const size_t end = std::min(dump_->shard + Table::kShards / 3 + 1, Table::kShards);
    for (; dump_->shard < end; ++dump_->shard) {
      std::vector<const Entry*> entries;
      t_.table.collect_shard(*pins_[0], dump_->shard, clocks_[0], entries);
      for (const Entry* entry : entries) {
        EXPECT_TRUE(dump_->found.emplace(entry->key(), entry->value()).second) << "met twice";
      }
    }
    if (dump_->shard < Table::kShards) return true;
    EXPECT_EQ(dump_->found, alive_at(pins_[0]->seq(), clocks_[0]));
    dump_.reset();
    return true;
  }
  bool sweep() {
    clock_us_ = kExpiresUs;  // from here on what expires has expired
    while (!t_.table.sweep_expired(clock_us_, 64).round_done) {
    }
    for (auto& [key, versions] : history_) {
      if (versions.empty() || versions.rbegin()->second || t_.table.newest(key, t_.hash(key)) != nullptr) continue;
      const int64_t expires_us = newest().at(key).expires_us;
      EXPECT_TRUE(expires_us != 0 && expires_us <= clock_us_) << key << " was swept alive";
      for (const auto& pin : pins_) {
        EXPECT_TRUE(pin == nullptr || pin->seq() < versions.rbegin()->first) << key << " was swept under a pin";
      }
      versions.clear();  // an entry is swept only once there is nothing behind it
    }
    return true;
  }
  bool evict() {
    const Entry* victim = t_.table.victim();
    return victim != nullptr && remove(std::string(victim->key()));
  }

  [[nodiscard]] Contents alive_at(Seq seq, int64_t now_us) const {
    Contents contents;
    for (const auto& [key, value] : states_[seq]) {
      if (value.expires_us == 0 || value.expires_us > now_us) contents[key] = value.bytes;
    }
    return contents;
  }
  // By both ways to look through a pin.
  [[nodiscard]] Contents visible(const Table::Pin& pin, int64_t now_us) const {
    Contents found;
    for (const std::string_view key : kKeys) {
      const Table::ReadGuard guard(t_.table);
      const Entry* entry = t_.table.find(pin, key, t_.hash(key));
      if (entry != nullptr && !entry->is_expired(now_us)) found.emplace(key, entry->value());
    }
    std::vector<const Entry*> entries;
    t_.table.collect(pin, {.now_us = now_us}, entries);
    Contents collected;
    for (const Entry* entry : entries) collected.emplace(entry->key(), entry->value());
    EXPECT_EQ(found, collected) << "find and collect disagree";
    return found;
  }

  // A version is held exactly if it has been superseded and some standing pin lies between its number and the next. Of
  // tombstones it may be fewer: one with nothing behind it leaves at once.
  [[nodiscard]] std::string check_held() {
    t_.tidy_all();
    std::set<std::pair<std::string, Seq>> values;
    std::set<std::pair<std::string, Seq>> tombstones;
    for (const auto& [key, versions] : history_) {
      for (const auto& pin : pins_) {
        if (pin == nullptr) continue;
        const auto behind = versions.upper_bound(pin->seq());
        if (behind == versions.begin() || behind == versions.end()) continue;
        const auto& [seq, is_tombstone] = *std::prev(behind);
        (is_tombstone ? tombstones : values).emplace(key, seq);
      }
    }
    const uint64_t told = t_.table.stats().versions_held;
    if (told >= values.size() && told <= values.size() + tombstones.size()) return "";
    return std::to_string(told) + " versions are held; " + std::to_string(values.size()) + " values and " +
           std::to_string(tombstones.size()) + " tombstones can be seen";
  }

  static std::string difference(const Contents& found, const Contents& expected) {
    if (found == expected) return "";
    const auto text = [](const Contents& contents) {
      std::string out;
      for (const auto& [key, value] : contents) out += " " + key + "=" + value;
      return out.empty() ? std::string(" nothing") : out;
    };
    return "sees" + text(found) + ", should see" + text(expected);
  }

  TestTable t_;
  std::array<std::unique_ptr<Table::Pin>, 2> pins_;
  std::array<int64_t, 2> clocks_{};
  int64_t clock_us_ = 1;
  std::vector<State> states_{1};
  std::map<std::string, std::map<Seq, bool>> history_;  // of each key the versions; true: a tombstone
  std::optional<Dump> dump_;
};

// Every sequence of `length` of these steps, behind `first`, with both orders of the last releases. Returns how many.
uint64_t try_all(const std::vector<Step>& first, const std::vector<Step>& steps, size_t length) {
  uint64_t schedules = 0;
  std::vector<size_t> chosen(length, 0);
  for (bool more = true; more && !::testing::Test::HasFailure();) {
    for (const std::array<size_t, 2> order : {std::array<size_t, 2>{0, 1}, std::array<size_t, 2>{1, 0}}) {
      World world;
      std::string story;
      std::string wrong;
      bool possible = true;
      const auto take = [&](Step step) {
        possible = world.take(step);
        if (!possible) return;
        story += std::string(name_of(step)) + ", ";
        wrong = world.check();
      };
      for (size_t i = 0; i < first.size() && possible && wrong.empty(); ++i) take(first[i]);
      for (size_t i = 0; i < length && possible && wrong.empty(); ++i) take(steps[chosen[i]]);
      if (!possible) break;
      if (wrong.empty()) wrong = world.check_release(order);
      EXPECT_EQ(wrong, "") << story << "released in the order " << order[0] + 1 << ", " << order[1] + 1;
      ++schedules;
    }
    more = false;
    for (size_t i = 0; i < length; ++i) {
      if (++chosen[i] < steps.size()) {
        more = true;
        break;
      }
      chosen[i] = 0;
    }
  }
  return schedules;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr size_t kShorter = 1;  // a tenth of the schedules
#else
constexpr size_t kShorter = 0;
#endif

TEST(TableRelease, OverwritesBetweenPinsAndTheirReleasesInEveryOrder) {
  using enum Step;
  EXPECT_GT(try_all({kPutA}, {kPutA, kDelA, kPin1, kPin2, kUnpin1, kUnpin2, kTidy}, 6 - kShorter), 1000U);
}

TEST(TableRelease, TwoSnapshotsReleasedInEitherOrderWhileABatchLinksInBetween) {
  using enum Step;
  EXPECT_GT(try_all({kBatch, kPin1, kPutA, kPin2}, {kBatch, kPutB, kUnpin1, kUnpin2, kPin1, kTurn}, 5 - kShorter),
            1000U);
}

TEST(TableRelease, ASharedInstantGoesWithTheLastPinOfIt) {
  using enum Step;
  EXPECT_GT(try_all({kPutA, kPin1}, {kPutA, kCopy2, kUnpin1, kUnpin2, kPin1, kTidy}, 6 - kShorter), 1000U);
}

TEST(TableRelease, BesideASweepAndAnEviction) {
  using enum Step;
  EXPECT_GT(try_all({kExpiringA, kPutB}, {kPutA, kExpiringA, kPin1, kUnpin1, kSweep, kEvict, kTidy}, 5 - kShorter),
            1000U);
}

TEST(TableRelease, InTheMiddleOfACompactionsWalk) {
  using enum Step;
  EXPECT_GT(try_all({kBatch, kPin1, kDump1}, {kPutA, kDelA, kPutB, kDump1, kUnpin1, kPin1, kPin2}, 5 - kShorter),
            1000U);
}

// The epoch stands still for as long as a reader is inside, whatever else goes on; what a pin has let go of is freed once
// the reader has left, and not before.
TEST(TableRelease, WhatAReleaseSetsFreeWaitsForTheReaderInside) {
  for (const bool reader_enters_first : {false, true}) {
    TestTable t;
    const std::string value(1000, 'v');
    t.put("key", value);
    auto pin = std::make_unique<Table::Pin>(t.table);
    std::optional<Table::ReadGuard> inside;
    if (reader_enters_first) inside.emplace(t.table);
    const Entry* seen = t.table.find(*pin, "key", t.hash("key"));
    t.put("key", "new");
    if (!reader_enters_first) inside.emplace(t.table);
    const uint64_t used = t.table.stats().used_bytes;
    pin.reset();
    t.tidy_all();
    EXPECT_EQ(t.table.stats().versions_held, 0U);
    for (int i = 0; i < 1000; ++i) t.put("other", std::to_string(i));
    t.tidy_all();
    EXPECT_GT(t.table.stats().used_bytes, used) << "freed under the eyes of a reader";
    EXPECT_EQ(seen->value(), value);
    inside.reset();
    t.tidy_all();
    EXPECT_LT(t.table.stats().used_bytes, used);
    t.table.check();
  }
}

}  // namespace
}  // namespace kvstore::table
