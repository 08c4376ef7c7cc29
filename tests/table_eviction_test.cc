// Eviction: whom SIEVE chooses, that marking readers disturb nobody, and that the queue stays small.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "tests/support/seed.h"
#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::del_op;
using testing::put_op;
using testing::TableTest;
using testing::TestTable;

std::string name(uint64_t number) { return "key" + std::to_string(number); }

// SIEVE as the paper has it, in plain containers: nothing is ever packed, deleted keys leave their items behind.
struct PlainSieve {
  struct Item {
    std::string key;
    uint64_t insertion;
  };
  struct State {
    uint64_t insertion;
    bool visited;
  };
  std::vector<Item> items;
  std::map<std::string, State> keys;
  size_t hand = 0;

  void put(const std::string& key) {
    if (keys.contains(key)) return;
    keys[key] = {items.size(), false};
    items.push_back({key, items.size()});
  }
  void read(const std::string& key) {
    if (const auto found = keys.find(key); found != keys.end()) found->second.visited = true;
  }
  std::string victim() {  // needs: not empty
    for (;;) {
      const Item& item = items[hand];
      hand = (hand + 1) % items.size();
      const auto found = keys.find(item.key);
      if (found == keys.end() || found->second.insertion != item.insertion) continue;
      if (!found->second.visited) return item.key;
      found->second.visited = false;
    }
  }
};

class TableEviction : public TableTest {
 protected:
  TableEviction() { t.table.track_use(); }
  void read(std::string_view key) { ASSERT_TRUE(t.get(key).has_value()) << key; }
  std::string evict() {
    const Entry* victim = t.table.victim();
    if (victim == nullptr) return "(none)";
    std::string key(victim->key());
    EXPECT_EQ(t.table.newest(key, t.hash(key)), victim);
    t.del(key);
    return key;
  }
};

TEST_F(TableEviction, WithoutReadsTheOldestGoesFirst) {
  for (uint64_t i = 0; i < 200; ++i) t.put(name(i), "v");
  for (uint64_t i = 0; i < 200; ++i) ASSERT_EQ(evict(), name(i));
  EXPECT_EQ(t.table.victim(), nullptr);
}

TEST_F(TableEviction, WhatWasReadStaysForAnotherRound) {
  for (uint64_t i = 0; i < 6; ++i) t.put(name(i), "v");
  read("key0");
  read("key2");
  EXPECT_EQ(evict(), "key1");
  EXPECT_EQ(evict(), "key3");
  t.put("key6", "v");  // at the end of the queue
  EXPECT_EQ(evict(), "key4");
  EXPECT_EQ(evict(), "key5");
  EXPECT_EQ(evict(), "key6");
  EXPECT_EQ(evict(), "key0");  // its mark was taken by the first round
  EXPECT_EQ(evict(), "key2");
  EXPECT_EQ(evict(), "(none)");
}

TEST_F(TableEviction, AnOverwriteKeepsPlaceAndMark) {
  for (uint64_t i = 0; i < 4; ++i) t.put(name(i), "old");
  read("key1");
  for (uint64_t i = 0; i < 4; ++i) t.put(name(i), "new");
  EXPECT_EQ(evict(), "key0");
  EXPECT_EQ(evict(), "key2");
}

TEST_F(TableEviction, AKeyThatCameBackStandsAtTheEnd) {
  for (uint64_t i = 0; i < 3; ++i) t.put(name(i), "v");
  t.del("key0");
  t.put("key0", "again");
  t.commit({del_op("key1"), put_op("key1", "again")});
  EXPECT_EQ(evict(), "key2");
  EXPECT_EQ(evict(), "key0");
  EXPECT_EQ(evict(), "key1");
}

