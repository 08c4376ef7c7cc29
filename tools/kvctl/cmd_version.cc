#include <fmt/format.h>

#include <memory>

#include "kvstore/version.h"
#include "tools/kvctl/commands.h"

namespace kvctl {
namespace {

Outcome version(Format format, Stdio& io) {
  const std::string version =
      fmt::format("{}.{}.{}", KVSTORE_VERSION_MAJOR, KVSTORE_VERSION_MINOR, KVSTORE_VERSION_PATCH);
  if (format == Format::kJson) {
    print_object(io.out, [&](JsonObject& object) {
      object.text("version", version).number("format", uint64_t{kvstore::kFormatVersion});
    });
  } else {
    io.out.line(fmt::format("kvctl {} (log format {})", version, kvstore::kFormatVersion));
  }
  return Exit::kOk;
}

}  // namespace

const Command kVersion = {
    .name = "version",
    .arguments = "",
    .summary = "Prints the version of kvctl and of the log format it writes",
    .details = "",
    .example = "  kvctl version",
    .declare = [](Cli& cli) -> Run {
      auto format = std::make_shared<Format>(Format::kText);
      cli.format(*format, {Format::kText, Format::kJson});
      return [format](Stdio& io) { return version(*format, io); };
    },
};

}  // namespace kvctl
