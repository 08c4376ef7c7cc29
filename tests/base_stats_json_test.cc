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
  stats.expiring = 6;
  stats.expired = 7;
  stats.last_seq = 8;
  stats.synced_seq = 9;
  stats.log_bytes = 10;
  stats.log_segments = 11;
  stats.live_bytes = 12;
  stats.commits = 13;
  stats.syncs = 14;
  stats.sync_waits = 15;
  stats.rotations = 16;
  stats.reserve_stalls = 17;
  stats.broken = true;
  stats.snapshot_seq = 18;
  stats.snapshot_entries = 19;
  stats.snapshot_bytes = 20;
  stats.compactions = 21;
  stats.compactions_failed = 22;
  stats.compaction_us = 23;
  stats.encode_pool.leases = 24;
  stats.encode_pool.hits = 25;
  stats.encode_pool.misses = 26;
  stats.encode_pool.grown = 27;
  stats.encode_pool.dropped = 28;
  stats.encode_pool.retained_bytes = 29;
  stats.encode_pool.start_bytes = UINT64_MAX;
  return stats;
}

TEST(StatsJson, IsOneLineWithEveryFieldUnderItsName) {
  EXPECT_EQ(to_json(numbered()),
            R"({"entries":1,"key_bytes":2,"value_bytes":3,"table_bytes":4,"versions_held":5,)"
            R"("expiring":6,"expired":7,"last_seq":8,"synced_seq":9,"log_bytes":10,"log_segments":11,)"
            R"("live_bytes":12,"commits":13,"syncs":14,"sync_waits":15,"rotations":16,)"
            R"("reserve_stalls":17,"broken":true,"snapshot_seq":18,"snapshot_entries":19,)"
            R"("snapshot_bytes":20,"compactions":21,"compactions_failed":22,"compaction_us":23,)"
            R"("encode_pool":{"leases":24,"hits":25,"misses":26,"grown":27,"dropped":28,)"
            R"("retained_bytes":29,"start_bytes":18446744073709551615}})");
}

TEST(StatsJson, IsJson) {
  const auto parsed = nlohmann::json::parse(to_json(Stats()));
  EXPECT_EQ(parsed["entries"], 0);
  EXPECT_EQ(parsed["broken"], false);
  EXPECT_EQ(parsed["encode_pool"]["leases"], 0);
}

}  // namespace
}  // namespace kvstore
