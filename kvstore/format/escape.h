// Bytes -> the inside of a JSON string, copying while looking: each block is stored before anybody knows
// whether something in it needs an escape, and only then repaired. Least escaping: \" \\ \b \f \n \r \t,
// \u00XX for the other controls; everything else stays as it is. Pure, thread-safe, never allocates.
#pragma once

#include <cstddef>
#include <string_view>

#include "kvstore/format/special.h"

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

// For text that hardly ever needs an escape, and so short that the call would cost as much as the copy: escape(), or an end of
// nullptr where a byte needs one, and then something stands at `out`. Needs: as escape().
[[nodiscard]] inline Escaped escape_nothing(char* out, std::string_view text) noexcept {
#if KVSTORE_FORMAT_SSE2
  const size_t size = text.size();
  if (size == 0) return {out, false};
  if (size < 16) {
    const __m128i block = load_tail(text.data(), size);
    store_block(out, block);
    // The zeros behind the text are no content.
    const bool is_special = (special_mask(block) & ((1u << size) - 1)) != 0;
    return {is_special ? nullptr : out + size, _mm_movemask_epi8(block) != 0};
  }
  __m128i seen = _mm_setzero_si128();
  unsigned special = 0;
  const auto copy_block = [&](size_t at) {
    const __m128i block = load_block(text.data() + at);
    store_block(out + at, block);
    seen = _mm_or_si128(seen, block);
    special |= special_mask(block);
  };
  for (size_t at = 0; at + 16 < size; at += 16) copy_block(at);
  copy_block(size - 16);  // once more, in part
  return {special != 0 ? nullptr : out + size, _mm_movemask_epi8(seen) != 0};
#else
  return escape_portable(out, text);
#endif
}

}  // namespace kvstore::format
