#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::vector<std::string> keys;
  bool sync = false;
  std::string by;
  Format format = Format::kText;
};

Outcome del(const Args& args, Stdio& io) {
  Result<Store> store = open_for_writing(args.dir, IfMissing::kFail, io);
  if (!store.ok()) return store.status();

  kvstore::WriteOptions options;
  options.by = args.by;
  if (args.sync) options.durability = kvstore::Durability::kSync;
  uint64_t deleted = 0;
  for (const std::string& key : args.keys) {
    if (interrupted())
      return {Exit::kInterrupted, fmt::format("interrupted; '{}' and what follows stays", escape(key))};
    const Result<bool> was_there = store->del(key, options);
    if (!was_there.ok()) return was_there.status();
    deleted += *was_there;
  }
  if (deleted != 0) io.done = "the change is made";
  const uint64_t absent = args.keys.size() - deleted;
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) { object.number("deleted", deleted).number("absent", absent); });
  }
  if (kvstore::Status closed = store->close(); !closed.ok()) return closed;
  return absent == 0 ? Exit::kOk : Exit::kNo;
}

}  // namespace

const Command kDel = {
    .name = "del",
    .arguments = "DIR KEY...",
    .summary = "Deletes keys; exits 1 when one of them was absent",
    .details = "Each key is deleted on its own; 'kvctl batch' deletes several as one. Prints nothing.\n",
    .example = "  kvctl del mydb user:1 user:2",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.keys(args->keys);
      cli.flag("--sync", args->sync, "survive a power cut before it counts as deleted");
      cli.by(args->by);
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return del(*args, io); };
    },
};

}  // namespace kvctl
