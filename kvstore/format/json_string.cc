#include "kvstore/format/json_string.h"

#include <cstdint>
#include <cstring>

#include "kvstore/format/json_text.h"

namespace kvstore::format {
namespace {

// Reads the escape at *text (a backslash), writes its UTF-8, at most 4 bytes. Needs: it is well-formed.
char* write_unescaped(char* out, const char** text) noexcept {
  const char* at = *text + 2;
  const char kind = at[-1];
  if (kind != 'u') {
    *text = at;
    switch (kind) {
      case 'b':
        *out = '\b';
        break;
      case 'f':
        *out = '\f';
        break;
      case 'n':
        *out = '\n';
        break;
      case 'r':
        *out = '\r';
        break;
      case 't':
        *out = '\t';
        break;
      default:
        *out = kind;
    }
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

std::string_view unescape_json(std::string_view quoted, base::Scratch& scratch) {
  const std::string_view content = quoted.substr(1, quoted.size() - 2);
  const char* at = content.data();
  const char* const end = at + content.size();
  const auto next_backslash = [&] {
    const void* found = at == end ? nullptr : std::memchr(at, '\\', static_cast<size_t>(end - at));
    return found == nullptr ? end : static_cast<const char*>(found);
  };
  const char* backslash = next_backslash();
  if (backslash == end) return content;
  char* const first = scratch.allocate(content.size());  // an escape is never shorter than what it stands for
  char* out = first;
  for (;;) {
    const auto run = static_cast<size_t>(backslash - at);
    std::memcpy(out, at, run);
    out += run, at += run;
    if (at == end) break;
    out = write_unescaped(out, &at);
    backslash = next_backslash();
  }
  const auto size = static_cast<size_t>(out - first);
  scratch.shrink_last(content.size(), size);
  return {first, size};
}

}  // namespace kvstore::format
