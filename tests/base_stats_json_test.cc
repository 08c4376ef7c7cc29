#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kvstore/stats.h"

namespace kvstore {
namespace {

// Every field a different number, so that two that change places are noticed.
Stats numbered() {
  Stats stats;
  stats.entries = 1;
  stats.key_bytes = 2;
  stats.value_bytes = 3;
  stats.table_bytes = 4;
  stats.versions_held = 5;
  stats.last_seq = 6;
  stats.synced_seq = 7;
  stats.log_bytes = 8;
  stats.log_segments = 9;
  stats.commits = 10;
  stats.syncs = 11;
  stats.sync_waits = 12;
  stats.rotations = 13;
  stats.reserve_stalls = 14;
  stats.broken = true;
  stats.encode_pool.leases = 15;
  stats.encode_pool.hits = 16;
  stats.encode_pool.misses = 17;
  stats.encode_pool.grown = 18;
  stats.encode_pool.dropped = 19;
  stats.encode_pool.retained_bytes = 20;
  stats.encode_pool.start_bytes = UINT64_MAX;
  return stats;
}

TEST(StatsJson, IsOneLineWithEveryFieldUnderItsName) {
  EXPECT_EQ(to_json(numbered()),
            R"({"entries":1,"key_bytes":2,"value_bytes":3,"table_bytes":4,"versions_held":5,"last_seq":6,)"
            R"("synced_seq":7,"log_bytes":8,"log_segments":9,"commits":10,"syncs":11,"sync_waits":12,)"
            R"("rotations":13,"reserve_stalls":14,"broken":true,"encode_pool":{"leases":15,"hits":16,)"
            R"("misses":17,"grown":18,"dropped":19,"retained_bytes":20,"start_bytes":18446744073709551615}})");
}

TEST(StatsJson, IsJson) {
  const auto parsed = nlohmann::json::parse(to_json(Stats()));
  EXPECT_EQ(parsed["entries"], 0);
  EXPECT_EQ(parsed["broken"], false);
  EXPECT_EQ(parsed["encode_pool"]["leases"], 0);
}

}  // namespace
}  // namespace kvstore
