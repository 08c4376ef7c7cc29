// The command line, by way of CLI11.
//
// CLI11 is eager to find meaning in arguments: "[a,b]" may become two values, "{}" none, "-5" an option. Keys and
// values must pass untouched, so every argument that is a value gets a mark in front before CLI11 sees it,
// and loses it again on the way to its variable.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <utility>

#include "kvstore/format/utf8.h"
#include "kvstore/options.h"
#include "tools/kvctl/clock.h"
#include "tools/kvctl/command.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

constexpr char kMark = '\x01';

std::vector<std::string> marked(std::span<char* const> arguments) {
  std::vector<std::string> out;
  bool only_values = false;
  for (std::string_view argument : arguments) {
    const bool is_number = argument.size() > 1 && argument[0] == '-' && argument[1] >= '0' && argument[1] <= '9';
    if (only_values || argument == "-" || is_number || !argument.starts_with('-')) {
      out.push_back(kMark + std::string(argument));
      continue;
    }
    if (argument == "--") only_values = true;
    const size_t equals = argument.starts_with("--") ? argument.find('=') : std::string_view::npos;
    out.emplace_back(argument.substr(0, equals));
    if (equals != std::string_view::npos) out.push_back(kMark + std::string(argument.substr(equals + 1)));
  }
  return out;
}

std::string unmarked(std::string value) {
  if (value.starts_with(kMark)) value.erase(0, 1);
  return value;
}

// CLI11's refusals in our words where its own read oddly.
std::string explain(const CLI::ParseError& error, const CLI::App& app) {
  std::string sentence = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !app.remaining().empty()) {
    // CLI11 lists a "--" among them.
    const std::vector<std::string> remaining = app.remaining();
    const auto found = std::ranges::find_if(remaining, [](const std::string& word) { return word != "--"; });
    const std::string first = found == remaining.end() ? "--" : *found;
    return first.starts_with(kMark) ? fmt::format("one argument too many: '{}'", unmarked(first))
                                    : fmt::format("there is no option '{}'", first);
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    const bool is_missing = sentence.find("missing") != std::string::npos;
    const std::string name = sentence.substr(0, sentence.find(':'));
    return fmt::format("{} {}", name, is_missing ? "needs a value" : "is given more than once");
  }
  std::erase(sentence, kMark);
  return sentence;
}

// Lays the help page out: usage first, then what the command does.
class HelpPage : public CLI::Formatter {
 public:
  explicit HelpPage(const Command& command) : command_(command) {
    label("Positionals", "arguments");
    column_width(24);
  }
  std::string make_usage(const CLI::App*, std::string) const override { return {}; }
  std::string make_description(const CLI::App*) const override {
    return fmt::format("usage: kvctl {}{}{} [options]\n\n{}.\n{}", command_.name, command_.arguments.empty() ? "" : " ",
                       command_.arguments, command_.summary, command_.details);
  }
  std::string make_footer(const CLI::App*) const override { return fmt::format("example:\n{}\n", command_.example); }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_option_text().empty() ? "" : " " + option->get_option_text();
  }

 private:
  const Command& command_;
};

constexpr std::string_view format_name(Format format) {
  switch (format) {
    case Format::kText:
      return "text";
    case Format::kJson:
      return "json";
    case Format::kJsonl:
      return "jsonl";
    case Format::kRaw:
      return "raw";
    case Format::kPrometheus:
      return "prometheus";
  }
  return "";
}

}  // namespace

Problem check_key(std::string_view key) {
  if (key.empty()) return "the key is empty";
  if (key.size() > kvstore::kKeyBytesMax) {
    return fmt::format("the key has {} bytes; at most {} are allowed", key.size(), kvstore::kKeyBytesMax);
  }
  return std::nullopt;
}

Cli::Cli(const Command& command) : app_(std::make_unique<CLI::App>()) {
  app_->formatter(std::make_shared<HelpPage>(command));
  app_->option_defaults()->group("options");
  app_->set_help_flag("-h,--help", "print this page");
}

Cli::~Cli() = default;

std::string Cli::help() { return app_->help(); }

CLI::Option* Cli::add(const std::string& name, const std::string& argument, const std::string& help, Take take) {
  CLI::Option* const option = app_->add_option(
      name,
      [name, take = std::move(take)](const CLI::results_t& values) {
        for (const std::string& value : values) {
          if (Problem problem = take(unmarked(value))) {
            throw CLI::ValidationError(fmt::format("{}: {}", name, *problem));
          }
        }
        return true;
      },
      help);
  return option->option_text(argument);
}

void Cli::positional(const std::string& name, std::string& into, const std::string& help) {
  add(name, "", help, [&into](std::string value) -> Problem {
    into = std::move(value);
    return std::nullopt;
  })->required();
}

void Cli::optional_positional(const std::string& name, std::string& into, const std::string& help) {
  add(name, "", help, [&into](std::string value) -> Problem {
    into = std::move(value);
    return std::nullopt;
  });
}

void Cli::dir(std::string& into) {
  positional("DIR", into, "the store's directory");
  check([this, &into]() -> Problem {
    given_dir_ = into;
    if (into.empty()) return "DIR is empty";
    return std::nullopt;
  });
}

void Cli::key64() { flag("--key64", keys_are_base64_, "keys are given in base64, for bytes that are no text"); }

