// The parts the table is made of, each by itself: hash, buckets, epoch, limbo.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/table/buckets.h"
#include "kvstore/table/epoch.h"
#include "kvstore/table/hash.h"
#include "kvstore/table/limbo.h"
#include "tests/support/seed.h"
#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

// ---- hash -------------------------------------------------------------------------------------------

TEST(KeyHash, EveryKeyBitChangesEveryHashBitHalfTheTime) {
  std::mt19937_64 random(testing::seed());
  for (const size_t size : {1U, 3U, 4U, 7U, 8U, 15U, 16U, 17U, 31U, 32U, 33U, 100U}) {
    constexpr int kTrials = 1000;
    std::array<int, 64> flips{};
    for (int trial = 0; trial < kTrials; ++trial) {
      const KeyHash hash(random());
      std::string key(size, '\0');
      for (char& byte : key) byte = static_cast<char>(random());
      const uint64_t before = hash(key);
      const size_t bit = random() % (size * 8);
      key[bit / 8] = static_cast<char>(key[bit / 8] ^ (1 << bit % 8));
      const uint64_t changed = before ^ hash(key);
      for (size_t i = 0; i < 64; ++i) flips[i] += static_cast<int>(changed >> i & 1);
    }
    for (size_t i = 0; i < 64; ++i) {  // six standard deviations: a good hash fails once in millions of runs
      EXPECT_NEAR(flips[i], kTrials / 2.0, 6 * std::sqrt(kTrials / 4.0)) << size << " bytes, hash bit " << i;
    }
  }
}

// The keys people have: counters, padded counters, paths.
TEST(KeyHash, SpreadsKeysThatDifferLittle) {
  const KeyHash hash(testing::seed());
  for (const char* shape : {"%zu", "user:%016zu", "%016zu", "/var/data/shard/%zu/blob", "%08zu12345678"}) {
    constexpr size_t kKeys = 100000;
    constexpr size_t kBins = 4096;
    std::vector<size_t> by_shard(256), low(kBins), tag(kBins);
    std::set<uint64_t> distinct;
    for (size_t number = 0; number < kKeys; ++number) {
      std::array<char, 64> text{};
      const int size = std::snprintf(text.data(), text.size(), shape, number);
      const uint64_t value = hash({text.data(), static_cast<size_t>(size)});
      ++by_shard[value >> 56];
      ++low[value % kBins];
      ++tag[SlotWord::tag_of(value) % kBins];
      distinct.insert(value);
    }
    EXPECT_EQ(distinct.size(), kKeys) << shape;
    for (const std::vector<size_t>* bins : {&by_shard, &low, &tag}) {  // a chi-squared test, six deviations
      const double expected = static_cast<double>(kKeys) / static_cast<double>(bins->size());
      double chi_squared = 0;
      for (const size_t count : *bins) chi_squared += std::pow(static_cast<double>(count) - expected, 2) / expected;
      const double freedom = static_cast<double>(bins->size()) - 1;
      EXPECT_LT(chi_squared, freedom + 6 * std::sqrt(2 * freedom)) << shape;
    }
  }
}

TEST(KeyHash, DependsOnSeedAndSize) {
  EXPECT_NE(KeyHash(1)("key"), KeyHash(2)("key"));
  EXPECT_EQ(KeyHash(1)("key"), KeyHash(1)("key"));
  std::set<uint64_t> hashes;  // zeros of every size: the padding of one is not the content of the other
  for (size_t size = 1; size <= 200; ++size) hashes.insert(KeyHash(1)(std::string(size, '\0')));
  EXPECT_EQ(hashes.size(), 200U);
}

// ---- buckets ----------------------------------------------------------------------------------------

