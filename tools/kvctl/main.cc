// kvctl COMMAND DIR [ARGS]: looks into a store, changes it, checks it.
//
// Results go to stdout, all else to stderr. Exit codes are in outcome.h. A command is a file, cmd_<name>.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "tools/kvctl/commands.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

// How many letters must be added, dropped or changed to turn `a` into `b` (Levenshtein's distance).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = std::exchange(row[j], std::min({changed, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row[b.size()];
}

Outcome unknown_command(std::string_view name) {
  Outcome outcome = usage(fmt::format("there is no command '{}'", name));
  // With more than two letters wrong, or more than half of them, it is no likely slip of the finger.
  size_t best = std::min<size_t>(3, name.size() / 2 + 1);
  for (const CommandGroup& group : command_groups()) {
    for (const Command* command : group.commands) {
      const size_t d = distance(name, command->name);
      if (d >= best) continue;
      best = d;
      outcome.advice = fmt::format("kvctl {} {}", command->name, command->arguments);
    }
  }
  return outcome;
}

// The sentence without the library's name for the step that the command's name says already: "put: put: …".
std::string_view without_step(std::string_view sentence, std::string_view command) {
  for (std::string_view step : {command, std::string_view("increment")}) {
    if (sentence.starts_with(step) && sentence.substr(step.size()).starts_with(": ")) {
      return sentence.substr(step.size() + 2);
    }
  }
  return sentence;
}

// What a failed write to stdout makes of a command's end. A reader that went away is its own business.
Outcome after_output(Outcome outcome, Stdio& io) {
  io.out.flush();
  const int failure = io.out.failure();
  if (failure == 0 || !outcome.ok()) return outcome;
  const std::string done = io.done.empty() ? "" : fmt::format("; {}", io.done);
  if (failure == EINTR) return {Exit::kInterrupted, fmt::format("interrupted before all was printed{}", done)};
  return {Exit::kIo, fmt::format("write to stdout: {}{}", std::generic_category().message(failure), done)};
}

Outcome run_command(const Command& command, std::span<char* const> arguments, Stdio& io, std::string& dir) {
  io.err.set_command(command.name);
  Cli cli(command);
  const Run run = command.declare(cli);
  Outcome outcome = Exit::kOk;
  bool wants_help = false;
  if (cli.parse(arguments, &outcome, &wants_help)) {
    dir = cli.given_dir();
    return run(io);
  }
  if (wants_help) io.out.write(cli.help());
  return outcome;
}

int main(std::span<char* const> arguments) {
  Stdio io;
  std::string dir;
  Outcome outcome = Exit::kOk;
  if (arguments.empty()) {
    std::fputs(overview_text().c_str(), stderr);
    return static_cast<int>(Exit::kUsage);
  }
  const std::string_view name = arguments[0];
  if (name == "--help" || name == "-h") {
    outcome = run_command(kHelp, {}, io, dir);
  } else if (name == "--version") {
    outcome = run_command(kVersion, {}, io, dir);
  } else if (const Command* command = find_command(name)) {
    outcome = run_command(*command, arguments.subspan(1), io, dir);
  } else {
    outcome = unknown_command(name);
  }

  outcome = after_output(std::move(outcome), io);
  if (!outcome.sentence.empty()) io.err.error(without_step(outcome.sentence, io.err.command()));
  if (const std::string advice = advice_for(outcome, io.err.command(), dir); !advice.empty()) io.err.advise(advice);
  return static_cast<int>(outcome.exit);
}

}  // namespace

}  // namespace kvctl

int main(int argc, char** argv) {
  kvctl::hold_standard_descriptors();
  // A reader that goes away shows as EPIPE where we write, so that a store is closed in order even then.
  std::signal(SIGPIPE, SIG_IGN);
  // A file-size limit (ulimit -f) shows as EFBIG, which becomes a sentence, instead of ending us in the middle of a line.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return kvctl::main({argv + (argc > 0), static_cast<size_t>(argc > 0 ? argc - 1 : 0)});
  } catch (const std::bad_alloc&) {
    std::fputs("kvctl: out of memory\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kvctl: unexpected: %s\n", error.what());
  }
  return static_cast<int>(kvctl::Exit::kIo);
}
