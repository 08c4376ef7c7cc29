// The queue of recently written keys by itself: everybody sees what came after they began to watch, in order, or learns
// that some of it is lost.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvstore/engine/recent_writes.h"
#include "tests/support/counting_new.h"

namespace kvstore::engine {
namespace {

using Place = RecentWrites::Place;

void add(RecentWrites& recent, std::string_view key) {
  const format::Op op{.kind = format::Op::Kind::kPut, .is_json = false, .key = key, .value = {}, .expires_us = 0};
  recent.add({&op, 1});
}

// "a b c", or "lost".
std::string walk(const RecentWrites& recent, Place& place, uint64_t keys_max = UINT64_MAX) {
  std::string text;
  const bool complete = recent.walk(place, keys_max, [&](std::string_view key) {
    text += (text.empty() ? "" : " ") + std::string(key.substr(0, 10));
    return true;
  });
  return complete ? text : "lost";
}

TEST(RecentWrites, EachWatcherSeesWhatCameAfterItInOrderAndOnce) {
  RecentWrites recent;
  EXPECT_FALSE(recent.watched());
  Place first = recent.watch();
  EXPECT_EQ(walk(recent, first), "");
  add(recent, "a");
  Place second = recent.watch();
  add(recent, "b");
  add(recent, "c");
  EXPECT_EQ(recent.behind(first), 3U);
  EXPECT_EQ(walk(recent, first, 2), "a b");
  EXPECT_EQ(walk(recent, first), "c");
  EXPECT_EQ(walk(recent, first), "");
  EXPECT_EQ(walk(recent, second), "b c");
}

TEST(RecentWrites, AWalkThatHasSeenEnoughGoesOnBehindTheLastKeyItSaw) {
  RecentWrites recent;
  Place place = recent.watch();
  for (const char* key : {"a", "b", "c"}) add(recent, key);
  EXPECT_TRUE(recent.walk(place, UINT64_MAX, [](std::string_view key) { return key != "b"; }));
  EXPECT_EQ(walk(recent, place), "c");
}

TEST(RecentWrites, TheLastToLeaveFreesEverything) {
  RecentWrites recent;
  (void)recent.watch();
  (void)recent.watch();
  add(recent, "a");
  recent.unwatch();
  EXPECT_GT(recent.bytes(), 0U);
  recent.unwatch();
  EXPECT_EQ(recent.bytes(), 0U);
  EXPECT_FALSE(recent.watched());
  Place late = recent.watch();
  EXPECT_EQ(walk(recent, late), "");
  add(recent, "b");
  EXPECT_EQ(walk(recent, late), "b");
}

TEST(RecentWrites, WithoutMemoryTheKeyAndAllBeforeItAreLostAndTheNextIsNot) {
  RecentWrites recent;
  Place empty = recent.watch();
  {
    const testing::MemoryRunsOut now;
    add(recent, "a");
  }
  EXPECT_EQ(walk(recent, empty), "lost");
  recent.check();

  Place before = recent.watch();
  add(recent, "b");
  Place between = recent.watch();
  recent.check();
  const std::string large(100'000, 'c');  // which takes a chunk of its own
  {
    const testing::MemoryRunsOut now;
    add(recent, large);
  }
  EXPECT_EQ(walk(recent, before), "lost");
  EXPECT_EQ(walk(recent, between), "lost");
  EXPECT_EQ(recent.bytes(), 0U);
  recent.check();
  Place after = recent.watch();
  add(recent, "d");
  EXPECT_EQ(walk(recent, after), "d");
  recent.check();
}

TEST(RecentWrites, BeyondItsBoundTheOldestIsLostToThoseWhoHaveNotReadIt) {
  constexpr size_t kBytesMax = size_t{256} << 10;
  RecentWrites recent(kBytesMax);
  Place old = recent.watch();
  Place follower = recent.watch();
  const std::string tail(999, 'k');
  for (int i = 0; i < 1000; ++i) {
    add(recent, std::to_string(i) + tail);
    ASSERT_EQ(walk(recent, follower), (std::to_string(i) + tail).substr(0, 10));
    ASSERT_LE(recent.bytes(), kBytesMax);
  }
  EXPECT_EQ(walk(recent, old), "lost");
  EXPECT_EQ(recent.behind(old), 1000U);
  Place young = recent.watch();
  add(recent, "young");
  EXPECT_EQ(walk(recent, young), "young");
  EXPECT_EQ(walk(recent, old), "lost");
}

TEST(RecentWrites, KeysOfEverySizeFit) {
  RecentWrites recent;
  Place place = recent.watch();
  std::vector<std::string> keys;
  for (size_t size = 1; size <= format::kKeyBytesMax; size = size * 3 / 2 + 1) keys.emplace_back(size, 'k');
  keys.emplace_back(format::kKeyBytesMax, 'k');
  for (const std::string& key : keys) add(recent, key);
  size_t index = 0;
  EXPECT_TRUE(recent.walk(place, UINT64_MAX, [&](std::string_view key) { return key == keys[index++]; }));
  EXPECT_EQ(index, keys.size());
}

}  // namespace
}  // namespace kvstore::engine
