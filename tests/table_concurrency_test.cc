// One writer beside lock-free readers. Most useful under ThreadSanitizer and AddressSanitizer; without them each
// test still checks the promise in its name.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <charconv>
#include <random>
#include <thread>

#include "tests/support/seed.h"
#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::Contents;
using testing::del_op;
using testing::put_op;
using testing::TableTest;

// Values that prove themselves: a number, the key, and the number again at the end of a run of its last digit.
std::string proof(std::string_view key, uint64_t number, size_t padding = 40) {
  const std::string digits = std::to_string(number);
  return digits + "/" + std::string(key) + "/" + std::string(padding + number % 100, digits.back()) + "/" + digits;
}

// The number in a value made by proof(); fails the test when the value is not whole.
uint64_t number_of(std::string_view key, std::string_view value) {
  uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  EXPECT_EQ(value, proof(key, number));
  return number;
}

class TableConcurrency : public TableTest {
 protected:
  void TearDown() override {
    t.tidy_all();
    EXPECT_EQ(t.table.stats().versions_held, 0u);
    TableTest::TearDown();
  }

  // Runs `read(thread number)` over and over on `count` threads while `write` runs once on this one.
  template <typename Read, typename Write>
  void read_while(unsigned count, Read read, Write write) {
    std::atomic<bool> done{false};
    std::atomic<unsigned> started{0};
    std::vector<std::thread> readers;
    for (unsigned number = 0; number < count; ++number) {
      readers.emplace_back([&, number] {
        read(number);
        started.fetch_add(1);
        while (!done.load() && !HasFailure()) read(number);
      });
    }
    while (started.load() < count) std::this_thread::yield();
    write();
    done.store(true);
    for (std::thread& reader : readers) reader.join();
  }
};

TEST_F(TableConcurrency, ReadersNeverSeeHalfABatch) {
  const std::array<std::string, 3> keys = {"left", "middle", "right"};
  auto write = [&](uint64_t number) {
    std::vector<std::string> values;
    std::vector<format::Op> ops;
    for (const std::string& key : keys) values.push_back(proof(key, number));
    for (size_t i = 0; i < keys.size(); ++i) ops.push_back(put_op(keys[i], values[i]));
    t.commit(ops);
  };
  write(1);
  auto read = [&](unsigned thread) {
    std::array<uint64_t, 3> numbers{};
    std::array<size_t, 3> order = thread % 2 == 0 ? std::array<size_t, 3>{0, 1, 2} : std::array<size_t, 3>{2, 0, 1};
    // Single reads, one after the other: none may be older than the one before it.
    uint64_t last = 0;
    for (const size_t i : order) {
      const Table::ReadGuard guard(t.table);
      const Entry* entry = t.table.find(keys[i], t.hash(keys[i]));
      ASSERT_NE(entry, nullptr);
      numbers[i] = number_of(keys[i], entry->value());
      ASSERT_GE(numbers[i], last);
      last = numbers[i];
    }
    // The same of many at once.
    {
      const Table::ReadGuard guard(t.table);
      const std::array<std::string_view, 3> asked = {keys[order[0]], keys[order[1]], keys[order[2]]};
      std::array<const Entry*, 3> found{};
      t.table.find_many(asked, found);
      for (size_t i = 0; i < 3; ++i) {
        ASSERT_NE(found[i], nullptr);
        ASSERT_GE(number_of(asked[i], found[i]->value()), last);
        last = number_of(asked[i], found[i]->value());
      }
    }
    // A pin sees exactly one commit.
    const Contents contents = t.contents();
    ASSERT_EQ(contents.size(), 3u);
    last = number_of("left", contents.at("left"));
    ASSERT_EQ(number_of("middle", contents.at("middle")), last);
    ASSERT_EQ(number_of("right", contents.at("right")), last);
  };
  read_while(2, read, [&] {
    for (uint64_t number = 2; number < 3000; ++number) write(number);
  });
}

// A bank: every commit moves money between two accounts, and empties, closes and reopens accounts on the way.
TEST_F(TableConcurrency, EveryPinSeesTheSameSum) {
  constexpr uint64_t kAccounts = 64;
  constexpr uint64_t kEach = 100;
  std::array<uint64_t, kAccounts> balances{};
  std::vector<std::string> names;
  std::vector<format::Op> ops;
  for (uint64_t i = 0; i < kAccounts; ++i) names.push_back("account" + std::to_string(i));
  const std::string start = std::to_string(kEach);
  for (const std::string& name : names) ops.push_back(put_op(name, start));
  t.commit(ops);
  balances.fill(kEach);

  auto sum = [](const Contents& contents) {
    uint64_t total = 0;
    for (const auto& [name, balance] : contents) total += std::stoull(balance);
    return total;
  };
  auto read = [&](unsigned thread) {
    const Table::Pin pin(t.table);
    ASSERT_EQ(sum(t.contents(pin)), kAccounts * kEach);
    if (thread == 0) std::this_thread::yield();
    const Table::Pin second(t.table);
    const Contents contents = t.contents(second);
    ASSERT_EQ(sum(contents), kAccounts * kEach);
    ASSERT_EQ(sum(t.contents(pin)), kAccounts * kEach);  // and it stays so
  };
  read_while(3, read, [&] {
    std::mt19937_64 random(testing::seed());
    for (int step = 0; step < 4000; ++step) {
      const size_t from = random() % kAccounts;
      const size_t to = random() % kAccounts;
      const uint64_t amount = random() % 3 == 0 ? balances[from] : random() % (balances[from] + 1);
      balances[from] -= amount;
      balances[to] += amount;
      const std::string from_text = std::to_string(balances[from]);
      const std::string to_text = std::to_string(balances[to]);
      t.commit({balances[from] == 0 ? del_op(names[from]) : put_op(names[from], from_text),
                balances[to] == 0 ? del_op(names[to]) : put_op(names[to], to_text)});
    }
  });
}

