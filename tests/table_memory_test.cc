// What the table's memory costs, and that it comes back.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <latch>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "kvstore/table/arena.h"
#include "kvstore/table/chunks.h"
#include "tests/support/seed.h"
#include "tests/support/table_fixture.h"

namespace kvstore::table {
namespace {

using testing::del_op;
using testing::put_op;
using testing::TableTest;
using testing::TestTable;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

TEST(Arena, BlocksKeepTheirBytesAndDoNotOverlap) {
  std::mt19937_64 random(testing::seed());
  Arena arena;
  struct Block {
    unsigned char* bytes;
    size_t size;
    unsigned char fill;
  };
  std::vector<Block> blocks;
  auto random_size = [&]() -> size_t {
    switch (random() % 4) {
      case 0:
        return 1 + random() % 64;
      case 1:
        return 1 + random() % 1024;
      case 2:
        return 1 + random() % 8192;
      default:
        return 1 + random() % 40000;  // some beyond what slabs are for
    }
  };
  auto check = [](const Block& block) {
    for (size_t i = 0; i < block.size; i += 1 + block.size / 50) ASSERT_EQ(block.bytes[i], block.fill);
    ASSERT_EQ(block.bytes[block.size - 1], block.fill);
  };
  for (int step = 0; step < 30000; ++step) {
    if (random() % 5 < 3 || blocks.empty()) {
      const size_t size = random() % 10 == 0 ? 64 * (1 + random() % 100) : random_size();
      Block block{static_cast<unsigned char*>(arena.allocate(size)), size, static_cast<unsigned char>(random())};
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block.bytes) % 8, 0U);
      ASSERT_TRUE(size % 64 != 0 || size > 32768 || reinterpret_cast<uintptr_t>(block.bytes) % 64 == 0) << size;
      std::memset(block.bytes, block.fill, size);
      blocks.push_back(block);
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      check(blocks.back());
      arena.free(blocks.back().bytes, blocks.back().size);
      blocks.pop_back();
    }
    ASSERT_EQ(arena.live_count(), blocks.size());
  }
  for (const Block& block : blocks) {
    check(block);
    arena.free(block.bytes, block.size);
  }
  arena.trim();
  EXPECT_EQ(arena.live_count(), 0U);
  EXPECT_LE(arena.held_bytes(), 2 * kChunkBytes);
}

TEST(Arena, WastesLittle) {
  for (size_t size = 24; size < 33000; size += 1 + size / 7) {
    Arena arena;
    const size_t count = 8'000'000 / size;
    for (size_t i = 0; i < count; ++i) ASSERT_NE(arena.allocate(size), nullptr);
    const double each = static_cast<double>(arena.held_bytes()) / static_cast<double>(count);
    EXPECT_LT(each, (static_cast<double>(size) + 8) * 1.15 + 2.0 * kChunkBytes / static_cast<double>(count)) << size;
  }
}

