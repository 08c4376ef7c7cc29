#include "tools/kvctl/json_object.h"

#include <fmt/format.h>

#include <new>

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

// Moves `at` behind the value that starts there. A document is judged by itself; here it may stand in an operation of a list.
Problem skip_value(std::string_view text, size_t& at) {
  format::JsonError error;
  const std::optional<size_t> end = format::skip_json_value(text, at, &error, format::kJsonDepthMax + 2);
  if (!end) return fmt::format("malformed JSON: {} at column {}", error.what, error.offset + 1);
  at = *end;
  return std::nullopt;
}

// Whether nothing in it is for json_string() to escape beyond what JSON demands: DEL; the C1 controls, which begin with 0xc2
// in UTF-8; the bidi controls and line separators, with 0xd8 and 0xe2.
bool is_safe(std::string_view utf8) noexcept {
  return utf8.find_first_of("\x7f\xc2\xd8\xe2") == std::string_view::npos;
}

}  // namespace

JsonObject& JsonObject::text(std::string_view name, std::string_view utf8) {
  out_.member(name);
  if (!format::is_utf8(utf8)) {
    out_.text(escape(utf8));
  } else if (is_safe(utf8)) {
    out_.text(utf8);
  } else {
    out_.raw(json_string(utf8));
  }
  return *this;
}

JsonObject& JsonObject::boolean(std::string_view name, bool value) {
  out_.member(name).boolean(value);
  return *this;
}

JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  out_.member(name).raw(json);
  return *this;
}

JsonObject& JsonObject::bytes(std::string_view name, std::string_view value) {
  if (format::is_utf8(value)) return text(name, value);
  out_.bytes(name, value);
  return *this;
}

JsonObject& JsonObject::value(std::string_view value, bool is_json) {
  return is_json ? raw("json", value) : bytes("value", value);
}

void JsonRows::finish() {
  if (!out_.finish().ok()) throw std::bad_alloc();  // nothing else can go wrong with what an object takes
}

void print_json(Output& out, std::string_view json) {
  JsonRows rows(out, kvstore::JsonWriter::Layout::kLines);
  rows.add_text(json);
  rows.finish();
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
