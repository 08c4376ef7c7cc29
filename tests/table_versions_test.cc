// Pins: which superseded versions stay, for how long, and what letting go of them costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::Contents;
using testing::put_op;
using testing::TableTest;

class TableVersions : public TableTest {
 protected:
  [[nodiscard]] uint64_t held() const { return t.table.stats().versions_held; }
};

TEST_F(TableVersions, APinKeepsSeeingItsInstant) {
  t.put("a", "1");
  t.put("b", "1");
  const Table::Pin pin(t.table);
  EXPECT_EQ(pin.seq(), 2U);
  t.put("a", "2");
  t.del("b");
  t.put("c", "2");
  EXPECT_EQ(t.contents(pin), (Contents{{"a", "1"}, {"b", "1"}}));
  EXPECT_EQ(t.contents(), (Contents{{"a", "2"}, {"c", "2"}}));
  EXPECT_EQ(t.get("b"), std::nullopt);
}

TEST_F(TableVersions, EntriesStayAtTheirAddressWhileThePinLives) {
  t.put("key", "value");
  const Table::Pin pin(t.table);
  std::vector<const Entry*> found;
  t.table.collect(pin, {}, found);
  ASSERT_EQ(found.size(), 1U);
  for (int i = 0; i < 10000; ++i) t.put("key", "other");
  t.del("key");
  for (int i = 0; i < 10000; ++i) t.put("key", "other");
  EXPECT_EQ(found[0]->value(), "value");
}

TEST_F(TableVersions, OnlyWhatAPinCanSeeIsHeld) {
  t.put("key", "0");
  EXPECT_EQ(held(), 0U);
  const Table::Pin pin(t.table);
  for (int i = 1; i <= 1000; ++i) t.put("key", std::to_string(i));
  EXPECT_EQ(held(), 1U);
  t.put("young", "1");
  for (int i = 1; i <= 1000; ++i) t.put("young", std::to_string(i));  // born after the pin: nothing to keep
  EXPECT_EQ(held(), 1U);
}

TEST_F(TableVersions, AVersionSeenByTwoPinsStaysForTheSecond) {
  t.put("key", "old");
  auto first = std::make_unique<Table::Pin>(t.table);
  t.put("other", "x");
  auto second = std::make_unique<Table::Pin>(t.table);
  t.put("key", "new");
  EXPECT_EQ(held(), 1U);
  second.reset();
  t.tidy_all();
  EXPECT_EQ(held(), 1U);
  EXPECT_EQ(t.contents(*first).at("key"), "old");
  first.reset();
  t.tidy_all();
  EXPECT_EQ(held(), 0U);
}

TEST_F(TableVersions, AVersionBetweenTwoPinsGoesWithItsOwn) {
  t.put("key", "1");
  auto first = std::make_unique<Table::Pin>(t.table);
  t.put("key", "2");
  auto second = std::make_unique<Table::Pin>(t.table);
  t.put("key", "3");
  EXPECT_EQ(held(), 2U);
  second.reset();
  t.tidy_all();
  EXPECT_EQ(held(), 1U);
  EXPECT_EQ(t.contents(*first).at("key"), "1");
  first.reset();
  t.tidy_all();
  EXPECT_EQ(held(), 0U);
  EXPECT_EQ(t.get("key"), "3");
}

TEST_F(TableVersions, ADeletedKeyStaysForThePinAndLeavesNothingBehind) {
  t.put("key", "value");
  auto pin = std::make_unique<Table::Pin>(t.table);
  t.del("key");
  const Table::Pin after(t.table);
  t.put("key", "again");
  t.del("key");
  EXPECT_EQ(t.contents(*pin), (Contents{{"key", "value"}}));
  EXPECT_EQ(t.contents(after), Contents{});
  EXPECT_EQ(t.get("key"), std::nullopt);
  EXPECT_EQ(t.table.newest("key", t.hash("key")), nullptr);
  pin.reset();
  t.tidy_all();
  EXPECT_EQ(t.contents(after), Contents{});
}

TEST_F(TableVersions, PinsOfOneInstantShareAndTheLastOneCounts) {
  t.put("key", "1");
  auto first = std::make_unique<Table::Pin>(t.table);
  auto second = std::make_unique<Table::Pin>(t.table);
  first.reset();
  t.tidy_all();
  t.put("key", "2");
  EXPECT_EQ(t.contents(*second).at("key"), "1");
  second.reset();
  second = std::make_unique<Table::Pin>(t.table);
  t.put("key", "3");
  EXPECT_EQ(t.contents(*second).at("key"), "2");
}

