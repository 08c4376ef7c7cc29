// to_prometheus(): https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4), with the names that
// https://prometheus.io/docs/practices/naming/ asks for.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/stats.h"

namespace kvstore::inline v1 {
namespace {

// Exact, where a double would round: `value` units of 10^-digits.
std::string decimal(uint64_t value, unsigned digits) {
  uint64_t unit = 1;
  for (unsigned i = 0; i < digits; ++i) unit *= 10;
  std::string text = fmt::format("{}.{:0{}}", value / unit, value % unit, digits);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

std::string from_us(uint64_t us) { return decimal(us, 6); }
std::string from_us(int64_t us) { return decimal(static_cast<uint64_t>(std::max<int64_t>(us, 0)), 6); }
std::string from_ns(uint64_t ns) { return decimal(ns, 9); }

std::string label_name(std::string_view name) {
  std::string out(name);
  for (size_t i = 0; i < out.size(); ++i) {
    const char c = out[i];
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!is_letter && (i == 0 || c < '0' || c > '9')) out[i] = '_';
  }
  return out;
}

std::string label_value(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    c == '\n' ? out += "\\n" : out += c;
  }
  return out;
}

// The page, grown one metric at a time.
class Page {
 public:
  explicit Page(const std::vector<PrometheusLabel>& labels) {
    for (const PrometheusLabel& label : labels)
      labels_ += fmt::format("{}=\"{}\",", label_name(label.name), label_value(label.value));
  }
  void gauge(std::string_view name, std::string_view help, uint64_t value) {
    single(name, "gauge", help, fmt::format_int(value).c_str());
  }
  void gauge(std::string_view name, std::string_view help, std::string_view value) {
    single(name, "gauge", help, value);
  }
  void counter(std::string_view name, std::string_view help, uint64_t value) {
    single(name, "counter", help, fmt::format_int(value).c_str());
  }

  void begin_family(std::string_view name, std::string_view type, std::string_view help) { head(name, type, help); }
  // `own`: labels beside the page's, each with a comma behind it.
  void member(std::string_view name, std::string_view own, uint64_t value) {
    sample(name, own, fmt::format_int(value).c_str());
  }

  void begin_histogram(std::string_view name, std::string_view help) { head(name, "histogram", help); }
  // `own`: labels of this histogram beside the page's, each with a comma behind it.
  void histogram(std::string_view name, const LatencyStats& latency, std::string_view own = "") {
    // Bounds that stay the same from one scrape to the next, each of them also the bound of a bucket we have.
    constexpr unsigned kFirstPower = 7, kLastPower = 36;  // 128 ns, 69 s
    uint64_t below = 0;
    auto bucket = latency.buckets.begin();
    for (unsigned power = kFirstPower; power <= kLastPower; ++power) {
      const uint64_t bound_ns = uint64_t{1} << power;
      for (; bucket != latency.buckets.end() && bucket->upto_ns <= bound_ns; ++bucket) below += bucket->count;
      sample(fmt::format("{}_bucket", name), fmt::format("{}le=\"{}\",", own, from_ns(bound_ns)),
             fmt::format_int(below).c_str());
    }
    sample(fmt::format("{}_bucket", name), fmt::format("{}le=\"+Inf\",", own), fmt::format_int(latency.count).c_str());
    sample(fmt::format("{}_sum", name), own, from_ns(latency.sum_ns));
    sample(fmt::format("{}_count", name), own, fmt::format_int(latency.count).c_str());
  }

  [[nodiscard]] std::string finish() { return std::move(text_); }

 private:
  void head(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(text_), "# HELP kvstore_{} {}\n# TYPE kvstore_{} {}\n", name, help, name, type);
  }
  void single(std::string_view name, std::string_view type, std::string_view help, std::string_view value) {
    head(name, type, help);
    sample(name, "", value);
  }
  void sample(std::string_view name, std::string_view own, std::string_view value) {
    std::string labels = labels_ + std::string(own);
    if (!labels.empty()) labels.back() = '}';  // in place of the last comma
    fmt::format_to(std::back_inserter(text_), "kvstore_{}{}{} {}\n", name, labels.empty() ? "" : "{", labels, value);
  }

  std::string labels_;  // a="b",c="d",
  std::string text_;
};

// What the files say, whoever reads them.
void add_state(Page& page, const Stats& s) {
  page.gauge("entries", "Live keys, expired ones that have not left memory yet included.", s.entries);
  page.gauge("entries_expiring", "Of these, the keys that carry an expiry.", s.expiring);
  page.gauge("key_bytes", "Bytes of the live keys.", s.key_bytes);
  page.gauge("value_bytes", "Bytes of their values.", s.value_bytes);
  page.gauge("table_memory_bytes", "Memory that keys, values and their index take.", s.table_bytes);
  page.gauge("last_seq", "Sequence number of the newest write that readers see.", s.last_seq);
  page.gauge("synced_seq", "Sequence number of the newest write known to be on disk.", s.synced_seq);
  page.gauge("log_bytes", "Bytes of log that no snapshot covers.", s.log_bytes);
  page.gauge("log_segments", "Log files that no snapshot covers.", s.log_segments);
  page.gauge("live_bytes", "About what a snapshot of the live keys would need.", s.live_bytes);
  page.gauge("dead_bytes", "About what a compaction would save.", s.dead_bytes);
  page.gauge("history_files", "Older log segments and snapshots, kept for looking back.", s.history_files);
  page.gauge("history_bytes", "Their size.", s.history_bytes);
  page.gauge("snapshot_seq", "The newest snapshot file holds the state after this write; 0 without one.",
             s.snapshot_seq);
  page.gauge("snapshot_entries", "Keys in it.", s.snapshot_entries);
  page.gauge("snapshot_bytes", "Its size.", s.snapshot_bytes);
  page.gauge("opened_timestamp_seconds", "When the store was opened.", from_us(s.opened_us));
  page.gauge("recovery_duration_seconds", "How long reading it took.", from_us(s.recovery.duration_us));
  page.gauge("recovery_snapshot_entries", "Keys read from the snapshot then.", s.recovery.snapshot_entries);
  page.gauge("recovery_records", "Log lines replayed then.", s.recovery.records);
  page.gauge("recovery_operations", "Puts and deletes in them.", s.recovery.operations);
  page.gauge("recovery_bytes", "Bytes of log read then.", s.recovery.bytes);
  page.gauge("recovery_cuts", "Torn ends of the log found then.", s.recovery.cuts);
  page.gauge("recovery_cut_bytes", "Bytes in them.", s.recovery.cut_bytes);
}

