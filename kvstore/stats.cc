#include "kvstore/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "kvstore/format/escape.h"
#include "kvstore/format/utf8.h"

namespace kvstore::inline v1 {
namespace {

// One JSON object, grown member by member. Names are identifiers and need no escaping.
class JsonObject {
 public:
  void add(const char* name, uint64_t value) { add_text(name, fmt::format_int(value).c_str()); }
  void add(const char* name, int64_t value) { add_text(name, fmt::format_int(value).c_str()); }
  void add(const char* name, bool value) { add_text(name, value ? "true" : "false"); }
  void add_text(const char* name, std::string_view json) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\":{}", text_.empty() ? '{' : ',', name, json);
  }
  [[nodiscard]] std::string finish() const { return text_ + '}'; }

 private:
  std::string text_;
};

// A file name in a sentence may be anything. Where it is no UTF-8, which JSON demands, its bytes are shown as '?'.
std::string json_string(std::string text) {
  if (!format::is_utf8(text)) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) < 0; }, '?');
  }
  std::string out(format::kEscapeBytesMax * text.size() + format::kEscapeSlack, '\0');
  const format::Escaped escaped = format::escape(out.data(), text);
  out.resize(static_cast<size_t>(escaped.end - out.data()));
  return '"' + out + '"';
}

// Taking a struct apart by position refuses to compile as soon as it has one field more, so none is forgotten here.

std::string to_json(const PoolStats& pool) {
  const auto& [leases, hits, misses, grown, dropped, retained_bytes, start_bytes] = pool;
  JsonObject json;
  json.add("leases", leases);
  json.add("hits", hits);
  json.add("misses", misses);
  json.add("grown", grown);
  json.add("dropped", dropped);
  json.add("retained_bytes", retained_bytes);
  json.add("start_bytes", start_bytes);
  return json.finish();
}

std::string to_json(const PoolsStats& pools) {
  const auto& [slices, buffers, documents] = pools;
  JsonObject json;
  json.add_text("slices", to_json(slices));
  json.add_text("buffers", to_json(buffers));
  json.add_text("documents", to_json(documents));
  return json.finish();
}

std::string to_json(const LatencyStats& latency) {
  const auto& [count, sum_ns, max_ns, p50_ns, p90_ns, p99_ns, p999_ns, buckets] = latency;
  std::string pairs;
  for (const LatencyBucket& bucket : buckets) {
    fmt::format_to(std::back_inserter(pairs), "{}[{},{}]", pairs.empty() ? "" : ",", bucket.upto_ns, bucket.count);
  }
  JsonObject json;
  json.add("count", count);
  json.add("sum_ns", sum_ns);
  json.add("max_ns", max_ns);
  json.add("p50_ns", p50_ns);
  json.add("p90_ns", p90_ns);
  json.add("p99_ns", p99_ns);
  json.add("p999_ns", p999_ns);
  json.add_text("buckets", fmt::format("[{}]", pairs));
  return json.finish();
}

std::string to_json(const RecoveryStats& recovery) {
  const auto& [snapshot_entries, records, operations, bytes, duration_us, cuts, cut_bytes] = recovery;
  JsonObject json;
  json.add("snapshot_entries", snapshot_entries);
  json.add("records", records);
  json.add("operations", operations);
  json.add("bytes", bytes);
  json.add("duration_us", duration_us);
  json.add("cuts", cuts);
  json.add("cut_bytes", cut_bytes);
  return json.finish();
}

}  // namespace

std::string to_json(const Stats& stats) {
  const auto& [read_only, opened_us, entries, key_bytes, value_bytes, table_bytes, expiring, expired, evicted, pins,
               oldest_pin_seq, oldest_pin_age_us, versions_held, versions_held_bytes, written_seq, last_seq, synced_seq,
               log_bytes, log_segments, live_bytes, dead_bytes, history_files, history_bytes, commits, syncs,
               sync_waits, rotations, reserve_stalls, broken, snapshot_seq, snapshot_entries, snapshot_bytes,
               compactions, compactions_failed, compaction_us, compaction_running, compaction_done_bytes,
               compaction_total_bytes, compaction_written_bytes, last_error, last_error_us, recovery, pools,
               commit_process, commit_sync, lock_wait, sync, rotation] = stats;
  JsonObject json;
  json.add("read_only", read_only);
  json.add("opened_us", opened_us);
  json.add("entries", entries);
  json.add("key_bytes", key_bytes);
  json.add("value_bytes", value_bytes);
  json.add("table_bytes", table_bytes);
  json.add("expiring", expiring);
  json.add("expired", expired);
  json.add("evicted", evicted);
  json.add("pins", pins);
  json.add("oldest_pin_seq", oldest_pin_seq);
  json.add("oldest_pin_age_us", oldest_pin_age_us);
  json.add("versions_held", versions_held);
  json.add("versions_held_bytes", versions_held_bytes);
  json.add("written_seq", written_seq);
  json.add("last_seq", last_seq);
  json.add("synced_seq", synced_seq);
  json.add("log_bytes", log_bytes);
  json.add("log_segments", log_segments);
  json.add("live_bytes", live_bytes);
  json.add("dead_bytes", dead_bytes);
  json.add("history_files", history_files);
  json.add("history_bytes", history_bytes);
  json.add("commits", commits);
  json.add("syncs", syncs);
  json.add("sync_waits", sync_waits);
  json.add("rotations", rotations);
  json.add("reserve_stalls", reserve_stalls);
  json.add("broken", broken);
  json.add("snapshot_seq", snapshot_seq);
  json.add("snapshot_entries", snapshot_entries);
  json.add("snapshot_bytes", snapshot_bytes);
  json.add("compactions", compactions);
  json.add("compactions_failed", compactions_failed);
  json.add("compaction_us", compaction_us);
  json.add("compaction_running", compaction_running);
  json.add("compaction_done_bytes", compaction_done_bytes);
  json.add("compaction_total_bytes", compaction_total_bytes);
  json.add("compaction_written_bytes", compaction_written_bytes);
  json.add_text("last_error", json_string(last_error));
  json.add("last_error_us", last_error_us);
  json.add_text("recovery", to_json(recovery));
  json.add_text("pools", to_json(pools));
  json.add_text("commit_process", to_json(commit_process));
  json.add_text("commit_sync", to_json(commit_sync));
  json.add_text("lock_wait", to_json(lock_wait));
  json.add_text("sync", to_json(sync));
  json.add_text("rotation", to_json(rotation));
  return json.finish();
}

}  // namespace kvstore::inline v1