namespace {

Problem decode_key(std::string& key) {
  std::optional<std::string> bytes = from_base64(key);
  if (!bytes) return fmt::format("'{}' is no base64", key);
  key = *std::move(bytes);
  return std::nullopt;
}

}  // namespace

void Cli::key(std::string& into) {
  positional("KEY", into, "the key, 1 to 65536 bytes");
  key64();
  check([this, &into]() -> Problem {
    if (keys_are_base64_) {
      if (Problem problem = decode_key(into)) return problem;
    }
    return check_key(into);
  });
}

void Cli::keys(std::vector<std::string>& into) {
  add("KEY", "", "one or more keys",
      [&into](std::string value) -> Problem {
        into.push_back(std::move(value));
        return std::nullopt;
      })
      ->required()
      ->expected(1, -1)
      ->allow_extra_args();
  key64();
  check([this, &into]() -> Problem {
    for (std::string& key : into) {
      if (keys_are_base64_) {
        if (Problem problem = decode_key(key)) return problem;
      }
      if (Problem problem = check_key(key)) return problem;
    }
    return std::nullopt;
  });
}

void Cli::prefix(std::string& into) {
  optional_positional("PREFIX", into, "only keys that start with this");
  key64();
  check([this, &into]() -> Problem { return keys_are_base64_ ? decode_key(into) : std::nullopt; });
}

void Cli::flag(const std::string& name, bool& into, const std::string& help) {
  const size_t comma = name.find(',');
  flags_.push_back(name.substr(0, comma));
  if (comma != std::string::npos) flags_.push_back(name.substr(comma + 1));
  app_->add_flag_callback(
      name, [&into] { into = true; }, help);
}

void Cli::option(const std::string& name, const std::string& argument, std::string& into, const std::string& help) {
  add(name, argument, help, [&into](std::string value) -> Problem {
    into = std::move(value);
    return std::nullopt;
  });
}

void Cli::option(const std::string& name, const std::string& argument, std::optional<std::string>& into,
                 const std::string& help) {
  add(name, argument, help, [&into](std::string value) -> Problem {
    into = std::move(value);
    return std::nullopt;
  });
}

// Before a store is opened, and perhaps made, for nothing.
void Cli::by(std::string& into) {
  option("--by", "WHO", into, "who does it, for the log");
  check([&into]() -> Problem {
    if (into.size() <= kvstore::kByBytesMax && kvstore::format::is_utf8(into)) return std::nullopt;
    return fmt::format("--by: that is no UTF-8 of at most {} bytes", kvstore::kByBytesMax);
  });
}

void Cli::option(const std::string& name, std::optional<uint64_t>& into, const std::string& help) {
  add(name, "N", help, [&into](const std::string& value) -> Problem {
    into = parse_uint(value);
    if (!into) return fmt::format("'{}' is no number like 0 or 42", value);
    return std::nullopt;
  });
}

void Cli::duration(const std::string& name, std::chrono::microseconds& into, const std::string& help) {
  add(name, "TIME", help, [&into](const std::string& value) -> Problem {
    const auto duration = parse_duration(value);
    if (!duration) return fmt::format("'{}' is no time like 90s, 15m, 1h30m or 7d (units: us ms s m h d)", value);
    into = *duration;
    return std::nullopt;
  });
}

void Cli::time(const std::string& name, std::optional<int64_t>& into, const std::string& help) {
  add(name, "TIME", help, [&into](const std::string& value) -> Problem {
    into = parse_time(value, now_us());
    if (!into) return fmt::format("'{}' is neither a time like 2025-11-22T08:30:00Z nor an age like 10m", value);
    return std::nullopt;
  });
}

void Cli::format(Format& into, std::initializer_list<Format> allowed) {
  std::string names;
  for (Format format : allowed) names += fmt::format("{}{}", names.empty() ? "" : "|", format_name(format));
  add("-o,--output", names, "how to print",
      [&into, names, formats = std::vector(allowed)](const std::string& value) -> Problem {
        for (Format format : formats) {
          if (format_name(format) != value) continue;
          into = format;
          return std::nullopt;
        }
        return fmt::format("'{}' is none of {}", value, names);
      });
}

// CLI11 would take "--sync=1" for the flag and an argument "1".
Problem Cli::check_flags(std::span<char* const> arguments) const {
  for (const std::string_view argument : arguments) {
    if (argument == "--") break;
    const std::string_view name = argument.substr(0, argument.find('='));
    if (name != argument && std::ranges::find(flags_, name) != flags_.end()) {
      return fmt::format("{} takes no value", name);
    }
  }
  return std::nullopt;
}

bool Cli::parse(std::span<char* const> arguments, Outcome* outcome, bool* wants_help) {
  if (Problem problem = check_flags(arguments)) {
    *outcome = usage(*std::move(problem));
    return false;
  }
  std::vector<std::string> args = marked(arguments);
  std::reverse(args.begin(), args.end());  // the order that CLI11 wants
  try {
    app_->parse(std::move(args));
  } catch (const CLI::CallForHelp&) {
    *wants_help = true;
    return false;
  } catch (const CLI::ParseError& error) {
    *outcome = usage(explain(error, *app_));
    return false;
  }
  for (const auto& check : checks_) {
    if (Problem problem = check()) {
      *outcome = usage(*std::move(problem));
      return false;
    }
  }
  return true;
}

}  // namespace kvctl
