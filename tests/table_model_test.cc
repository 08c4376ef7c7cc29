// The table against std::map: random commits, deletions, pins and growth, also with hashes that collide.
#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "tests/support/seed.h"
#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::Contents;
using testing::del_op;
using testing::put_op;
using testing::TableTest;

class TableModel : public TableTest {
 protected:
  // Values of all the allocator's kinds: mostly small, sometimes in slabs of several units, rarely from malloc.
  std::string random_value(std::mt19937_64& random) {
    const uint64_t kind = random() % 100;
    const size_t size = kind < 90 ? random() % 200 : kind < 99 ? random() % 5000 : random() % 100000;
    return std::string(size, static_cast<char>('a' + random() % 26));
  }

  static std::optional<std::string> lookup(const Contents& model, std::string_view key) {
    const auto found = model.find(std::string(key));
    return found == model.end() ? std::nullopt : std::optional(found->second);
  }

  // `steps` random commits on `key_count` keys. Up to four pins look on, each with its own copy of the truth.
  void run(uint64_t seed, size_t steps, size_t key_count) {
    std::mt19937_64 random(seed);
    Contents model;
    std::vector<std::pair<Table::Pin, Contents>> pins;
    for (size_t step = 0; step < steps; ++step) {
      std::vector<std::pair<std::string, std::optional<std::string>>> changes;
      for (uint64_t count = random() % 8 == 0 ? 1 + random() % 20 : 1; count > 0; --count) {
        const bool is_del = random() % 3 == 0;
        changes.emplace_back("key" + std::to_string(random() % key_count),
                             is_del ? std::nullopt : std::optional(random_value(random)));
      }
      std::vector<format::Op> ops;
      for (const auto& [key, value] : changes) ops.push_back(value ? put_op(key, *value) : del_op(key));
      if (random() % 50 == 0) {  // a commit that is given up
        for (const format::Op& op : ops) t.table.discard(t.table.stage(op, t.hash(op.key)));
        continue;
      }
      for (const format::Op& op : ops) {
        t.link(op);
        ASSERT_EQ(t.get(op.key), lookup(model, op.key)) << "linked is not visible";
      }
      t.publish();
      for (const auto& [key, value] : changes) {
        if (value) {
          model[key] = *value;
        } else {
          model.erase(key);
        }
      }
      for (const format::Op& op : ops) {
        const std::optional<std::string> truth = lookup(model, op.key);
        ASSERT_EQ(t.get(op.key), truth) << op.key;
        const Entry* newest = t.table.newest(op.key, t.hash(op.key));
        ASSERT_EQ(newest != nullptr, truth.has_value());
        ASSERT_TRUE(newest == nullptr || newest->seq() == t.seq);
      }
      if (random() % 20 == 0 && pins.size() < 4) pins.emplace_back(Table::Pin(t.table), model);
      if (random() % 20 == 0 && !pins.empty()) {
        std::swap(pins[random() % pins.size()], pins.back());
        ASSERT_EQ(t.contents(pins.back().first), pins.back().second);
        pins.pop_back();
      }
      if (random() % 100 == 0) t.table.tidy(random() % 10);
      if (random() % 400 == 0) {
        t.table.check();
        ASSERT_EQ(t.contents(), model);
        for (const auto& [pin, truth] : pins) ASSERT_EQ(t.contents(pin), truth);
      }
    }
    ASSERT_EQ(t.contents(), model);
    ASSERT_EQ(t.table.stats().entries, model.size());
    pins.clear();
    t.tidy_all();
    ASSERT_EQ(t.table.stats().versions_held, 0u);
  }
};

TEST_F(TableModel, BehavesLikeAMapWithFewKeys) { run(testing::seed(), 8000, 30); }

TEST_F(TableModel, BehavesLikeAMapWithManyKeys) { run(testing::seed() + 1, 4000, 3000); }

TEST_F(TableModel, BehavesLikeAMapWhenEveryHashIsTheSame) {
  t.hash_of = [](const Table&, std::string_view) { return uint64_t{0}; };  // tag 0, too: as empty slots have
  run(testing::seed() + 2, 3000, 200);
}

