#include "kvstore/json_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/base/pool_access.h"
#include "kvstore/format/base64.h"
#include "kvstore/format/digits.h"
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
Status no_utf8() { return {Code::kInvalidArgument, "a string is not valid UTF-8"}; }

char* write_integer(char* out, uint64_t number) noexcept {
  if (number <= format::kIntegerMax) return format::write_digits(out, number);
  return std::to_chars(out, out + kNumberBytesMax, number).ptr;
}

// What write_double() does, for most doubles that people write down: up to nine digits before the point and six behind it;
// nullptr for all others. One division instead of a search for the digits, and why that is enough:
//   - whole / 10^6 is rounded correctly, since both are doubles without error. So where it gives `number` again, this decimal
//     reads back as `number`.
//   - No two decimals of up to 15 digits read as the same double. So no shorter one does, nor another as long.
//   - An exponent would make it shorter only below 0.001 or where five zeros or more stand before the point.
char* write_short_decimal(char* out, double number) noexcept {
  constexpr uint64_t kUnit = 1'000'000;
  const double positive = std::fabs(number);
  if (!(positive < 1e9)) return nullptr;
  const auto whole = static_cast<uint64_t>(positive * kUnit + 0.5);
  if (static_cast<double>(whole) / kUnit != positive) return nullptr;
  const auto fraction = static_cast<uint32_t>(whole % kUnit);
  if (fraction == 0 ? positive >= 100'000 : positive < 0.001) return nullptr;
  *out = '-';
  out = format::write_digits(out + (std::signbit(number) ? 1 : 0), whole / kUnit);
  const uint64_t digits = format::split_digits(fraction * 100);  // eight, the first one lowest
  *out = '.';
  format::store_text(out + 1, digits | 0x3030303030303030);
  return out + 2 + (63 - std::countl_zero(digits | 1)) / 8;
}

// With a point or an exponent, so that it is read as a double again.
char* write_double(char* out, double number) noexcept {
  char* const end = std::to_chars(out, out + kNumberBytesMax, number).ptr;
  const bool is_plain = std::none_of(out, end, [](char c) { return c == '.' || c == 'e'; });
  return is_plain ? std::copy_n(".0", 2, end) : end;
}

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
  limit_ = at_;
}

// Where the next value's text goes, with the comma in front of it; nullptr: the writer has failed. There is room for
// `bytes_max` bytes. To be closed with the end of what was written.
inline char* JsonWriter::open_value(size_t bytes_max) noexcept {
  if (static_cast<size_t>(limit_ - at_) <= bytes_max) return open_slowly(bytes_max);
  *at_ = ',';
  return at_ + (needs_comma_ ? 1 : 0);
}

// The first value of a row, or one for which the buffer must grow.
[[gnu::noinline]] char* JsonWriter::open_slowly(size_t bytes_max) noexcept {
  if (failed()) return nullptr;
  try {
    settle();
    base::Buffer& out = PoolAccess::buffer_of(text_);
    if (!row_is_open_) {
      row_is_open_ = true;
      if (layout_ == Layout::kArray) out.append(has_rows_ ? ",\n" : "[\n");
      has_rows_ = true;
    }
    out.reserve(1 + bytes_max);
    resume();
    *at_ = ',';
    return at_ + (needs_comma_ ? 1 : 0);
  } catch (const std::bad_alloc&) {
    fail(out_of_memory());
    return nullptr;
  }
}

inline void JsonWriter::close_value(char* end) noexcept {
  at_ = end;
  needs_comma_ = true;
}

// Between them the buffer is as it says.
void JsonWriter::settle() noexcept {
  base::Buffer& out = PoolAccess::buffer_of(text_);
  if (at_ == nullptr) return;
  out.clear();
  out.commit(static_cast<size_t>(at_ - out.data()));
}
void JsonWriter::resume() noexcept {
  base::Buffer& out = PoolAccess::buffer_of(text_);
  at_ = out.data() + out.size();
  limit_ = row_is_open_ && !failed() ? out.data() + out.capacity() : at_;
}

JsonWriter& JsonWriter::begin(char open) noexcept {
  if (depth_ == format::kJsonDepthMax) {
    fail(base::error(Code::kInvalidArgument, "nested more than {} levels deep", format::kJsonDepthMax));
  }
  if (char* const out = open_value(1)) *out = open, close_value(out + 1);
  needs_comma_ = false;
  ++depth_;
  return *this;
}

JsonWriter& JsonWriter::end(char close) noexcept {
  needs_comma_ = false;
  --depth_;
  if (char* const out = open_value(1)) *out = close, close_value(out + 1);
  return *this;
}

