// What stands in a command that somebody is going to copy into his shell.
#pragma once

#include <string>
#include <string_view>

namespace kvstore::base {

// As one word of a POSIX shell: as it is where that is plain, in quotes otherwise.
[[nodiscard]] inline std::string shell_quote(std::string_view text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) return std::string(text);
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += "'\\'";
    quoted += c;
  }
  return quoted + "'";
}

// A path, never to be taken for an option.
[[nodiscard]] inline std::string shell_word(std::string_view path) {
  return path.starts_with('-') ? shell_quote("./" + std::string(path)) : shell_quote(path);
}

}  // namespace kvstore::base
