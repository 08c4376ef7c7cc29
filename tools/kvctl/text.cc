#include "tools/kvctl/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "kvstore/base/shell_word.h"
#include "kvstore/format/base64.h"

namespace kvctl {

namespace format = kvstore::format;

namespace {

struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;  // 0: no valid UTF-8 starts here
};

// One code point at the start of `bytes`, which is not empty. The bounds on the second byte are those of the
// table in RFC 3629, section 4: they rule out overlong forms, surrogates and what lies above U+10FFFF.
CodePoint first_code_point(std::string_view bytes) noexcept {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (bytes.size() < length) return {};
  const unsigned char second_min = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char second_max = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (at(1) < second_min || at(1) > second_max) return {};
  char32_t value = static_cast<char32_t>(lead & (0x7F >> length)) << 6 | (at(1) & 0x3F);
  for (size_t i = 2; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (at(i) & 0x3F);
  }
  return {value, length};
}

// Beyond ASCII: C1 controls, the bidi controls of Unicode's UAX #9, and the two line separators.
bool is_steering(char32_t c) noexcept {
  return (c >= 0x80 && c <= 0x9F) || c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

enum class Style : uint8_t {
  kListing,   // \xNN for bytes, backslashes doubled: reversible
  kMessage,   // the same with single backslashes
  kJson,      // the inside of a JSON string
  kJsonText,  // what is JSON already
};

constexpr bool is_plain(char c) noexcept { return c >= 0x20 && c < 0x7F && c != '\\' && c != '"'; }

// Appends the character that `rest` begins with, escaped where needed, and returns how many bytes it was.
size_t escape_one(std::string_view rest, Style style, std::string& out) {
  const CodePoint c = first_code_point(rest);
  const auto byte = static_cast<unsigned char>(rest.front());
  const bool is_json = style == Style::kJson || style == Style::kJsonText;
  if (c.bytes == 0) {
    if (is_json) out += "\\ufffd";
    if (!is_json) fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    return 1;
  }
  if (c.value == '\\' || c.value == '"') {
    if (style == Style::kJson || (style == Style::kListing && c.value == '\\')) out += '\\';
    out += rest[0];
  } else if (c.value < 0x20 && style == Style::kJsonText) {
    if (c.value != '\r') out += rest[0];  // white space between tokens; a return would overwrite the line
  } else if (c.value == '\n') {
    out += "\\n";
  } else if (c.value == '\t') {
    out += "\\t";
  } else if (c.value == '\r') {
    out += "\\r";
  } else if (c.value < 0x20 || c.value == 0x7F) {
    fmt::format_to(std::back_inserter(out), "\\{}{:02x}", is_json ? "u00" : "x", byte);
  } else if (is_steering(c.value)) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<uint32_t>(c.value));
  } else {
    out += rest.substr(0, c.bytes);
  }
  return c.bytes;
}

void escape_all(std::string_view bytes, Style style, std::string& out) {
  out.reserve(out.size() + bytes.size());
  while (!bytes.empty()) {
    const auto stop = std::find_if_not(bytes.begin(), bytes.end(), is_plain);
    const auto plain = static_cast<size_t>(stop - bytes.begin());
    out += bytes.substr(0, plain);
    bytes.remove_prefix(plain);
    if (!bytes.empty()) bytes.remove_prefix(escape_one(bytes, style, out));
  }
}

template <typename Int>
std::optional<Int> parse_number(std::string_view text) noexcept {
  Int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

std::string escape(std::string_view bytes) {
  std::string out;
  escape_all(bytes, Style::kListing, out);
  return out;
}

std::string escape_message(std::string_view message) {
  std::string out;
  escape_all(message, Style::kMessage, out);
  return out;
}

std::string json_string(std::string_view utf8) {
  std::string out = "\"";
  escape_all(utf8, Style::kJson, out);
  return out += '"';
}

std::string escape_json_text(std::string_view json) {
  std::string out;
  escape_all(json, Style::kJsonText, out);
  return out;
}

std::string shorten(std::string_view bytes, size_t columns) {
  std::string out;
  std::string_view rest = bytes;
  for (size_t i = 0; i < columns && !rest.empty(); ++i) rest.remove_prefix(escape_one(rest, Style::kListing, out));
  if (!rest.empty()) out += fmt::format("… ({} bytes)", bytes.size());
  return out;
}

std::string path_argument(std::string_view path) {
  if (escape_message(path) == path) return kvstore::base::shell_word(path);
  std::string out = path.starts_with('-') ? "$'./" : "$'";
  for (const char c : path) {
    if (c == '\'' || c == '\\') {
      out += fmt::format("\\{}", c);
    } else if (c >= 0x20 && c < 0x7F) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    }
  }
  return out + "'";
}

std::string key_argument(std::string_view key) {
  if (escape_message(key) != key) return "--key64 " + to_base64(key);
  return key.starts_with('-') ? "-- " + kvstore::base::shell_quote(key) : kvstore::base::shell_quote(key);
}

std::string count_of(uint64_t count, std::string_view noun, std::string_view plural) {
  if (count != 1 && !plural.empty()) return fmt::format("{} {}", count, plural);
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double size = static_cast<double>(bytes);
  for (const char* unit : {"KiB", "MiB", "GiB", "TiB"}) {
    size /= 1024;
    if (size < 1024) return fmt::format("{:.1f} {}", size, unit);
  }
  return fmt::format("{:.1f} PiB", size / 1024);
}

std::optional<uint64_t> parse_uint(std::string_view text) noexcept { return parse_number<uint64_t>(text); }

std::optional<int64_t> parse_int(std::string_view text) noexcept { return parse_number<int64_t>(text); }

std::string to_base64(std::string_view bytes) {
  std::string out(format::base64_size(bytes.size()), '\0');
  [[maybe_unused]] const char* end = format::write_base64(out.data(), bytes);
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  const std::optional<size_t> size = format::base64_decoded_size(text);
  if (!size) return std::nullopt;
  std::string out(*size, '\0');
  if (!format::read_base64(out.data(), text)) return std::nullopt;
  return out;
}

}  // namespace kvctl
