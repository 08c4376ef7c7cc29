// How often a cache that evicts by the table's SIEVE (kvstore/table/sieve.h) finds what it is asked for, beside an exact
// LRU and random eviction: hit ratios, not times. Every cache holds 10k of 100k keys; a miss puts the key in.
//
//   zipf   keys by Zipf's law with exponent 0.99, the skew of YCSB (B. Cooper et al., SoCC 2010)
//   scan   the same, and in its middle 100k keys that are asked for once and never again
//   loop   12.5k keys in turn, over and over, after zipf has filled the cache: the worst case of LRU
//
// Checks what it claims: SIEVE is no worse than LRU on each trace, and random no better than SIEVE where keys have a
// favourite. Ends with 1 when that does not hold. The figures depend on nothing but the seed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/table/table.h"

namespace kvstore::table {
namespace {

constexpr uint64_t kCapacity = 10'000;
constexpr uint64_t kKeys = 100'000;
constexpr uint64_t kLoopKeys = 12'500;
constexpr size_t kRequests = 2'000'000;

using Trace = std::vector<uint32_t>;

// By the inverse of the cumulated weights.
class Zipf {
 public:
  Zipf(uint64_t keys, double exponent) {
    double sum = 0;
    for (uint64_t rank = 1; rank <= keys; ++rank)
      sums_.push_back(sum += std::pow(static_cast<double>(rank), -exponent));
  }
  uint32_t next(std::mt19937_64& random) {
    const double at = std::uniform_real_distribution<double>(0, sums_.back())(random);
    return static_cast<uint32_t>(std::upper_bound(sums_.begin(), sums_.end() - 1, at) - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

Trace zipf_trace(size_t requests) {
  std::mt19937_64 random(1);
  Zipf zipf(kKeys, 0.99);
  Trace trace;
  trace.reserve(requests);
  for (size_t i = 0; i < requests; ++i) trace.push_back(zipf.next(random));
  return trace;
}

// One cold key after each hot one, until all have had their turn.
Trace scan_trace() {
  Trace trace;
  uint32_t cold = kKeys;
  for (const uint32_t key : zipf_trace(kRequests)) {
    trace.push_back(key);
    if (trace.size() > kRequests / 2 && cold < 2 * kKeys) trace.push_back(cold++);
  }
  return trace;
}

Trace loop_trace() {
  Trace trace = zipf_trace(kRequests / 10);
  while (trace.size() < kRequests) trace.push_back(static_cast<uint32_t>(2 * kKeys + trace.size() % kLoopKeys));
  return trace;
}

// Each cache: ask() says whether it has the key, and takes it in if not.

class SieveCache {
 public:
  SieveCache() { table_.track_use(); }
  bool ask(uint32_t number) {
    const std::string key = std::to_string(number);
    const uint64_t hash = table_.hash(key);
    {
      const Table::ReadGuard guard(table_);
      if (table_.find(key, hash) != nullptr) return true;
    }
    if (table_.stats().entries == kCapacity) {
      const Entry* victim = table_.victim();
      KV_ASSERT(victim != nullptr);
      commit({.kind = format::Op::Kind::kDel, .is_json = false, .key = victim->key(), .value = {}, .expires_us = 0});
    }
    commit({.kind = format::Op::Kind::kPut, .is_json = false, .key = key, .value = "v", .expires_us = 0});
    return false;
  }

 private:
  void commit(const format::Op& op) {
    const uint64_t hash = table_.hash(op.key);
    table_.link(table_.stage(op, hash), hash, ++seq_);
    table_.publish(seq_);
  }
  Table table_{1};
  Seq seq_ = 0;
};

class LruCache {
 public:
  bool ask(uint32_t key) {
    if (const auto found = where_.find(key); found != where_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return true;
    }
    if (order_.size() == kCapacity) {
      where_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    where_[key] = order_.begin();
    return false;
  }

 private:
  std::list<uint32_t> order_;
  std::unordered_map<uint32_t, std::list<uint32_t>::iterator> where_;
};

class RandomCache {
 public:
  bool ask(uint32_t key) {
    if (where_.contains(key)) return true;
    size_t slot = keys_.size();
    if (slot == kCapacity) {
      slot = random_() % kCapacity;
      where_.erase(keys_[slot]);
    } else {
      keys_.push_back(0);
    }
    keys_[slot] = key;
    where_[key] = slot;
    return false;
  }

 private:
  std::vector<uint32_t> keys_;
  std::unordered_map<uint32_t, size_t> where_;
  std::mt19937_64 random_{2};
};

// Hits in a hundred requests.
template <typename Cache>
double hit_ratio(const Trace& trace) {
  Cache cache;
  size_t hits = 0;
  for (const uint32_t key : trace) hits += cache.ask(key) ? 1 : 0;
  return 100.0 * static_cast<double>(hits) / static_cast<double>(trace.size());
}

int run() {
  struct Case {
    std::string_view name;
    Trace trace;
    bool has_favourites;
  };
  const std::vector<Case> cases = {
      {"zipf", zipf_trace(kRequests), true}, {"scan", scan_trace(), true}, {"loop", loop_trace(), false}};
  bool holds = true;
  fmt::print("hits in %   {:>7} {:>7} {:>7}\n", "sieve", "lru", "random");
  for (const Case& trial : cases) {
    const double sieve = hit_ratio<SieveCache>(trial.trace);
    const double lru = hit_ratio<LruCache>(trial.trace);
    const double random = hit_ratio<RandomCache>(trial.trace);
    fmt::print("{:<11} {:7.2f} {:7.2f} {:7.2f}\n", trial.name, sieve, lru, random);
    holds = holds && sieve >= lru && (!trial.has_favourites || sieve >= random);
  }
  if (!holds)
    fmt::print(stderr, "eviction_bench: SIEVE should be no worse than LRU, and than random on zipf and scan\n");
  return holds ? 0 : 1;
}

}  // namespace
}  // namespace kvstore::table

int main() { return kvstore::table::run(); }
