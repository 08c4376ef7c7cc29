#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "kvstore/stats.h"

namespace kvstore::inline v1 {
namespace {

// One JSON object, grown member by member. Names and values need no escaping: identifiers and numbers.
class JsonObject {
 public:
  void add(const char* name, uint64_t value) { add_text(name, fmt::format_int(value).c_str()); }
  void add(const char* name, bool value) { add_text(name, value ? "true" : "false"); }
  void add_text(const char* name, std::string_view json) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\":{}", text_.empty() ? '{' : ',', name, json);
  }
  [[nodiscard]] std::string finish() const { return text_ + '}'; }

 private:
  std::string text_;
};

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

}  // namespace

std::string to_json(const Stats& stats) {
  const auto& [entries, key_bytes, value_bytes, table_bytes, versions_held, expiring, expired, last_seq, synced_seq,
               log_bytes, log_segments, live_bytes, commits, syncs, sync_waits, rotations, reserve_stalls, broken, snapshot_seq,
               snapshot_entries, snapshot_bytes, compactions, compactions_failed, compaction_us, encode_pool] = stats;
  JsonObject json;
  json.add("entries", entries);
  json.add("key_bytes", key_bytes);
  json.add("value_bytes", value_bytes);
  json.add("table_bytes", table_bytes);
  json.add("versions_held", versions_held);
  json.add("expiring", expiring);
  json.add("expired", expired);
  json.add("last_seq", last_seq);
  json.add("synced_seq", synced_seq);
  json.add("log_bytes", log_bytes);
  json.add("log_segments", log_segments);
  json.add("live_bytes", live_bytes);
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
  json.add_text("encode_pool", to_json(encode_pool));
  return json.finish();
}

}  // namespace kvstore::inline v1
