#include "tests/support/format_spelling.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "kvstore/base/crc32c.h"
#include "kvstore/format/base64.h"
#include "kvstore/format/utf8.h"

namespace kvstore::testing {
namespace {

std::string space(Rng& rng) {
  std::string out;
  while (below(rng, 3) == 0) out += " \t\r"[below(rng, 3)];
  return out;
}

// The length of the character at `text`, which is valid UTF-8, and its code point.
size_t read_code_point(std::string_view text, uint32_t* code_point) {
  const auto byte = [text](size_t i) { return uint32_t{static_cast<unsigned char>(text[i])}; };
  const uint32_t lead = byte(0);
  const size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  *code_point = size == 1 ? lead : lead & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) *code_point = *code_point << 6 | (byte(i) & 63);
  return size;
}

std::string hex_escape(Rng& rng, uint32_t unit) {
  return below(rng, 2) == 0 ? fmt::format("\\u{:04x}", unit) : fmt::format("\\u{:04X}", unit);
}

std::string quoted(Rng& rng, std::string_view text, uint64_t escape_one_in) {
  std::string out = "\"";
  while (!text.empty()) {
    uint32_t code_point = 0;
    const size_t size = read_code_point(text, &code_point);
    const bool must = code_point < 0x20 || code_point == '"' || code_point == '\\';
    if (!must && below(rng, escape_one_in) != 0) {
      out += text.substr(0, size);
    } else if (code_point == '/' || code_point == '"' || code_point == '\\') {
      out += '\\', out += text[0];
    } else if (code_point >= 0x10000) {
      out += hex_escape(rng, 0xd800 + ((code_point - 0x10000) >> 10));
      out += hex_escape(rng, 0xdc00 + ((code_point - 0x10000) & 0x3ff));
    } else {
      out += hex_escape(rng, code_point);
    }
    text.remove_prefix(size);
  }
  return out + "\"";
}

using MemberList = std::vector<std::string>;

void add(Rng& rng, MemberList& members, std::string_view name, std::string_view value) {
  members.push_back(space(rng) + quoted(rng, name, 12) + space(rng) + ":" + space(rng) + std::string(value) +
                    space(rng));
}

void add_bytes(Rng& rng, MemberList& members, const std::string& name, std::string_view bytes) {
  if (format::is_utf8(bytes) && below(rng, 4) != 0) return add(rng, members, name, quoted(rng, bytes, 8));
  std::string base64(format::base64_size(bytes.size()), '\0');
  (void)format::write_base64(base64.data(), bytes);
  add(rng, members, name + "64", quoted(rng, base64, 20));
}

// Joined in any order, braces not included.
std::string join(Rng& rng, MemberList members) {
  while (below(rng, 3) == 0) add(rng, members, fmt::format("unknown{}", members.size()), random_json(rng, 5));
  std::shuffle(members.begin(), members.end(), rng);
  return fmt::format("{}", fmt::join(members, ","));
}

void add_op(Rng& rng, MemberList& members, const format::Op& op) {
  const bool put = op.kind == format::Op::Kind::kPut;
  add(rng, members, "op", quoted(rng, put ? "put" : "del", 6));
  add_bytes(rng, members, "key", op.key);
  if (!put) return;
  if (op.is_json) {
    add(rng, members, "json", op.value);
  } else {
    add_bytes(rng, members, "value", op.value);
  }
  if (op.expires_us != 0 || below(rng, 8) == 0) add(rng, members, "expires", std::to_string(op.expires_us));
}

}  // namespace

std::string sealed(std::string_view text) { return fmt::format(R"({},"crc":"{:08x}"}})", text, base::crc32c(text)); }

std::string respell(Rng& rng, const RandomRecord& record) {
  MemberList members;
  add(rng, members, "seq", std::to_string(record.stamp.seq));
  add(rng, members, "ts", std::to_string(record.stamp.ts_us));
  if (record.stamp.synced != 0 || below(rng, 8) == 0) add(rng, members, "synced", std::to_string(record.stamp.synced));
  if (!record.by.empty()) add(rng, members, "by", quoted(rng, record.by, 5));
  if (record.is_batch) {
    std::vector<std::string> ops;
    for (const format::Op& op : record.ops) {
      MemberList op_members;
      add_op(rng, op_members, op);
      ops.push_back(space(rng) + "{" + join(rng, op_members) + "}" + space(rng));
    }
    add(rng, members, "op", quoted(rng, "batch", 6));
    add(rng, members, "ops", fmt::format("[{}{}]", space(rng), fmt::join(ops, ",")));
  } else {
    add_op(rng, members, record.ops[0]);
  }
  return sealed(space(rng) + "{" + join(rng, members));
}

}  // namespace kvstore::testing
