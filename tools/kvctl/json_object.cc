#include "tools/kvctl/json_object.h"

#include <fmt/format.h>

#include "kvstore/format/json_text.h"
#include "kvstore/format/utf8.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

namespace format = kvstore::format;

size_t skip_space(std::string_view text, size_t at) noexcept {
  const size_t next = text.find_first_not_of(" \t\r\n", at);
  return next == std::string_view::npos ? text.size() : next;
}

std::string expected(std::string_view what, size_t offset) {
  return fmt::format("malformed JSON: expected {} at column {}", what, offset + 1);
}

// Walks the comma-separated items between `open` and `close`, which is all that `text` may hold. `item` is called
// at the first byte of each one and moves the offset behind it.
Problem for_each_item(std::string_view text, char open, char close, const std::function<Problem(size_t& at)>& item) {
  size_t at = skip_space(text, 0);
  if (at == text.size() || text[at] != open) return expected(fmt::format("'{}'", open), at);
  at = skip_space(text, at + 1);
  if (at < text.size() && text[at] == close) {
    ++at;
  } else {
    for (;;) {
      if (Problem problem = item(at)) return problem;
      at = skip_space(text, at);
      if (at == text.size() || (text[at] != ',' && text[at] != close)) {
        return expected(fmt::format("',' or '{}'", close), at);
      }
      if (text[at++] == close) break;
      at = skip_space(text, at);
    }
  }
  at = skip_space(text, at);
  if (at != text.size()) return fmt::format("malformed JSON: something stands behind its end, at column {}", at + 1);
  return std::nullopt;
}

// Moves `at` behind the value that starts there.
Problem skip_value(std::string_view text, size_t& at) {
  format::JsonError error;
  const std::optional<size_t> end = format::skip_json_value(text, at, &error);
  if (!end) return fmt::format("malformed JSON: {} at column {}", error.what, error.offset + 1);
  at = *end;
  return std::nullopt;
}

}  // namespace

JsonObject& JsonObject::text(std::string_view name, std::string_view utf8) { return raw(name, json_string(utf8)); }

JsonObject& JsonObject::number(std::string_view name, uint64_t value) { return raw(name, fmt::to_string(value)); }

JsonObject& JsonObject::number(std::string_view name, int64_t value) { return raw(name, fmt::to_string(value)); }

JsonObject& JsonObject::boolean(std::string_view name, bool value) { return raw(name, value ? "true" : "false"); }

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  if (out_.size() > 1) out_ += ',';
  out_ += '"';
  out_ += name;
  out_ += "\":";
  out_ += json;
  return *this;
}

JsonObject& JsonObject::bytes(std::string_view name, std::string_view value) {
  if (format::is_utf8(value)) return text(name, value);
  return text(fmt::format("{}64", name), to_base64(value));
}

JsonObject& JsonObject::value(std::string_view value, bool is_json) {
  return is_json ? raw("json", value) : bytes("value", value);
}

std::string JsonObject::finish() {
  out_ += '}';
  return std::move(out_);
}

Problem for_each_member(std::string_view text, kvstore::base::Scratch& scratch,
                        const std::function<Problem(const JsonMember&)>& visit) {
  return for_each_item(text, '{', '}', [&](size_t& at) -> Problem {
    const size_t name_begin = at;
    if (text.substr(at, 1) != "\"") return expected("a member's name", at);
    if (Problem problem = skip_value(text, at)) return problem;
    const std::string_view quoted_name = text.substr(name_begin, at - name_begin);

    at = skip_space(text, at);
    if (text.substr(at, 1) != ":") return expected("':'", at);
    at = skip_space(text, at + 1);
    const size_t value_begin = at;
    if (Problem problem = skip_value(text, at)) return problem;
    return visit(
        {.name = format::unescape_json(quoted_name, scratch), .value = text.substr(value_begin, at - value_begin)});
  });
}

Problem for_each_element(std::string_view text, const std::function<Problem(std::string_view element)>& visit) {
  return for_each_item(text, '[', ']', [&](size_t& at) -> Problem {
    const size_t begin = at;
    if (Problem problem = skip_value(text, at)) return problem;
    return visit(text.substr(begin, at - begin));
  });
}

}  // namespace kvctl
