// Sweeping: expired entries leave, and nobody who may still see them notices.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <utility>

#include "kvstore/table/bucket.h"
#include "tests/support/seed.h"
#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::Contents;
using testing::del_op;
using testing::put_op;
using testing::TableTest;

format::Op put_until(std::string_view key, std::string_view value, int64_t expires_us) {
  format::Op op = put_op(key, value);
  op.expires_us = expires_us;
  return op;
}

class TableExpiry : public TableTest {
 protected:
  // To the end of the round under way, and a whole round. Returns the number of entries dropped.
  uint64_t sweep(int64_t now_us, size_t buckets_each = 1000) {
    uint64_t dropped = 0;
    for (int rounds = 0; rounds < 2;) {
      const Sweep step = t.table.sweep_expired(now_us, buckets_each);
      EXPECT_LE(step.visited, buckets_each);
      EXPECT_TRUE(step.visited > 0 || step.round_done);
      dropped += step.dropped;
      rounds += step.round_done ? 1 : 0;
    }
    return dropped;
  }
  [[nodiscard]] uint64_t expiring() const { return t.table.stats().expiring; }
};

TEST_F(TableExpiry, ASweepTakesWhatHasExpiredAndNothingElse) {
  t.commit({put_until("gone", "1", 100), put_until("last moment", "2", 101), put_op("for ever", "3")});
  EXPECT_EQ(expiring(), 2U);
  EXPECT_EQ(sweep(100), 1U);
  EXPECT_EQ(t.contents(), (Contents{{"for ever", "3"}, {"last moment", "2"}}));
  EXPECT_EQ(expiring(), 1U);
  EXPECT_EQ(t.table.stats().entries, 2U);
}

TEST_F(TableExpiry, WithoutExpiriesASweepDoesNothing) {
  t.put("key", "value");
  const Sweep nothing = t.table.sweep_expired(INT64_MAX, 1000);
  EXPECT_EQ(nothing.visited + nothing.dropped, 0U);
  EXPECT_TRUE(nothing.round_done);
}

TEST_F(TableExpiry, TheExpiryOfTheNewestVersionCounts) {
  t.commit({put_until("key", "short", 100)});
  t.commit({put_until("key", "longer", 200)});
  EXPECT_EQ(expiring(), 1U);
  EXPECT_EQ(sweep(150), 0U);
  t.put("key", "for ever");
  EXPECT_EQ(expiring(), 0U);
  t.commit({put_until("key", "short", 100)});
  t.del("key");
  EXPECT_EQ(expiring(), 0U);
}

TEST_F(TableExpiry, LoadedEntriesAreSweptToo) {
  t.table.load(put_until("a", "1", 100), t.hash("a"), 1);
  t.table.load(put_until("b", "1", 100), t.hash("b"), 2);
  t.table.load(put_op("b", "2"), t.hash("b"), 3);
  t.table.load(put_until("c", "1", 100), t.hash("c"), 4);
  t.table.load(del_op("c"), t.hash("c"), 5);
  t.table.finish_load(t.seq = 5);
  EXPECT_EQ(expiring(), 1U);
  EXPECT_EQ(sweep(100), 1U);
  EXPECT_EQ(t.contents(), (Contents{{"b", "2"}}));
}

TEST_F(TableExpiry, APinThatSawTheEntryAliveGoesOnSeeingIt) {
  t.commit({put_until("key", "value", 100)});
  auto pin = std::make_unique<Table::Pin>(t.table);
  EXPECT_EQ(sweep(100), 0U);
  EXPECT_EQ(t.contents(*pin), (Contents{{"key", "value"}}));
  pin.reset();
  EXPECT_EQ(sweep(100), 1U);
  EXPECT_EQ(t.table.newest("key", t.hash("key")), nullptr);
}

TEST_F(TableExpiry, APinFromBeforeTheEntryIsNoHindrance) {
  t.put("other", "value");
  const Table::Pin pin(t.table);
  t.commit({put_until("key", "value", 100)});
  EXPECT_EQ(sweep(100), 1U);
  EXPECT_EQ(t.contents(pin), (Contents{{"other", "value"}}));
}

// Without the entry the old pin would see the version before it as the newest.
TEST_F(TableExpiry, AnEntryWithOlderVersionsWaitsForThem) {
  t.put("key", "old");
  auto pin = std::make_unique<Table::Pin>(t.table);
  t.commit({put_until("key", "short-lived", 100)});
  EXPECT_EQ(sweep(100), 0U);
  EXPECT_EQ(t.contents(*pin), (Contents{{"key", "old"}}));
  pin.reset();
  t.tidy_all();
  EXPECT_EQ(sweep(100), 1U);
  EXPECT_EQ(t.contents(), Contents{});
}

