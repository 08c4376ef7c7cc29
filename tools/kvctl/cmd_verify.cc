#include <fmt/format.h>

#include <memory>

#include "kvstore/inspect.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Finding;
using kvstore::Result;
using kvstore::VerifyReport;
using Severity = Finding::Severity;

struct Args {
  std::string dir;
  bool strict = false;
  Format format = Format::kText;
};

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kTornTail:
      return "torn_tail";
    case Severity::kDamage:
      return "damage";
    case Severity::kUnsupported:
      return "unsupported";
  }
  return "";
}

// "mydb/wal-….jsonl:1842 (byte 918273): crc mismatch (…)". Most messages begin with their place.
std::string sentence(const Finding& finding) {
  if (finding.file.empty() || finding.message.starts_with(finding.file)) return finding.message;
  if (finding.line == 0) return fmt::format("{}: {}", finding.file, finding.message);
  return fmt::format("{}:{} (byte {}): {}", finding.file, finding.line, finding.offset, finding.message);
}

// The answer in one word, and as an exit code.
struct Verdict {
  std::string_view word;
  Exit exit;
};

Verdict verdict_on(const VerifyReport& report, bool strict) {
  if (report.has(Severity::kDamage)) return {"damaged", Exit::kCorruption};
  if (report.has(Severity::kUnsupported)) return {"written by a newer version", Exit::kNewerFormat};
  if (report.has(Severity::kTornTail)) return {"intact, with a torn tail", strict ? Exit::kCorruption : Exit::kOk};
  return {"intact", Exit::kOk};
}

void fill(JsonObject& object, const VerifyReport& report, const Verdict& verdict) {
  object.text("verdict", verdict.word).number("snapshots", report.snapshots).number("entries", report.entries);
  object.number("segments", report.segments).number("records", report.records);
  object.number("operations", report.operations).number("bytes", report.bytes);
  object.number("last_seq", report.last_seq).number("synced_seq", report.synced_seq);
  object.objects("findings", report.findings, [](JsonObject& out, const Finding& finding) {
    out.text("severity", severity_name(finding.severity)).bytes("file", finding.file).number("line", finding.line);
    out.number("offset", finding.offset).number("bytes", finding.bytes);
    out.bytes("message", finding.message).bytes("advice", finding.advice);
  });
}

// What makes it fail goes to stderr like any failure; otherwise the findings are the result.
void print_text(const Args& args, const VerifyReport& report, const Verdict& verdict, Stdio& io) {
  const bool is_failure = verdict.exit != Exit::kOk;
  for (const Finding& finding : report.findings) {
    if (!is_failure) {
      io.out.line(escape_message(sentence(finding)));
    } else if (finding.severity == Severity::kNote) {
      io.err.note(sentence(finding));
    } else {
      io.err.error(sentence(finding));
      if (!finding.advice.empty()) io.err.advise(finding.advice);
    }
  }
  const std::string entries = report.snapshots == 0
                                  ? ""
                                  : fmt::format("{} in {}, ", count_of(report.entries, "entry", "entries"),
                                                count_of(report.snapshots, "snapshot"));
  io.out.line(fmt::format("{}: {}: {}{}, {} in {}, {} in all, last sequence number {}, synced up to {}",
                          escape_message(args.dir), verdict.word, entries, count_of(report.records, "record"),
                          count_of(report.operations, "operation"), count_of(report.segments, "segment"),
                          human_bytes(report.bytes), report.last_seq, report.synced_seq));
}

Outcome verify(const Args& args, Stdio& io) {
  ProgressLine progress(io.err);
  const Result<VerifyReport> report = kvstore::verify(args.dir, progress.callback());
  progress.clear();
  if (!report.ok()) return report.status();
  const Verdict verdict = verdict_on(*report, args.strict);
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) { fill(object, *report, verdict); });
  } else {
    print_text(args, *report, verdict, io);
  }
  return verdict.exit;
}

}  // namespace

const Command kVerify = {
    .name = "verify",
    .arguments = "DIR",
    .summary = "Checks every byte of log and snapshots: checksums, order, promises",
    .details =
        "A torn tail, where a process died in the middle of a record that was never promised, is no damage: the next\n"
        "writer cuts it. Nor is a record that a running process is writing at this moment a torn tail. Exits 3 for\n"
        "damage, 6 for a log written by a newer version.\n",
    .example = "  kvctl verify mydb",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.flag("--strict", args->strict, "a torn tail counts as damage");
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return verify(*args, io); };
    },
};

}  // namespace kvctl
