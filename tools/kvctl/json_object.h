// JSON in and out, without a document in between: a JSON value's bytes must pass through kvctl unchanged
// (1.0, 1e2, duplicate members, big integers), and no document type keeps them.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kvstore/base/scratch.h"
#include "kvstore/json_writer.h"
#include "tools/kvctl/stdio.h"

namespace kvctl {

// The members of one JSON object, in the order of the calls. Characters that could steer a terminal are escaped in text.
class JsonObject {
 public:
  explicit JsonObject(kvstore::JsonWriter& out) : out_(out) { out_.begin_object(); }

  // Bytes that are no UTF-8, which nobody should have sent us, show as escape() shows them.
  JsonObject& text(std::string_view name, std::string_view utf8);
  JsonObject& number(std::string_view name, std::integral auto value) {
    out_.member(name).number(value);
    return *this;
  }
  JsonObject& boolean(std::string_view name, bool value);
  JsonObject& null(std::string_view name) {
    out_.member(name).null();
    return *this;
  }
  // Text that is JSON already, byte for byte.
  JsonObject& raw(std::string_view name, std::string_view json);
  // "key":"…" when the bytes are UTF-8, "key64":"…" in base64 otherwise.
  JsonObject& bytes(std::string_view name, std::string_view value);
  // A store's value: as bytes("value", …), or "json":… for a JSON document.
  JsonObject& value(std::string_view value, bool is_json);
  // An object within, and an array of objects: `fill` is called with the object, and the item it is for.
  template <typename Fill>
  JsonObject& object(std::string_view name, Fill&& fill) {
    JsonObject inner(out_.member(name));
    fill(inner);
    inner.end();
    return *this;
  }
  template <typename Items, typename Fill>
  JsonObject& objects(std::string_view name, const Items& items, Fill&& fill) {
    out_.member(name).begin_array();
    for (const auto& item : items) {
      JsonObject inner(out_);
      fill(inner, item);
      inner.end();
    }
    out_.end_array();
    return *this;
  }
  // Behind the last member. Once.
  void end() { out_.end_object(); }

 private:
  kvstore::JsonWriter& out_;
};

// The objects of a command's JSON output, one a row.
class JsonRows {
 public:
  JsonRows(Output& out, kvstore::JsonWriter::Layout layout) : out_(out.json(layout)) {}

  template <typename Fill>
  void add(Fill&& fill) {
    JsonObject object(out_);
    fill(object);
    object.end();
    out_.end_row();
  }
  void add_text(std::string_view json) { out_.raw(json).end_row(); }
  void flush() { out_.flush(); }
  // After the last row. Once. Throws std::bad_alloc when memory had run out on the way.
  void finish();

 private:
  kvstore::JsonWriter out_;
};

// One object on a line of its own, or JSON text that is ready.
template <typename Fill>
void print_object(Output& out, Fill&& fill) {
  JsonRows rows(out, kvstore::JsonWriter::Layout::kLines);
  rows.add(std::forward<Fill>(fill));
  rows.finish();
}
void print_json(Output& out, std::string_view json);

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
