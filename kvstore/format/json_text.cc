#include "kvstore/format/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cstring>

#include "kvstore/format/json_string.h"
#include "kvstore/format/special.h"
#include "kvstore/format/utf8.h"

namespace kvstore::format {
namespace {

constexpr bool is_space(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }
constexpr bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

// Steps over one value. A class only to share the cursor; the nesting lives in a bit set, not on the stack.
class Skipper {
 public:
  Skipper(std::string_view text, size_t begin) noexcept
      : begin_(text.data()), at_(text.data() + begin), end_(text.data() + text.size()) {}

  bool skip(size_t depth_max) noexcept;
  [[nodiscard]] size_t offset() const noexcept { return static_cast<size_t>(at_ - begin_); }
  [[nodiscard]] JsonError error() const noexcept { return {offset(), what_}; }

 private:
  static constexpr size_t kDepthRoom = kJsonDepthMax + 8;

  bool fail(const char* what) noexcept { return what_ = what, false; }
  bool fail_at(const char* where, const char* what) noexcept { return at_ = where, fail(what); }
  void skip_space() noexcept {
    while (at_ != end_ && is_space(*at_)) ++at_;
  }
  bool skip_scalar() noexcept;
  bool skip_word(std::string_view word) noexcept;
  bool skip_number() noexcept;
  bool skip_string() noexcept;
  bool skip_escape() noexcept;
  bool skip_name_and_colon() noexcept;

  const char* begin_;
  const char* at_;
  const char* end_;
  const char* what_ = nullptr;
};

bool Skipper::skip_word(std::string_view word) noexcept {
  if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) return fail("expected a JSON value");
  at_ += word.size();
  return true;
}

bool Skipper::skip_number() noexcept {
  const auto skip_digits = [this] {
    const char* const first = at_;
    while (at_ != end_ && is_digit(*at_)) ++at_;
    return at_ != first;
  };
  if (*at_ == '-') ++at_;
  if (at_ != end_ && *at_ == '0') {
    ++at_;
    if (at_ != end_ && is_digit(*at_)) return fail("a number must not have leading zeros");
  } else if (!skip_digits()) {
    return fail("expected a digit");
  }
  if (at_ != end_ && *at_ == '.') {
    ++at_;
    if (!skip_digits()) return fail("expected a digit behind '.'");
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!skip_digits()) return fail("expected a digit in the exponent");
  }
  return true;
}

// At the backslash.
bool Skipper::skip_escape() noexcept {
  const char* const backslash = at_;
  if (end_ - at_ < 2) return fail_at(end_, "the string does not end");
  const char kind = at_[1];
  at_ += 2;
  if (kind != 'u') {
    return std::strchr("\"\\/bfnrt", kind) != nullptr && kind != 0 ? true : fail_at(backslash, "unknown escape");
  }
  const int unit = read_hex4(at_, end_);
  if (unit < 0) return fail_at(backslash, "expected four hex digits behind \\u");
  at_ += 4;
  if (is_low_surrogate(unit)) return fail_at(backslash, "unpaired surrogate");
  if (!is_high_surrogate(unit)) return true;
  if (end_ - at_ < 6 || at_[0] != '\\' || at_[1] != 'u' || !is_low_surrogate(read_hex4(at_ + 2, end_))) {
    return fail_at(backslash, "unpaired surrogate");
  }
  at_ += 6;
  return true;
}

// At the opening quote.
bool Skipper::skip_string() noexcept {
  const char* const first = ++at_;
  bool non_ascii = false;
  for (;;) {
    const PlainRun run = scan_plain(at_, end_);
    non_ascii |= run.non_ascii;
    at_ = run.end;
    if (at_ == end_) return fail("the string does not end");
    if (*at_ == '"') break;
    if (*at_ != '\\') return fail("a control character in a string must be escaped");
    if (!skip_escape()) return false;
  }
  if (non_ascii) {
    const std::string_view content(first, static_cast<size_t>(at_ - first));
    if (!is_utf8(content)) return fail_at(first + valid_utf8_prefix(content), "the string is not valid UTF-8");
  }
  ++at_;
  return true;
}

bool Skipper::skip_scalar() noexcept {
  if (at_ == end_) return fail("expected a JSON value");
  switch (*at_) {
    case '"':
      return skip_string();
    case 't':
      return skip_word("true");
    case 'f':
      return skip_word("false");
    case 'n':
      return skip_word("null");
    default:
      return *at_ == '-' || is_digit(*at_) ? skip_number() : fail("expected a JSON value");
  }
}

bool Skipper::skip_name_and_colon() noexcept {
  if (at_ == end_ || *at_ != '"') return fail("expected a member name in quotes");
  if (!skip_string()) return false;
  skip_space();
  if (at_ == end_ || *at_ != ':') return fail("expected ':'");
  ++at_;
  skip_space();
  return true;
}