void add_pools(Page& page, const PoolsStats& pools) {
  const auto family = [&](std::string_view name, std::string_view type, std::string_view help,
                          uint64_t PoolStats::*field) {
    page.begin_family(name, type, help);
    page.member(name, "pool=\"slices\",", pools.slices.*field);
    page.member(name, "pool=\"buffers\",", pools.buffers.*field);
    page.member(name, "pool=\"documents\",", pools.documents.*field);
  };
  family("pool_leases_total", "counter", "Pieces of memory handed out.", &PoolStats::leases);
  family("pool_hits_total", "counter", "Leases served by a waiting piece.", &PoolStats::hits);
  family("pool_misses_total", "counter", "Leases that had to allocate.", &PoolStats::misses);
  family("pool_grown_total", "counter", "Leases whose piece had to grow.", &PoolStats::grown);
  family("pool_dropped_total", "counter", "Pieces freed.", &PoolStats::dropped);
  family("pool_retained_bytes", "gauge", "Capacity of the idle pieces.", &PoolStats::retained_bytes);
  family("pool_start_bytes", "gauge", "Size at which a new piece starts.", &PoolStats::start_bytes);
}

// What the process that owns the store has seen since it opened it.
void add_process(Page& page, const Stats& s) {
  page.gauge("written_seq", "Sequence number of the newest write in the kernel's hands.", s.written_seq);
  page.counter("commits_total", "Log lines written.", s.commits);
  page.counter("entries_expired_total", "Keys taken out of memory because they had expired.", s.expired);
  page.counter("entries_evicted_total", "Keys taken out because a memory limit was reached.", s.evicted);
  page.gauge("pins", "Snapshots and scans alive, a running compaction or backup included.", s.pins);
  page.gauge("oldest_pin_seq", "The oldest instant that one of them holds: the state after this write; 0 without pins.",
             s.oldest_pin_seq);
  page.gauge("oldest_pin_age_seconds", "For how long it has been held; 0 without pins.", from_us(s.oldest_pin_age_us));
  page.gauge("versions_held", "Overwritten and deleted versions kept in memory for them.", s.versions_held);
  page.gauge("versions_held_bytes", "Bytes of these versions.", s.versions_held_bytes);
  page.counter("log_syncs_total", "Successful fdatasync calls on the log.", s.syncs);
  page.counter("log_syncs_shared_total", "Commits that waited for a sync which another one had begun.", s.sync_waits);
  page.counter("log_rotations_total", "Log files begun.", s.rotations);
  page.counter("log_reserve_stalls_total", "Commits that had to extend the log file themselves.", s.reserve_stalls);
  page.gauge("broken", "1: a sync failed and writes are refused until the store is reopened.", uint64_t{s.broken});
  page.counter("compactions_total", "Compactions done.", s.compactions);
  page.counter("compactions_failed_total", "Compactions that failed or were cancelled.", s.compactions_failed);
  page.counter("compaction_written_bytes_total", "Bytes that compactions wrote.", s.compaction_written_bytes);
  page.gauge("compaction_last_duration_seconds", "How long the last compaction took.", from_us(s.compaction_us));
  page.gauge("compaction_running", "1: a compaction is running.", uint64_t{s.compaction_running});
  page.gauge("compaction_done_bytes", "Bytes the running compaction has written.", s.compaction_done_bytes);
  page.gauge("compaction_expected_bytes", "About how many it will write.", s.compaction_total_bytes);
  page.gauge("last_error_timestamp_seconds", "When a background sync or a compaction last failed; 0: never.",
             from_us(s.last_error_us));
  add_pools(page, s.pools);

  page.begin_histogram(
      "commit_duration_seconds",
      fmt::format("From a write's call to its acknowledgement. durability=\"process\" is a sample, one in {}: "
                  "for rates use kvstore_commits_total.",
                  kCommitSampleInterval));
  page.histogram("commit_duration_seconds", s.commit_process, "durability=\"process\",");
  page.histogram("commit_duration_seconds", s.commit_sync, "durability=\"sync\",");
  page.begin_histogram("commit_lock_wait_seconds", "Sleeping in wait for the commit lock, where it came to that.");
  page.histogram("commit_lock_wait_seconds", s.lock_wait);
  page.begin_histogram("log_sync_duration_seconds", "Each fdatasync of the log, failed ones included.");
  page.histogram("log_sync_duration_seconds", s.sync);
  page.begin_histogram("log_rotation_duration_seconds", "Each change to a new log file.");
  page.histogram("log_rotation_duration_seconds", s.rotation);
}

}  // namespace

std::string to_prometheus(const Stats& stats, const std::vector<PrometheusLabel>& labels) {
  Page page(labels);
  add_state(page, stats);
  if (!stats.read_only) add_process(page, stats);
  return page.finish();
}

}  // namespace kvstore::inline v1