TEST_F(TableConcurrency, WhatIsPublishedIsFoundWhileTheTableGrowsAndShrinks) {
  constexpr uint64_t kKeys = 30000;
  std::atomic<uint64_t> present_begin{0};  // keys in [begin, end) are there
  std::atomic<uint64_t> present_end{0};
  auto name = [](uint64_t number) { return "key" + std::to_string(number); };
  auto read = [&](unsigned thread) {
    static thread_local std::mt19937_64 random(thread);
    const uint64_t end = present_end.load();
    const uint64_t number = end == 0 ? 0 : random() % end;
    const std::string key = name(number);
    const Table::ReadGuard guard(t.table);
    const Entry* entry = t.table.find(key, t.hash(key));
    if (entry != nullptr) {
      ASSERT_EQ(number_of(key, entry->value()), number);
    } else {
      ASSERT_TRUE(number < present_begin.load() || number >= end) << key;
    }
  };
  read_while(2, read, [&] {
    for (uint64_t number = 0; number < kKeys; ++number) {
      t.put(name(number), proof(name(number), number));
      present_end.store(number + 1);
    }
    for (uint64_t number = 0; number < kKeys; ++number) {
      present_begin.store(number + 1);
      t.del(name(number));
    }
  });
  EXPECT_EQ(t.table.stats().entries, 0u);
}

TEST_F(TableConcurrency, ASlowReaderKeepsItsValueAndDelaysNobody) {
  t.put("key", proof("key", 1));
  const uint64_t memory_before = t.table.stats().memory_bytes;
  std::atomic<int> stage{0};
  std::thread slow([&] {
    const Table::ReadGuard guard(t.table);
    const Entry* entry = t.table.find("key", t.hash("key"));
    stage.store(1);
    while (stage.load() < 2) std::this_thread::yield();
    EXPECT_EQ(number_of("key", entry->value()), 1u);
  });
  while (stage.load() < 1) std::this_thread::yield();
  for (uint64_t number = 2; number <= 50000; ++number) t.put("key", proof("key", number, 500));
  const uint64_t memory_held = t.table.stats().memory_bytes;
  EXPECT_GT(memory_held, memory_before + 20'000'000);
  stage.store(2);
  slow.join();
  t.tidy_all();
  EXPECT_LT(t.table.stats().memory_bytes, memory_held / 2);
}

// Without any limit on how many values are freed at once the first write after a slow reader would pay for all.
TEST_F(TableConcurrency, TheWriteAfterASlowReaderDoesNotPayForEverything) {
  {
    const Table::ReadGuard guard(t.table);
    for (uint64_t number = 1; number <= 20000; ++number) t.put("key", proof("key", number));
  }
  const uint64_t held = t.table.stats().memory_bytes;
  t.put("key", proof("key", 1));
  t.put("key", proof("key", 2));
  EXPECT_GT(t.table.stats().memory_bytes, held / 2);
}

// There is always somebody inside and always something unlinked, as in a busy store: what matters is what was.
TEST_F(TableConcurrency, WhatWasUnlinkedBeforeAMarkIsFreeSoonWhateverComesBehindIt) {
  std::array<std::optional<Table::ReadGuard>, 2> inside;
  inside[0].emplace(t.table);
  t.put("key", "seen");
  t.put("key", "newer");
  const uint64_t mark = t.table.unlinked_mark();
  int rounds = 0;
  for (; !t.table.has_freed(mark); ++rounds) {
    ASSERT_LT(rounds, 10);
    if (rounds < 3) {  // the first reader stays
      t.table.reclaim(1000);
      EXPECT_FALSE(t.table.has_freed(mark));
    }
    inside[rounds < 3 ? 1 : static_cast<size_t>(rounds % 2)].emplace(t.table);
    t.put("key", "newest");
    t.table.reclaim(1000);
  }
  EXPECT_GT(rounds, 3);
  EXPECT_TRUE(t.table.waits_for_readers());
}

TEST_F(TableConcurrency, GuardsMayBeNested) {
  t.put("key", "value");
  const Table::ReadGuard outer(t.table);
  const Entry* entry = t.table.find("key", t.hash("key"));
  for (int i = 0; i < 1000; ++i) {
    const Table::ReadGuard inner(t.table);
    t.put("key", "newer");
    EXPECT_EQ(t.table.find("key", t.hash("key"))->value(), "newer");
  }
  EXPECT_EQ(entry->value(), "value");
}

}  // namespace
}  // namespace kvstore::table
