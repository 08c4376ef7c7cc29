#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "tools/kvctl/clock.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/log_filter.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::LogCursor;
using kvstore::LogOp;
using kvstore::LogRecord;
using kvstore::Result;

constexpr size_t kValueColumns = 60;
constexpr int kFollowMs = 100;  // how often --follow looks for more

struct Args {
  std::string dir;
  LogFilter filter;
  std::optional<std::string> op;
  bool keys_are_base64 = false;
  std::optional<uint64_t> limit;
  std::optional<uint64_t> tail;
  bool follow = false;
  Format format = Format::kText;
};

// The operations as the log and --op spell them.
constexpr std::pair<std::string_view, LogOp::Kind> kOpNames[] = {
    {"put", LogOp::Kind::kPut},
    {"del", LogOp::Kind::kDel},
    {"evict", LogOp::Kind::kEvict},
};

std::string_view name_of(LogOp::Kind kind) {
  for (const auto& [name, known] : kOpNames) {
    if (known == kind) return name;
  }
  return {};  // not reached
}

std::optional<LogOp::Kind> parse_op(std::string_view text) {
  for (const auto& [name, kind] : kOpNames) {
    if (name == text) return kind;
  }
  return std::nullopt;
}

std::string line_without_ops(const LogRecord& record) {
  return fmt::format("{:>8} {} batch of no operations{}", record.seq, format_time(record.ts_us),
                     record.by.empty() ? "" : fmt::format("  by={}", escape(record.by)));
}

// One operation a line: sequence number, time, operation, key, value, and what else there is to say.
std::string op_line(const LogRecord& record, size_t index) {
  const LogOp& op = record.ops[index];
  std::string line =
      fmt::format("{:>8} {} {} {}", record.seq, format_time(record.ts_us), name_of(op.kind), escape(op.key));
  if (!op.value.empty()) line += fmt::format("  {}", shorten(op.value, kValueColumns));
  if (op.expires_us != 0) line += fmt::format("  expires={}", format_time(op.expires_us));
  if (!record.by.empty()) line += fmt::format("  by={}", escape(record.by));
  if (record.is_batch) line += fmt::format("  batch={}/{}", index + 1, record.ops.size());
  return line;
}

// Prints records, or with --tail holds the last ones back until the end of the log is reached.
class Printer {
 public:
  Printer(const Args& args, Output& out) : args_(args), out_(out), rows_(out, layout_of(args.format)) {}

  void add(const LogRecord& record) {
    if (!is_holding()) return print(lines_of(record));
    held_.push_back(lines_of(record));
    if (held_.size() > *args_.tail) held_.pop_front();
  }
  // The end of what is in the log now.
  void release() {
    for (const Lines& lines : held_) print(lines);
    held_.clear();
    is_released_ = true;
    rows_.flush();
    out_.flush();
  }
  void finish() {
    if (is_json(args_.format)) rows_.finish();
    out_.flush();
  }

 private:
  using Lines = std::vector<std::string>;  // of one record

  [[nodiscard]] bool is_holding() const { return args_.tail && !is_released_; }

  Lines lines_of(const LogRecord& record) const {
    if (args_.format != Format::kText) return {std::string(record.line)};
    Lines lines;
    if (record.ops.empty()) lines.push_back(line_without_ops(record));
    for (size_t i = 0; i < record.ops.size(); ++i) {
      if (args_.filter.accepts(record.ops[i])) lines.push_back(op_line(record, i));
    }
    return lines;
  }

  void print(const Lines& lines) {
    for (const std::string& line : lines) args_.format == Format::kText ? out_.line(line) : rows_.add_text(line);
  }

  const Args& args_;
  Output& out_;
  JsonRows rows_;
  std::deque<Lines> held_;
  bool is_released_ = false;
};

// An owner that is alive may just be copying the record that we take for torn.
bool has_live_owner(const std::string& dir) {
  const Result<kvstore::StoreInfo> info = kvstore::info(dir);
  return info.ok() && info->owner.alive;
}

// What a compaction has taken from the log.
struct GoneHistory {
  uint64_t first_seq_kept = 1;
  int64_t until_us = std::numeric_limits<int64_t>::max();  // when the snapshot was made that stands for it
};

GoneHistory gone_history(const std::string& dir) {
  GoneHistory gone;
  const Result<kvstore::StoreInfo> info = kvstore::info(dir);
  if (!info.ok() || info->segments.empty()) return gone;
  gone.first_seq_kept = info->segments.front().first_seq;
  if (!info->snapshots.empty() && !info->snapshots.front().damaged) gone.until_us = info->snapshots.front().created_us;
  return gone;
}

// Whether all that was asked for by number is still kept.
Outcome check_history(const Args& args, const GoneHistory& gone) {
  if (!args.filter.seq_min || std::max<uint64_t>(*args.filter.seq_min, 1) >= gone.first_seq_kept) return Exit::kOk;
  return {Exit::kCompacted, fmt::format("records before sequence number {} are no longer kept", gone.first_seq_kept)};
}

