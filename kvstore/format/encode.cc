#include "kvstore/format/encode.h"

#include <algorithm>
#include <cstring>

#include "kvstore/base/assert.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/format/base64.h"
#include "kvstore/format/digits.h"
#include "kvstore/format/escape.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/utf8.h"

namespace kvstore::format {
namespace {

// Text up to this size is escaped in one go, into room for the worst case. Longer text goes chunk by chunk,
// lest a large value make its buffer six times too large.
constexpr size_t kChunkBytes = 2048;

template <size_t kSize>
char* write_literal(char* out, const char (&text)[kSize]) noexcept {
  std::memcpy(out, text, kSize - 1);
  return out + kSize - 1;
}

template <size_t kSize>
void append_literal(base::Buffer& out, const char (&text)[kSize]) {
  out.append(std::string_view(text, kSize - 1));
}

void append_integer(base::Buffer& out, uint64_t value) {
  char* const begin = out.reserve(kDigitsRoom);
  out.commit(static_cast<size_t>(write_digits(begin, value) - begin));
}

// How a member that holds bytes begins, as text and as base64.
template <size_t kTextSize, size_t k64Size>
struct BytesMember {
  const char (&text)[kTextSize];
  const char (&base64)[k64Size];
};
template <size_t kTextSize, size_t k64Size>
BytesMember(const char (&)[kTextSize], const char (&)[k64Size]) -> BytesMember<kTextSize, k64Size>;

void append_long_text(base::Buffer& out, std::string_view text) {
  while (!text.empty()) {
    const std::string_view chunk = text.substr(0, kChunkBytes);
    char* const begin = out.reserve(text.size() + (kEscapeBytesMax - 1) * chunk.size() + kEscapeSlack);
    out.commit(static_cast<size_t>(escape(begin, chunk).end - begin));
    text.remove_prefix(chunk.size());
  }
}

template <typename Member>
void append_bytes(base::Buffer& out, const Member& member, std::string_view bytes) {
  if (bytes.size() <= kChunkBytes) {
    char* const begin = out.reserve(sizeof member.base64 + kEscapeBytesMax * bytes.size() + kEscapeSlack);
    const Escaped escaped = escape(write_literal(begin, member.text), bytes);
    if (!escaped.non_ascii || is_utf8(bytes)) {
      *escaped.end = '"';
      return out.commit(static_cast<size_t>(escaped.end + 1 - begin));
    }
  } else if (is_utf8(bytes)) {
    append_literal(out, member.text);
    append_long_text(out, bytes);
    return out.append('"');
  }
  char* const begin = out.reserve(sizeof member.base64 + base64_size(bytes.size()) + 1);
  char* const end = write_base64(write_literal(begin, member.base64), bytes);
  *end = '"';
  out.commit(static_cast<size_t>(end + 1 - begin));
}

void append_json(base::Buffer& out, std::string_view document) {
  constexpr char kMember[] = R"(,"json":)";
  char* const begin = out.reserve(sizeof kMember + document.size());
  char* const end = write_json_on_one_line(write_literal(begin, kMember), document);
  out.commit(static_cast<size_t>(end - begin));
}

void append_op(base::Buffer& out, const Op& op) {
  KV_DASSERT(!op.key.empty() && op.key.size() <= kKeyBytesMax && op.value.size() <= kValueBytesMax);
  if (op.kind == Op::Kind::kDel) {
    return append_bytes(out, BytesMember{R"("op":"del","key":")", R"("op":"del","key64":")"}, op.key);
  }
  append_bytes(out, BytesMember{R"("op":"put","key":")", R"("op":"put","key64":")"}, op.key);
  if (op.is_json) {
    append_json(out, op.value);
  } else {
    append_bytes(out, BytesMember{R"(,"value":")", R"(,"value64":")"}, op.value);
  }
  if (op.expires_us != 0) {
    append_literal(out, R"(,"expires":)");
    append_integer(out, static_cast<uint64_t>(op.expires_us));
  }
}

}  // namespace

void encode_body(base::Buffer& out, std::span<const Op> ops, bool as_batch, std::string_view by) {
  if (ops.size() == 1 && !as_batch) {
    append_op(out, ops[0]);
  } else {
    append_literal(out, R"("op":"batch","ops":[)");
    const char* separator = "{";
    for (const Op& op : ops) {
      out.append(separator);
      append_op(out, op);
      separator = "},{";
    }
    out.append(ops.empty() ? "]" : "}]");
  }
  if (!by.empty()) {
    append_literal(out, R"(,"by":")");
    append_long_text(out, by);
    out.append('"');
  }
}

size_t encode_stamp(char* out, const Stamp& stamp) noexcept {
  KV_DASSERT(stamp.seq <= kIntegerMax && stamp.ts_us >= 0 && stamp.synced <= kIntegerMax);
  char* at = write_literal(out, R"({"seq":)");
  at = write_digits(at, stamp.seq);
  at = write_literal(at, R"(,"ts":)");
  at = write_digits(at, static_cast<uint64_t>(stamp.ts_us));
  if (stamp.synced != 0) {
    at = write_literal(at, R"(,"synced":)");
    at = write_digits(at, stamp.synced);
  }
  *at++ = ',';
  return static_cast<size_t>(at - out);
}

void encode_seal(char* out, uint32_t crc) noexcept {
  char* const digits = write_literal(out, R"(,"crc":")");
  store_text(digits, hex_digits(crc));
  write_literal(digits + 8, "\"}");
}

namespace {

// Seals what `out` holds and makes it a line.
std::string sealed_line(base::Buffer& out) {
  const uint32_t crc = base::crc32c(out.view());
  encode_seal(out.reserve(kSealBytes), crc);
  out.commit(kSealBytes);
  out.append('\n');
  return std::string(out.view());
}

void append_string(base::Buffer& out, std::string_view text) {
  out.append('"');
  append_long_text(out, text);
  out.append('"');
}

}  // namespace

std::string encode_line(const Stamp& stamp, std::span<const Op> ops, bool as_batch, std::string_view by) {
  base::Buffer out;
  out.commit(encode_stamp(out.reserve(kStampBytesMax), stamp));
  encode_body(out, ops, as_batch, by);
  return sealed_line(out);
}

std::string encode_segment_header(const SegmentHeader& header) {
  base::Buffer out;
  append_literal(out, R"({"kvstore":"wal","format":)");
  append_integer(out, header.format);
  append_literal(out, R"(,"store":)");
  append_string(out, header.store);
  append_literal(out, R"(,"first_seq":)");
  append_integer(out, header.first_seq);
  append_literal(out, R"(,"created":)");
  append_integer(out, static_cast<uint64_t>(header.created_us));
  return sealed_line(out);
}

std::string encode_segment_end(const SegmentEnd& end) {
  base::Buffer out;
  append_literal(out, R"({"kvstore":"end","last_seq":)");
  append_integer(out, end.last_seq);
  append_literal(out, R"(,"next":)");
  append_string(out, end.next);
  return sealed_line(out);
}

std::string encode_owner(const OwnerLine& owner) {
  std::string host(owner.host);
  if (!is_utf8(host)) std::erase_if(host, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
  base::Buffer out;
  append_literal(out, R"({"kvstore":"lock","format":)");
  append_integer(out, owner.format);
  append_literal(out, R"(,"store":)");
  append_string(out, owner.store);
  append_literal(out, R"(,"pid":)");
  append_integer(out, static_cast<uint64_t>(owner.pid));
  append_literal(out, R"(,"host":)");
  append_string(out, host);
  append_literal(out, R"(,"started":)");
  append_integer(out, static_cast<uint64_t>(owner.started_us));
  append_literal(out, R"(,"closed_seq":)");
  append_integer(out, owner.closed_seq);
  return sealed_line(out);
}

}  // namespace kvstore::format
