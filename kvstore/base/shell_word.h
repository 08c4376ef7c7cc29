// A path in a command that somebody is going to copy into his shell.
#pragma once

#include <string>
#include <string_view>

namespace kvstore::base {

// As one word of a POSIX shell: as it is where that is plain, in quotes otherwise, and never to be taken for an option.
[[nodiscard]] inline std::string shell_word(std::string_view path) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  const std::string word = path.starts_with('-') ? "./" + std::string(path) : std::string(path);
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'') quoted += "'\\'";
    quoted += c;
  }
  return quoted + "'";
}

}  // namespace kvstore::base
