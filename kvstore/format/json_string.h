// What json_text.cc and its string half share: \u escapes, and strings compared without undoing them.
#pragma once

#include <string_view>

namespace kvstore::format {

// The number of four hex digits at `text`, or -1.
[[nodiscard]] inline int read_hex4(const char* text, const char* end) noexcept {
  if (end - text < 4) return -1;
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = text[i];
    const bool decimal = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'f', upper = c >= 'A' && c <= 'F';
    if (!decimal && !lower && !upper) return -1;
    value = value << 4 | (c - (decimal ? '0' : lower ? 'a' - 10 : 'A' - 10));
  }
  return value;
}
[[nodiscard]] constexpr bool is_high_surrogate(int unit) { return unit >= 0xd800 && unit <= 0xdbff; }
[[nodiscard]] constexpr bool is_low_surrogate(int unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

// Whether the JSON string `quoted` (from quote to quote, well-formed) says `text`. Allocates nothing.
[[nodiscard]] bool json_string_says(std::string_view quoted, std::string_view text) noexcept;

}  // namespace kvstore::format
