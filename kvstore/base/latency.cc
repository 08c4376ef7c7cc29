#include "kvstore/base/latency.h"

#include <algorithm>

namespace kvstore::base {

static_assert(LatencyHistogram::upto_ns(0) == 64 && LatencyHistogram::bucket_of(64) == 0);
static_assert(LatencyHistogram::upto_ns(1) == 72 && LatencyHistogram::bucket_of(65) == 1);
static_assert(LatencyHistogram::upto_ns(LatencyHistogram::kBuckets - 1) == uint64_t{1} << LatencyHistogram::kLastPower);

void LatencyHistogram::record(std::chrono::nanoseconds duration) noexcept {
  const auto ns = static_cast<uint64_t>(std::max<int64_t>(duration.count(), 0));
  buckets_[bucket_of(ns)].fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(ns, std::memory_order_relaxed);
  uint64_t longest = max_ns_.load(std::memory_order_relaxed);
  while (ns > longest && !max_ns_.compare_exchange_weak(longest, ns, std::memory_order_relaxed)) {
  }
}

LatencyStats LatencyHistogram::snapshot() const {
  LatencyStats out;
  for (size_t i = 0; i < kBuckets; ++i) {
    const uint64_t count = buckets_[i].load(std::memory_order_relaxed);
    if (count == 0) continue;
    out.buckets.push_back({.upto_ns = upto_ns(i), .count = count});
    out.count += count;
  }
  out.sum_ns = sum_ns_.load(std::memory_order_relaxed);
  out.max_ns = max_ns_.load(std::memory_order_relaxed);
  // The duration of rank ceil(count * permille / 1000), rounded up to the end of its bucket: the nearest-rank quantile.
  const auto quantile = [&out](uint64_t permille) -> uint64_t {
    const uint64_t rank = out.count / 1000 * permille + (out.count % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;
    for (const LatencyBucket& bucket : out.buckets) {
      seen += bucket.count;
      const bool is_open = bucket.upto_ns == upto_ns(kBuckets - 1);
      if (seen >= rank) return is_open ? out.max_ns : std::min(bucket.upto_ns, out.max_ns);
    }
    return 0;
  };
  out.p50_ns = quantile(500);
  out.p90_ns = quantile(900);
  out.p99_ns = quantile(990);
  out.p999_ns = quantile(999);
  return out;
}

}  // namespace kvstore::base
