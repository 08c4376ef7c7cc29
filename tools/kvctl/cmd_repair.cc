#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "kvstore/repair.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/target.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::DamagedHistory;
using kvstore::DamagedSnapshot;
using kvstore::MissingRecords;
using kvstore::RejectedLine;
using kvstore::RepairPlan;
using kvstore::RepairReport;
using kvstore::Result;

constexpr size_t kLinesShown = 20;  // of each list, in text; JSON has what the library lists

struct Args {
  std::string dir;
  std::optional<std::string> to;
  bool dry_run = false;
  Format format = Format::kText;
};

// A name that another can stand beside: not "db/", ".", or "db/..".
std::string as_name(std::string dir) {
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  const std::string last = std::filesystem::path(dir).filename().string();
  if (last != "." && last != "..") return dir;
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::canonical(dir, error);
  return error ? dir : whole.string();
}

// ---- as JSON -------------------------------------------------------------------------------------

void fill(JsonObject& out, const RepairPlan& plan, const RepairReport* report) {
  out.boolean("opens", plan.opens).bytes("refusal", plan.refusal).bytes("base", plan.base);
  out.objects("damaged_history", plan.damaged_history, [](JsonObject& object, const DamagedHistory& damage) {
    object.bytes("file", damage.file).bytes("reason", damage.reason);
  });
  out.number("base_seq", plan.base_seq).number("base_entries", plan.base_entries);
  out.objects("damaged_snapshots", plan.damaged_snapshots, [](JsonObject& object, const DamagedSnapshot& snapshot) {
    object.bytes("file", snapshot.file).number("last_seq", snapshot.last_seq).number("entries", snapshot.entries);
    if (snapshot.entries_expected.has_value()) object.number("entries_expected", *snapshot.entries_expected);
    object.bytes("reason", snapshot.reason);
  });
  out.number("records", plan.records).number("covered_records", plan.covered_records);
  out.number("segments", plan.segments).number("rejected_lines", plan.rejected_lines);
  out.number("rejected_bytes", plan.rejected_bytes);
  out.objects("rejected", plan.rejected, [](JsonObject& object, const RejectedLine& line) {
    object.bytes("file", line.file).number("line", line.line).number("offset", line.offset);
    object.number("bytes", line.bytes).bytes("reason", line.reason);
  });
  out.number("missing_records", plan.missing_records).number("missing_ranges", plan.missing_ranges);
  out.objects("missing", plan.missing, [](JsonObject& object, const MissingRecords& hole) {
    object.number("first_seq", hole.first_seq).number("last_seq", hole.last_seq);
    object.boolean("in_snapshot", hole.in_snapshot);
  });
  out.boolean("has_anything", plan.has_anything).number("last_seq", plan.last_seq).number("entries", plan.entries);
  out.boolean("is_prefix", plan.is_prefix).number("stale_keys", plan.stale_keys);
  out.objects("stale_sample", plan.stale_sample,
              [](JsonObject& object, const std::string& key) { object.bytes("key", key); });
  if (report != nullptr) {
    out.bytes("dir", report->dir).number("bytes", report->bytes);
    out.bytes("rejected_as", report->rejected_as).bytes("stale_as", report->stale_as);
  }
}

// ---- as text -------------------------------------------------------------------------------------

void print_more(uint64_t total, size_t shown, Stdio& io) {
  if (total > shown) io.out.line(fmt::format("           … and {} more", total - shown));
}

void print_kept(const RepairPlan& plan, Stdio& io) {
  if (!plan.base.empty()) {
    io.out.line(fmt::format("keep       {}: {}, the state after record {}", escape_message(plan.base),
                            count_of(plan.base_entries, "entry", "entries"), plan.base_seq));
  }
  for (const DamagedSnapshot& snapshot : plan.damaged_snapshots) {
    const std::string expected = snapshot.entries_expected.has_value()
                                     ? fmt::format(" of {}", *snapshot.entries_expected)
                                     : std::string(" of nobody knows how many");
    io.out.line(fmt::format("keep       {}: {}{} that are intact, though not as a whole: {}",
                            escape_message(snapshot.file), count_of(snapshot.entries, "entry", "entries"), expected,
                            escape_message(snapshot.reason)));
  }
  std::string behind = plan.base.empty() ? "" : fmt::format(" behind record {}", plan.base_seq);
  if (plan.covered_records != 0) behind += fmt::format(" (the snapshot stands for {} before)", plan.covered_records);
  io.out.line(fmt::format("keep       {}{}, in {}", count_of(plan.records, "intact record"), behind,
                          count_of(plan.segments, "segment")));
}

