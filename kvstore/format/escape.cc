#include "kvstore/format/escape.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kvstore/format/special.h"

namespace kvstore::format {
namespace {

// The text a special byte becomes, always stored as eight bytes; only `size` of them count.
struct EscapeText {
  char text[7];
  uint8_t size;
};
static_assert(sizeof(EscapeText) == 8);

constexpr auto kEscapes = [] {
  std::array<EscapeText, '\\' + 1> table{};
  constexpr char kHex[] = "0123456789abcdef";
  for (unsigned byte = 0; byte < 0x20; ++byte)
    table[byte] = {{'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]}, 6};
  table['\b'] = {{'\\', 'b'}, 2};
  table['\f'] = {{'\\', 'f'}, 2};
  table['\n'] = {{'\\', 'n'}, 2};
  table['\r'] = {{'\\', 'r'}, 2};
  table['\t'] = {{'\\', 't'}, 2};
  table['"'] = {{'\\', '"'}, 2};
  table['\\'] = {{'\\', '\\'}, 2};
  return table;
}();

inline char* write_escape(char* out, char byte) noexcept {
  const EscapeText& escape = kEscapes[static_cast<unsigned char>(byte)];
  std::memcpy(out, &escape, sizeof escape);
  return out + escape.size;
}

}  // namespace

Escaped escape_portable(char* out, std::string_view text) noexcept {
  const char* in = text.data();
  const char* const end = in + text.size();
  bool non_ascii = false;
  while (in != end) {
    uint64_t word = 0;
    if (end - in >= 8 && (std::memcpy(&word, in, sizeof word), !any_special(word))) {
      std::memcpy(out, in, sizeof word);
      non_ascii |= any_non_ascii(word);
      in += 8, out += 8;
      continue;
    }
    if (is_special(*in)) {
      out = write_escape(out, *in++);
    } else {
      non_ascii |= static_cast<unsigned char>(*in) >= 0x80;
      *out++ = *in++;
    }
  }
  return {out, non_ascii};
}

#if KVSTORE_FORMAT_SSE2

namespace {

// Writes `size` bytes at `from`, whose special ones are marked in `mask`. Needs: mask != 0, and 32 readable
// bytes at `from`, since whole blocks are copied from every place behind an escape.
char* escape_marked(char* out, const char* from, size_t size, unsigned mask) noexcept {
  unsigned next = 0;  // first byte not yet written
  do {
    const auto at = static_cast<unsigned>(std::countr_zero(mask));
    store_block(out, load_block(from + next));
    out = write_escape(out + (at - next), from[at]);
    next = at + 1;
    mask &= mask - 1;
  } while (mask != 0);
  store_block(out, load_block(from + next));
  return out + (size - next);
}

}  // namespace

Escaped escape(char* out, std::string_view text) noexcept {
  const char* in = text.data();
  size_t left = text.size();
  __m128i seen = _mm_setzero_si128();
  for (; left >= 16; in += 16, left -= 16) {
    const __m128i block = load_block(in);
    store_block(out, block);
    seen = _mm_or_si128(seen, block);
    const unsigned mask = special_mask(block);
    if (mask == 0) [[likely]] {
      out += 16;
    } else if (left >= 32) {
      out = escape_marked(out, in, 16, mask);
    } else {
      char copy[32];
      store_block(copy, block);
      store_block(copy + 16, _mm_setzero_si128());
      out = escape_marked(out, copy, 16, mask);
    }
  }
  if (left != 0) {
    const __m128i block = load_tail(in, left);
    store_block(out, block);
    seen = _mm_or_si128(seen, block);
    const unsigned mask = special_mask(block) & ((1u << left) - 1);  // the zeros behind the text are no content
    if (mask == 0) [[likely]] {
      out += left;
    } else {
      char copy[32];
      store_block(copy, block);
      store_block(copy + 16, _mm_setzero_si128());
      out = escape_marked(out, copy, left, mask);
    }
  }
  return {out, _mm_movemask_epi8(seen) != 0};
}

#else

Escaped escape(char* out, std::string_view text) noexcept { return escape_portable(out, text); }

#endif

}  // namespace kvstore::format
