#include <fmt/format.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Result;
using kvstore::Stats;
using kvstore::Store;

struct Args {
  std::string dir;
  Format format = Format::kText;
};

// What a store just opened to look at can tell. The counters of a running owner live in its process.
struct Figure {
  std::string_view name;
  uint64_t value;
  std::string_view meaning;
};

struct Group {
  std::string_view title;
  std::vector<Figure> figures;
};

std::vector<Group> groups(const Stats& stats) {
  return {
      {"table",
       {{"entries", stats.entries, "live keys"},
        {"key_bytes", stats.key_bytes, "bytes of their keys"},
        {"value_bytes", stats.value_bytes, "bytes of their values"},
        {"expiring", stats.expiring, "keys with an expiry"},
        {"table_bytes", stats.table_bytes, "memory they take when the store is open"}}},
      {"log",
       {{"last_seq", stats.last_seq, "newest write"},
        {"synced_seq", stats.synced_seq, "newest write that the log promises to be on disk"},
        {"log_bytes", stats.log_bytes, "bytes of log that no snapshot covers"},
        {"log_segments", stats.log_segments, "log files they are in"},
        {"live_bytes", stats.live_bytes, "about what a snapshot of the live keys would need"},
        {"dead_bytes", stats.dead_bytes, "about what a compaction would save"}}},
      {"snapshot",
       {{"snapshot_seq", stats.snapshot_seq, "write after which it was taken, 0 without one"},
        {"snapshot_entries", stats.snapshot_entries, "keys in it"},
        {"snapshot_bytes", stats.snapshot_bytes, "bytes of it"},
        {"history_files", stats.history_files, "older files, kept for looking back"},
        {"history_bytes", stats.history_bytes, "bytes of them"}}},
      {"replay, just now",
       {{"log_records", stats.recovery.records, "lines replayed"},
        {"log_operations", stats.recovery.operations, "puts and deletes in them"},
        {"torn_bytes", stats.recovery.cut_bytes, "at the end of the log, cut by the next writer"},
        {"replay_us", stats.recovery.duration_us, "microseconds it took"}}},
  };
}

std::array<std::pair<std::string_view, const kvstore::PoolStats*>, 3> pools(const Stats& stats) {
  return {{{"pool_slices", &stats.pools.slices},
           {"pool_buffers", &stats.pools.buffers},
           {"pool_documents", &stats.pools.documents}}};
}

void print_text(const Stats& stats, Output& out) {
  std::string_view gap;
  for (const Group& group : groups(stats)) {
    out.write(gap);
    out.line(group.title);
    for (const Figure& figure : group.figures) {
      out.line(fmt::format("  {:<16} {:>14}  {}", figure.name, figure.value, figure.meaning));
    }
    gap = "\n";
  }
  out.line("\npools, of this process      hits       misses        drops   bytes held");
  for (const auto& [name, pool] : pools(stats)) {
    out.line(fmt::format("  {:<16} {:>12} {:>12} {:>12} {:>12}", name, pool->hits, pool->misses, pool->dropped,
                         pool->retained_bytes));
  }
}

void fill(JsonObject& object, const Stats& stats) {
  for (const Group& group : groups(stats)) {
    for (const Figure& figure : group.figures) object.number(figure.name, figure.value);
  }
  for (const auto& [name, pool] : pools(stats)) {
    object.object(name, [pool = pool](JsonObject& out) {  // clang 14 captures no structured binding by itself
      out.number("hits", pool->hits).number("misses", pool->misses).number("dropped", pool->dropped);
      out.number("retained_bytes", pool->retained_bytes);
    });
  }
}

Outcome stats(const Args& args, Stdio& io) {
  const Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  const Stats stats = store->stats();
  switch (args.format) {
    case Format::kJson:
      print_object(io.out, [&](JsonObject& object) { fill(object, stats); });
      break;
    case Format::kPrometheus: {
      const std::string dir = escape(args.dir);
      io.out.write(kvstore::to_prometheus(stats, {{.name = "store", .value = dir}}));
      break;
    }
    default:
      print_text(stats, io.out);
  }
  return Exit::kOk;
}

}  // namespace

const Command kStats = {
    .name = "stats",
    .arguments = "DIR",
    .summary = "Counts entries, bytes and records",
    .details =
        "Replays the log to count, beside a running owner too, but cannot see into that process: what it counts\n"
        "since opening (latencies, syncs, compactions, snapshots held) only Store::stats() there can tell.\n"
        "-o prometheus prints the same for a scraper, labelled store=\"DIR\".\n",
    .example = "  kvctl stats mydb -o json | jq .entries",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.format(args->format, {Format::kText, Format::kJson, Format::kPrometheus});
      return [args](Stdio& io) { return stats(*args, io); };
    },
};

}  // namespace kvctl
