#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kvstore/stats.h"

namespace kvstore {
namespace {

// Eleven numbers from base + 1 on.
LatencyStats numbered_latency(uint64_t base) {
  LatencyStats latency;
  latency.count = base + 1;
  latency.sum_ns = base + 2;
  latency.max_ns = base + 3;
  latency.p50_ns = base + 4;
  latency.p90_ns = base + 5;
  latency.p99_ns = base + 6;
  latency.p999_ns = base + 7;
  latency.buckets = {{.upto_ns = base + 8, .count = base + 9}, {.upto_ns = base + 10, .count = base + 11}};
  return latency;
}

// Every field a different number, so that two that change places are noticed.
PoolStats numbered_pool(uint64_t n) { return {n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6}; }

Stats numbered() {
  Stats stats;
  stats.read_only = true;
  stats.opened_us = 1;
  stats.entries = 2;
  stats.key_bytes = 3;
  stats.value_bytes = 4;
  stats.table_bytes = 5;
  stats.expiring = 6;
  stats.expired = 7;
  stats.evicted = 8;
  stats.pins = 9;
  stats.oldest_pin_seq = 10;
  stats.oldest_pin_age_us = 11;
  stats.versions_held = 12;
  stats.versions_held_bytes = 13;
  stats.written_seq = 14;
  stats.last_seq = 15;
  stats.synced_seq = 16;
  stats.log_bytes = 17;
  stats.log_segments = 18;
  stats.live_bytes = 19;
  stats.dead_bytes = 20;
  stats.history_files = 21;
  stats.history_bytes = 22;
  stats.commits = 23;
  stats.syncs = 24;
  stats.sync_waits = 25;
  stats.rotations = 26;
  stats.reserve_stalls = 27;
  stats.broken = true;
  stats.snapshot_seq = 28;
  stats.snapshot_entries = 29;
  stats.snapshot_bytes = 30;
  stats.compactions = 31;
  stats.compactions_failed = 32;
  stats.compaction_us = 33;
  stats.compaction_running = true;
  stats.compaction_done_bytes = 34;
  stats.compaction_total_bytes = 35;
  stats.compaction_written_bytes = 36;
  stats.last_error = "sync \"db\"\n\xff";
  stats.last_error_us = 37;
  stats.recovery.snapshot_entries = 38;
  stats.recovery.records = 39;
  stats.recovery.operations = 40;
  stats.recovery.bytes = 41;
  stats.recovery.duration_us = 42;
  stats.recovery.cuts = 43;
  stats.recovery.cut_bytes = 44;
  stats.pools.slices = numbered_pool(1'045);
  stats.pools.buffers = {45, 46, 47, 48, 49, 50, UINT64_MAX};
  stats.pools.documents = numbered_pool(1'052);
  stats.commit_process = numbered_latency(51);
  stats.commit_sync = numbered_latency(62);
  stats.lock_wait = numbered_latency(73);
  stats.sync = numbered_latency(84);
  stats.rotation = numbered_latency(95);
  return stats;
}

TEST(StatsJson, IsOneLineWithEveryFieldUnderItsName) {
  EXPECT_EQ(to_json(numbered()),
            R"({"read_only":true,"opened_us":1,"entries":2,"key_bytes":3,"value_bytes":4,"table_bytes":5,)"
            R"("expiring":6,"expired":7,"evicted":8,"pins":9,"oldest_pin_seq":10,"oldest_pin_age_us":11,)"
            R"("versions_held":12,"versions_held_bytes":13,"written_seq":14,"last_seq":15,"synced_seq":16,)"
            R"("log_bytes":17,"log_segments":18,"live_bytes":19,"dead_bytes":20,"history_files":21,)"
            R"("history_bytes":22,"commits":23,"syncs":24,"sync_waits":25,"rotations":26,"reserve_stalls":27,)"
            R"("broken":true,"snapshot_seq":28,"snapshot_entries":29,"snapshot_bytes":30,"compactions":31,)"
            R"("compactions_failed":32,"compaction_us":33,"compaction_running":true,"compaction_done_bytes":34,)"
            R"("compaction_total_bytes":35,"compaction_written_bytes":36,"last_error":"sync \"db\"\n?",)"
            R"("last_error_us":37,"recovery":{"snapshot_entries":38,"records":39,"operations":40,"bytes":41,)"
            R"("duration_us":42,"cuts":43,"cut_bytes":44},"pools":{)"
            R"("slices":{"leases":1045,"hits":1046,"misses":1047,"grown":1048,"dropped":1049,"retained_bytes":1050,)"
            R"("start_bytes":1051},"buffers":{"leases":45,"hits":46,"misses":47,"grown":48,"dropped":49,)"
            R"("retained_bytes":50,"start_bytes":18446744073709551615},"documents":{"leases":1052,"hits":1053,)"
            R"("misses":1054,"grown":1055,"dropped":1056,"retained_bytes":1057,"start_bytes":1058}},)"
            R"("commit_process":{"count":52,"sum_ns":53,"max_ns":54,"p50_ns":55,"p90_ns":56,"p99_ns":57,)"
            R"("p999_ns":58,"buckets":[[59,60],[61,62]]},"commit_sync":{"count":63,"sum_ns":64,"max_ns":65,)"
            R"("p50_ns":66,"p90_ns":67,"p99_ns":68,"p999_ns":69,"buckets":[[70,71],[72,73]]},)"
            R"("lock_wait":{"count":74,"sum_ns":75,"max_ns":76,"p50_ns":77,"p90_ns":78,"p99_ns":79,"p999_ns":80,)"
            R"("buckets":[[81,82],[83,84]]},"sync":{"count":85,"sum_ns":86,"max_ns":87,"p50_ns":88,"p90_ns":89,)"
            R"("p99_ns":90,"p999_ns":91,"buckets":[[92,93],[94,95]]},"rotation":{"count":96,"sum_ns":97,)"
            R"("max_ns":98,"p50_ns":99,"p90_ns":100,"p99_ns":101,"p999_ns":102,"buckets":[[103,104],[105,106]]}})");
}

TEST(StatsJson, IsJson) {
  const auto parsed = nlohmann::json::parse(to_json(Stats()));
  EXPECT_EQ(parsed["entries"], 0);
  EXPECT_EQ(parsed["broken"], false);
  EXPECT_EQ(parsed["last_error"], "");
  EXPECT_EQ(parsed["pools"]["documents"]["leases"], 0);
  EXPECT_EQ(parsed["sync"]["buckets"], nlohmann::json::array());
}

}  // namespace
}  // namespace kvstore
