#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

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
  std::string value;
  bool is_json = false;
  bool is_base64 = false;
  bool sync = false;
  std::string by;
  std::optional<uint64_t> if_version;
  kvstore::WriteOptions options;
  Format format = Format::kText;
};

// The value as it is to be stored.
Outcome read_value(const Args& args, Stdio& io, std::string& value) {
  // Base64 spells 3 bytes as 4 characters, and then there are line breaks.
  const size_t bytes_max = args.is_base64 ? 2 * kvstore::kValueBytesMax : kvstore::kValueBytesMax;
  Result<std::string> text = text_of_argument(args.value, bytes_max, io.err);
  if (!text.ok()) return text.status();
  value = *std::move(text);
  if (args.is_base64) {
    std::erase_if(value, [](char c) { return c == '\n' || c == '\r'; });  // base64(1) breaks its lines
    std::optional<std::string> bytes = from_base64(value);
    if (!bytes) return usage("the value is no base64");
    value = *std::move(bytes);
  }
  if (args.is_json) {  // before a store is opened, and perhaps made, for nothing
    if (const auto error = kvstore::format::check_json(value)) {
      return usage(fmt::format("the value is no JSON document: {}", kvstore::format::describe(value, *error)));
    }
  }
  return Exit::kOk;
}

Outcome put(const Args& args, Stdio& io) {
  std::string value;
  if (Outcome outcome = read_value(args, io, value); !outcome.ok()) return outcome;
  const bool wants_existing = args.if_version.value_or(0) != 0;
  Result<Store> store = open_for_writing(args.dir, wants_existing ? IfMissing::kFail : IfMissing::kCreate, io);
  if (!store.ok()) return store.status();

  kvstore::WriteOptions options = args.options;
  options.by = args.by;
  options.if_version = args.if_version;
  if (args.sync) options.durability = kvstore::Durability::kSync;
  const kvstore::Status written =
      args.is_json ? store->put_json(args.key, value, options) : store->put(args.key, value, options);
  if (written.code() == kvstore::Code::kConflict) return Outcome(written).advise(look_at(args.dir, args.key));
  if (!written.ok()) return written;
  return finish_write(*store, args.format, io);
}

}  // namespace

const Command kPut = {
    .name = "put",
    .arguments = "DIR KEY VALUE",
    .summary = "Sets a key to a value, creating the store if there is none",
    .details =
        "With '-' for VALUE it is read from stdin, to the last byte; a newline at its end belongs to it.\n"
        "Prints nothing. Exits 1 when --if-version or --if-absent does not hold.\n",
    .example =
        "  kvctl put mydb user:1 Ada --ttl 90s\n"
        "  kvctl put mydb user:2 '{\"name\":\"Bob\"}' --json --if-absent\n"
        "  kvctl put mydb -- -key-with-dash value",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.key(args->key);
      cli.positional("VALUE", args->value, "the value, up to 64 MiB, or '-' for stdin");
      cli.flag("--json", args->is_json, "the value is a JSON document: check it, and keep it as one");
      cli.flag("--value64", args->is_base64, "the value is given in base64");
      cli.duration("--ttl", args->options.ttl, "it expires after this long: 90s, 15m, 1h30m, 7d");
      cli.option("--if-version", args->if_version, "only if the key's version is N (get -o json tells it)");
      cli.flag("--if-absent", args->options.if_absent, "only if the key is absent");
      cli.flag("--sync", args->sync, "survive a power cut before it counts as written");
      cli.by(args->by);
      cli.format(args->format, {Format::kText, Format::kJson});
      cli.check([args]() -> Problem {
        if (args->is_json && args->is_base64) return "--json and --value64 exclude each other";
        if (args->if_version && args->options.if_absent) return "--if-version and --if-absent exclude each other";
        return std::nullopt;
      });
      return [args](Stdio& io) { return put(*args, io); };
    },
};

}  // namespace kvctl