TEST_F(TableVersions, AnInstantCanBePinnedAgainBeforeTheWriterNoticesThatItWasLetGo) {
  t.put("key", "1");
  { const Table::Pin gone(t.table); }
  const Table::Pin again(t.table);
  t.put("key", "2");
  t.tidy_all();
  EXPECT_EQ(t.contents(again).at("key"), "1");
}

TEST_F(TableVersions, PinsMove) {
  t.put("key", "1");
  Table::Pin pin(t.table);
  t.put("key", "2");
  Table::Pin moved(std::move(pin));
  EXPECT_EQ(t.contents(moved).at("key"), "1");
  Table::Pin newer(t.table);
  moved = std::move(newer);
  EXPECT_EQ(t.contents(moved).at("key"), "2");
}

TEST_F(TableVersions, ACopiedPinHoldsTheSameInstant) {
  t.put("key", "1");
  auto first = std::make_unique<Table::Pin>(t.table);
  Table::Pin copy(*first);
  Table::Pin assigned(t.table);
  t.put("key", "2");
  assigned = copy;
  first.reset();
  t.tidy_all();
  EXPECT_EQ(copy.seq(), 1U);
  EXPECT_EQ(t.contents(copy).at("key"), "1");
  { const Table::Pin gone = std::move(copy); }
  t.tidy_all();
  EXPECT_EQ(t.contents(assigned).at("key"), "1");
  const Table::Pin emptied = copy;  // NOLINT: to copy what was moved from is allowed, and copies nothing
  assigned = Table::Pin(t.table);
  t.tidy_all();
  EXPECT_EQ(held(), 0U);
}

TEST_F(TableVersions, FindAtAPinSeesItsInstant) {
  t.put("changed", "old");
  t.put("deleted", "old");
  t.put("same", "old");
  const Table::Pin pin(t.table);
  t.put("changed", "new");
  t.del("deleted");
  t.put("born", "new");
  const auto value = [&](std::string_view key) -> std::string_view {
    const Entry* entry = t.table.find(pin, key, t.hash(key));
    return entry == nullptr ? "(none)" : entry->value();
  };
  EXPECT_EQ(value("changed"), "old");
  EXPECT_EQ(value("deleted"), "old");
  EXPECT_EQ(value("same"), "old");
  EXPECT_EQ(value("born"), "(none)");
  EXPECT_EQ(value("never"), "(none)");
}

TEST_F(TableVersions, FindManyAtAPinAgreesWithFind) {
  std::vector<std::string> names;
  for (size_t i = 0; i < 100; ++i) names.push_back("key" + std::to_string(i));
  for (size_t i = 0; i < 100; i += 2) t.put(names[i], "old");
  const Table::Pin pin(t.table);
  for (size_t i = 0; i < 100; i += 3) t.put(names[i], "new");
  for (size_t i = 0; i < 100; i += 5) t.del(names[i]);
  const std::vector<std::string_view> keys(names.begin(), names.end());
  std::vector<const Entry*> found(keys.size());
  t.table.find_many(pin, keys, found);
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(found[i], t.table.find(pin, keys[i], t.hash(keys[i])));
    ASSERT_EQ(found[i] != nullptr, i % 2 == 0) << keys[i];
    ASSERT_TRUE(found[i] == nullptr || found[i]->value() == "old");
  }
}

TEST_F(TableVersions, NothingOfABatchIsSeenBeforeItIsPublished) {
  t.put("a", "old");
  t.link(put_op("a", "new"));
  t.link(put_op("b", "new"));
  EXPECT_EQ(t.get("a"), "old");
  EXPECT_EQ(t.get("b"), std::nullopt);
  EXPECT_EQ(t.contents(), (Contents{{"a", "old"}}));
  EXPECT_EQ(t.table.newest("a", t.hash("a"))->value(), "new");
  const Table::Pin between(t.table);
  t.publish();
  EXPECT_EQ(t.get("a"), "new");
  EXPECT_EQ(t.get("b"), "new");
  EXPECT_EQ(t.contents(between), (Contents{{"a", "old"}}));
}

TEST_F(TableVersions, CollectKeepsToThePrefix) {
  for (const char* key : {"a", "ab", "abc", "b", "ba"}) t.put(key, key);
  const Table::Pin pin(t.table);
  EXPECT_EQ(t.contents(pin, "ab"), (Contents{{"ab", "ab"}, {"abc", "abc"}}));
  EXPECT_EQ(t.contents(pin, "").size(), 5U);
  EXPECT_EQ(t.contents(pin, "c").size(), 0U);
}

