#include <fmt/format.h>

#include <memory>

#include "kvstore/format/json_text.h"
#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/input.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string key;
  std::string patch;
  bool sync = false;
  std::string by;
  Format format = Format::kText;
};

Outcome patch(const Args& args, Stdio& io) {
  const Result<std::string> patch = text_of_argument(args.patch, kvstore::kValueBytesMax, io.err);
  if (!patch.ok()) return patch.status();
  // Before a store is opened, and perhaps made, for nothing.
  if (const auto error = kvstore::format::check_json(*patch)) {
    return usage(fmt::format("the patch is no JSON text: {}", kvstore::format::describe(*patch, *error)));
  }
  Result<Store> store = open_for_writing(args.dir, IfMissing::kCreate, io);
  if (!store.ok()) return store.status();

  kvstore::WriteOptions options;
  options.by = args.by;
  if (args.sync) options.durability = kvstore::Durability::kSync;
  const kvstore::Status written = store->patch(args.key, *patch, options);
  if (written.code() == kvstore::Code::kInvalidArgument) return Outcome(written).advise(look_at(args.dir, args.key));
  if (!written.ok()) return written;
  return finish_write(*store, args.format, io);
}

}  // namespace

const Command kPatch = {
    .name = "patch",
    .arguments = "DIR KEY PATCH",
    .summary = "Changes members of a JSON document by a JSON merge patch (RFC 7396)",
    .details =
        "Members of the patch replace or are added, null removes, objects within objects are merged; what it does not\n"
        "name keeps its bytes. An absent key counts as {}. With '-' for PATCH it is read from stdin.\n",
    .example =
        "  kvctl patch mydb user:2 '{\"name\":\"Eve\",\"email\":null}'\n"
        "  kvctl patch mydb user:2 '{\"address\":{\"city\":\"London\"}}' --by ada",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.key(args->key);
      cli.positional("PATCH", args->patch, "the patch, a JSON text, or '-' for stdin");
      cli.flag("--sync", args->sync, "survive a power cut before it counts as written");
      cli.by(args->by);
      cli.format(args->format, {Format::kText, Format::kJson});
      return [args](Stdio& io) { return patch(*args, io); };
    },
};

}  // namespace kvctl