// A name with its colon, or a text.
template <JsonWriter::Use kUse>
inline JsonWriter& JsonWriter::quoted(std::string_view utf8) noexcept {
  constexpr bool kIsName = kUse == Use::kName;
  if (utf8.size() > kChunkBytes) return quoted_in_chunks(utf8, kIsName ? ":" : "");
  char* const out = open_value(3 + format::kEscapeBytesMax * utf8.size() + format::kEscapeSlack);
  if (out == nullptr) return *this;
  *out = '"';
  format::Escaped escaped = format::escape_nothing(out + 1, utf8);
  if (escaped.end == nullptr) escaped = format::escape(out + 1, utf8);
  char* end = escaped.end;
  *end++ = '"';
  if constexpr (kIsName) *end++ = ':';
  close_value(end);
  if (escaped.non_ascii && !format::is_utf8(utf8)) fail(no_utf8());
  return *this;
}

// `tail` stands behind the closing quote.
JsonWriter& JsonWriter::quoted_in_chunks(std::string_view utf8, std::string_view tail) noexcept {
  const bool is_utf8 = format::is_utf8(utf8);
  if (char* const out = open_value(1)) *out = '"', close_value(out + 1);
  if (failed()) return *this;
  settle();
  try {
    base::Buffer& out = PoolAccess::buffer_of(text_);
    do {
      const std::string_view chunk = utf8.substr(0, kChunkBytes);
      char* const begin = out.reserve(format::kEscapeBytesMax * chunk.size() + format::kEscapeSlack);
      out.commit(static_cast<size_t>(format::escape(begin, chunk).end - begin));
      utf8.remove_prefix(chunk.size());
    } while (!utf8.empty());
    out.append('"');
    out.append(tail);
  } catch (const std::bad_alloc&) {
    fail(out_of_memory());
  }
  resume();
  if (!is_utf8) fail(no_utf8());
  return *this;
}

JsonWriter& JsonWriter::text(std::string_view utf8) noexcept { return quoted<Use::kValue>(utf8); }

JsonWriter& JsonWriter::member(std::string_view name) noexcept {
  quoted<Use::kName>(name);
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::number_signed(int64_t number) noexcept {
  if (number >= 0) return number_unsigned(static_cast<uint64_t>(number));
  if (char* const out = open_value(kNumberBytesMax)) {
    *out = '-';
    close_value(write_integer(out + 1, uint64_t{0} - static_cast<uint64_t>(number)));
  }
  return *this;
}

JsonWriter& JsonWriter::number_unsigned(uint64_t number) noexcept {
  if (char* const out = open_value(kNumberBytesMax)) close_value(write_integer(out, number));
  return *this;
}

JsonWriter& JsonWriter::number(double number) noexcept {
  if (!std::isfinite(number)) return null();
  if (char* const out = open_value(kNumberBytesMax)) {
    char* const end = write_short_decimal(out, number);
    close_value(end != nullptr ? end : write_double(out, number));
  }
  return *this;
}

JsonWriter& JsonWriter::boolean(bool value) noexcept { return raw(value ? "true" : "false"); }
JsonWriter& JsonWriter::null() noexcept { return raw("null"); }

JsonWriter& JsonWriter::raw(std::string_view json) noexcept {
  if (char* const out = open_value(json.size())) close_value(std::copy(json.begin(), json.end(), out));
  return *this;
}

JsonWriter& JsonWriter::bytes(std::string_view name, std::string_view value_bytes) noexcept {
  if (format::is_utf8(value_bytes)) return member(name).text(value_bytes);
  text(name);
  if (failed()) return *this;
  --at_;  // over the name's quote
  needs_comma_ = false;
  if (char* const out = open_value(6 + format::base64_size(value_bytes.size()))) {
    char* const end = format::write_base64(std::copy_n("64\":\"", 5, out), value_bytes);
    *end = '"';
    close_value(end + 1);
  }
  return *this;
}

JsonWriter& JsonWriter::end_row() noexcept {
  needs_comma_ = false;
  // In an array the newline comes with the next row, or the end, since a comma may have to stand before it.
  if (layout_ == Layout::kLines) {
    if (char* const out = open_value(1)) *out = '\n', close_value(out + 1);
  }
  needs_comma_ = row_is_open_ = false;
  limit_ = at_;
  if (!failed() && sink_) {
    settle();
    if (PoolAccess::buffer_of(text_).size() >= kFlushBytes) flush();
  }
  return *this;
}

void JsonWriter::flush() noexcept {
  if (failed() || !sink_) return;
  settle();
  base::Buffer& out = PoolAccess::buffer_of(text_);
  if (out.empty()) return;
  sink_(out.view());
  out.clear();
  resume();
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
  settle();
  at_ = limit_ = nullptr;
  return std::move(text_);
}

}  // namespace kvstore::inline v1