// Slabs of several units leave a few in each chunk. Behind 64 such chunks every slab once took a chunk of its own, so that
// values of 10 kB cost 80 kB each.
TEST(Arena, WastesLittleBehindManyChunksThatAreNearlyFull) {
  for (const size_t bytes : {size_t{1036}, size_t{10'036}}) {
    Arena arena;
    std::vector<void*> blocks;
    for (size_t i = 0; i < (size_t{300} << 20) / bytes; ++i) blocks.push_back(arena.allocate(bytes));
    EXPECT_LT(arena.held_bytes(), arena.used_bytes() * 5 / 4) << bytes;
    for (void* block : blocks) arena.free(block, bytes);
  }
}

TEST(Arena, MemoryOfOneSizeServesAnother) {
  Arena arena;
  uint64_t most = 0;
  for (const size_t size : {100U, 200U, 3000U, 64U, 20000U}) {
    std::vector<void*> blocks;
    for (size_t bytes = 0; bytes < 10'000'000; bytes += size) blocks.push_back(arena.allocate(size));
    most = std::max(most, arena.held_bytes());
    for (void* block : blocks) arena.free(block, size);
  }
  EXPECT_LT(most, 16'000'000U);
}

TEST(Arena, ArraysOfEverySizeAreAlignedAndComeBack) {
  Arena arena;
  for (size_t bytes = 64; bytes <= 8 * kChunkBytes; bytes *= 2) {
    char* first = static_cast<char*>(arena.allocate_array(bytes));
    char* second = static_cast<char*>(arena.allocate_array(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(second) % 64, 0U);
    std::memset(first, 1, bytes);
    std::memset(second, 2, bytes);
    EXPECT_EQ(first[bytes - 1], 1);
    arena.free_array(first, bytes);
    arena.free_array(second, bytes);
  }
  arena.trim();
  EXPECT_EQ(arena.live_count(), 0U);
  EXPECT_LE(arena.held_bytes(), 2 * kChunkBytes);
}

// Anonymous memory of this process in bytes, where the system tells.
std::optional<uint64_t> rss_anon() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes * 1024;
  }
  return std::nullopt;
}

class TableMemory : public TableTest {
 protected:
  void TearDown() override {
    if (!HasFatalFailure()) TableTest::TearDown();
  }
  void fill(uint64_t begin, uint64_t end, size_t value_size) {
    const std::string value(value_size, 'v');
    for (uint64_t i = begin; i < end; ++i) t.put(key_of(i), value);
  }
  // Writes with little address space until it is used up, then deletes. Returns whether all was well.
  bool survives_running_out() {
    const rlimit limit{.rlim_cur = 96U << 20, .rlim_max = 96U << 20};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return false;
    const std::string value(100, 'v');
    uint64_t written = 0;
    try {
      for (; written < 10'000'000; ++written) t.put(key_of(written), value);
      return false;
    } catch (const std::bad_alloc&) {
    }
    t.tidy_all();
    t.table.check();
    if (written < 50'000 || t.table.stats().entries != written) return false;
    for (uint64_t i = 0; i < written; i += 7) {
      if (t.get(key_of(i)) != value) return false;
    }
    try {
      for (uint64_t i = 0; i < written; i += 2) t.del(key_of(i));  // makes room; a tombstone still finds some
      for (uint64_t i = 0; i < written / 4; ++i) t.put(key_of(i), value);
    } catch (const std::bad_alloc&) {
      return false;
    }
    t.table.check();
    return true;
  }
  // Loads with little address space until it is used up, then makes room for entries, and for nothing else.
  static bool a_load_survives_running_out() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_AS, &limit) != 0) return false;
    const rlimit tight{.rlim_cur = 96U << 20, .rlim_max = limit.rlim_max};
    TestTable loaded;
    loaded.table.track_use();
    const std::string value(100, 'v');
    const auto short_key = [](uint64_t number) { return std::to_string(1'000'000 + number); };  // allocates nothing
    format::Seq seq = 0;
    const auto load = [&](const format::Op& op) { loaded.table.load(op, loaded.hash(op.key), ++seq); };
    const auto load_from = [&](uint64_t number) {
      uint64_t count = 0;
      if (::setrlimit(RLIMIT_AS, &tight) != 0) return count;
      try {
        for (; count < 5'000'000; ++count) load(put_op(short_key(number + count), value));
      } catch (const std::bad_alloc&) {
      }
      ::setrlimit(RLIMIT_AS, &limit);
      return count;
    };
    const uint64_t written = load_from(0);
    uint64_t removed = 0;
    for (uint64_t i = 0; i < written; i += 10, ++removed) load(del_op(short_key(i)));
    const uint64_t more = load_from(written);  // until the queue or the buckets need a block
    loaded.table.finish_load(seq);
    loaded.table.check();
    if (written < 50'000 || more >= removed || loaded.table.stats().entries != written - removed + more) return false;
    for (uint64_t i = 0; i < written + more; ++i) {
      if (loaded.get(short_key(i)).has_value() != (i >= written || i % 10 != 0)) return false;
    }
    return true;
  }
  static std::string key_of(uint64_t number) {
    std::string key = std::to_string(number);
    return key.insert(0, 16 - key.size(), 'k');
  }
  [[nodiscard]] uint64_t memory() const { return t.table.stats().memory_bytes; }
};

// kvctl opens a store for every command.
TEST_F(TableMemory, ASmallStoreIsSmall) {
  EXPECT_EQ(memory(), 0U);
  fill(0, 10, 100);
  EXPECT_LT(memory(), 128U << 10);
  fill(10, 1000, 100);
  EXPECT_LT(memory(), 512U << 10);
}

TEST_F(TableMemory, AMillionEntriesCostFortyBytesEachOverTheirKeysAndValues) {
  if (kSanitized) GTEST_SKIP() << "nothing new for sanitizers, and a million of it";
  const std::string value(100, 'v');
  for (uint64_t i = 1; i <= 1'000'000; ++i) t.table.load(put_op(key_of(i), value), t.hash(key_of(i)), i);
  t.table.finish_load(1'000'000);
  const TableStats stats = t.table.stats();
  EXPECT_EQ(stats.entries, 1'000'000U);
  EXPECT_LE(stats.memory_bytes - stats.key_bytes - stats.value_bytes, 40'000'000U);
}

