// The pool's promises: buffers come back, nothing is kept beyond the limits, nothing of one user reaches the next, and
// the numbers add up.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/base/pool.h"
#include "tests/support/counting_new.h"
#include "tests/support/seed.h"

namespace kvstore::base {
namespace {

constexpr size_t kKiB = 1024;

// Leases, needs `size` bytes, returns. Gives the buffer's address back.
const char* use(BufferPool& pool, size_t size, size_t size_hint = 0) {
  const BufferPool::Lease lease = pool.lease(size_hint);
  std::fill_n(lease->reserve(size), size, 'x');
  lease->commit(size);
  return lease->data();
}

void use_times(BufferPool& pool, int times, size_t size) {
  for (int i = 0; i < times; ++i) use(pool, size);
}

// ---- Leases ---------------------------------------------------------------------------------------

TEST(BufferPool, GivesTheSameBufferAgainEmpty) {
  BufferPool pool({});
  const char* const first = use(pool, 100);
  const BufferPool::Lease lease = pool.lease();
  EXPECT_EQ(lease->data(), first);
  EXPECT_TRUE(lease->empty());
  EXPECT_GE(lease->capacity(), kKiB);
}

TEST(BufferPool, TwoLeasesAtOnceNeverShareABuffer) {
  BufferPool pool({});
  for (int round = 0; round < 3; ++round) {
    const auto a = pool.lease(), b = pool.lease(), c = pool.lease();
    EXPECT_NE(a->data(), b->data());
    EXPECT_NE(b->data(), c->data());
    EXPECT_NE(a->data(), c->data());
  }
  EXPECT_EQ(pool.stats().misses, 3u);
  EXPECT_EQ(pool.stats().hits, 6u);
}

TEST(BufferPool, WarmItAllocatesNothing) {
  BufferPool pool({});
  use_times(pool, 200, 150);
  const auto before = testing::allocations;
  use_times(pool, 1'000, 150);
  EXPECT_EQ((testing::allocations - before).calls, 0u);
}

TEST(BufferPool, GrantsAtLeastTheSizeAskedFor) {
  BufferPool pool({});
  for (const size_t hint : {size_t{1}, kKiB, kKiB + 1, 5 * kKiB, 100 * kKiB, 1024 * kKiB, 3000 * kKiB, size_t{2}}) {
    const auto outer = pool.lease(hint), inner = pool.lease(hint);
    EXPECT_GE(outer->capacity(), hint);
    EXPECT_GE(inner->capacity(), hint);
  }
}

TEST(BufferPool, ABufferTooSmallForOneLeaseWaitsForTheNext) {
  BufferPool pool({});
  const char* const small = use(pool, 100);
  const auto large = pool.lease(50 * kKiB);
  EXPECT_NE(large->data(), small);
  EXPECT_EQ(pool.lease()->data(), small);
}

TEST(BufferPool, AMovedLeaseHasOneOwner) {
  BufferPool pool({});
  BufferPool::Lease empty;
  EXPECT_FALSE(empty);
  BufferPool::Lease first = pool.lease();
  const char* const data = first->data();
  BufferPool::Lease second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): the promise under test
  ASSERT_TRUE(second);
  EXPECT_EQ(second->data(), data);

  second = pool.lease();  // the first buffer goes back here
  EXPECT_EQ(pool.lease()->data(), data);
  second = BufferPool::Lease();
  EXPECT_FALSE(second);
  EXPECT_EQ(pool.stats().retained_bytes, 2 * kKiB);
}

TEST(BufferPool, ALeaseMayEndOnAnotherThread) {
  BufferPool pool({});
  BufferPool::Lease lease = pool.lease();
  std::thread([lease = std::move(lease)]() mutable { lease = BufferPool::Lease(); }).join();
  EXPECT_EQ(pool.stats().retained_bytes, kKiB);
}

TEST(BufferPool, LeasesMayOutliveTheirPool) {
  BufferPool::Lease first, second, giant;
  {
    BufferPool pool({.wipe = true});
    { const auto idle = pool.lease(), another = pool.lease(); }
    first = pool.lease();
    second = pool.lease();
    giant = pool.lease(2 << 20);
    first->append("still mine");
  }
  EXPECT_EQ(first->view(), "still mine");
  giant = BufferPool::Lease();
  second = BufferPool::Lease();
  first->append(std::string(10 * kKiB, 'x'));
  EXPECT_EQ(first->size(), 10 * kKiB + 10);
}

TEST(BufferPool, WithoutMemoryItStaysWhole) {
  for (uint64_t allowed = 0; allowed < 3; ++allowed) {
    BufferPool pool({});
    use(pool, 10);
    {
      const testing::MemoryRunsOut later(allowed);
      try {
        (void)pool.lease(100 * kKiB);
      } catch (const std::bad_alloc&) {
      }
    }
    EXPECT_EQ(pool.stats().retained_bytes % kKiB, 0u);
    EXPECT_EQ(pool.lease()->capacity() >= kKiB, true);
    use(pool, 10, 100 * kKiB);
  }
}

// ---- Limits ---------------------------------------------------------------------------------------

TEST(BufferPool, FreesGiantsWhenTheyComeBack) {
  BufferPool pool({.giant_bytes = 64 * kKiB});
  use(pool, 10, 64 * kKiB + 1);  // asked for
  EXPECT_EQ(pool.stats().retained_bytes, 0u);
  use(pool, 65 * kKiB);  // grown into
  EXPECT_EQ(pool.stats().retained_bytes, 0u);
  EXPECT_EQ(pool.stats().dropped, 2u);
  use(pool, 64 * kKiB);  // just not one
  EXPECT_EQ(pool.stats().retained_bytes, 64 * kKiB);
  EXPECT_EQ(pool.stats().dropped, 2u);
}

TEST(BufferPool, RoundingUpMakesNoGiants) {
  BufferPool pool({.giant_bytes = 20 * kKiB});
  use(pool, 10, 17 * kKiB);
  EXPECT_EQ(pool.stats().dropped, 0u);
  EXPECT_EQ(pool.stats().retained_bytes, 17 * kKiB);
}

TEST(BufferPool, AGiantThatIsOutLeavesTheOthersTheirPlace) {
  BufferPool pool({.giant_bytes = 8 * kKiB, .retained_bytes_max = 16 * kKiB});
  const auto giant = pool.lease(100 * kKiB);
  use_times(pool, 10, 100);
  EXPECT_EQ(pool.stats().dropped, 0u);
  EXPECT_EQ(pool.stats().retained_bytes, kKiB);
}

TEST(BufferPool, RetainsNoMoreThanItMay) {
  BufferPool pool({.retained_bytes_max = 10 * kKiB});
  {
    std::vector<BufferPool::Lease> leases;
    for (int i = 0; i < 100; ++i) leases.push_back(pool.lease());
  }
  EXPECT_EQ(pool.stats().retained_bytes, 10 * kKiB);
  EXPECT_EQ(pool.stats().dropped, 90u);

  // Grown buffers count by what they grew to.
  {
    const auto a = pool.lease(), b = pool.lease();
    (void)a->reserve(6 * kKiB);
    (void)b->reserve(6 * kKiB);
  }
  EXPECT_LE(pool.stats().retained_bytes, 10 * kKiB);
}

TEST(BufferPool, SmallBuffersGiveWayToLargerOnes) {
  BufferPool pool({.retained_bytes_max = 10 * kKiB});
  {
    std::vector<BufferPool::Lease> leases;
    for (int i = 0; i < 10; ++i) leases.push_back(pool.lease());
  }
  ASSERT_EQ(pool.stats().retained_bytes, 10 * kKiB);
  use(pool, 3 * kKiB, 3 * kKiB);
  const uint64_t misses = pool.stats().misses;
  for (int i = 0; i < 10; ++i) use(pool, 3 * kKiB, 3 * kKiB);
  EXPECT_EQ(pool.stats().misses, misses);
  EXPECT_EQ(pool.stats().retained_bytes, 10 * kKiB);  // 4 KiB and six small ones
}

TEST(BufferPool, WhatCanNeverBeRetainedPushesNothingOut) {
  BufferPool pool({.retained_bytes_max = 10 * kKiB});
  { const auto a = pool.lease(), b = pool.lease(); }
  use(pool, 100, 11 * kKiB);
  EXPECT_EQ(pool.stats().retained_bytes, 2 * kKiB);
  use(pool, 100, 9 * kKiB);  // not rounded up to 16 KiB, so it has room beside one of the two
  EXPECT_EQ(pool.stats().retained_bytes, 10 * kKiB);
}

TEST(BufferPool, BuffersOfThreadsThatEndedAreFoundAgain) {
  BufferPool pool({.retained_bytes_max = 4 * kKiB});
  for (int i = 0; i < 200; ++i) std::thread([&] { use(pool, 100); }).join();
  EXPECT_LE(pool.stats().misses, 4u);
  EXPECT_EQ(pool.stats().dropped, 0u);
}

TEST(BufferPool, MayBeToldToRetainNothing) {
  BufferPool pool({.retained_bytes_max = 0});
  use_times(pool, 10, 100);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.retained_bytes, 0u);
  EXPECT_EQ(stats.misses, 10u);
  EXPECT_EQ(stats.dropped, 10u);
}

TEST(BufferPool, ReleaseIdleFreesWhatWaitsAndNothingElse) {
  BufferPool pool({});
  const auto kept = pool.lease();
  kept->append("still mine");
  { const auto a = pool.lease(), b = pool.lease(100 * kKiB), c = pool.lease(5 * kKiB); }
  const uint64_t retained = pool.stats().retained_bytes;
  EXPECT_GT(retained, 0u);
  EXPECT_EQ(pool.release_idle(), retained);
  EXPECT_EQ(pool.stats().retained_bytes, 0u);
  EXPECT_EQ(kept->view(), "still mine");
  use(pool, 100);
  EXPECT_EQ(pool.stats().misses, 5u);
}

TEST(BufferPool, WhatStaysIdleThroughTwoAgesIsFreed) {
  BufferPool pool({});
  { const auto a = pool.lease(), b = pool.lease(), c = pool.lease(); }
  pool.age();
  EXPECT_EQ(pool.stats().retained_bytes, 3 * kKiB);
  use(pool, 100);  // takes one from the old generation; it comes back as a young one
  pool.age();
  EXPECT_EQ(pool.stats().retained_bytes, kKiB);
  EXPECT_EQ(pool.stats().dropped, 2u);
  EXPECT_EQ(pool.stats().misses, 3u);
  pool.age();
  EXPECT_EQ(pool.stats().retained_bytes, 0u);
}

// ---- The starting size ----------------------------------------------------------------------------

TEST(BufferPool, StartsWithTheSizeItWasTold) {
  BufferPool pool({.start_bytes = 10'000});
  EXPECT_EQ(pool.lease()->capacity(), 16 * kKiB);
  EXPECT_EQ(pool.stats().start_bytes, 16 * kKiB);
}

TEST(BufferPool, LearnsToStartLarger) {
  BufferPool pool({});
  use_times(pool, 200, 50 * kKiB);
  EXPECT_EQ(pool.stats().start_bytes, 64 * kKiB);
  pool.release_idle();
  EXPECT_EQ(pool.lease()->capacity(), 64 * kKiB);
}

TEST(BufferPool, LearnsToStartSmallerAgainAndLetsTheLargeBufferGo) {
  BufferPool pool({});
  use_times(pool, 2'000, 50 * kKiB);
  ASSERT_EQ(pool.stats().start_bytes, 64 * kKiB);
  use_times(pool, 5'000, 100);
  EXPECT_EQ(pool.stats().start_bytes, kKiB / 2);
  EXPECT_EQ(pool.stats().retained_bytes, kKiB / 2);
  EXPECT_EQ(pool.stats().dropped, 1u);
}

TEST(BufferPool, RareLargeUsesDoNotMoveTheStart) {
  BufferPool pool({});
  for (int i = 0; i < 3'000; ++i) use(pool, i % 33 == 0 ? 100 * kKiB : 600);  // 3 %
  EXPECT_EQ(pool.stats().start_bytes, kKiB);
  for (int i = 0; i < 3'000; ++i) use(pool, i % 10 == 0 ? 100 * kKiB : 100);  // 10 %
  EXPECT_EQ(pool.stats().start_bytes, 128 * kKiB);
}

TEST(BufferPool, NeverStartsBeyondItsLimits) {
  BufferPool giants({.giant_bytes = 20 * kKiB});
  use_times(giants, 500, 500 * kKiB);
  EXPECT_EQ(giants.stats().start_bytes, 16 * kKiB);
  BufferPool frugal({.retained_bytes_max = 5 * kKiB});
  use_times(frugal, 500, 500 * kKiB);
  EXPECT_EQ(frugal.stats().start_bytes, 4 * kKiB);
}

// ---- Wiping ---------------------------------------------------------------------------------------

TEST(BufferPool, WipesTheWholeCapacityOnReturn) {
  BufferPool pool({.wipe = true});
  const char* data = nullptr;
  {
    const auto lease = pool.lease();
    data = lease->data();
    std::fill_n(lease->reserve(lease->capacity()), lease->capacity(), 'S');
    lease->commit(5);
  }
  const auto lease = pool.lease();
  ASSERT_EQ(lease->data(), data);
  EXPECT_EQ(std::string_view(data, lease->capacity()), std::string(lease->capacity(), '\0'));
}

TEST(BufferPool, WipesNothingUnlessTold) {
  BufferPool pool({});
  {
    const auto lease = pool.lease();
    lease->append("no secret");
  }
  const auto lease = pool.lease();
  EXPECT_EQ(std::string_view(lease->data(), 9), "no secret");
}

TEST(ArenaPool, WipesEveryBlockOnReturn) {
  ArenaPool pool({.start_bytes = 512, .wipe = true});
  std::vector<std::pair<const char*, size_t>> pieces;
  {
    const auto lease = pool.lease();
    for (const size_t bytes : {100, 300, 200, 2'000, 7}) {  // three blocks
      char* const piece = static_cast<char*>(lease->allocate(bytes));
      std::fill_n(piece, bytes, 'S');
      pieces.emplace_back(piece, bytes);
    }
  }
  const auto lease = pool.lease();
  ASSERT_EQ(lease->allocate(1), pieces[0].first);
  for (const auto& [piece, bytes] : pieces) EXPECT_EQ(std::string_view(piece, bytes), std::string(bytes, '\0'));
}

TEST(ArenaPool, GivesTheSameBlocksAgain) {
  ArenaPool pool({.start_bytes = 512});
  const auto fill = [&] {
    const auto lease = pool.lease();
    for (int i = 0; i < 100; ++i) std::fill_n(static_cast<char*>(lease->allocate(99)), 99, 'x');
    return lease->capacity();
  };
  const size_t capacity = fill();
  const auto before = testing::allocations;
  for (int i = 0; i < 300; ++i) EXPECT_EQ(fill(), capacity);
  EXPECT_EQ((testing::allocations - before).calls, 0u);
  EXPECT_EQ(pool.stats().misses, 1u);
  EXPECT_GE(pool.stats().start_bytes, 99u * 100);
}

TEST(ArenaPool, PiecesAreApartAndAligned) {
  BumpArena arena(512);
  std::vector<std::pair<char*, size_t>> pieces;
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 3; ++round, arena.clear(), pieces.clear()) {
    for (int i = 0; i < 300; ++i) {
      const size_t bytes = random() % 20 == 0 ? random() % 5'000 : random() % 60;
      char* const piece = static_cast<char*>(arena.allocate(bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(piece) % BumpArena::kAlignment, 0u);
      std::fill_n(piece, bytes, static_cast<char>(i));
      pieces.emplace_back(piece, bytes);
    }
    EXPECT_LE(arena.size(), arena.capacity());
    for (size_t i = 0; i < pieces.size(); ++i) {
      EXPECT_EQ(std::string(pieces[i].first, pieces[i].second), std::string(pieces[i].second, static_cast<char>(i)));
    }
  }
}

// ---- Numbers --------------------------------------------------------------------------------------

TEST(BufferPool, CountsWhatHappens) {
  BufferPool pool({});
  use(pool, 100);          // a miss
  use(pool, 100);          // a hit
  use(pool, 10 * kKiB);    // a hit that grows
  use(pool, 10, 2 << 20);  // a miss, a giant, dropped
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.leases, 4u);
  EXPECT_EQ(stats.hits, 2u);
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.grown, 1u);
  EXPECT_EQ(stats.dropped, 1u);
  EXPECT_EQ(stats.retained_bytes, 10 * kKiB);
  EXPECT_EQ(stats.start_bytes, kKiB);
}

// ---- Many threads ---------------------------------------------------------------------------------

// Leases change hands through here, so that most buffers come back on another thread than they were leased by.
class Exchange {
 public:
  BufferPool::Lease swap(size_t place, BufferPool::Lease lease) {
    const std::lock_guard guard(mutex_);
    std::swap(places_[place % places_.size()], lease);
    return lease;
  }

 private:
  std::mutex mutex_;
  std::array<BufferPool::Lease, 16> places_;
};

// Every buffer carries its writer's mark from end to end; a buffer with two holders would lose it. Meanwhile one thread
// asks for numbers and empties the pool.
void stress(const BufferPool::Options& options) {
  constexpr int kThreads = 6;
  constexpr uint64_t kLeasesPerThread = 4'000;
  BufferPool pool(options);
  {
    Exchange exchange;
    std::atomic<bool> done{false};
    std::atomic<int> damaged{0};
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(testing::seed() + t);
        for (uint64_t i = 0; i < kLeasesPerThread; ++i) {
          const size_t size = random() % 16 == 0 ? random() % (40 * kKiB) : random() % 300 + 1;
          BufferPool::Lease lease = pool.lease(random() % 2 == 0 ? 0 : size);
          if (!lease->empty()) ++damaged;
          const char mark = static_cast<char>('a' + random() % 26);
          std::fill_n(lease->reserve(size), size, mark);
          lease->commit(size);
          if (random() % 2 == 0) lease = exchange.swap(random(), std::move(lease));
          if (!lease) continue;
          const std::string_view bytes = lease->view();
          if (bytes.find_first_not_of(bytes.empty() ? mark : bytes[0]) != std::string_view::npos) ++damaged;
        }
      });
    }
    std::thread visitor([&] {
      uint64_t turn = 0;
      while (!done) {
        const PoolStats stats = pool.stats();
        if (stats.leases != stats.hits + stats.misses) ++damaged;
        turn++ % 2 == 0 ? pool.age() : static_cast<void>(pool.release_idle());
        std::this_thread::yield();
      }
    });
    for (std::thread& thread : threads) thread.join();
    done = true;
    visitor.join();
    EXPECT_EQ(damaged, 0);
  }
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.leases, kThreads * kLeasesPerThread);
  EXPECT_EQ(stats.leases, stats.hits + stats.misses);
  EXPECT_LE(stats.retained_bytes, options.retained_bytes_max);
  pool.release_idle();
  EXPECT_EQ(pool.stats().retained_bytes, 0u);
}

TEST(BufferPoolThreads, EveryBufferHasOneHolderAndEveryLeaseIsCounted) { stress({}); }

TEST(BufferPoolThreads, UnderTightLimitsToo) { stress({.giant_bytes = 16 * kKiB, .retained_bytes_max = 20 * kKiB}); }

TEST(BufferPoolThreads, WipingToo) { stress({.giant_bytes = 64 * kKiB, .wipe = true}); }

// Pools end while other threads give leases back, at any step of either.
TEST(BufferPoolThreads, APoolMayEndWhileLeasesComeBack) {
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 200; ++round) {
    auto pool = std::make_unique<BufferPool>(BufferPool::Options{.wipe = round % 2 == 0});
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&ready, pause = random() % 200, first = pool->lease(), second = pool->lease()]() mutable {
        first->append("x");
        ++ready;
        while (ready < 4) std::this_thread::yield();
        for (uint64_t i = 0; i < pause; ++i) asm volatile("");
        first = BufferPool::Lease();
        second = BufferPool::Lease();
      });
    }
    ++ready;
    while (ready < 4) std::this_thread::yield();
    pool.reset();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(BufferPoolThreads, ManyThreadsNeedFewBuffers) {
  // Two at a time each, so that what found no slot is found again in the lists.
  constexpr uint64_t kThreads = 16;
  BufferPool pool({});
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2'000; ++i) {
        const auto a = pool.lease(), b = pool.lease();
        if (i % 64 == 0) std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(pool.stats().misses, 64 + 2 * kThreads);  // at worst one waits in every slot
}