void tell_of(const GoneHistory& gone, Messages& err) {
  err.note(fmt::format(
      "records before sequence number {} are no longer in the log; the state they led to is in the snapshot",
      gone.first_seq_kept));
}

Outcome log(const Args& args, Stdio& io) {
  Result<LogCursor> cursor = LogCursor::open(args.dir);
  if (!cursor.ok()) return cursor.status();
  const GoneHistory gone = gone_history(args.dir);
  Outcome history = check_history(args, gone);
  const bool lacks_some = gone.first_seq_kept > 1;
  if (lacks_some && args.filter.reaches_back_to(gone.until_us)) tell_of(gone, io.err);
  if (args.follow) {
    catch_interrupts();
    if (!history.ok()) io.err.note(std::exchange(history.sentence, {}));  // the end may be far away
  }

  Printer printer(args, io.out);
  uint64_t printed = 0;
  bool is_done = args.limit == 0;
  Outcome outcome = Exit::kOk;
  while (!is_done && !io.out.stopped() && !interrupted()) {
    const Result<const LogRecord*> next = cursor->next();
    if (!next.ok()) {
      outcome = next.status();
      // The library says it to programs, which know how far they had come.
      if (outcome.code == kvstore::Code::kCompacted)
        outcome.advice = "the same again: it goes on where the log now begins";
      break;
    }
    const LogRecord* record = *next;
    if (record == nullptr) {
      if (!args.follow) break;
      printer.release();
      io.out.wait(kFollowMs);
      continue;
    }
    if (args.filter.accepts(*record)) {
      printer.add(*record);
      ++printed;
    }
    is_done = args.filter.is_past(record->seq) || (args.limit && printed == *args.limit);
  }
  printer.release();
  printer.finish();
  const auto& torn = cursor->torn_tail();
  if (torn && outcome.ok() && !args.follow && !is_done && !has_live_owner(args.dir)) {
    io.err.note(fmt::format("{}:{} (byte {}): the log ends in a torn record of {}: {}", torn->file, torn->line,
                            torn->offset, count_of(torn->bytes, "byte"), torn->reason));
  }
  // Whoever asks for all of it sees by the first number where it begins, unless there is none.
  const bool shows_all = args.filter.accepts_all() && !args.limit && !args.tail && !args.follow;
  if (lacks_some && printed == 0 && outcome.ok() && shows_all) tell_of(gone, io.err);
  return outcome.ok() && !io.out.stopped() ? history : outcome;
}

Problem check(Args& args) {
  for (std::optional<std::string>* key : {&args.filter.key, &args.filter.prefix}) {
    if (!args.keys_are_base64 || !*key) continue;
    std::optional<std::string> bytes = from_base64(**key);
    if (!bytes) return fmt::format("'{}' is no base64", **key);
    *key = std::move(bytes);
  }
  if (args.op) {
    args.filter.op = parse_op(*args.op);
    if (!args.filter.op) return fmt::format("--op: '{}' is none of put|del|evict", *args.op);
  }
  if (args.limit && args.tail) return "--limit and --tail exclude each other";
  if (args.follow && args.format == Format::kJson) return "--follow never ends an array: use -o jsonl";
  return std::nullopt;
}

}  // namespace

const Command kLog = {
    .name = "log",
    .arguments = "DIR",
    .summary = "Prints the records of the log: number, time, operation, key, value, who",
    .details =
        "Values are shortened; -o jsonl prints each record as it stands in the log. Times are UTC. A record is shown\n"
        "when all the options given hold for it; of a batch only the operations that they pick. Exits 7 when records\n"
        "from --from-seq on are no longer kept, after it has printed what is left.\n",
    .example =
        "  kvctl log mydb --prefix user: --since 10m --follow\n"
        "  kvctl log mydb --tail 20 -o jsonl | jq .",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.option("--key", "KEY", args->filter.key, "only this key");
      cli.option("--prefix", "PREFIX", args->filter.prefix, "only keys that start with this");
      cli.flag("--key64", args->keys_are_base64, "--key and --prefix are given in base64");
      cli.option("--op", "put|del|evict", args->op, "only these operations");
      cli.time("--since", args->filter.since_us, "from this time on: 2025-11-22T08:30:00Z, or 10m for ten minutes ago");
      cli.time("--until", args->filter.until_us, "before this time");
      cli.option("--from-seq", args->filter.seq_min, "from this sequence number on");
      cli.option("--to-seq", args->filter.seq_max, "up to this sequence number");
      cli.option("--limit", args->limit, "the first N records");
      cli.option("--tail", args->tail, "the last N records");
      cli.flag("-f,--follow", args->follow, "wait for more; Ctrl-C ends it");
      cli.format(args->format, {Format::kText, Format::kJson, Format::kJsonl});
      cli.check([args]() -> Problem { return check(*args); });
      return [args](Stdio& io) { return log(*args, io); };
    },
};

}  // namespace kvctl