class BucketsTest : public ::testing::Test {
 protected:
  void TearDown() override {
    ASSERT_TRUE(limbo_.settle());
    ASSERT_EQ(buckets_.check() + entries_.size(), arena_.live_count());
  }
  Entry* add(const std::string& key) {
    const format::Op op = testing::put_op(key, "");
    Entry* entry = Entry::make(arena_.allocate(Entry::footprint(op)), op);
    EXPECT_TRUE(buckets_.reserve(hash_(key), 1));
    buckets_.insert(entry, hash_(key));
    return entries_.emplace_back(entry);
  }
  void remove(size_t index) {
    Entry* entry = entries_[index];
    std::swap(entries_[index], entries_.back());
    entries_.pop_back();
    const uint64_t hash = hash_(entry->key());
    buckets_.remove(buckets_.find(entry->key(), hash).slot, hash);
    arena_.free(entry, entry->footprint());
  }
  [[nodiscard]] size_t home_buckets() const {
    size_t count = 0;
    for (size_t shard = 0; shard < Buckets::kShards; ++shard) count += buckets_.array(shard).count;
    return count;
  }
  [[nodiscard]] uint64_t blocks() {  // of the arena, entries not counted
    limbo_.settle();
    return arena_.live_count() - entries_.size();
  }

  KeyHash hash_{1};
  Arena arena_;
  Epoch epoch_;
  Limbo limbo_{arena_, epoch_};
  Buckets buckets_{arena_, limbo_};
  std::vector<Entry*> entries_;
};

TEST_F(BucketsTest, GrowAndShrinkWithTheirEntries) {
  EXPECT_EQ(home_buckets(), 0U);  // nothing is taken ahead
  for (int i = 0; i < 50000; ++i) add("key" + std::to_string(i));
  const size_t grown = home_buckets();
  EXPECT_GE(grown * 6, 50000U);
  EXPECT_LE(grown * 2, 50000U);
  EXPECT_GT(buckets_.check(), 0U);
  while (entries_.size() > 100) remove(entries_.size() / 2);
  EXPECT_EQ(home_buckets(), Buckets::kShards * BucketArray::kCountMin);
  for (const Entry* entry : entries_) EXPECT_EQ(buckets_.find(entry->key(), hash_(entry->key())).entry, entry);
}

// Chains grow with the most crowded moment of their bucket. Were they never rebuilt, a store whose keys come and go
// would end with an overflow bucket behind every home bucket, and every miss would read two lines.
TEST_F(BucketsTest, StayCompactWhileKeysComeAndGo) {
  std::mt19937_64 random(testing::seed());
  for (int i = 0; i < 10000; ++i) add("key" + std::to_string(i));
  for (int i = 10000; i < 200000; ++i) {
    remove(random() % entries_.size());
    add("key" + std::to_string(i));
  }
  EXPECT_LT(blocks(), Buckets::kShards + home_buckets() / 2);
}