void print_dropped(const RepairPlan& plan, Stdio& io) {
  size_t shown = 0;
  for (const RejectedLine& line : plan.rejected) {
    if (shown == kLinesShown) break;
    ++shown;
    io.out.line(fmt::format("drop       {}:{} (byte {}): {}: {}", escape_message(line.file), line.line, line.offset,
                            count_of(line.bytes, "byte"), escape_message(line.reason)));
  }
  print_more(plan.rejected_lines, shown, io);
  if (plan.rejected_lines > 1) {
    io.out.line(fmt::format("drop       {} in all, {}", count_of(plan.rejected_lines, "line"),
                            human_bytes(plan.rejected_bytes)));
  }
  shown = 0;
  for (const MissingRecords& hole : plan.missing) {
    if (shown == kLinesShown) break;
    ++shown;
    const std::string which = hole.first_seq == hole.last_seq
                                  ? fmt::format("record {}", hole.first_seq)
                                  : fmt::format("records {} to {}", hole.first_seq, hole.last_seq);
    io.out.line(fmt::format(
        "missing    {}{}", which,
        hole.in_snapshot ? ", which the damaged snapshot was to stand for; its intact entries are kept" : ""));
  }
  print_more(plan.missing_ranges, shown, io);
}

// What the new store is, said as plainly as a person at night needs it.
void print_result(const RepairPlan& plan, Stdio& io) {
  if (!plan.has_anything) return;
  io.out.line(
      fmt::format("result     {}, last sequence number {}", count_of(plan.entries, "entry", "entries"), plan.last_seq));
  if (plan.missing_records == 0) {
    io.out.line(plan.rejected_lines == 0
                    ? "           nothing is missing: this is the state after the last record"
                    : "           no record up to there is missing; what dropped lines said behind it is lost");
    return;
  }
  io.out.line(plan.is_prefix ? "           this is a state that the store once had; the records after it are lost"
                             : "           this is NO state that the store ever had: records in between are lost");
  if (plan.stale_keys == 0) {
    io.out.line("           no key that is left can be stale, but keys may be missing");
    return;
  }
  io.out.line(fmt::format("           {} may be stale: a lost record may have changed or deleted {}",
                          plan.stale_keys == plan.entries
                              ? "every key"
                              : fmt::format("{} of {}", plan.stale_keys, count_of(plan.entries, "key")),
                          plan.stale_keys == 1 ? "it" : "them"));
  size_t shown = 0;
  for (const std::string& key : plan.stale_sample) {
    if (shown == kLinesShown) break;
    ++shown;
    io.out.line(fmt::format("stale?     {}", shorten(key, 60)));
  }
  print_more(plan.stale_keys, shown, io);
}

void print_plan(const Args& args, const RepairPlan& plan, Stdio& io) {
  if (plan.opens) {
    io.out.line(fmt::format("{}: nothing to repair: the store opens as it is{}", escape_message(args.dir),
                            plan.rejected_lines == 0 ? "" : ", and cuts its torn tail then"));
    for (const DamagedHistory& damage : plan.damaged_history) {
      io.out.line(fmt::format("history    {}", escape_message(damage.reason)));
    }
    if (!plan.damaged_history.empty()) {
      io.out.line(fmt::format(
          "           the state does not depend on it. To have it back, restore the file from a copy; to go "
          "without all history: kvctl compact {}",
          path_argument(args.dir)));
    }
  } else {
    io.out.line(fmt::format("{}: the store does not open: {}", escape_message(args.dir), escape_message(plan.refusal)));
  }
  print_kept(plan, io);
  print_dropped(plan, io);
  print_result(plan, io);
}

