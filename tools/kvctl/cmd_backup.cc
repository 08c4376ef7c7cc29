#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/target.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::BackupReport;
using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string target;
  Format format = Format::kText;
};

Outcome backup(const Args& args, Stdio& io) {
  Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  const std::string another = fmt::format("kvctl backup {} ANOTHER_DIR", path_argument(args.dir));
  const Result<BackupReport> report = store->backup(args.target);
  if (!report.ok()) return copy_failure(report.status(), args.target, another);
  io.done = "the backup is made";
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) {
      object.number("seq", report->seq).number("entries", report->entries).number("bytes", report->bytes);
    });
  } else {
    io.out.line(fmt::format("{}: {}, {}, as of sequence number {}, written and read back", escape_message(args.target),
                            count_of(report->entries, "entry", "entries"), human_bytes(report->bytes), report->seq));
  }
  return Exit::kOk;
}

}  // namespace

const Command kBackup = {
    .name = "backup",
    .arguments = "DIR TARGET",
    .summary = "Writes the state as it is now to a new directory, as a store of its own",
    .details =
        "TARGET must not exist or be empty. The copy has its own identity and the same sequence numbers; it has been "
        "read\n"
        "back and survives a power cut when the command returns. DIR may be in use meanwhile. To restore, put the\n"
        "copy in the place of the store.\n",
    .example = "  kvctl backup mydb mydb.copy",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.positional("TARGET", args->target, "the directory to write to");
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return backup(*args, io); };
    },
};

}  // namespace kvctl
