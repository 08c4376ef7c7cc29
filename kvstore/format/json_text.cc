#include "kvstore/format/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cstdint>

#include "kvstore/format/json_string.h"
#include "kvstore/format/json_walk.h"

namespace kvstore::format {
namespace {

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
    if (!is_json_digit(c)) return std::nullopt;
    index = index * 10 + static_cast<size_t>(c - '0');
  }
  return index;
}

// Follows a pointer through the text, in one pass. Of duplicate members the last one counts, so whatever was found is given
// up again as soon as a later member on the path has the same name, and a path that leads through an object can only be
// decided at that object's end. Where it leads through arrays alone, the walk stops at the value.
class Finder {
 public:
  static constexpr const char* kFound = "found";

  // One member of an object, by its plain name, or a path.
  struct Name {
    std::string_view name;
  };
  explicit Finder(Name name) : token_(name.name), token_count_(1) {}
  explicit Finder(std::string_view pointer)
      : pointer_(pointer), token_count_(static_cast<size_t>(std::count(pointer.begin(), pointer.end(), '/'))) {}

  [[nodiscard]] std::optional<std::string_view> found() const noexcept { return found_; }

  const char* begin(bool is_object, const char* at) {
    const bool on_path = is_next_on_path();
    if (on_path && depth_ == token_count_) {
      target_depth_ = depth_ + 1;
      target_begin_ = at;
    } else if (on_path) {
      path_[path_depth_++] = is_object;
      objects_on_path_ += is_object ? 1 : 0;
      aim();
    }
    ++depth_;
    return nullptr;
  }
  const char* end(const char* behind) {
    if (depth_ == target_depth_) {
      found_ = std::string_view(target_begin_, static_cast<size_t>(behind - target_begin_));
      target_depth_ = 0;
    } else if (depth_ == path_depth_) {
      objects_on_path_ -= path_[--path_depth_] ? 1 : 0;
      if (path_depth_ != 0) aim();
      index_left_ = kNone;  // where that is an array, its one element on the path lies behind us
    }
    --depth_;
    return verdict();
  }
  const char* name(std::string_view quoted) {
    if (depth_ == path_depth_) name_matches_ = token_.has_value() && json_string_says(quoted, *token_);
    return nullptr;
  }
  const char* string(std::string_view text) { return scalar(text); }
  const char* number(std::string_view text) { return scalar(text); }
  const char* boolean(bool value) { return scalar(value ? "true" : "false"); }
  const char* null() { return scalar("null"); }

 private:
  static constexpr size_t kNone = SIZE_MAX;

  const char* scalar(std::string_view text) {
    if (is_next_on_path() && depth_ == token_count_) found_ = text;
    return verdict();
  }
  [[nodiscard]] const char* verdict() const noexcept {
    return found_ && objects_on_path_ == 0 && depth_ != 0 ? kFound : nullptr;
  }
  // Whether the value that begins here is the one that the path names next.
  bool is_next_on_path() noexcept {
    if (depth_ != path_depth_) return false;
    if (depth_ == 0) return true;
    const bool matches = path_[depth_ - 1] ? name_matches_ : index_left_ == 0;
    if (!path_[depth_ - 1] && index_left_ != kNone) --index_left_;  // behind 0 comes kNone
    if (matches) found_.reset();
    return matches;
  }
  // Looks up which child of the container on top of the path is wanted.
  void aim() {
    if (pointer_.data() == nullptr) return;  // by name
    std::string_view rest = pointer_;
    for (size_t level = 1; level < path_depth_; ++level) rest.remove_prefix(rest.find('/', 1));
    const std::string_view token = rest.substr(1, rest.find('/', 1) - 1);
    token_ = token;
    if (token.find('~') != std::string_view::npos) {
      plain_ = unescape_token(token);
      token_ = plain_ ? std::optional<std::string_view>(*plain_) : std::nullopt;
    }
    index_left_ = token_ ? array_index(*token_).value_or(kNone) : kNone;
  }

  const std::string_view pointer_{};
  std::optional<std::string_view> token_{};
  std::optional<std::string> plain_{};
  const size_t token_count_;
  size_t depth_ = 0;       // of the walk
  size_t path_depth_ = 0;  // so many of the containers around lie on the path
  size_t objects_on_path_ = 0;
  std::bitset<kJsonDepthMax + 8> path_;  // which of these are objects
  bool name_matches_ = false;
  size_t index_left_ = kNone;  // in an array: elements before the wanted one
  size_t target_depth_ = 0;    // not 0: inside the value that is wanted
  const char* target_begin_ = nullptr;
  std::optional<std::string_view> found_{};
};

std::optional<std::string_view> find_with(Finder finder, std::string_view text, JsonError* error) {
  *error = {};
  JsonWalker walker(text, skip_json_space(text, 0), finder);
  if (!walker.walk(kJsonDepthMax)) {
    if (walker.error().what == Finder::kFound) return finder.found();
    *error = walker.error();
    return std::nullopt;
  }
  const size_t rest = skip_json_space(text, walker.offset());
  if (rest != text.size()) {
    *error = {rest, kTextBehindJson};
    return std::nullopt;
  }
  return finder.found();
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_json_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_json_space(text.back())) text.remove_suffix(1);
  return text;
}

bool has_line_break(std::string_view text) noexcept {
  return text.find('\n') != std::string_view::npos || text.find('\r') != std::string_view::npos;
}

}  // namespace

std::optional<size_t> skip_json_value(std::string_view text, size_t begin, JsonError* error,
                                      size_t depth_max) noexcept {
  NoVisitor nobody;
  JsonWalker walker(text, begin, nobody);
  if (walker.walk(depth_max)) return walker.offset();
  *error = walker.error();
  return std::nullopt;
}

size_t skip_json_space(std::string_view text, size_t begin) noexcept {
  while (begin < text.size() && is_json_space(text[begin])) ++begin;
  return begin;
}

std::optional<JsonError> check_json(std::string_view text) noexcept {
  JsonError error;
  const std::optional<size_t> end = skip_json_value(text, skip_json_space(text, 0), &error);
  if (!end) return error;
  const size_t rest = skip_json_space(text, *end);
  if (rest != text.size()) return JsonError{rest, kTextBehindJson};
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

std::optional<std::string_view> find_json(std::string_view text, std::string_view pointer, JsonError* error) {
  if (!pointer.empty() && pointer[0] != '/') {
    if (const std::optional<JsonError> wrong = check_json(text)) *error = *wrong;
    return std::nullopt;
  }
  return find_with(Finder(pointer), text, error);
}

std::optional<std::string_view> find_json(std::string_view text, std::string_view pointer) {
  JsonError none;
  return find_json(text, pointer, &none);
}

std::optional<std::string_view> find_json_member(std::string_view text, std::string_view name, JsonError* error) {
  return find_with(Finder(Finder::Name{name}), text, error);
}

std::optional<JsonMembers::Member> JsonMembers::next() noexcept {
  at_ = skip_json_space(text_, at_);
  if (text_[at_] == '}') return std::nullopt;
  if (text_[at_] == ',') at_ = skip_json_space(text_, at_ + 1);
  JsonError none;
  const size_t name_end = *skip_json_value(text_, at_, &none);
  const size_t begin = skip_json_space(text_, skip_json_space(text_, name_end) + 1);  // over the colon
  const size_t end = *skip_json_value(text_, begin, &none);
  const Member member = {text_.substr(at_, name_end - at_), text_.substr(begin, end - begin)};
  at_ = end;
  return member;
}

}  // namespace kvstore::format
