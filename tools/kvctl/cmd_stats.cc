#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::RecoveryReport;
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

std::vector<Figure> figures(const Stats& stats, const RecoveryReport& recovery) {
  uint64_t torn_bytes = 0;
  for (const kvstore::CutReport& cut : recovery.cuts) torn_bytes += cut.bytes;
  return {
      {"entries", stats.entries, "live keys"},
      {"key_bytes", stats.key_bytes, "bytes of their keys"},
      {"value_bytes", stats.value_bytes, "bytes of their values"},
      {"table_bytes", stats.table_bytes, "memory they take when the store is open"},
      {"last_seq", stats.last_seq, "newest write"},
      {"synced_seq", recovery.synced_seq, "newest write that the log promises to be on disk"},
      {"log_bytes", stats.log_bytes, "bytes of all log files"},
      {"log_segments", stats.log_segments, "log files"},
      {"log_records", recovery.records, "lines replayed"},
      {"log_operations", recovery.operations, "puts and deletes in them"},
      {"torn_bytes", torn_bytes, "at the end of the log, cut by the next writer"},
      {"replay_us", static_cast<uint64_t>(recovery.duration.count()), "microseconds that replaying took just now"},
  };
}

Outcome stats(const Args& args, Stdio& io) {
  const Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  JsonObject object;
  for (const Figure& figure : figures(store->stats(), store->recovery())) {
    if (args.format == Format::kJson) {
      object.number(figure.name, figure.value);
    } else {
      io.out.line(fmt::format("{:<14} {:>14}  {}", figure.name, figure.value, figure.meaning));
    }
  }
  if (args.format == Format::kJson) io.out.line(object.finish());
  return Exit::kOk;
}

}  // namespace

const Command kStats = {
    .name = "stats",
    .arguments = "DIR",
    .summary = "Counts entries, bytes and records",
    .details = "Replays the log to count, beside a running owner too, but cannot see into that process.\n",
    .example = "  kvctl stats mydb -o json | jq .entries",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return stats(*args, io); };
    },
};

}  // namespace kvctl
