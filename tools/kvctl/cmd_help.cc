#include <fmt/format.h>

#include <memory>

#include "tools/kvctl/commands.h"

namespace kvctl {
namespace {

Outcome help(const std::string& name, Stdio& io) {
  if (name.empty()) {
    io.out.write(overview_text());
    return Exit::kOk;
  }
  const Command* command = find_command(name);
  if (command == nullptr) return {Exit::kUsage, fmt::format("there is no command '{}'", name), "kvctl help"};
  io.out.write(help_text(*command));
  return Exit::kOk;
}

}  // namespace

std::string help_text(const Command& command) {
  Cli cli(command);
  const Run run = command.declare(cli);  // owns what the declarations point to
  return cli.help();
}

std::string overview_text() {
  std::string text = "kvctl COMMAND DIR [ARGS]: looks into a store, changes it, checks it.\n";
  for (const CommandGroup& group : command_groups()) {
    text += fmt::format("\n{}:\n", group.title);
    for (const Command* command : group.commands) text += fmt::format("  {:<9} {}\n", command->name, command->summary);
  }
  text +=
      "\n"
      "kvctl help COMMAND tells the rest. '-' stands for stdin, '--' ends the options.\n"
      "\n"
      "exit codes:\n"
      "  0 ok   1 no: absent, or a condition did not hold   2 usage   3 corruption   4 locked\n"
      "  5 I/O, or no store   6 newer format   7 history compacted away   130 interrupted\n";
  return text;
}

const Command kHelp = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "Tells what kvctl, or one command, does",
    .details = "",
    .example = "  kvctl help put",
    .declare = [](Cli& cli) -> Run {
      auto name = std::make_shared<std::string>();
      cli.optional_positional("COMMAND", *name, "the command to explain");
      return [name](Stdio& io) { return help(*name, io); };
    },
};

}  // namespace kvctl
