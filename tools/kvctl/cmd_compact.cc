#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "kvstore/inspect.h"
#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::CompactionReport;
using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  bool dry_run = false;
  Format format = Format::kText;
};

// What would be written and removed. Takes no lock and changes nothing.
Outcome plan(const Args& args, Stdio& io) {
  const Result<kvstore::StoreInfo> info = kvstore::info(args.dir);
  if (!info.ok()) return info.status();
  const Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  const kvstore::Stats stats = store->stats();
  uint64_t bytes = 0;
  uint64_t files = 0;
  std::vector<std::string> lines;
  const auto covered = [&](const std::string& file, uint64_t size) {
    lines.push_back(fmt::format("remove     {}  {}", escape(file), human_bytes(size)));
    bytes += size;
    ++files;
  };
  // Where nothing was written since the newest snapshot, that one stays. So does, always, a segment behind the last record:
  // it is the one to be written next.
  const uint64_t snapshot_seq = info->snapshots.empty() ? 0 : info->snapshots.back().last_seq;
  const bool is_compacted = store->last_seq() == snapshot_seq;
  for (const kvstore::SnapshotInfo& snapshot : info->snapshots) {
    if (!is_compacted || snapshot.last_seq != snapshot_seq) covered(snapshot.file, snapshot.bytes);
  }
  for (const kvstore::SegmentInfo& segment : info->segments) {
    if (segment.first_seq <= store->last_seq()) covered(segment.file, segment.bytes);
  }
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) {
      object.number("seq", store->last_seq()).number("entries", stats.entries);
      object.number("files_covered", files).number("bytes_covered", bytes);
    });
    return Exit::kOk;
  }
  if (is_compacted) {
    io.out.line(fmt::format("write      nothing: no record came after sequence number {}", snapshot_seq));
  } else {
    io.out.line(fmt::format("write      a snapshot of {}, as of sequence number {}, about {}",
                            count_of(stats.entries, "entry", "entries"), store->last_seq(),
                            human_bytes(stats.live_bytes)));
  }
  for (const std::string& line : lines) io.out.line(line);
  io.out.line(fmt::format("nothing was changed: {} in {} would give way", human_bytes(bytes), count_of(files, "file")));
  return Exit::kOk;
}

// Ctrl-C ends the compaction.
Result<CompactionReport> compact_unless_interrupted(Store& store) {
  const std::jthread watch([&store](const std::stop_token& compacted) {
    for (; !compacted.stop_requested(); std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
      if (interrupted()) store.cancel_compaction();  // again and again: it may not have begun
    }
  });
  return store.compact();
}

std::string sentence_of(const Args& args, const CompactionReport& report) {
  const std::string removed = count_of(report.files_removed, "file");
  if (report.log_bytes == 0) {
    return fmt::format("{}: nothing to write: no record came after sequence number {}; {} removed",
                       escape_message(args.dir), report.seq, removed);
  }
  return fmt::format("{}: {} of log became a snapshot of {}, {}; {} removed", escape_message(args.dir),
                     human_bytes(report.log_bytes), count_of(report.entries, "entry", "entries"),
                     human_bytes(report.snapshot_bytes), removed);
}

Outcome compact(const Args& args, Stdio& io) {
  if (args.dry_run) return plan(args, io);
  Result<Store> store = open_for_writing(args.dir, IfMissing::kFail, io);
  if (!store.ok()) return store.status();
  const Result<CompactionReport> report = compact_unless_interrupted(*store);
  if (report.status().code() == kvstore::Code::kCancelled) {
    return {Exit::kInterrupted, "interrupted; no snapshot was written"};
  }
  if (!report.ok()) return report.status();
  io.done = "the compaction is done";
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) {
      object.number("seq", report->seq).number("entries", report->entries);
      object.number("snapshot_bytes", report->snapshot_bytes).number("log_bytes", report->log_bytes);
      object.number("files_removed", report->files_removed);
    });
  } else {
    io.out.line(sentence_of(args, *report));
  }
  return store->close();
}

}  // namespace

const Command kCompact = {
    .name = "compact",
    .arguments = "DIR",
    .summary = "Writes the state to a snapshot and drops the log that it covers",
    .details =
        "The state and all sequence numbers stay as they are; the history before them goes. A store that is in use "
        "does\n"
        "this by itself as its log grows. Ctrl-C ends it: exit 130, and nothing is lost.\n",
    .example =
        "  kvctl compact mydb --dry-run\n"
        "  kvctl compact mydb",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.flag("--dry-run", args->dry_run, "only tell what would be written and removed");
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return compact(*args, io); };
    },
};

}  // namespace kvctl
