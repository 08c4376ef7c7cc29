// JSON in and out, without a document in between: a JSON value's bytes must pass through kvctl unchanged
// (1.0, 1e2, duplicate members, big integers), and no document type keeps them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "kvstore/base/scratch.h"

namespace kvctl {

// Writes one JSON object on one line, members in the order of the calls.
class JsonObject {
 public:
  JsonObject& text(std::string_view name, std::string_view utf8);
  JsonObject& number(std::string_view name, uint64_t value);
  JsonObject& number(std::string_view name, int64_t value);
  JsonObject& boolean(std::string_view name, bool value);
  // Text that is JSON already, byte for byte.
  JsonObject& raw(std::string_view name, std::string_view json);
  // "key":"…" when the bytes are UTF-8, "key64":"…" in base64 otherwise.
  JsonObject& bytes(std::string_view name, std::string_view value);
  // A store's value: as bytes("value", …), or "json":… for a JSON document.
  JsonObject& value(std::string_view value, bool is_json);

  // The object. Once only.
  [[nodiscard]] std::string finish();

 private:
  std::string out_ = "{";
};

// One member of an object: its name, unescaped, and the text of its value.
struct JsonMember {
  std::string_view name;
  std::string_view value;
  [[nodiscard]] bool is_string() const noexcept { return value.starts_with('"'); }
};

using Problem = std::optional<std::string>;  // a sentence; nullopt: all is well

// Calls `visit` for each member of the one JSON object that `text` must be. Returns what is wrong, with the
// column in `text`, or the first sentence that `visit` returned. Names point into `text` or `scratch`.
Problem for_each_member(std::string_view text, kvstore::base::Scratch& scratch,
                        const std::function<Problem(const JsonMember&)>& visit);

// The same for the elements of the one JSON array that `text` must be.
Problem for_each_element(std::string_view text, const std::function<Problem(std::string_view element)>& visit);

}  // namespace kvctl
