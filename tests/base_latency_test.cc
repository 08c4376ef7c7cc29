// The histogram of durations: what its quantiles promise, and that nothing is lost when many threads record.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "kvstore/base/latency.h"
#include "tests/support/seed.h"

namespace kvstore::base {
namespace {

using std::chrono::nanoseconds;
using Histogram = LatencyHistogram;

TEST(LatencyHistogram, ItsBucketsCoverAllSizesWithoutGapOrOverlap) {
  for (size_t bucket = 0; bucket + 1 < Histogram::kBuckets; ++bucket) {
    const uint64_t upto = Histogram::upto_ns(bucket);
    ASSERT_EQ(Histogram::bucket_of(upto), bucket);
    ASSERT_EQ(Histogram::bucket_of(upto + 1), bucket + 1);
    ASSERT_LE((Histogram::upto_ns(bucket + 1) - upto) * 8, upto);  // an eighth
  }
  EXPECT_EQ(Histogram::bucket_of(0), 0U);
  EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), Histogram::kBuckets - 1);
}

TEST(LatencyHistogram, EveryPowerOfTwoIsABoundBecausePrometheusIsToldTheseOnly) {
  for (unsigned power = Histogram::kFirstPower; power <= Histogram::kLastPower; ++power) {
    const uint64_t ns = uint64_t{1} << power;
    EXPECT_EQ(Histogram::upto_ns(Histogram::bucket_of(ns)), ns);
  }
}

TEST(LatencyHistogram, SaysNothingWhenNothingWasRecorded) {
  const LatencyStats empty = Histogram().snapshot();
  EXPECT_EQ(empty.count, 0U);
  EXPECT_EQ(empty.sum_ns, 0U);
  EXPECT_EQ(empty.max_ns, 0U);
  EXPECT_EQ(empty.p50_ns, 0U);
  EXPECT_EQ(empty.p999_ns, 0U);
  EXPECT_TRUE(empty.buckets.empty());
}

TEST(LatencyHistogram, OneDurationIsAllItsQuantiles) {
  Histogram histogram;
  histogram.record(nanoseconds(1'000'003));
  const LatencyStats stats = histogram.snapshot();
  EXPECT_EQ(stats.count, 1U);
  EXPECT_EQ(stats.sum_ns, 1'000'003U);
  EXPECT_EQ(stats.max_ns, 1'000'003U);
  EXPECT_EQ(stats.p50_ns, 1'000'003U);  // never above the maximum
  EXPECT_EQ(stats.p999_ns, 1'000'003U);
}

TEST(LatencyHistogram, TakesWhatIsTooShortOrTooLong) {
  Histogram histogram;
  histogram.record(nanoseconds(-5));
  histogram.record(nanoseconds(1));
  histogram.record(std::chrono::hours(1));
  const LatencyStats stats = histogram.snapshot();
  EXPECT_EQ(stats.count, 3U);
  EXPECT_EQ(stats.sum_ns, 3'600'000'000'001U);
  EXPECT_EQ(stats.p50_ns, 64U);
  EXPECT_EQ(stats.p999_ns, 3'600'000'000'000U);
  ASSERT_EQ(stats.buckets.size(), 2U);
  EXPECT_EQ(stats.buckets[0].upto_ns, 64U);
  EXPECT_EQ(stats.buckets[0].count, 2U);
  EXPECT_EQ(stats.buckets[1].upto_ns, uint64_t{1} << 37);
}

// The promise in stats.h, against quantiles of the durations themselves, sorted.
TEST(LatencyHistogram, QuantilesAreNeverTooLowAndAtMostAnEighthTooHigh) {
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 200; ++round) {
    Histogram histogram;
    std::vector<uint64_t> all(1 + random() % 3000);
    const int spread = 1 + static_cast<int>(random() % 36);  // up to 2^36 ns
    uint64_t sum = 0;
    for (uint64_t& ns : all) {
      ns = random() >> (64 - 1 - random() % static_cast<uint64_t>(spread));
      sum += ns;
      histogram.record(nanoseconds(ns));
    }
    std::sort(all.begin(), all.end());
    const LatencyStats stats = histogram.snapshot();
    ASSERT_EQ(stats.count, all.size());
    ASSERT_EQ(stats.sum_ns, sum);
    ASSERT_EQ(stats.max_ns, all.back());
    const auto expect_near = [&](uint64_t told, size_t permille) {
      const uint64_t exact = all[(all.size() * permille + 999) / 1000 - 1];
      ASSERT_GE(told, exact) << permille;
      ASSERT_LE(told, std::max<uint64_t>(exact + exact / 8, 64)) << permille;
    };
    expect_near(stats.p50_ns, 500);
    expect_near(stats.p90_ns, 900);
    expect_near(stats.p99_ns, 990);
    expect_near(stats.p999_ns, 999);
  }
}

TEST(LatencyHistogram, LosesNothingWhenManyThreadsRecordAndOneLooks) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 50'000;
  Histogram histogram;
  std::atomic<uint64_t> running{kThreads};
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {  // all into the same few buckets
      for (uint64_t n = 0; n < kEach; ++n) histogram.record(nanoseconds(200 + n % 50));
      --running;
    });
  }
  uint64_t last = 0;
  while (running != 0) {
    const LatencyStats stats = histogram.snapshot();
    uint64_t in_buckets = 0;
    for (const LatencyBucket& bucket : stats.buckets) in_buckets += bucket.count;
    EXPECT_EQ(in_buckets, stats.count);
    EXPECT_GE(stats.count, last);
    last = stats.count;
  }
  for (std::thread& thread : threads) thread.join();
  const LatencyStats stats = histogram.snapshot();
  EXPECT_EQ(stats.count, kThreads * kEach);
  EXPECT_EQ(stats.sum_ns, kThreads * (kEach * 200 + kEach / 50 * (49 * 50 / 2)));
  EXPECT_EQ(stats.max_ns, 249U);
}

}  // namespace
}  // namespace kvstore::base
