#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/input.h"
#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/operation.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/table_reader.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Result;
using kvstore::Status;
using kvstore::Store;

// One log line for this many entries: few enough that a batch stays a readable line, enough that the commit is no
// longer what takes the time.
constexpr size_t kBatchEntries = 1000;
constexpr size_t kBatchBytes = size_t{1} << 20;

enum class FileFormat : uint8_t { kJsonl, kTsv, kCsv };

struct Args {
  std::string dir;
  std::string file;
  std::string by;
  std::optional<FileFormat> format;
};

std::optional<FileFormat> format_named(std::string_view name) {
  if (name == "jsonl" || name == "ndjson") return FileFormat::kJsonl;
  if (name == "tsv") return FileFormat::kTsv;
  if (name == "csv") return FileFormat::kCsv;
  return std::nullopt;
}

// Feeds entries to the store in batches.
class Importer {
 public:
  Importer(const Args& args, Input& input, Store& store, Stdio& io)
      : input_(input), store_(store), progress_(io.err), lines_(input, kvstore::kLineBytesMax) {
    options_.by = args.by;
  }

  Outcome run(FileFormat format) {
    Outcome outcome = format == FileFormat::kJsonl ? import_jsonl() : import_table(format);
    // What was good before a bad line or Ctrl-C is kept, so that "line N" is all one needs to know to go on.
    const Status committed = commit();
    progress_.clear();
    if (!committed.ok()) return committed;
    if (interrupted()) return {Exit::kInterrupted, "interrupted"};
    return outcome;
  }
  [[nodiscard]] uint64_t entries_committed() const noexcept { return entries_committed_; }
  [[nodiscard]] uint64_t line_committed() const noexcept { return line_committed_; }

 private:
  Outcome import_jsonl() {
    OperationParser parser;
    Operation operation;
    while (!interrupted()) {
      const Result<std::optional<std::string_view>> line = lines_.next();
      if (!line.ok()) return line.status();
      if (!line->has_value()) break;
      if (line->value().find_first_not_of(" \t\r") == std::string_view::npos) continue;
      if (Problem problem = parser.parse_entry(**line, operation)) return at_line(lines_.line_number(), *problem);
      if (Status added = add(operation); !added.ok()) return added;
    }
    return Exit::kOk;
  }

  Outcome import_table(FileFormat format) {
    TableReader table(lines_, format == FileFormat::kCsv ? TableReader::Kind::kCsv : TableReader::Kind::kTsv);
    Operation operation;
    TableReader::Row row = table.read_header();
    while (!row.at_end && !interrupted()) {
      if (!row.status.ok()) return row.status;
      if (row.problem) return at_line(table.line_number(), *row.problem);
      if (row.has_entry) {
        if (Status added = add(operation); !added.ok()) return added;
      }
      row = table.next(operation);
    }
    return Exit::kOk;
  }

  Outcome at_line(uint64_t line, std::string_view sentence) const {
    return usage(fmt::format("{}:{}: {}", input_.name(), line, sentence));
  }

  Status add(const Operation& operation) {
    add_to(batch_, operation);
    line_added_ = lines_.line_number();
    progress_.update("read", lines_.bytes_read(), input_.size());
    if (batch_.size() < kBatchEntries && batch_.bytes() < kBatchBytes) return {};
    return commit();
  }

  Status commit() {
    Status written = store_.write(batch_, options_);
    if (written.ok()) {
      entries_committed_ += batch_.size();
      if (!batch_.empty()) line_committed_ = line_added_;
    }
    batch_.clear();  // also after a failure: it has been reported, and must not be tried again
    return written;
  }

  Input& input_;
  Store& store_;
  ProgressLine progress_;
  LineReader lines_;
  kvstore::WriteOptions options_;
  kvstore::Batch batch_;
  uint64_t line_added_ = 0;
  uint64_t entries_committed_ = 0;
  uint64_t line_committed_ = 0;
};

Outcome import_file(const Args& args, Stdio& io) {
  Result<Input> input = Input::open(args.file, io.err);  // first: what its name says is no matter when it is not there
  if (!input.ok()) return input.status();
  FileFormat format = FileFormat::kJsonl;
  if (args.format) {
    format = *args.format;
  } else if (const size_t dot = args.file.rfind('.'); args.file != "-") {
    const auto by_name = format_named(dot == std::string::npos ? "" : std::string_view(args.file).substr(dot + 1));
    if (!by_name) {
      return {Exit::kUsage, fmt::format("the name of {} does not end in .jsonl, .tsv or .csv", args.file),
              fmt::format("kvctl import {} {} --format jsonl", path_argument(args.dir), path_argument(args.file))};
    }
    format = *by_name;
  }

  Result<Store> store = open_for_writing(args.dir, IfMissing::kCreate, io);
  if (!store.ok()) return store.status();

  Importer importer(args, *input, *store, io);
  const Outcome outcome = importer.run(format);
  const Status closed = store->close();
  std::string summary = fmt::format("{} committed", count_of(importer.entries_committed(), "entry", "entries"));
  if (!outcome.ok() && importer.line_committed() != 0) {
    summary += fmt::format(", all up to line {}", importer.line_committed());
  }
  io.err.note(summary);
  return outcome.ok() ? closed : outcome;
}

}  // namespace

const Command kImport = {
    .name = "import",
    .arguments = "DIR FILE",
    .summary = "Puts the entries of a file: what export printed, or a table with a header (TSV, CSV)",
    .details =
        "JSON lines: {\"key\":…,\"value\":…}, with key64, value64 or json instead, and ttl (\"90s\") or expires.\n"
        "Tables: a header line names the columns, out of the same names. CSV is quoted as in RFC 4180; TSV is taken\n"
        "as it stands. Entries are committed 1000 at a time. A bad line stops it, exit 2, and is named; all\n"
        "lines before it are committed.\n",
    .example =
        "  kvctl import mydb users.csv --by nightly-import\n"
        "  kvctl export old | kvctl import new -",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      auto format = std::make_shared<std::string>();
      cli.dir(args->dir);
      cli.positional("FILE", args->file, "the file, or '-' for stdin");
      cli.option("--format", "jsonl|tsv|csv", *format,
                 "what it is; by default the name's ending tells, stdin is jsonl");
      cli.by(args->by);
      cli.check([args, format]() -> Problem {
        if (format->empty()) return std::nullopt;
        args->format = format_named(*format);
        if (!args->format) return fmt::format("--format: '{}' is none of jsonl|tsv|csv", *format);
        return std::nullopt;
      });
      return [args](Stdio& io) { return import_file(*args, io); };
    },
};

}  // namespace kvctl
