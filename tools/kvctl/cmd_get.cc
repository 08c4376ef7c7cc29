#include <fmt/format.h>

#include <memory>

#include "kvstore/format/json_text.h"
#include "tools/kvctl/access.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::Entry;
using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string key;
  std::optional<std::string> field;
  bool raw = false;
  Format format = Format::kText;
};

void fill(JsonObject& object, const Entry& entry) {
  object.bytes("key", entry.key).value(entry.value, entry.is_json).number("version", entry.version);
  if (entry.expires_us != 0) object.number("expires", entry.expires_us);
}

// Raw, the bytes and nothing else; to a pipe with a newline; to a terminal without what could steer it, JSON as JSON.
void print(std::string_view bytes, bool is_json, bool raw, Output& out) {
  if (raw) return out.write(bytes);
  if (!out.is_terminal()) return out.line(bytes);
  out.line(is_json ? escape_json_text(bytes) : escape(bytes));
}

Outcome get_field(const Args& args, const Entry& entry, Stdio& io) {
  if (!entry.is_json) {
    return {Exit::kNo, fmt::format("the value of '{}' is no JSON document, so it has no fields", escape(args.key)),
            "kvctl help put (see --json)"};
  }
  const std::optional<std::string_view> field = kvstore::format::find_json(entry.value, *args.field);
  if (!field) return Exit::kNo;
  if (args.format == Format::kJson) {
    print_json(io.out, *field);
  } else if (args.raw && field->starts_with('"')) {
    kvstore::base::Scratch scratch;
    print(kvstore::format::unescape_json(*field, scratch), false, true, io.out);
  } else {
    print(*field, true, args.raw, io.out);
  }
  return Exit::kOk;
}

Outcome get(const Args& args, Stdio& io) {
  const Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  const std::optional<Entry> entry = store->get_entry(args.key);
  if (!entry) return Exit::kNo;  // as quiet as grep: the exit code is the answer

  if (args.field) return get_field(args, *entry, io);
  if (args.format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) { fill(object, *entry); });
  } else {
    print(entry->value, entry->is_json, args.raw, io.out);
  }
  return Exit::kOk;
}

}  // namespace

const Command kGet = {
    .name = "get",
    .arguments = "DIR KEY",
    .summary = "Prints the value of a key; exits 1, in silence, when it is absent",
    .details =
        "A pipe or file gets the value's bytes and a newline, with --raw the bytes alone. A terminal gets control\n"
        "characters and backslashes escaped, in JSON as JSON does. With --raw a --field that is a string is printed "
        "without its quotes.\n",
    .example =
        "  kvctl get mydb user:1\n"
        "  kvctl get mydb user:2 --field /name --raw\n"
        "  kvctl get mydb user:1 -o json",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.key(args->key);
      cli.option("--field", "POINTER", args->field,
                 "the part of a JSON document at this JSON pointer: /address/0/city");
      cli.flag("--raw", args->raw, "the bytes and nothing else, also on a terminal");
      cli.format(args->format, {Format::kText, Format::kJson, Format::kJsonl, Format::kRaw});
      cli.check([args]() -> Problem {
        if (args->format == Format::kJsonl) args->format = Format::kJson;  // one object is one line either way
        if (args->format == Format::kRaw) args->raw = true;
        if (args->field && !args->field->empty() && !args->field->starts_with('/')) {
          return fmt::format("--field: '{}' is no JSON pointer; it begins with '/'", *args->field);
        }
        return std::nullopt;
      });
      return [args](Stdio& io) { return get(*args, io); };
    },
};

}  // namespace kvctl