// As a shard empties from one end its array shrinks, so the chains at the other end become long.
TEST_F(TableExpiry, ARoundTakesEverythingAlsoFromLargeShards) {
  t.hash_of = [](const Table& table, std::string_view key) { return table.hash(key) & kPlaceMask; };  // all in one
  for (uint64_t i = 0; i < 20000; ++i) {
    const std::string key = "key" + std::to_string(i);
    t.commit({put_until(key, "v", 100)});
  }
  EXPECT_EQ(t.table.sweep_expired(100, SIZE_MAX).dropped, 20000U);
}

TEST_F(TableExpiry, ACallLooksAtNoMoreThanItMayAndTheNextOneGoesOn) {
  for (int i = 0; i < 5000; ++i) {
    const std::string key = "key" + std::to_string(i);
    t.commit({put_until(key, "v", 100)});
  }
  const Sweep first = t.table.sweep_expired(100, 64);
  EXPECT_EQ(first.visited, 64U);
  EXPECT_GT(first.dropped, 0U);
  EXPECT_LT(first.dropped, 64U * 16);
  EXPECT_FALSE(first.round_done);
  EXPECT_EQ(first.dropped + sweep(100, 64), 5000U);  // although the arrays shrink on the way
  EXPECT_EQ(t.table.stats().entries, 0U);
}

// Random commits on a clock of its own, sweeps of all lengths, and pins of every age that each judge by the time
// they ask at.
TEST_F(TableExpiry, BehavesLikeAMapWithAClock) {
  std::mt19937_64 random(testing::seed());
  struct Truth {
    std::string value;
    int64_t expires_us;
  };
  using Model = std::map<std::string, Truth>;
  auto alive = [](const Model& model, int64_t now_us) {
    Contents contents;
    for (const auto& [key, truth] : model) {
      if (truth.expires_us == 0 || truth.expires_us > now_us) contents.emplace(key, truth.value);
    }
    return contents;
  };
  auto seen = [this](const Table::Pin& pin, int64_t now_us) {
    std::vector<const Entry*> found;
    t.table.collect(pin, {.now_us = now_us}, found);
    Contents contents;
    for (const Entry* entry : found) {
      EXPECT_TRUE(contents.emplace(entry->key(), entry->value()).second);
      EXPECT_EQ(t.table.find(pin, entry->key(), t.hash(entry->key())), entry);
    }
    return contents;
  };
  Model model;
  int64_t clock = 1;
  std::vector<std::pair<Table::Pin, Model>> pins;
  for (int step = 0; step < 20000; ++step) {
    clock += static_cast<int64_t>(random() % 3);
    const std::string key = "key" + std::to_string(random() % 300);
    if (random() % 6 == 0) {
      t.del(key);
      model.erase(key);
    } else {
      const int64_t expires_us = random() % 3 == 0 ? 0 : clock + static_cast<int64_t>(random() % 500);
      const std::string value = std::to_string(random());
      t.commit({put_until(key, value, expires_us)});
      model[key] = {value, expires_us};
    }
    if (random() % 4 == 0) t.table.sweep_expired(clock, random() % 200);
    if (random() % 50 == 0 && pins.size() < 4) pins.emplace_back(Table::Pin(t.table), model);
    if (random() % 50 == 0 && !pins.empty() && pins.size() < 5) {
      auto copy = pins[random() % pins.size()];
      pins.push_back(std::move(copy));
    }
    if (random() % 40 == 0 && !pins.empty()) {
      std::swap(pins[random() % pins.size()], pins.back());
      ASSERT_EQ(seen(pins.back().first, clock), alive(pins.back().second, clock));
      pins.pop_back();
    }
    if (random() % 500 == 0) {
      t.table.check();
      ASSERT_EQ(seen(Table::Pin(t.table), clock), alive(model, clock));
      for (const auto& [pin, truth] : pins) ASSERT_EQ(seen(pin, clock), alive(truth, clock));
    }
  }
  pins.clear();
  t.tidy_all();
  sweep(clock);
  ASSERT_EQ(t.table.stats().entries, alive(model, clock).size());
  ASSERT_EQ(t.contents(), alive(model, clock));
}