TEST_F(TableModel, BehavesLikeAMapWhenAllKeysAreInOneShard) {
  t.hash_of = [](const Table& table, std::string_view key) { return table.hash(key) & 0x3fffff; };
  run(testing::seed() + 3, 4000, 2000);
}

TEST_F(TableModel, BehavesLikeAMapWhenTagsHaveOnlyFourBits) {
  t.hash_of = [](const Table& table, std::string_view key) { return table.hash(key) & 0x30000f; };
  run(testing::seed() + 4, 3000, 500);
}

TEST_F(TableModel, FindManyAgreesWithFind) {
  std::vector<std::string> names;
  for (size_t i = 0; i < 1000; ++i) names.push_back("key" + std::to_string(i));
  for (size_t i = 0; i < 1000; i += 2) t.put(names[i], "value of " + names[i]);
  const Table::ReadGuard guard(t.table);
  for (const size_t count : {0U, 1U, 31U, 32U, 33U, 64U, 1000U}) {
    std::vector<std::string_view> keys(names.begin(), names.begin() + static_cast<ptrdiff_t>(count));
    std::vector<const Entry*> found(count);
    t.table.find_many(keys, found);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(found[i], t.table.find(keys[i], t.hash(keys[i])));
  }
}

TEST_F(TableModel, LoadingGivesTheSameTableAsCommitting) {
  std::mt19937_64 random(testing::seed());
  Contents model;
  t.table.expect(500);
  for (uint64_t seq = 1; seq <= 20000; ++seq) {
    const std::string key = "key" + std::to_string(random() % 5000);
    const std::string value = std::to_string(random());
    const bool del = random() % 4 == 0;
    t.table.load(del ? del_op(key) : put_op(key, value), t.hash(key), seq);
    if (del) {
      model.erase(key);
    } else {
      model[key] = value;
    }
  }
  t.table.finish_load(20000);
  t.seq = 20000;
  EXPECT_EQ(t.table.published(), 20000u);
  EXPECT_EQ(t.contents(), model);
  t.put("key1", "after");
  EXPECT_EQ(t.get("key1"), "after");
}

TEST_F(TableModel, KeepsWhatAnOperationSays) {
  const std::string key(64 << 10, 'k');
  t.commit({{.is_json = true, .key = key, .value = R"({"a":1})", .expires_us = 1'700'000'000'000'000}});
  const Entry* entry = t.table.newest(key, t.hash(key));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->key(), key);
  EXPECT_EQ(entry->value(), R"({"a":1})");
  EXPECT_EQ(entry->seq(), 1u);
  EXPECT_EQ(entry->expires_us(), 1'700'000'000'000'000);
  EXPECT_TRUE(entry->is_json());
  EXPECT_FALSE(entry->is_expired(1'699'999'999'999'999));
  EXPECT_TRUE(entry->is_expired(1'700'000'000'000'000));
  t.put(key, "");
  entry = t.table.newest(key, t.hash(key));
  EXPECT_EQ(entry->value(), "");
  EXPECT_EQ(entry->expires_us(), 0);
  EXPECT_FALSE(entry->is_json());
  EXPECT_FALSE(entry->is_expired(INT64_MAX));
}

TEST_F(TableModel, HoldsTheLargestValue) {
  const std::string value(size_t{64} << 20, 'v');
  t.put("big", value);
  EXPECT_TRUE(t.table.newest("big", t.hash("big"))->value() == value);
  t.del("big");
  t.tidy_all();
  EXPECT_LT(t.table.stats().memory_bytes, 1u << 20);
}

TEST_F(TableModel, TheLastOperationOnAKeyInABatchWins) {
  t.put("a", "0");
  t.commit({put_op("a", "1"), put_op("b", "1"), del_op("a"), put_op("b", "2"), put_op("c", "1"), del_op("c")});
  EXPECT_EQ(t.contents(), (Contents{{"b", "2"}}));
  t.commit({del_op("b"), put_op("b", "3"), del_op("absent")});
  EXPECT_EQ(t.contents(), (Contents{{"b", "3"}}));
  EXPECT_EQ(t.table.stats().entries, 1u);
  EXPECT_EQ(t.table.stats().key_bytes + t.table.stats().value_bytes, 2u);
}

}  // namespace
}  // namespace kvstore::table