bool Skipper::skip(size_t depth_max) noexcept {
  std::bitset<kDepthRoom> in_object;  // bit d: the container at depth d is an object
  size_t depth = 0;
  for (;;) {
    // At the first byte of a value.
    if (at_ != end_ && (*at_ == '{' || *at_ == '[')) {
      if (depth == std::min(depth_max, kDepthRoom)) return fail("nested more than 1000 levels deep");
      const bool object = *at_ == '{';
      in_object[depth++] = object;
      ++at_;
      skip_space();
      if (at_ != end_ && *at_ == (object ? '}' : ']')) {
        ++at_;
        --depth;
      } else {
        if (object && !skip_name_and_colon()) return false;
        continue;
      }
    } else if (!skip_scalar()) {
      return false;
    }
    // Behind a value: close what ends here, then go on to the next element or member.
    for (;;) {
      if (depth == 0) return true;
      const bool object = in_object[depth - 1];
      skip_space();
      if (at_ == end_ || (*at_ != ',' && *at_ != (object ? '}' : ']'))) {
        return fail(object ? "expected ',' or '}'" : "expected ',' or ']'");
      }
      if (*at_++ == ',') {
        skip_space();
        if (object && !skip_name_and_colon()) return false;
        break;
      }
      --depth;
    }
  }
}

// The reference token without its ~0 and ~1, nullopt when a ~ is followed by anything else.
std::optional<std::string> unescape_token(std::string_view token) {
  std::string plain;
  for (size_t i = 0; i < token.size(); ++i) {
    if (token[i] != '~') {
      plain += token[i];
      continue;
    }
    if (++i == token.size() || (token[i] != '0' && token[i] != '1')) return std::nullopt;
    plain += token[i] == '0' ? '~' : '/';
  }
  return plain;
}

// The index a token means in an array: plain digits without leading zeros. "-" means the element behind
// the last, which does not exist.
std::optional<size_t> array_index(std::string_view token) noexcept {
  if (token.empty() || token.size() > 18 || (token[0] == '0' && token.size() > 1)) return std::nullopt;
  size_t index = 0;
  for (const char c : token) {
    if (!is_digit(c)) return std::nullopt;
    index = index * 10 + static_cast<size_t>(c - '0');
  }
  return index;
}

// The child of `value` (no white space around) that `token` names.
std::optional<std::string_view> find_child(std::string_view value, std::string_view token) noexcept {
  const bool object = value[0] == '{';
  if (!object && value[0] != '[') return std::nullopt;
  const std::optional<size_t> index = object ? std::nullopt : array_index(token);
  if (!object && !index) return std::nullopt;
  std::optional<std::string_view> found;
  JsonError error;
  size_t at = skip_json_space(value, 1);
  for (size_t count = 0; value[at] != '}' && value[at] != ']'; ++count) {
    bool wanted = !object && count == *index;
    if (object) {
      const size_t name_end = *skip_json_value(value, at, &error);
      wanted = json_string_says(value.substr(at, name_end - at), token);
      at = skip_json_space(value, skip_json_space(value, name_end) + 1);  // over the colon
    }
    const size_t end = *skip_json_value(value, at, &error);
    if (wanted) found = value.substr(at, end - at);
    if (wanted && !object) return found;
    at = skip_json_space(value, end);
    if (value[at] == ',') at = skip_json_space(value, at + 1);
  }
  return found;
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool has_line_break(std::string_view text) noexcept {
  return text.find('\n') != std::string_view::npos || text.find('\r') != std::string_view::npos;
}

}  // namespace

std::optional<size_t> skip_json_value(std::string_view text, size_t begin, JsonError* error,
                                      size_t depth_max) noexcept {
  Skipper skipper(text, begin);
  if (skipper.skip(depth_max)) return skipper.offset();
  *error = skipper.error();
  return std::nullopt;
}

size_t skip_json_space(std::string_view text, size_t begin) noexcept {
  while (begin < text.size() && is_space(text[begin])) ++begin;
  return begin;
}

std::optional<JsonError> check_json(std::string_view text) noexcept {
  JsonError error;
  const std::optional<size_t> end = skip_json_value(text, skip_json_space(text, 0), &error);
  if (!end) return error;
  const size_t rest = skip_json_space(text, *end);
  if (rest != text.size()) return JsonError{rest, "unexpected text behind the JSON value"};
  return std::nullopt;
}

std::string describe(std::string_view text, const JsonError& error) {
  const std::string_view before = text.substr(0, error.offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return fmt::format("line {}, column {}: {}", line, error.offset - line_begin + 1, error.what);
}

std::string_view json_on_one_line(std::string_view text, base::Scratch& scratch) {
  text = trim(text);
  if (!has_line_break(text)) return text;
  char* const out = scratch.allocate(text.size());
  const auto size = static_cast<size_t>(write_json_on_one_line(out, text) - out);
  scratch.shrink_last(text.size(), size);
  return {out, size};
}

char* write_json_on_one_line(char* out, std::string_view text) noexcept {
  text = trim(text);
  if (!has_line_break(text)) return std::copy(text.begin(), text.end(), out);
  return std::copy_if(text.begin(), text.end(), out, [](char c) { return c != '\n' && c != '\r'; });
}

std::optional<std::string_view> find_json(std::string_view text, std::string_view pointer) {
  std::optional<std::string_view> value = trim(text);
  while (value && !pointer.empty()) {
    if (pointer[0] != '/') return std::nullopt;
    const std::string_view token = pointer.substr(1, pointer.find('/', 1) - 1);
    pointer.remove_prefix(1 + token.size());
    if (token.find('~') == std::string_view::npos) {
      value = find_child(*value, token);
    } else {
      const std::optional<std::string> plain = unescape_token(token);
      value = plain ? find_child(*value, *plain) : std::nullopt;
    }
  }
  return value;
}

}  // namespace kvstore::format
