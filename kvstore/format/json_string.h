// Undoing string escapes, in the ways that json_text.cc and the fast reader need. Pure, allocates nothing.
#pragma once

#include <cstddef>
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

// Copies string content from `text` to `out`, undoing escapes, up to the closing quote: one pass, block by
// block, for strings with many escapes. `quote` is where it stopped; nullptr: it gave up, because something
// is wrong, there is no quote, or less than kUnescapeSlack bytes remain in the text or the room. Nothing is
// lost by giving up but time: the caller tries another way. Does not check UTF-8, but says when it must be.
struct Unescaped {
  const char* quote = nullptr;
  char* end = nullptr;  // behind the last byte written
  bool may_be_non_utf8 = false;
};
inline constexpr size_t kUnescapeSlack = 16;
[[nodiscard]] Unescaped unescape_to_quote(char* out, size_t room, const char* text, const char* end) noexcept;
// The same without vector instructions, for other processors and for tests.
[[nodiscard]] Unescaped unescape_to_quote_portable(char* out, size_t room, const char* text, const char* end) noexcept;

}  // namespace kvstore::format
