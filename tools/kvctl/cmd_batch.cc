#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/input.h"
#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/operation.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Result;
using kvstore::Status;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string file = "-";
  bool sync = false;
  std::string by;
};

struct Counts {
  uint64_t lines = 0;
  uint64_t operations = 0;
};

Status apply_one(Store& store, const Operation& operation, kvstore::WriteOptions options) {
  options.ttl = operation.options.ttl;
  if (operation.options.expires_us != 0) options.expires_us = operation.options.expires_us;
  switch (operation.kind) {
    case Operation::Kind::kPut:
      return store.put(operation.key, operation.value, options);
    case Operation::Kind::kPutJson:
      return store.put_json(operation.key, operation.value, options);
    case Operation::Kind::kDel:
      break;
  }
  return store.del(operation.key, options).status();  // OK also when the key was absent: it is gone either way
}

Status apply_together(Store& store, const std::vector<Operation>& operations, const kvstore::WriteOptions& options) {
  kvstore::Batch batch;
  for (const Operation& operation : operations) add_to(batch, operation);
  return store.write(batch, options);
}

Outcome apply_lines(const Args& args, Input& input, Store& store, Counts& counts) {
  kvstore::WriteOptions options;
  options.by = args.by;
  if (args.sync) options.durability = kvstore::Durability::kSync;
  LineReader lines(input, kvstore::kLineBytesMax);
  OperationParser parser;
  std::vector<Operation> operations;
  const auto at_line = [&](std::string_view sentence) {
    return fmt::format("{}:{}: {}", input.name(), lines.line_number(), sentence);
  };
  while (!interrupted()) {
    const Result<std::optional<std::string_view>> line = lines.next();
    if (!line.ok()) return line.status();
    if (!line->has_value()) break;
    if (line->value().find_first_not_of(" \t\r") == std::string_view::npos) continue;

    bool is_batch = false;
    if (Problem problem = parser.parse_command(**line, operations, is_batch)) return usage(at_line(*problem));
    const Status applied =
        is_batch ? apply_together(store, operations, options) : apply_one(store, operations.front(), options);
    if (!applied.ok()) {
      Outcome outcome = applied;
      outcome.sentence = at_line(applied.message());
      return outcome;
    }
    ++counts.lines;
    counts.operations += operations.size();
  }
  if (interrupted()) return {Exit::kInterrupted, "interrupted"};
  return Exit::kOk;
}

Outcome batch(const Args& args, Stdio& io) {
  Result<Input> input = Input::open(args.file, io.err);
  if (!input.ok()) return input.status();
  Result<Store> store = open_for_writing(args.dir, IfMissing::kCreate, io);
  if (!store.ok()) return store.status();

  Counts counts;
  const Outcome outcome = apply_lines(args, *input, *store, counts);
  const Status closed = store->close();
  io.err.note(fmt::format("{} applied ({})", count_of(counts.lines, "line"), count_of(counts.operations, "operation")));
  return outcome.ok() ? closed : outcome;
}

}  // namespace

const Command kBatch = {
    .name = "batch",
    .arguments = "DIR [FILE]",
    .summary = "Applies puts and deletes, one JSON object a line, each as it arrives",
    .details =
        "Lines:\n"
        "  {\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}           or value64, json; and ttl (\"90s\") or expires\n"
        "  {\"op\":\"del\",\"key\":\"b\"}                       key64 for bytes that are no text\n"
        "  {\"ops\":[{\"op\":\"put\",…},{\"op\":\"del\",…}]}    all or nothing, for readers and after a crash\n"
        "A bad line stops it, exit 2; the lines before it stay applied. Deleting an absent key is no failure.\n",
    .example = "  printf '{\"op\":\"del\",\"key\":\"user:1\"}\\n' | kvctl batch mydb",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.optional_positional("FILE", args->file, "the lines; '-', or nothing, for stdin");
      cli.flag("--sync", args->sync, "each line survives a power cut before the next is read");
      cli.by(args->by);
      return [args](Stdio& io) { return batch(*args, io); };
    },
};

}  // namespace kvctl