void print_written(const Args& args, const RepairReport& report, Stdio& io) {
  io.out.line(fmt::format("{}: written and read back: {}, {}, last sequence number {}", escape_message(report.dir),
                          count_of(report.plan.entries, "entry", "entries"), human_bytes(report.bytes),
                          report.plan.last_seq));
  if (!report.rejected_as.empty())
    io.out.line(fmt::format("           dropped lines: {}", escape_message(report.rejected_as)));
  if (!report.stale_as.empty())
    io.out.line(fmt::format("           keys that may be stale: {}", escape_message(report.stale_as)));
  const std::string dir = as_name(args.dir);
  io.out.line(fmt::format("{} is as it was. To put the new store in its place:", escape_message(dir)));
  io.out.line(fmt::format("  mv {} {}", path_argument(dir), path_argument(dir + ".damaged")));
  io.out.line(fmt::format("  mv {} {}", path_argument(report.dir), path_argument(dir)));
}

// Bad sectors end a repair: which bytes to go without is for a tool that knows the disk.
Outcome refusal(Outcome outcome, const kvstore::Status& status) {
  if (status.sys_errno() != EIO) return outcome;
  return std::move(outcome).advise(
      "copy the directory with a tool that steps over unreadable blocks (ddrescue), and repair the copy");
}

// ---- doing it ------------------------------------------------------------------------------------

Outcome plan(const Args& args, const kvstore::RepairOptions& options, ProgressLine& progress, Stdio& io) {
  const Result<RepairPlan> plan = kvstore::plan_repair(args.dir, options);
  progress.clear();
  if (!plan.ok()) return refusal(plan.status(), plan.status());
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& out) { fill(out, *plan, nullptr); });
  } else {
    print_plan(args, *plan, io);
  }
  if (!plan->has_anything)
    return {Exit::kCorruption, fmt::format("{}: no intact line is left", args.dir), "restore a backup"};
  if (!plan->opens && args.format == Format::kText)
    io.out.line(fmt::format("nothing was written. To do it: kvctl repair {}{}", path_argument(args.dir),
                            args.to ? " --to " + path_argument(*args.to) : ""));
  return Exit::kOk;
}

Outcome repair(const Args& args, Stdio& io) {
  ProgressLine progress(io.err);
  kvstore::RepairOptions options{.on_progress = progress.callback()};
  if (args.dry_run) return plan(args, options, progress, io);
  options.only_if_damaged = !args.to.has_value();
  const std::string target = args.to.value_or(as_name(args.dir) + ".repaired");
  const Result<RepairReport> report = kvstore::repair(args.dir, target, options);
  progress.clear();
  if (!report.ok()) {
    const std::string another = fmt::format("kvctl repair {} --to ANOTHER_DIR", path_argument(args.dir));
    return refusal(copy_failure(report.status(), target, another), report.status());
  }
  const bool is_written = !report->dir.empty();
  if (is_written) io.done = "the new store is written";
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& out) { fill(out, report->plan, is_written ? &*report : nullptr); });
    return Exit::kOk;
  }
  print_plan(args, report->plan, io);
  if (is_written) print_written(args, *report, io);
  return Exit::kOk;
}

}  // namespace

const Command kRepair = {
    .name = "repair",
    .arguments = "DIR",
    .summary = "Writes what can be had of a damaged store to a new directory; DIR stays as it is",
    .details =
        "Every line whose checksum is right is used. What is dropped is told line by line and kept in lost+found/ of "
        "the\n"
        "new store; records that are missing, and keys that may be stale because of them, are told too. Does nothing "
        "when\n"
        "the store opens as it is, unless --to is given. Exits 4 while a process has the store open, 6 when a newer\n"
        "version has written some of it, 3 when nothing can be had.\n",
    .example =
        "  kvctl repair mydb --dry-run\n"
        "  kvctl repair mydb --to mydb.new",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.option("--to", "NEW_DIR", args->to, "the directory to write to (DIR.repaired); must not exist, or be empty");
      cli.flag("--dry-run", args->dry_run, "only tell what would be kept and dropped");
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return repair(*args, io); };
    },
};

}  // namespace kvctl
