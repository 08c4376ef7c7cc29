// Reading JSON text in place (RFC 8259), without building a document: check one, step over a value, find
// the value at a pointer, undo string escapes. Iterative and bounded in depth, so hostile nesting cannot
// exhaust the stack. Why our own: a JSON value must come back byte for byte (number spelling, member order,
// duplicate members), and no document type keeps the bytes. Tested against nlohmann/json. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "kvstore/base/scratch.h"

namespace kvstore::format {

inline constexpr size_t kJsonDepthMax = 1000;

struct JsonError {
  size_t offset = 0;           // byte where the text stops being JSON
  const char* what = nullptr;  // "expected ',' or '}'", lives forever
};

inline constexpr const char* kTextBehindJson = "unexpected text behind the JSON value";

// The offset just behind the JSON value that starts at text[begin] (no leading white space), or nullopt
// with *error filled. Strings must be valid UTF-8 and their \u escapes well paired; objects and arrays may
// stand `depth_max` deep inside each other.
[[nodiscard]] std::optional<size_t> skip_json_value(std::string_view text, size_t begin, JsonError* error,
                                                    size_t depth_max = kJsonDepthMax) noexcept;

// The offset of the first byte at or behind `begin` that is no white space, or text.size().
[[nodiscard]] size_t skip_json_space(std::string_view text, size_t begin) noexcept;

// nullopt: `text` is exactly one JSON value with optional white space around. Otherwise the error.
[[nodiscard]] std::optional<JsonError> check_json(std::string_view text) noexcept;

// "line 2, column 17: expected ',' or '}'"; columns count bytes from 1.
[[nodiscard]] std::string describe(std::string_view text, const JsonError& error);

// The document as the log keeps it, and as it comes back from there: without white space around it and
// without \n and \r, which can only stand between its tokens. Points into `text` when that takes no more than
// trimming, into `scratch` otherwise. Needs: check_json(text) passes.
[[nodiscard]] std::string_view json_on_one_line(std::string_view text, base::Scratch& scratch);
// The same, written to `out`; returns the end. Needs: room for text.size() bytes.
[[nodiscard]] char* write_json_on_one_line(char* out, std::string_view text) noexcept;

// The text of the value at an RFC 6901 pointer ("" is the whole), nullopt when there is none. Of duplicate members the last
// one counts. One pass, builds nothing; stops early where only arrays lie on the path, since behind an object's member
// the same name may come again. *error: what is wrong with the text as far as it was read; what == nullptr: nothing.
// Allocates only for pointers with ~ escapes.
[[nodiscard]] std::optional<std::string_view> find_json(std::string_view text, std::string_view pointer,
                                                        JsonError* error);
// The same for text that check_json() has passed.
[[nodiscard]] std::optional<std::string_view> find_json(std::string_view text, std::string_view pointer);
// The same for a member of the object that `text` is, by its plain name.
[[nodiscard]] std::optional<std::string_view> find_json_member(std::string_view text, std::string_view name,
                                                               JsonError* error);

// Goes through the members of an object, in their order, duplicates included. Needs: check_json(object) passes, and there is
// no white space before it.
class JsonMembers {
 public:
  struct Member {
    std::string_view quoted_name;
    std::string_view value;
  };
  explicit JsonMembers(std::string_view object) noexcept : text_(object) {}
  [[nodiscard]] std::optional<Member> next() noexcept;

 private:
  std::string_view text_;
  size_t at_ = 1;
};

// The content of a JSON string, `quoted` being everything from quote to quote. Points into `quoted` when
// there is nothing to undo, into `scratch` otherwise. Needs: it passed skip_json_value().
[[nodiscard]] std::string_view unescape_json(std::string_view quoted, base::Scratch& scratch);
// The same, written to `out`, also when there is nothing to undo; returns the end. Needs: room for quoted.size() bytes.
[[nodiscard]] char* write_unescaped_json(char* out, std::string_view quoted) noexcept;

}  // namespace kvstore::format