TEST_F(BucketsTest, WithoutMemoryToGrowStayAsTheyAre) {
  for (int i = 0; i < 1000; ++i) add("key" + std::to_string(i));
  const size_t before = home_buckets();
  Limbo::ArrayNote* note = limbo_.make_note();
  arena_.set_limit(0);
  std::vector<std::pair<void*, size_t>> hoard;  // of every size all that is left
  for (size_t bytes = size_t{32} << 10; bytes > 0; bytes -= 8) {
    while (void* block = arena_.allocate(bytes)) hoard.emplace_back(block, bytes);
  }
  limbo_.drop_note(note);  // there is one for the old array, and no room for the new one
  buckets_.expect(100'000);
  EXPECT_EQ(home_buckets(), before);
  for (const Entry* entry : entries_) ASSERT_EQ(buckets_.find(entry->key(), hash_(entry->key())).entry, entry);

  for (const auto& [block, bytes] : hoard) arena_.free(block, bytes);
  arena_.set_limit(UINT64_MAX);
  buckets_.expect(100'000);
  EXPECT_GT(home_buckets(), before);
  for (const Entry* entry : entries_) ASSERT_EQ(buckets_.find(entry->key(), hash_(entry->key())).entry, entry);
}

TEST_F(BucketsTest, AreAtHandAfterExpect) {
  buckets_.expect(100000);
  const size_t ready = home_buckets();
  const uint64_t live = blocks();
  for (int i = 0; i < 100000; ++i) add("key" + std::to_string(i));
  EXPECT_LE(home_buckets(), ready + ready / 4);  // a few shards may get more than their share
  EXPECT_GE(live, Buckets::kShards);
}

TEST(SlotWord, ATagOfZeroIsNotAnEmptySlot) {
  alignas(8) std::array<char, 8> storage{};
  const auto* entry = reinterpret_cast<const Entry*>(storage.data());
  const SlotWord zero_tag(entry, 0);
  EXPECT_FALSE(zero_tag.empty());
  EXPECT_TRUE(zero_tag.matches(0));
  EXPECT_EQ(zero_tag.entry(), entry);
  EXPECT_TRUE(SlotWord().empty());
  EXPECT_FALSE(SlotWord().matches(0));
}

// What resizing relies on: position and tag together give back the place, in arrays of every size.
TEST(BucketArray, GivesBackThePlaceOfAnEntry) {
  std::mt19937_64 random(testing::seed());
  alignas(8) std::array<char, 8> storage{};
  for (int trial = 0; trial < 10000; ++trial) {
    const size_t count = BucketArray::kCountMin * (1 + random() % (trial % 2 == 0 ? 10 : BucketArray::kCountMax / 8));
    const BucketArray array{reinterpret_cast<Bucket*>(4096), count};
    const uint64_t hash = random();
    const auto index = static_cast<size_t>(array.home(hash) - array.buckets);
    ASSERT_LT(index, count);
    const SlotWord word(reinterpret_cast<const Entry*>(storage.data()), hash);
    ASSERT_EQ(array.place_of(index, word), hash & kPlaceMask);
  }
}

// ---- epoch ------------------------------------------------------------------------------------------

TEST(Epoch, AdvancesAtMostOnceWhileAReaderIsInside) {
  Epoch epoch;
  const uint64_t start = epoch.current();
  const Epoch::Ticket reader = epoch.enter();
  EXPECT_TRUE(epoch.try_advance());
  const Epoch::Ticket newer = epoch.enter();
  EXPECT_FALSE(epoch.try_advance());
  epoch.leave(reader);
  EXPECT_TRUE(epoch.try_advance());
  EXPECT_FALSE(epoch.try_advance());
  epoch.leave(newer);
  EXPECT_TRUE(epoch.try_advance());
  EXPECT_EQ(epoch.current(), start + 3);
}

// The promise itself, without a table around it: what a reader found linked is not reused while it looks.
TEST(Epoch, NobodySeesMemoryThatIsReused) {
  Epoch epoch;
  struct Node {
    uint64_t value = 1;  // 0: freed. Plain on purpose: ThreadSanitizer sees every unordered access.
  };
  constexpr int kRounds = 5000;
  std::vector<std::unique_ptr<Node>> nodes;
  for (int i = 0; i <= kRounds; ++i) nodes.push_back(std::make_unique<Node>());
  std::atomic<Node*> linked{nodes[0].get()};
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int thread = 0; thread < 3; ++thread) {
    readers.emplace_back([&] {
      while (!done.load()) {
        const Epoch::Ticket ticket = epoch.enter();
        const Node* node = linked.load(std::memory_order_acquire);
        EXPECT_EQ(node->value, 1U);
        epoch.leave(ticket);
      }
    });
  }
  std::vector<std::pair<uint64_t, Node*>> retired;
  size_t freed = 0;
  for (size_t round = 1; round <= kRounds; ++round) {
    Node* old = linked.load();
    linked.store(nodes[round].get(), std::memory_order_release);
    retired.emplace_back(epoch.current(), old);
    if (!epoch.try_advance()) std::this_thread::yield();
    for (; freed < retired.size() && retired[freed].first + 2 <= epoch.current(); ++freed) {
      retired[freed].second->value = 0;
    }
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(freed, 0U);
}

TEST(Epoch, ThreadsRarelyShareASlot) {
  // Not a matter of correctness, but of speed. Eight threads in 64 slots: with a fair spread 6.6 are distinct.
  Epoch epoch;
  std::set<uint32_t> slots;
  std::array<uint32_t, 8> seen{};
  std::atomic<int> arrived{0};
  std::vector<std::thread> threads;
  for (uint32_t& slot : seen) {
    threads.emplace_back([&] {
      const Epoch::Ticket ticket = epoch.enter();
      slot = ticket.slot;
      epoch.leave(ticket);
      arrived.fetch_add(1);
      while (arrived.load() < 8) std::this_thread::yield();  // all alive at once, so all have stacks of their own
    });
  }
  for (std::thread& thread : threads) thread.join();
  slots.insert(seen.begin(), seen.end());
  EXPECT_GE(slots.size(), 4U);
}

}  // namespace
}  // namespace kvstore::table