TEST_F(TableEviction, EveryKindOfFindMarksAndCollectDoesNot) {
  for (uint64_t i = 0; i < 5; ++i) t.put(name(i), "v");
  {
    const Table::Pin pin(t.table);
    EXPECT_NE(t.table.find(pin, "key0", t.hash("key0")), nullptr);
    const std::array<std::string_view, 2> keys = {"key1", "absent"};
    std::array<const Entry*, 2> found{};
    t.table.find_many(pin, keys, found);
    const Table::ReadGuard guard(t.table);
    const std::array<std::string_view, 2> more = {"key2", "absent"};
    t.table.find_many(more, found);
  }
  EXPECT_EQ(t.contents().size(), 5U);
  EXPECT_EQ(evict(), "key3");
  EXPECT_EQ(evict(), "key4");
  EXPECT_EQ(evict(), "key0");
}

TEST_F(TableEviction, LoadedKeysStandInTheOrderOfTheirLoading) {
  format::Seq seq = 0;
  const auto load = [&](const format::Op& op) { t.table.load(op, t.hash(op.key), ++seq); };
  for (uint64_t i = 0; i < 1000; ++i) load(put_op(name(i), "v"));
  for (uint64_t i = 0; i < 1000; i += 3) load(put_op(name(i), "overwritten"));
  for (uint64_t i = 0; i < 1000; i += 7) load(del_op(name(i)));
  t.table.finish_load(t.seq = seq);
  for (uint64_t i = 0; i < 1000; ++i) {
    if (i % 7 == 0) continue;
    ASSERT_EQ(evict(), name(i));
  }
}

