// LatencyHistogram: counts durations by size, in fixed memory, from any number of threads at once.
//
// The buckets are log-linear, the idea of G. Tene's HdrHistogram (http://hdrhistogram.org): every power of two between
// 64 ns and 137 s is cut into 8 buckets of equal width. So whatever the size, a bucket is at most an eighth as wide as the
// durations in it, and 249 counters, 2 KiB, do for nine decades.
//
// A bucket holds the durations above its lower bound up to and including its upper one, so that each upper bound can be a
// Prometheus `le` as it is.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "kvstore/stats.h"

namespace kvstore::base {

class LatencyHistogram {
 public:
  static constexpr unsigned kFirstPower = 6;  // 2^6 ns = 64 ns: all up to this share bucket 0
  static constexpr unsigned kLastPower = 37;  // 2^37 ns = 137 s: whatever is longer counts in the last bucket
  static constexpr unsigned kStepBits = 3;    // 8 buckets for each power of two
  static constexpr size_t kBuckets = ((kLastPower - kFirstPower) << kStepBits) + 1;

  // Any thread. Two relaxed additions, some 10 ns when no other core has the lines; a negative duration counts as 0.
  void record(std::chrono::nanoseconds duration) noexcept;
  // The duration since `begin`. Reads the clock, some 20 ns more.
  void record_since(std::chrono::steady_clock::time_point begin) noexcept {
    record(std::chrono::steady_clock::now() - begin);
  }
  // Any thread, also beside record(): count and buckets always agree with each other; sum and maximum may run ahead of
  // them by the calls under way. Throws std::bad_alloc.
  [[nodiscard]] LatencyStats snapshot() const;

  // The bucket for a duration, and the longest duration in a bucket. Public for the tests' sake.
  [[nodiscard]] static constexpr size_t bucket_of(uint64_t ns) noexcept {
    if (ns <= uint64_t{1} << kFirstPower) return 0;
    if (ns > uint64_t{1} << kLastPower) return kBuckets - 1;
    const uint64_t below = ns - 1;  // bounds are inclusive above, so the powers of two belong to what is before them
    const unsigned power = static_cast<unsigned>(std::bit_width(below)) - 1;
    const uint64_t step = (below >> (power - kStepBits)) - (uint64_t{1} << kStepBits);
    return 1 + ((size_t{power} - kFirstPower) << kStepBits) + step;
  }
  [[nodiscard]] static constexpr uint64_t upto_ns(size_t bucket) noexcept {
    if (bucket == 0) return uint64_t{1} << kFirstPower;
    const unsigned power = kFirstPower + static_cast<unsigned>((bucket - 1) >> kStepBits);
    const uint64_t step = (bucket - 1) & ((uint64_t{1} << kStepBits) - 1);
    return (uint64_t{1} << power) + ((step + 1) << (power - kStepBits));
  }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
  std::atomic<uint64_t> sum_ns_{0};
  std::atomic<uint64_t> max_ns_{0};
};

}  // namespace kvstore::base
