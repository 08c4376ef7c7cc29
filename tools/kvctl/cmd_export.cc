#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/progress.h"

namespace kvctl {
namespace {

using kvstore::EntryView;
using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string prefix;
};

void fill(JsonObject& object, const EntryView& entry) {
  object.bytes("key", entry.key).value(entry.value, entry.is_json);
  if (entry.expires_us != 0) object.number("expires", entry.expires_us);
}

Outcome export_entries(const Args& args, Stdio& io) {
  const Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  const Result<kvstore::Scan> scan = store->scan(args.prefix);
  if (!scan.ok()) return scan.status();
  ProgressLine progress(io.err);
  uint64_t bytes = 0;
  JsonRows rows(io.out, kvstore::JsonWriter::Layout::kLines);
  for (const EntryView& entry : *scan) {
    if (io.out.stopped()) break;
    rows.add([&](JsonObject& object) { fill(object, entry); });
    bytes += entry.key.size() + entry.value.size();
    if (!io.out.is_terminal()) progress.update("print", bytes, 0);
  }
  rows.finish();
  return Exit::kOk;
}

}  // namespace

const Command kExport = {
    .name = "export",
    .arguments = "DIR [PREFIX]",
    .summary = "Prints every entry as a line of JSON, sorted by key bytes; import reads it back",
    .details =
        "Members: key, value, and expires (microseconds since 1970) where the entry has one. Bytes that are no\n"
        "UTF-8 come as key64 and value64, a JSON document as json, byte for byte.\n",
    .example =
        "  kvctl export mydb > mydb.jsonl\n"
        "  kvctl export mydb user: | jq -r .key",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.prefix(args->prefix);
      return [args](Stdio& io) { return export_entries(*args, io); };
    },
};

}  // namespace kvctl