TEST_F(TableEviction, WhatADiscardedBatchHadSetAsideIsGivenBack) {
  for (uint64_t i = 0; i < 10'000; ++i) t.put(name(i), "v");  // so that every shard has its array
  const uint64_t before = t.table.stats().used_bytes;
  std::vector<Entry*> staged;
  for (uint64_t i = 0; i < 10'000; ++i) staged.push_back(t.table.stage(put_op(name(i), "w"), t.hash(name(i))));
  for (Entry* entry : staged) t.table.discard(entry);
  t.put(name(0), "w");
  EXPECT_LT(t.table.stats().used_bytes, before + 10'000);  // the queue's share alone is five bytes for each
}

TEST_F(TableEviction, AVictimThatIsSparedComesRoundAgain) {
  for (uint64_t i = 0; i < 3; ++i) t.put(name(i), "v");
  for (uint64_t i = 0; i < 6; ++i) EXPECT_EQ(t.table.victim()->key(), name(i % 3));
}

TEST_F(TableEviction, ThePriceOfOneVictimIsBoundedHoweverManyWereRead) {
  constexpr uint64_t kKeys = 20000;
  for (uint64_t i = 0; i < kKeys; ++i) t.put(name(i), "v");
  for (uint64_t i = 0; i < kKeys; ++i) read(name(i));
  EXPECT_EQ(evict(), name(256));  // SIEVE alone would have looked at all 20000
  read(name(257));
  EXPECT_EQ(evict(), name(257 + 256));
}

// Short stories, so that no two insertions share a generation and the plain one must be matched move by move.
TEST_F(TableEviction, ChoosesLikeThePlainSieve) {
  std::mt19937_64 random(testing::seed());
  for (int story = 0; story < 200; ++story) {
    TestTable other;
    other.table.track_use();
    PlainSieve plain;
    const uint64_t key_count = 1 + random() % 120;
    for (int insertions = 0; insertions < 200;) {
      const std::string key = name(random() % key_count);
      switch (random() % 8) {
        case 0:
          other.del(key);
          plain.keys.erase(key);
          break;
        case 1:
        case 2:
          if (plain.keys.empty()) break;
          {
            const Entry* victim = other.table.victim();
            ASSERT_NE(victim, nullptr);
            const std::string chosen(victim->key());
            ASSERT_EQ(chosen, plain.victim());
            if (random() % 4 == 0) break;  // spared
            other.del(chosen);
            plain.keys.erase(chosen);
          }
          break;
        case 3:
        case 4:
          ASSERT_EQ(other.get(key).has_value(), plain.keys.contains(key));
          plain.read(key);
          break;
        case 5:
          other.table.tidy(random() % 200);
          break;
        default:
          insertions += plain.keys.contains(key) ? 0 : 1;
          other.put(key, "value");
          plain.put(key);
      }
    }
    other.table.check();
  }
}

// Keys deleted and written again all day leave items behind. The same work without a queue shows what it costs.
TEST_F(TableEviction, TheQueueStaysSmallWhileKeysComeAndGo) {
  constexpr uint64_t kKeys = 20000;
  std::mt19937_64 random(testing::seed());
  TestTable plain;
  const auto difference = [&] {
    return static_cast<double>(t.table.stats().used_bytes) - static_cast<double>(plain.table.stats().used_bytes);
  };
  double most = 0;
  for (uint64_t i = 0; i < kKeys; ++i) {
    t.put(name(i), "v");
    plain.put(name(i), "v");
  }
  EXPECT_LT(difference(), 6.0 * kKeys + 4096);
  for (int step = 0; step < 400000; ++step) {
    const std::string key = name(random() % kKeys);
    for (TestTable* table : {&t, &plain}) {
      table->del(key);
      table->put(key, "v");
    }
    if (step % 1000 == 0) most = std::max(most, difference());
  }
  EXPECT_LT(most, 12.0 * kKeys);
  for (uint64_t i = 0; i < kKeys - 10; ++i) {
    t.del(name(i));
    plain.del(name(i));
  }
  t.tidy_all();
  plain.tidy_all();
  EXPECT_LT(difference(), 16384);
  while (t.table.stats().entries > 0) ASSERT_NE(evict(), "(none)");
}

// A cache under its limit: whatever happens, there is a victim, and everything can be evicted.
TEST_F(TableEviction, ThereIsAlwaysAVictim) {
  std::mt19937_64 random(testing::seed() + 1);
  constexpr uint64_t kEntriesMax = 2000;
  for (int step = 0; step < 60000; ++step) {
    const std::string key = name(random() % 6000);
    if (random() % 5 == 0) {
      t.del(key);
    } else if (!t.get(key).has_value()) {
      t.put(key, "v");
    }
    while (t.table.stats().entries > kEntriesMax) ASSERT_NE(evict(), "(none)");
    if (step % 10000 == 0) t.table.check();
  }
  while (t.table.stats().entries > 0) ASSERT_NE(evict(), "(none)");
}

// A mark of a reader's must not undo what the writer does to the same word: links to older versions, and the sign
// that an entry is unlinked. Few keys, so that all meet on the same entries.
TEST_F(TableEviction, MarkingReadersLoseNothingOfTheWriters) {
  constexpr uint64_t kKeys = 8;
  std::atomic<bool> done{false};
  for (uint64_t i = 0; i < kKeys; ++i) t.put(name(i), name(i) + "=0");
  std::vector<std::thread> readers;
  for (int thread = 0; thread < 2; ++thread) {
    readers.emplace_back([&, thread] {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      while (!done.load() && !HasFailure()) {
        const Table::Pin pin(t.table);
        const auto first = t.contents(pin);
        for (int i = 0; i < 20; ++i) {
          const std::string key = name(random() % kKeys);
          const std::optional<std::string> value = t.get(key);
          ASSERT_TRUE(!value.has_value() || value->starts_with(key + "=")) << *value;
          const Entry* pinned = t.table.find(pin, key, t.hash(key));
          ASSERT_EQ(pinned != nullptr, first.contains(key));
          ASSERT_TRUE(pinned == nullptr || pinned->value() == first.at(key));
        }
        ASSERT_EQ(t.contents(pin), first);
      }
    });
  }
  std::mt19937_64 random(testing::seed());
  for (int step = 0; step < 20000 && !HasFailure(); ++step) {
    const std::string key = name(random() % kKeys);
    if (random() % 3 == 0) {
      evict();
    } else {
      t.put(key, key + "=" + std::to_string(step));
    }
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  t.tidy_all();
  EXPECT_EQ(t.table.stats().versions_held, 0U);
}

}  // namespace
}  // namespace kvstore::table
