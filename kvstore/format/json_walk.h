// The one reading of JSON text (RFC 8259): a walk over a value from its first byte to its last, iterative and bounded in
// depth, so hostile nesting cannot exhaust the stack. It checks everything and tells a visitor what it meets. For those who
// only want to get past a value there is a visitor that does not listen, and costs nothing. Private to json_text.cc and those
// who build documents. Pure.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "kvstore/format/json_string.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/special.h"
#include "kvstore/format/utf8.h"

namespace kvstore::format {

[[nodiscard]] constexpr bool is_json_space(char byte) {
  return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}
[[nodiscard]] constexpr bool is_json_digit(char byte) { return byte >= '0' && byte <= '9'; }

// What a visitor answers: nullptr to go on, or what is wrong, as a sentence that lives forever. Names and strings come from
// quote to quote, as they stand in the text; unescape_json() makes them readable. `at` is where an object or array begins,
// `behind` the byte behind its end.
struct NoVisitor {
  static constexpr const char* begin(bool /*is_object*/, const char* /*at*/) noexcept { return nullptr; }
  static constexpr const char* end(const char* /*behind*/) noexcept { return nullptr; }
  static constexpr const char* name(std::string_view) noexcept { return nullptr; }
  static constexpr const char* string(std::string_view) noexcept { return nullptr; }
  static constexpr const char* number(std::string_view) noexcept { return nullptr; }
  static constexpr const char* boolean(bool) noexcept { return nullptr; }
  static constexpr const char* null() noexcept { return nullptr; }
};

// Steps over one value. The nesting lives in a bit set, not on the stack.
template <typename Visitor>
class JsonWalker {
 public:
  JsonWalker(std::string_view text, size_t begin, Visitor& visitor) noexcept
      : begin_(text.data()), at_(text.data() + begin), end_(text.data() + text.size()), visitor_(visitor) {}

  // False: error() says where and why.
  bool walk(size_t depth_max);
  [[nodiscard]] size_t offset() const noexcept { return static_cast<size_t>(at_ - begin_); }
  [[nodiscard]] JsonError error() const noexcept { return {offset(), what_}; }

 private:
  static constexpr size_t kDepthRoom = kJsonDepthMax + 8;

  bool fail(const char* what) noexcept { return what_ = what, false; }
  bool fail_at(const char* where, const char* what) noexcept { return at_ = where, fail(what); }
  void skip_space() noexcept {
    while (at_ != end_ && is_json_space(*at_)) ++at_;
  }
  bool walk_scalar();
  bool skip_word(std::string_view word) noexcept;
  bool skip_number() noexcept;
  bool skip_string() noexcept;
  bool skip_escape() noexcept;
  bool walk_name_and_colon();
  [[nodiscard]] std::string_view since(const char* first) const noexcept {
    return {first, static_cast<size_t>(at_ - first)};
  }
  // Tells the visitor, whose objection stands at `first`.
  bool tell(const char* what, const char* first) noexcept { return what == nullptr || fail_at(first, what); }

  const char* begin_;
  const char* at_;
  const char* end_;
  const char* what_ = nullptr;
  Visitor& visitor_;
};

template <typename Visitor>
bool JsonWalker<Visitor>::skip_word(std::string_view word) noexcept {
  if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) return fail("expected a JSON value");
  at_ += word.size();
  return true;
}

template <typename Visitor>
bool JsonWalker<Visitor>::skip_number() noexcept {
  const auto skip_digits = [this] {
    const char* const first = at_;
    while (at_ != end_ && is_json_digit(*at_)) ++at_;
    return at_ != first;
  };
  if (*at_ == '-') ++at_;
  if (at_ != end_ && *at_ == '0') {
    ++at_;
    if (at_ != end_ && is_json_digit(*at_)) return fail("a number must not have leading zeros");
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
template <typename Visitor>
bool JsonWalker<Visitor>::skip_escape() noexcept {
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
template <typename Visitor>
bool JsonWalker<Visitor>::skip_string() noexcept {
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

template <typename Visitor>
bool JsonWalker<Visitor>::walk_scalar() {
  if (at_ == end_) return fail("expected a JSON value");
  const char* const first = at_;
  switch (*at_) {
    case '"':
      return skip_string() && tell(visitor_.string(since(first)), first);
    case 't':
      return skip_word("true") && tell(visitor_.boolean(true), first);
    case 'f':
      return skip_word("false") && tell(visitor_.boolean(false), first);
    case 'n':
      return skip_word("null") && tell(visitor_.null(), first);
    default:
      if (*at_ != '-' && !is_json_digit(*at_)) return fail("expected a JSON value");
      return skip_number() && tell(visitor_.number(since(first)), first);
  }
}

template <typename Visitor>
bool JsonWalker<Visitor>::walk_name_and_colon() {
  if (at_ == end_ || *at_ != '"') return fail("expected a member name in quotes");
  const char* const first = at_;
  if (!skip_string() || !tell(visitor_.name(since(first)), first)) return false;
  skip_space();
  if (at_ == end_ || *at_ != ':') return fail("expected ':'");
  ++at_;
  skip_space();
  return true;
}

template <typename Visitor>
bool JsonWalker<Visitor>::walk(size_t depth_max) {
  std::bitset<kDepthRoom> in_object;  // bit d: the container at depth d is an object
  size_t depth = 0;
  for (;;) {
    // At the first byte of a value.
    if (at_ != end_ && (*at_ == '{' || *at_ == '[')) {
      if (depth == std::min(depth_max, kDepthRoom)) return fail("nested more than 1000 levels deep");
      const bool object = *at_ == '{';
      in_object[depth++] = object;
      if (!tell(visitor_.begin(object, at_), at_)) return false;
      ++at_;
      skip_space();
      if (at_ != end_ && *at_ == (object ? '}' : ']')) {
        ++at_;
        if (!tell(visitor_.end(at_), at_)) return false;
        --depth;
      } else {
        if (object && !walk_name_and_colon()) return false;
        continue;
      }
    } else if (!walk_scalar()) {
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
        if (object && !walk_name_and_colon()) return false;
        break;
      }
      if (!tell(visitor_.end(at_), at_)) return false;
      --depth;
    }
  }
}

}  // namespace kvstore::format