// Pins born at every moment of a sweep. Keys are written in pairs that expire together: a pin that finds one half
// alive and not the other has been robbed. And what was found through a pin, expired or not, stays as it was.
TEST_F(TableExpiry, PinsBornBesideASweepMissNothingAliveAndKeepWhatTheyFound) {
  constexpr uint64_t kPairs = 100;
  std::atomic<int64_t> clock{1};
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  auto name = [](char side, uint64_t pair) { return side + std::string(" half of pair ") + std::to_string(pair); };
  for (int thread = 0; thread < 2; ++thread) {
    readers.emplace_back([&, thread] {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      while (!done.load() && !HasFailure()) {
        const uint64_t pair = random() % kPairs;
        const Table::Pin pin(t.table);
        const int64_t now_us = clock.load();
        const std::string left = name('L', pair);
        const std::string right = name('R', pair);
        const Entry* first = t.table.find(pin, left, t.hash(left));
        if (random() % 4 == 0) std::this_thread::yield();
        const Entry* second = t.table.find(pin, right, t.hash(right));
        const bool left_alive = first != nullptr && !first->is_expired(now_us);
        const bool right_alive = second != nullptr && !second->is_expired(now_us);
        ASSERT_EQ(left_alive, right_alive) << left << " at " << now_us;
        if (first != nullptr && second != nullptr) {
          ASSERT_EQ(first->value(), second->value());
          ASSERT_EQ(first->key(), left);
        }
        std::vector<const Entry*> found;
        if (random() % 8 == 0) t.table.collect(pin, {}, found);
        const Table::Pin copy(pin);
        if (random() % 4 == 0) std::this_thread::yield();
        for (const Entry* entry : found) ASSERT_EQ(entry->value(), std::string(50, entry->value()[0]));
        if (first == nullptr) continue;
        ASSERT_EQ(first->value(), std::string(50, first->value()[0]));
      }
    });
  }
  std::mt19937_64 random(testing::seed());
  for (int step = 0; step < 30000 && !HasFailure(); ++step) {
    const uint64_t pair = random() % kPairs;
    const std::string left = name('L', pair);
    const std::string right = name('R', pair);
    const std::string value(50, static_cast<char>('a' + random() % 26));
    const int64_t expires_us = clock.load() + static_cast<int64_t>(random() % 20);
    t.commit({put_until(left, value, expires_us), put_until(right, value, expires_us)});
    clock.fetch_add(1);
    t.table.sweep_expired(clock.load(), 300);
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  t.tidy_all();
  sweep(clock.load() + 100);
  EXPECT_EQ(t.table.stats().entries, 0U);
}

// The narrow case of the same: a pin born while a sweep is on its way to an entry, that finds the entry before the sweep
// does. Readers look from then on again and again whether it is still what they found.
TEST_F(TableExpiry, WhatAPinFoundStaysThoughItExpiredBefore) {
  constexpr uint64_t kKeys = 20;
  // A sweep has a long way from one expired entry to the next, so that pins are born on the way.
  for (uint64_t i = 0; i < 30000; ++i) t.put("filler" + std::to_string(i), "v");
  std::atomic<uint64_t> round{0};
  std::atomic<bool> done{false};
  std::atomic<uint64_t> found_count{0};
  auto name = [](uint64_t in_round, uint64_t number) {
    return "round " + std::to_string(in_round) + " key " + std::to_string(number);
  };
  std::vector<std::thread> readers;
  for (int thread = 0; thread < 2; ++thread) {
    readers.emplace_back([&, thread] {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      while (!done.load() && !HasFailure()) {
        for (uint64_t pause = random() % 1'000'000; pause > 0; --pause)
          std::atomic_signal_fence(std::memory_order_seq_cst);
        const std::string key = name(round.load(), random() % kKeys);
        const uint64_t hash = t.hash(key);
        const Table::Pin pin(t.table);
        const Entry* entry = t.table.find(pin, key, hash);
        if (entry == nullptr) continue;
        found_count.fetch_add(1);
        for (int look = 0; look < 3000; ++look) {
          ASSERT_EQ(entry->key(), key);
          ASSERT_EQ(entry->value(), key);
        }
      }
    });
  }
  for (int64_t now_us = 1; now_us <= 2000 && (now_us <= 300 || found_count.load() < 100) && !HasFailure(); ++now_us) {
    const auto current = static_cast<uint64_t>(now_us);
    std::vector<std::string> keys;
    std::vector<format::Op> ops;
    for (uint64_t i = 0; i < kKeys; ++i) keys.push_back(name(current, i));
    for (const std::string& key : keys) ops.push_back(put_until(key, key, now_us));
    t.commit(ops);
    round.store(current);
    for (int sweeps = 0; sweeps < 5 && expiring() > 0; ++sweeps) {
      t.table.sweep_expired(now_us, SIZE_MAX);
      t.table.tidy(1000);  // what was taken out is to be used again soon
    }
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  t.tidy_all();
  sweep(INT64_MAX);
  EXPECT_EQ(expiring(), 0U);
}

}  // namespace
}  // namespace kvstore::table