// What the table says it has taken is what the kernel has given.
TEST_F(TableMemory, SaysWhatTheKernelSees) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory drowns the table's";
  if (!rss_anon().has_value()) GTEST_SKIP() << "no RssAnon in /proc/self/status here";
  std::mt19937_64 random(testing::seed());
  const uint64_t before = *rss_anon();
  const auto expect_agreement = [&](const char* when) {
    for (int turn = 0; turn < 10000 && t.table.tidy(1 << 12); ++turn) {
    }
    const auto grown = static_cast<double>(*rss_anon() - before);
    EXPECT_NEAR(static_cast<double>(memory()), grown, grown / 20) << when;
    EXPECT_LE(t.table.stats().used_bytes, memory()) << when;
  };
  fill(0, 1'000'000, 84);
  expect_agreement("filled");
  EXPECT_GT(static_cast<double>(t.table.stats().used_bytes), 0.9 * static_cast<double>(memory()));
  const std::string value(500, 'v');
  for (uint64_t i = 0; i < 1'000'000; ++i) t.put(key_of(i), std::string_view(value).substr(0, random() % 300));
  expect_agreement("overwritten with other sizes");
  for (uint64_t i = 0; i < 1'000'000; ++i) {
    if (random() % 2 == 0) t.del(key_of(i));
  }
  expect_agreement("half deleted");
  fill(0, 1'000'000, 10);
  for (int turn = 0; turn < 100 && t.table.prepare_memory(); ++turn) {
  }
  const auto grown = static_cast<double>(*rss_anon() - before);
  EXPECT_NEAR(static_cast<double>(memory()), grown, grown / 20) << "with memory prepared";
}

TEST_F(TableMemory, BigValuesCount) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory drowns the table's";
  if (!rss_anon().has_value()) GTEST_SKIP() << "no RssAnon in /proc/self/status here";
  const uint64_t before = *rss_anon();
  fill(0, 1000, 100'000);
  t.tidy_all();
  const auto grown = static_cast<double>(*rss_anon() - before);
  EXPECT_NEAR(static_cast<double>(memory()), grown, grown / 20);
}