TEST_F(TableVersions, CollectKeepsToARangeOfKeys) {
  for (const char* key : {"a", "ab", "abc", "b", "ba", "c"}) t.put(key, key);
  const Table::Pin pin(t.table);
  const auto keys = [&](const Filter& filter) {
    std::vector<const Entry*> found;
    t.table.collect(pin, filter, found);
    std::vector<std::string_view> names;
    for (const Entry* entry : found) names.push_back(entry->key());
    std::sort(names.begin(), names.end());
    return names;
  };
  using Names = std::vector<std::string_view>;
  EXPECT_EQ(keys({.from = "ab"}), (Names{"ab", "abc", "b", "ba", "c"}));
  EXPECT_EQ(keys({.to = "b"}), (Names{"a", "ab", "abc"}));
  EXPECT_EQ(keys({.from = "ab", .to = "ba"}), (Names{"ab", "abc", "b"}));
  EXPECT_EQ(keys({.prefix = "a", .from = "ab"}), (Names{"ab", "abc"}));
  EXPECT_EQ(keys({.prefix = "b", .from = "c"}), Names{});
  EXPECT_EQ(keys({.from = "b", .to = "b"}), Names{});
}

// A transaction asks so whether what it read by a scan still stands.
TEST_F(TableVersions, CollectTellsTheNewestChangeAmongItsKeys) {
  t.put("a1", "v");
  t.put("a2", "v");
  t.put("b1", "v");
  const Table::Pin pin(t.table);
  const auto newest = [&](const Filter& filter) {
    std::vector<const Entry*> found;
    return t.table.collect(pin, filter, found);
  };
  EXPECT_EQ(newest({.prefix = "a"}), 2U);
  EXPECT_EQ(newest({.prefix = "x"}), 0U);
  t.put("b1", "changed");
  EXPECT_EQ(newest({.prefix = "a"}), 2U);
  EXPECT_EQ(newest({.prefix = "b"}), 4U);
  t.del("a1");
  EXPECT_EQ(newest({.prefix = "a"}), 5U);
  t.put("a3", "new");
  EXPECT_EQ(newest({.prefix = "a"}), 6U);
  EXPECT_EQ(newest({.from = "a3"}), 6U);
  EXPECT_EQ(newest({.from = "a2", .to = "a3"}), 2U);
}

TEST_F(TableVersions, TheShardsTogetherAreTheTable) {
  for (int i = 0; i < 3000; ++i) t.put("key" + std::to_string(i), "old");
  const Table::Pin pin(t.table);
  for (int i = 0; i < 4000; ++i) t.put("key" + std::to_string(i), "new");
  for (int i = 0; i < 1000; ++i) t.del("key" + std::to_string(i));
  Contents together;
  for (size_t shard = 0; shard < Table::kShards; ++shard) {
    std::vector<const Entry*> found;
    t.table.collect_shard(pin, shard, 0, found);
    EXPECT_LT(found.size(), 3000U / 64);
    for (const Entry* entry : found) ASSERT_TRUE(together.emplace(entry->key(), entry->value()).second);
  }
  EXPECT_EQ(together, t.contents(pin));
  EXPECT_EQ(together.size(), 3000U);
}

// After a long scan under heavy writing there may be millions of versions to give up. No single commit pays for them.
TEST_F(TableVersions, LettingGoIsSpreadOverManyCommits) {
  constexpr uint64_t kKeys = 5000;
  for (uint64_t i = 0; i < kKeys; ++i) t.put("key" + std::to_string(i), "old");
  auto pin = std::make_unique<Table::Pin>(t.table);
  for (uint64_t i = 0; i < kKeys; ++i) t.put("key" + std::to_string(i), "new");
  EXPECT_EQ(held(), kKeys);
  pin.reset();
  uint64_t before = held();
  uint64_t commits = 0;
  while (held() > 0) {
    t.put("other", "x");
    ++commits;
    ASSERT_LE(before - held(), 20U);
    ASSERT_TRUE(held() < before || commits < 3);
    before = held();
  }
  EXPECT_LT(commits, kKeys);
}

TEST_F(TableVersions, TidyGoesOnWhereThereIsStillMore) {
  for (int i = 0; i < 100; ++i) t.put("key" + std::to_string(i), "old");
  auto pin = std::make_unique<Table::Pin>(t.table);
  for (int i = 0; i < 100; ++i) t.put("key" + std::to_string(i), "new");
  EXPECT_FALSE(t.table.tidy(1000));  // the pin still needs them: nothing to do
  pin.reset();
  EXPECT_TRUE(t.table.tidy(10));
  EXPECT_EQ(held(), 90U);
  t.tidy_all();
  EXPECT_EQ(held(), 0U);
  EXPECT_FALSE(t.table.tidy(10));
}

}  // namespace
}  // namespace kvstore::table
