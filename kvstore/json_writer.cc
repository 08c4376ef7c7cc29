#include "kvstore/json_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "kvstore/base/pool_access.h"
#include "kvstore/format/base64.h"
#include "kvstore/format/escape.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/utf8.h"

namespace kvstore::inline v1 {

using base::PoolAccess;

namespace {

constexpr size_t kFlushBytes = size_t{64} << 10;
constexpr size_t kChunkBytes = size_t{16} << 10;  // escaped at once: room is made for the worst case of so much only
constexpr size_t kNumberBytesMax = 40;            // 24 for the longest double, and what is put around it

Status out_of_memory() { return {Code::kOutOfMemory, "out of memory"}; }

}  // namespace

JsonWriter::JsonWriter(const Pools& pools, Sink sink, Layout layout) noexcept
    : sink_(std::move(sink)), layout_(layout) {
  try {
    text_ = PoolAccess::buffer(pools);
  } catch (const std::bad_alloc&) {
    status_ = out_of_memory();
  }
}

JsonWriter::JsonWriter(const Pools& pools) noexcept {
  try {
    text_ = PoolAccess::slice(pools);
  } catch (const std::bad_alloc&) {
    status_ = out_of_memory();
  }
}

void JsonWriter::fail(Status why) noexcept {
  if (status_.ok()) status_ = std::move(why);
}

// One value, with the comma before it. append(char* out) returns the end of what it wrote.
template <typename Append>
JsonWriter& JsonWriter::value(size_t bytes_max, Append&& append) noexcept {
  if (failed()) return *this;
  try {
    base::Buffer& out = PoolAccess::buffer_of(text_);
    if (!row_is_open_) {
      row_is_open_ = true;
      if (layout_ == Layout::kArray) out.append(has_rows_ ? ",\n" : "[\n");
      has_rows_ = true;
    }
    char* const begin = out.reserve(1 + bytes_max);
    *begin = ',';
    out.commit(static_cast<size_t>(append(begin + (needs_comma_ ? 1 : 0)) - begin));
    needs_comma_ = true;
  } catch (const std::bad_alloc&) {
    status_ = out_of_memory();
  }
  return *this;
}

JsonWriter& JsonWriter::begin(char open) noexcept {
  if (depth_ == format::kJsonDepthMax) {
    fail({Code::kInvalidArgument, fmt::format("nested more than {} levels deep", format::kJsonDepthMax)});
  }
  value(1, [open](char* out) { return *out++ = open, out; });
  needs_comma_ = false;
  ++depth_;
  return *this;
}

JsonWriter& JsonWriter::end(char close) noexcept {
  needs_comma_ = false;
  --depth_;
  return value(1, [close](char* out) { return *out++ = close, out; });
}

// Needs: UTF-8. Throws std::bad_alloc.
void JsonWriter::append_text(std::string_view utf8) {
  base::Buffer& out = PoolAccess::buffer_of(text_);
  do {
    const std::string_view chunk = utf8.substr(0, kChunkBytes);
    char* const begin = out.reserve(format::kEscapeBytesMax * chunk.size() + format::kEscapeSlack);
    out.commit(static_cast<size_t>(format::escape(begin, chunk).end - begin));
    utf8.remove_prefix(chunk.size());
  } while (!utf8.empty());
  out.append('"');
}

// `tail` stands behind the closing quote: a name's colon.
JsonWriter& JsonWriter::quoted(std::string_view utf8, std::string_view tail) noexcept {
  bool is_utf8 = true;
  if (utf8.size() <= kChunkBytes) {
    value(3 + format::kEscapeBytesMax * utf8.size() + format::kEscapeSlack, [&](char* out) {
      *out = '"';
      const format::Escaped escaped = format::escape(out + 1, utf8);
      is_utf8 = !escaped.non_ascii || format::is_utf8(utf8);
      *escaped.end = '"';
      return std::copy(tail.begin(), tail.end(), escaped.end + 1);
    });
  } else {
    is_utf8 = format::is_utf8(utf8);
    value(1, [](char* out) { return *out++ = '"', out; });
    if (failed()) return *this;
    try {
      append_text(utf8);
      PoolAccess::buffer_of(text_).append(tail);
    } catch (const std::bad_alloc&) {
      status_ = out_of_memory();
    }
  }
  if (!is_utf8) fail({Code::kInvalidArgument, "a string is not valid UTF-8"});
  return *this;
}

JsonWriter& JsonWriter::text(std::string_view utf8) noexcept { return quoted(utf8, {}); }

JsonWriter& JsonWriter::member(std::string_view name) noexcept {
  quoted(name, ":");
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::number_signed(int64_t number) noexcept {
  return value(kNumberBytesMax, [=](char* out) { return std::to_chars(out, out + kNumberBytesMax, number).ptr; });
}

JsonWriter& JsonWriter::number_unsigned(uint64_t number) noexcept {
  return value(kNumberBytesMax, [=](char* out) { return std::to_chars(out, out + kNumberBytesMax, number).ptr; });
}

JsonWriter& JsonWriter::number(double number) noexcept {
  if (!std::isfinite(number)) return null();
  return value(kNumberBytesMax, [=](char* out) {
    char* end = std::to_chars(out, out + kNumberBytesMax, number).ptr;
    // With a point or an exponent, so that it is read as a double again.
    if (std::none_of(out, end, [](char c) { return c == '.' || c == 'e'; })) end = std::copy_n(".0", 2, end);
    return end;
  });
}

JsonWriter& JsonWriter::boolean(bool value) noexcept { return raw(value ? "true" : "false"); }
JsonWriter& JsonWriter::null() noexcept { return raw("null"); }

JsonWriter& JsonWriter::raw(std::string_view json) noexcept {
  return value(json.size(), [json](char* out) { return std::copy(json.begin(), json.end(), out); });
}

JsonWriter& JsonWriter::bytes(std::string_view name, std::string_view value_bytes) noexcept {
  if (format::is_utf8(value_bytes)) return member(name).text(value_bytes);
  text(name);
  if (failed()) return *this;
  PoolAccess::buffer_of(text_).truncate(PoolAccess::buffer_of(text_).size() - 1);  // the name's quote
  needs_comma_ = false;
  value(6 + format::base64_size(value_bytes.size()), [&](char* out) {
    char* const end = format::write_base64(std::copy_n("64\":\"", 5, out), value_bytes);
    *end = '"';
    return end + 1;
  });
  return *this;
}

JsonWriter& JsonWriter::end_row() noexcept {
  needs_comma_ = false;
  // In an array the newline comes with the next row, or the end, since a comma may have to stand before it.
  if (layout_ == Layout::kLines) value(1, [](char* out) { return *out++ = '\n', out; });
  needs_comma_ = row_is_open_ = false;
  if (!failed() && sink_ && PoolAccess::buffer_of(text_).size() >= kFlushBytes) flush();
  return *this;
}

void JsonWriter::flush() noexcept {
  if (failed() || !sink_ || PoolAccess::buffer_of(text_).empty()) return;
  sink_(text_.view());
  PoolAccess::buffer_of(text_).clear();
}

Status JsonWriter::finish() noexcept {
  if (layout_ == Layout::kArray) {
    const std::string_view close = has_rows_ ? "\n]\n" : "[]\n";
    row_is_open_ = true;
    needs_comma_ = false;
    raw(close);
  }
  flush();
  return status_;
}

Result<PooledText> JsonWriter::take() noexcept {
  if (failed()) return status_;
  return std::move(text_);
}

}  // namespace kvstore::inline v1
