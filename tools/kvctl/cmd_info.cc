#include <fmt/format.h>

#include <memory>

#include "kvstore/inspect.h"
#include "tools/kvctl/clock.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::OwnerInfo;
using kvstore::Result;
using kvstore::SegmentInfo;
using kvstore::SnapshotInfo;
using kvstore::StoreInfo;

struct Args {
  std::string dir;
  Format format = Format::kText;
};

std::string owner_sentence(const StoreInfo& info) {
  const OwnerInfo& owner = info.owner;
  if (owner.pid == 0 && owner.alive) return "a process that LOCK does not name, running";
  if (owner.pid == 0 && info.closed_seq == 0) return "nobody";
  if (owner.pid == 0) return fmt::format("nobody; closed in order at sequence number {}", info.closed_seq);
  const std::string who =
      fmt::format("process {} on {}, since {}", owner.pid, escape(owner.host), format_time(owner.started_us));
  return owner.alive ? who + ", running" : who + ", which is gone without closing the store";
}

// What stands in headers that are lost or not to be read is null.
void fill(JsonObject& object, const StoreInfo& info) {
  info.uuid.empty() ? object.null("store") : object.text("store", info.uuid);
  info.format == 0 ? object.null("format") : object.number("format", info.format);
  info.created_us == 0 ? object.null("created") : object.number("created", info.created_us);
  object.number("closed_seq", info.closed_seq);
  object.object("owner", [&](JsonObject& owner) {
    owner.number("pid", info.owner.pid).text("host", info.owner.host).number("started", info.owner.started_us);
    owner.boolean("alive", info.owner.alive);
  });
  object.objects("snapshots", info.snapshots, [](JsonObject& out, const SnapshotInfo& snapshot) {
    out.bytes("file", snapshot.file).number("last_seq", snapshot.last_seq);
    snapshot.damaged ? out.null("entries") : out.number("entries", snapshot.entries);
    out.number("bytes", snapshot.bytes);
    snapshot.damaged ? out.null("created") : out.number("created", snapshot.created_us);
    out.boolean("damaged", snapshot.damaged);
  });
  object.objects("segments", info.segments, [](JsonObject& out, const SegmentInfo& segment) {
    out.bytes("file", segment.file).number("first_seq", segment.first_seq).number("bytes", segment.bytes);
    out.boolean("sealed", segment.sealed);
  });
  object.number("lost_and_found_files", info.lost_and_found_files);
}

void print_text(const StoreInfo& info, Output& out) {
  uint64_t bytes = 0;
  for (const SegmentInfo& segment : info.segments) bytes += segment.bytes;
  const std::string unknown = "unknown";
  out.line(fmt::format("store       {}", info.uuid.empty() ? unknown : escape(info.uuid)));
  out.line(fmt::format("format      {}", info.format == 0 ? unknown : fmt::to_string(info.format)));
  out.line(fmt::format("created     {}", info.created_us == 0 ? unknown : format_time(info.created_us)));
  out.line(fmt::format("owner       {}", owner_sentence(info)));
  for (const SnapshotInfo& snapshot : info.snapshots) {
    if (snapshot.damaged) {
      out.line(fmt::format("snapshot    {}  {:>9}  kept history, damaged: see kvctl verify", escape(snapshot.file),
                           human_bytes(snapshot.bytes)));
      continue;
    }
    out.line(fmt::format("snapshot    {}  {:>9}  {} as of sequence number {}, {}", escape(snapshot.file),
                         human_bytes(snapshot.bytes), count_of(snapshot.entries, "entry", "entries"), snapshot.last_seq,
                         format_time(snapshot.created_us)));
  }
  out.line(fmt::format("log         {}, {}", count_of(info.segments.size(), "segment"), human_bytes(bytes)));
  for (const SegmentInfo& segment : info.segments) {
    out.line(fmt::format("            {}  {:>9}  from sequence number {}{}", escape(segment.file),
                         human_bytes(segment.bytes), segment.first_seq, segment.sealed ? ", sealed" : ""));
  }
  out.line(fmt::format("lost+found  {}", count_of(info.lost_and_found_files, "file")));
}

Outcome info(const Args& args, Stdio& io) {
  const Result<StoreInfo> info = kvstore::info(args.dir);
  if (!info.ok()) return info.status();
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) { fill(object, *info); });
  } else {
    print_text(*info, io.out);
  }
  return Exit::kOk;
}

}  // namespace

const Command kInfo = {
    .name = "info",
    .arguments = "DIR",
    .summary = "Tells what the store is, who owns it, and which files make it up",
    .details = "Reads headers only: quick for any size. 'kvctl stats' counts what is inside.\n",
    .example = "  kvctl info mydb",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return info(*args, io); };
    },
};

}  // namespace kvctl
