#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string key;
  std::string delta_text = "1";
  int64_t delta = 1;
  bool sync = false;
  std::string by;
  Format format = Format::kText;
};

Outcome incr(const Args& args, Stdio& io) {
  Result<Store> store = open_for_writing(args.dir, IfMissing::kCreate, io);
  if (!store.ok()) return store.status();

  kvstore::WriteOptions options;
  options.by = args.by;
  if (args.sync) options.durability = kvstore::Durability::kSync;
  const Result<int64_t> value = store->increment(args.key, args.delta, options);
  if (value.status().code() == kvstore::Code::kInvalidArgument) {
    return Outcome(value.status())
        .advise(fmt::format("kvctl get {} {}", path_argument(args.dir), key_argument(args.key)));
  }
  if (!value.ok()) return value.status();
  io.done = "the change is made";
  if (args.format == Format::kJson) {
    print_object(io.out,
                 [&](JsonObject& object) { object.number("value", *value).number("version", store->last_seq()); });
  } else {
    io.out.line(fmt::to_string(*value));
  }
  return store->close();
}

}  // namespace

const Command kIncr = {
    .name = "incr",
    .arguments = "DIR KEY [DELTA]",
    .summary = "Adds to a decimal number and prints the sum; an absent key counts as 0",
    .details = "The expiry of the key stays as it is.\n",
    .example =
        "  kvctl incr mydb visits\n"
        "  kvctl incr mydb stock:42 -3",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.key(args->key);
      cli.optional_positional("DELTA", args->delta_text, "what to add, 1 when left out; may be negative");
      cli.flag("--sync", args->sync, "survive a power cut before it counts as written");
      cli.by(args->by);
      cli.format(args->format, {Format::kText, Format::kJson});
      cli.check([args]() -> Problem {
        const std::optional<int64_t> delta = parse_int(args->delta_text);
        if (!delta) return fmt::format("DELTA: '{}' is no 64-bit whole number", args->delta_text);
        args->delta = *delta;
        return std::nullopt;
      });
      return [args](Stdio& io) { return incr(*args, io); };
    },
};

}  // namespace kvctl
