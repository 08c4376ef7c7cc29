// Pins: which superseded versions stay, for how long, and what letting go of them costs.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::Contents;
using testing::del_op;
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
  t.table.collect(pin, "", found);
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
