// Bytes -> the inside of a JSON string, copying while looking: each block is stored before anybody knows
// whether something in it needs an escape, and only then repaired. Least escaping: \" \\ \b \f \n \r \t,
// \u00XX for the other controls; everything else stays as it is. Pure, thread-safe, never allocates.
#pragma once

#include <cstddef>
#include <string_view>

namespace kvstore::format {

inline constexpr size_t kEscapeBytesMax = 6;  // what one byte can become: \u001f
inline constexpr size_t kEscapeSlack = 32;    // bytes behind the result that may be overwritten

struct Escaped {
  char* end = nullptr;     // one past the last byte written
  bool non_ascii = false;  // some byte was >= 0x80: the caller must check for UTF-8
};

// Needs: room for kEscapeBytesMax * text.size() + kEscapeSlack bytes at `out`, not overlapping `text`.
[[nodiscard]] Escaped escape(char* out, std::string_view text) noexcept;

// The same without vector instructions, for other processors and for tests.
[[nodiscard]] Escaped escape_portable(char* out, std::string_view text) noexcept;

}  // namespace kvstore::format