TEST(BufferPoolThreads, ThreadsWithoutASlotOfTheirOwnShareThoseOfOthers) {
  constexpr size_t kThreads = 100;  // more than there are slots
  BufferPool pool({});
  std::array<const char*, kThreads> buffers{};
  std::latch all_have_been_here(kThreads), all_have_a_buffer(kThreads);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      use(pool, 100);
      all_have_been_here.arrive_and_wait();
      const BufferPool::Lease lease = pool.lease();
      buffers[t] = lease->data();
      all_have_a_buffer.arrive_and_wait();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<const char*>(buffers.begin(), buffers.end()).size(), kThreads);
  EXPECT_EQ(pool.stats().hits + pool.stats().misses, 2 * kThreads);
}

TEST(BufferPoolThreads, IdleBytesStayWithinTheLimitAtEveryMoment) {
  constexpr size_t kLimit = 8 * kKiB;
  BufferPool pool({.retained_bytes_max = kLimit});
  std::atomic<int> running{6};
  std::atomic<size_t> highest{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(testing::seed() + t);
      // On a busy machine 3'000 rounds may pass before the watcher gets to look even once, so they go on until it has.
      for (int i = 0; i < 3'000 || (highest == 0 && i < 3'000'000); ++i) {
        const auto a = pool.lease(), b = pool.lease();
        if (random() % 4 == 0) (void)a->reserve(random() % (4 * kKiB));
      }
      --running;
    });
  }
  while (running != 0) highest = std::max(highest.load(), pool.stats().retained_bytes);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(highest, 0u) << "the watcher saw nothing";
  EXPECT_LE(std::max(highest.load(), pool.stats().retained_bytes), kLimit);
  EXPECT_GT(pool.stats().retained_bytes, 0u);
}

#if defined(__SANITIZE_ADDRESS__)
TEST(BufferPoolDeathTest, AddressSanitizerSeesWhoeverReadsAReturnedBuffer) {
  BufferPool pool({});
  const char* const data = use(pool, 100);
  EXPECT_DEATH({ [[maybe_unused]] volatile char byte = data[0]; }, "use-after-poison");
}
#endif

}  // namespace
}  // namespace kvstore::base
