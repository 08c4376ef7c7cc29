// What a command is, and how it says what it takes. Each cmd_*.cc defines one Command; commands.cc lists them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/kvctl/json_object.h"
#include "tools/kvctl/outcome.h"
#include "tools/kvctl/stdio.h"

// CLI11 stays within cli.cc: its headers take longer to compile than all commands.
namespace CLI {  // NOLINT(readability-identifier-naming)
class App;
class Option;
}  // namespace CLI

namespace kvctl {

class Cli;

// Does the work, once the arguments are parsed.
using Run = std::function<Outcome(Stdio&)>;

struct Command {
  std::string_view name;       // "put"
  std::string_view arguments;  // "DIR KEY VALUE"
  std::string_view summary;    // one line for the overview, without a full stop
  std::string_view details;    // what else one needs to know; empty or whole lines
  std::string_view example;    // command lines, as typed
  Run (*declare)(Cli& cli);    // declares the arguments, with variables that live as long as the Run returned
};

struct CommandGroup {
  std::string_view title;
  std::span<const Command* const> commands;
};
[[nodiscard]] std::span<const CommandGroup> command_groups() noexcept;
[[nodiscard]] const Command* find_command(std::string_view name) noexcept;
// The help page of one command, and of kvctl as a whole.
[[nodiscard]] std::string help_text(const Command& command);
[[nodiscard]] std::string overview_text();

enum class Format : uint8_t { kText, kJson, kJsonl, kRaw, kPrometheus };
[[nodiscard]] constexpr bool is_json(Format format) noexcept {
  return format == Format::kJson || format == Format::kJsonl;
}
// Of a listing: -o json is one array, -o jsonl its elements, one a line.
[[nodiscard]] constexpr kvstore::JsonWriter::Layout layout_of(Format format) noexcept {
  return format == Format::kJson ? kvstore::JsonWriter::Layout::kArray : kvstore::JsonWriter::Layout::kLines;
}

// The arguments of one command. Declare, then parse(); the variables are filled by parse() only.
class Cli {
 public:
  explicit Cli(const Command& command);
  ~Cli();
  Cli(const Cli&) = delete;
  Cli& operator=(const Cli&) = delete;

  // Positional arguments, in the order of the calls.
  void dir(std::string& into);
  void key(std::string& into);                // with --key64, for bytes that no command line can carry
  void keys(std::vector<std::string>& into);  // one or more, with --key64
  void prefix(std::string& into);             // may be left out, with --key64
  void positional(const std::string& name, std::string& into, const std::string& help);
  void optional_positional(const std::string& name, std::string& into, const std::string& help);

  // Options, named as typed: "--by". `argument` is the word for its value in the help page.
  void flag(const std::string& name, bool& into, const std::string& help);
  void option(const std::string& name, const std::string& argument, std::string& into, const std::string& help);
  void option(const std::string& name, const std::string& argument, std::optional<std::string>& into,
              const std::string& help);
  void option(const std::string& name, std::optional<uint64_t>& into, const std::string& help);
  void by(std::string& into);  // --by
  void duration(const std::string& name, std::chrono::microseconds& into, const std::string& help);
  void time(const std::string& name, std::optional<int64_t>& into, const std::string& help);
  void format(Format& into, std::initializer_list<Format> allowed);

  // Runs after everything is parsed, in the order of the calls; a sentence refuses the command line.
  void check(std::function<Problem()> check) { checks_.push_back(std::move(check)); }

  // True: run the command. False: `*outcome` says what was wrong, or `*wants_help` is set.
  bool parse(std::span<char* const> arguments, Outcome* outcome, bool* wants_help);
  [[nodiscard]] const std::string& given_dir() const noexcept { return given_dir_; }
  [[nodiscard]] std::string help();

 private:
  // Takes the one value of an option or positional; a sentence refuses it.
  using Take = std::function<Problem(std::string value)>;
  CLI::Option* add(const std::string& name, const std::string& argument, const std::string& help, Take take);
  void key64();
  [[nodiscard]] Problem check_flags(std::span<char* const> arguments) const;

  std::unique_ptr<CLI::App> app_;
  std::vector<std::function<Problem()>> checks_;
  std::vector<std::string> flags_;  // by all their names
  std::string given_dir_;
  bool keys_are_base64_ = false;
};

// Refuses what no store can hold as a key.
[[nodiscard]] Problem check_key(std::string_view key);

}  // namespace kvctl
