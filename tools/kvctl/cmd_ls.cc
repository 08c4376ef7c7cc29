#include <fmt/format.h>

#include <memory>

#include "kvstore/format/utf8.h"
#include "tools/kvctl/access.h"
#include "tools/kvctl/clock.h"
#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

using kvstore::EntryView;
using kvstore::Result;
using kvstore::Store;

struct Args {
  std::string dir;
  std::string prefix;
  bool is_long = false;
  Format format = Format::kText;
};

std::string_view kind_of(const EntryView& entry) {
  if (entry.is_json) return "json";
  return kvstore::format::is_utf8(entry.value) ? "text" : "bytes";
}

void fill(JsonObject& object, const EntryView& entry) {
  object.bytes("key", entry.key).number("version", entry.version);
  object.number("size", uint64_t{entry.value.size()}).text("kind", kind_of(entry));
  if (entry.expires_us != 0) object.number("expires", entry.expires_us);
}

std::string long_line(const EntryView& entry) {
  return fmt::format("{:>10} {:>10} {:<5} {:<27} {}", entry.version, entry.value.size(), kind_of(entry),
                     entry.expires_us == 0 ? "-" : format_time(entry.expires_us), escape(entry.key));
}

Outcome ls(const Args& args, Stdio& io) {
  const Result<Store> store = open_for_reading(args.dir, io);
  if (!store.ok()) return store.status();
  const Result<kvstore::Scan> scan = store->scan(args.prefix);
  if (!scan.ok()) return scan.status();

  JsonRows rows(io.out, layout_of(args.format));
  for (const EntryView& entry : *scan) {
    if (io.out.stopped()) break;
    switch (args.format) {
      case Format::kText:
        io.out.line(args.is_long ? long_line(entry) : escape(entry.key));
        break;
      case Format::kRaw:
        io.out.write(entry.key), io.out.write("\n");
        break;
      default:  // JSON, in either layout
        rows.add([&](JsonObject& object) { fill(object, entry); });
    }
  }
  if (is_json(args.format)) rows.finish();
  return Exit::kOk;
}

}  // namespace

const Command kLs = {
    .name = "ls",
    .arguments = "DIR [PREFIX]",
    .summary = "Lists the keys, sorted by their bytes, one a line",
    .details =
        "Control characters, bidi controls, backslashes and bytes that are no UTF-8 are escaped: \\n \\x1b \\u202e "
        "\\\\.\n"
        "With -o raw keys are printed as they are. -l shows version, size in bytes, kind, expiry and key.\n",
    .example = "  kvctl ls mydb user: -l",
    .declare = [](Cli& cli) -> Run {
      auto args = std::make_shared<Args>();
      cli.dir(args->dir);
      cli.prefix(args->prefix);
      cli.flag("-l,--long", args->is_long, "show version, size, kind and expiry as well");
      cli.format(args->format, {Format::kText, Format::kJson, Format::kJsonl, Format::kRaw});
      return [args](Stdio& io) { return ls(*args, io); };
    },
};

}  // namespace kvctl