// What is left may keep a chunk each where it lies, but no more than that.
TEST_F(TableMemory, DeletingEverythingGivesTheMemoryBack) {
  fill(0, 200'000, 100);
  EXPECT_GT(memory(), 30'000'000U);
  for (uint64_t i = 0; i < 200'000; ++i) t.del(key_of(i));
  t.tidy_all();
  EXPECT_EQ(t.table.stats().entries, 0U);
  EXPECT_LE(memory(), 6 * kChunkBytes);
}

TEST_F(TableMemory, ValuesThatChangeSizeLeaveNothingBehind) {
  fill(0, 100'000, 50);
  fill(0, 100'000, 300);
  fill(0, 100'000, 50);
  t.tidy_all();
  EXPECT_LT(memory(), 20'000'000U);
}

TEST_F(TableMemory, AGiantBatchLeavesNothingBehind) {
  t.put("key", "value");
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < 200'000; ++i) keys.push_back(key_of(i));
  std::vector<format::Op> ops;
  for (const std::string& key : keys) ops.push_back(put_op(key, "v"));
  t.commit(ops);
  EXPECT_GT(memory(), 20'000'000U);
  for (format::Op& op : ops) op = del_op(op.key);
  t.commit(ops);
  t.tidy_all();
  EXPECT_EQ(t.table.stats().entries, 1U);
  EXPECT_LE(memory(), 6 * kChunkBytes);
}

// In a child process, which alone is limited.
TEST_F(TableMemory, RunsOutOfMemoryWithoutDamage) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need address space without limit";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(std::_Exit(survives_running_out() ? 0 : 1), ::testing::ExitedWithCode(0), "");
}

TEST_F(TableMemory, ALoadRunsOutOfMemoryWithoutDamage) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need address space without limit";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // By exit(), which writes the counters of a coverage build.
  EXPECT_EXIT(std::exit(a_load_survives_running_out() ? 0 : 1), ::testing::ExitedWithCode(0), "");
}

// It stayed until the next commit, which on a full disk may never come.
TEST_F(TableTest, WhatABatchSetAsideGoesWhenItIsDiscarded) {
  const uint64_t before = t.table.stats().used_bytes;
  std::vector<table::Entry*> staged;
  for (int i = 0; i < 50'000; ++i) {
    const std::string key = std::to_string(i);
    staged.push_back(t.table.stage(put_op(key, "v"), t.table.hash(key)));
  }
  EXPECT_GT(t.table.stats().used_bytes, before + (1 << 20));
  for (table::Entry* entry : staged) t.table.discard(entry);
  EXPECT_LT(t.table.stats().used_bytes, before + (256 << 10));
}

// ---- units that were given back ----------------------------------------------------------------------

TEST(ChunkPool, UnitsThatAreHeldAnywayAreNoMatterOfTheLimit) {
  ChunkPool pool;
  pool.give_back(pool.take(10), 10);
  pool.set_limit(0);
  EXPECT_NE(pool.take(10), nullptr);
}

// It stood in front of one with room for ever.
TEST(ChunkPool, AChunkThatMayNotBeTouchedHidesNoOther) {
  ChunkPool pool;
  char* first = pool.take(80);
  ASSERT_NE(pool.take(80), nullptr);  // a chunk of its own, with 47 units left
  pool.give_back(first, 80);
  pool.release_idle();
  pool.set_limit(pool.held_bytes());
  EXPECT_EQ(pool.take(60), nullptr);
  EXPECT_NE(pool.take(10), nullptr);
}

// Or the next deletion would need another one.
TEST(ChunkPool, WhatIsMappedBeyondTheLimitIsOnlyForThoseWhoHaveNone) {
  ChunkPool pool;
  ASSERT_NE(pool.take(80), nullptr);
  ASSERT_NE(pool.take(47), nullptr);
  pool.set_limit(kChunkBytes);
  EXPECT_EQ(pool.take(1), nullptr);
  pool.set_limit(UINT64_MAX);
  EXPECT_NE(pool.take(1), nullptr);
  pool.set_limit(kChunkBytes);
  EXPECT_EQ(pool.take(1), nullptr);
  pool.set_limit(2 * kChunkBytes);
  EXPECT_NE(pool.take(1), nullptr);
}

// Their chunk is mapped still, so that touching them again was free of any limit.
TEST(ChunkPool, UnitsThatWereGivenBackCountAgainstTheLimitWhenTheyAreTouchedAgain) {
  ChunkPool pool;
  ASSERT_NE(pool.take(10), nullptr);
  char* units = pool.take(80);
  const uint64_t held_with_them = pool.held_bytes();
  pool.give_back(units, 80);
  pool.release_idle();
  ASSERT_EQ(pool.held_bytes(), held_with_them - 80 * kUnitBytes);
  pool.set_limit(pool.held_bytes());
  EXPECT_EQ(pool.take(80), nullptr);
  EXPECT_EQ(pool.take(1), nullptr);
  EXPECT_EQ(pool.held_bytes(), held_with_them - 80 * kUnitBytes);
  pool.set_limit(held_with_them - kUnitBytes);
  EXPECT_NE(pool.take(79), nullptr);
  EXPECT_EQ(pool.take(1), nullptr);
  pool.set_limit(UINT64_MAX);
  EXPECT_NE(pool.take(1), nullptr);
  EXPECT_EQ(pool.held_bytes(), held_with_them);
}

// ---- chunks made ready ahead of their need ---------------------------------------------------------

class ReadyChunks : public ::testing::Test {
 protected:
  // As many as make the next one worth preparing.
  void SetUp() override {
    for (int i = 0; i < 16; ++i) {
      EXPECT_FALSE(pool_.prepare()) << i;
      take_a_chunk();
    }
  }
  void take_a_chunk() { ASSERT_NE(pool_.take(kUnitRunMax), nullptr); }

  ChunkPool pool_;
};

TEST_F(ReadyChunks, AreCountedTakenNextAndOneAtATime) {
  const uint64_t before = pool_.held_bytes();
  EXPECT_TRUE(pool_.prepare());
  EXPECT_FALSE(pool_.prepare());
  EXPECT_EQ(pool_.held_bytes(), before + kChunkBytes);
  take_a_chunk();
  EXPECT_EQ(pool_.held_bytes(), before + kChunkBytes);
  EXPECT_TRUE(pool_.prepare());
  EXPECT_EQ(pool_.held_bytes(), before + 2 * kChunkBytes);
}

TEST_F(ReadyChunks, GoOnceNoChunkHasBeenTakenForAWhile) {
  const uint64_t before = pool_.held_bytes();
  EXPECT_TRUE(pool_.prepare());
  pool_.release_idle();
  EXPECT_EQ(pool_.held_bytes(), before + kChunkBytes);
  pool_.release_idle();
  EXPECT_EQ(pool_.held_bytes(), before);
  EXPECT_FALSE(pool_.prepare());
  take_a_chunk();
  EXPECT_TRUE(pool_.prepare());
  pool_.end_demand();
  EXPECT_EQ(pool_.held_bytes(), before + kChunkBytes);
  EXPECT_FALSE(pool_.prepare());
}

TEST_F(ReadyChunks, AreKeptOnceWhoeverElsePreparesThem) {
  for (int round = 0; round < 20; ++round) {
    const uint64_t before = pool_.held_bytes();
    std::latch begin(2);
    std::thread other([&] {
      begin.arrive_and_wait();
      pool_.prepare();
    });
    begin.arrive_and_wait();
    pool_.prepare();
    other.join();
    ASSERT_EQ(pool_.held_bytes(), before + kChunkBytes);
    take_a_chunk();
    ASSERT_EQ(pool_.held_bytes(), before + kChunkBytes);
  }
}

}  // namespace
}  // namespace kvstore::table
