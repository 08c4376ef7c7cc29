#include "kvstore/format/json_string.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "kvstore/format/json_text.h"
#include "kvstore/format/special.h"

namespace kvstore::format {
namespace {

// What the character behind a backslash means; 0 for 'u' and for what means nothing.
constexpr auto kMeanings = [] {
  std::array<char, 256> table{};
  constexpr char kPairs[][2] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'b', '\b'},
                                {'f', '\f'}, {'n', '\n'},  {'r', '\r'}, {'t', '\t'}};
  for (const auto& [kind, meaning] : kPairs) table[static_cast<unsigned char>(kind)] = meaning;
  return table;
}();

constexpr char meaning_of(char kind) { return kMeanings[static_cast<unsigned char>(kind)]; }

// Reads the escape at *text (a backslash), writes its UTF-8, at most 4 bytes. Needs: it is well-formed.
char* write_unescaped(char* out, const char** text) noexcept {
  const char* at = *text + 2;
  if (at[-1] != 'u') {
    *text = at;
    *out = meaning_of(at[-1]);
    return out + 1;
  }
  auto code = static_cast<uint32_t>(read_hex4(at, at + 4));
  at += 4;
  if (is_high_surrogate(static_cast<int>(code))) {
    const auto low = static_cast<uint32_t>(read_hex4(at + 2, at + 6));
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    at += 6;
  }
  *text = at;
  const auto put = [&out](uint32_t byte) { *out++ = static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6), put(0x80 | (code & 63));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  } else {
    put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  }
  return out;
}

// Whether a well-formed \u escape stands at `text`, with its second half if it needs one.
bool is_unicode_escape(const char* text, const char* end) noexcept {
  if (end - text < 6 || text[1] != 'u') return false;
  const int unit = read_hex4(text + 2, end);
  if (unit < 0 || is_low_surrogate(unit)) return false;
  if (!is_high_surrogate(unit)) return true;
  return end - text >= 12 && text[6] == '\\' && text[7] == 'u' && is_low_surrogate(read_hex4(text + 8, end));
}

}  // namespace

bool json_string_says(std::string_view quoted, std::string_view text) noexcept {
  const char* at = quoted.data() + 1;
  const char* const end = quoted.data() + quoted.size() - 1;
  while (at != end) {
    char unit[4];
    size_t size = 1;
    if (*at == '\\') {
      size = static_cast<size_t>(write_unescaped(unit, &at) - unit);
    } else {
      unit[0] = *at++;
    }
    if (!text.starts_with(std::string_view(unit, size))) return false;
    text.remove_prefix(size);
  }
  return text.empty();
}

char* write_unescaped_json(char* out, std::string_view quoted) noexcept {
  const char* at = quoted.data() + 1;
  const char* const end = quoted.data() + quoted.size() - 1;
  for (;;) {
    const void* const found = at == end ? nullptr : std::memchr(at, '\\', static_cast<size_t>(end - at));
    const char* const backslash = found == nullptr ? end : static_cast<const char*>(found);
    const auto run = static_cast<size_t>(backslash - at);
    std::memcpy(out, at, run);
    out += run, at += run;
    if (at == end) return out;
    out = write_unescaped(out, &at);
  }
}

std::string_view unescape_json(std::string_view quoted, base::Scratch& scratch) {
  const std::string_view content = quoted.substr(1, quoted.size() - 2);
  if (content.find('\\') == std::string_view::npos) return content;
  char* const out = scratch.allocate(content.size());  // an escape is never shorter than what it stands for
  const auto size = static_cast<size_t>(write_unescaped_json(out, quoted) - out);
  scratch.shrink_last(content.size(), size);
  return {out, size};
}

Unescaped unescape_to_quote_portable(char* out, size_t room, const char* text, const char* end) noexcept {
  const char* const out_end = out + room;
  bool non_ascii = false;
  while (text != end && out_end - out >= 4) {
    if (*text == '"') return {text, out, non_ascii};
    if (*text != '\\') {
      if (is_special(*text)) return {};
      non_ascii |= static_cast<unsigned char>(*text) >= 0x80;
      *out++ = *text++;
    } else if (end - text >= 2 && meaning_of(text[1]) != 0) {
      *out++ = meaning_of(text[1]);
      text += 2;
    } else if (is_unicode_escape(text, end)) {
      out = write_unescaped(out, &text);
    } else {
      return {};
    }
  }
  return {};
}

#if KVSTORE_FORMAT_SSE2

Unescaped unescape_to_quote(char* out, size_t room, const char* text, const char* end) noexcept {
  constexpr size_t kBlock = 16;
  static_assert(kUnescapeSlack >= kBlock);
  if (static_cast<size_t>(end - text) < kBlock || room < 2 * kBlock) return {};
  const char* const text_last = end - kBlock;            // the last place to load a block from
  const char* const out_last = out + room - 2 * kBlock;  // and to begin writing one, escapes included
  __m128i seen = _mm_setzero_si128();
  while (text <= text_last && out <= out_last) {
    const __m128i block = load_block(text);
    seen = _mm_or_si128(seen, block);
    store_block(out, block);
    unsigned mask = special_mask(block);
    size_t next = 0;  // first byte of the block not yet dealt with
    while (mask != 0) {
      const auto at = static_cast<size_t>(std::countr_zero(mask));
      if (text + next > text_last) return {};
      store_block(out, load_block(text + next));
      out += at - next;
      if (text[at] == '"') return {text + at, out, _mm_movemask_epi8(seen) != 0};
      if (text[at] != '\\') return {};
      const char meaning = meaning_of(text[at + 1]);
      if (meaning == 0) {
        const char* escape = text + at;
        if (!is_unicode_escape(escape, end)) return {};
        out = write_unescaped(out, &escape);
        text = escape - kBlock;  // begin a new block behind it
        next = kBlock;
        break;
      }
      *out++ = meaning;
      next = at + 2;
      mask &= ~(3u << at);  // the escaped character is often special itself
    }
    if (next < kBlock) {
      if (text + next > text_last) return {};
      store_block(out, load_block(text + next));
      out += kBlock - next;
      next = kBlock;
    }
    text += next;
  }
  return {};
}

#else

Unescaped unescape_to_quote(char* out, size_t room, const char* text, const char* end) noexcept {
  return unescape_to_quote_portable(out, room, text, end);
}

#endif

}  // namespace kvstore::format
