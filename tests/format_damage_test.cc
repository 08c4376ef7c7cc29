// P4: bytes that are not what was written are never taken for a record.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"

namespace kvstore::format {
namespace {

std::vector<std::string> sample_lines() {
  const Op text{Op::Kind::kPut, false, "user:1", "Ada \"\n\x01\xc3\xa9", 1763803600000000};
  const Op json{Op::Kind::kPut, true, "user:2", R"({"name":"Bob","n":[1.5,null]})", 0};
  const Op bytes{Op::Kind::kPut, false, "\xff\x00", std::string_view("\x80\x00\x81", 3), 0};
  const Op gone{Op::Kind::kDel, false, "user:3", "", 0};
  std::vector<std::string> lines = {
      encode_line({7, 1763800000123456, 0}, {&text, 1}),
      encode_line({8, 1763800000123456, 6}, {&json, 1}, false, "import"),
      encode_line({9, 1763800000123457, 8}, {&bytes, 1}),
      encode_line({10, 1763800000123458, 0}, {&gone, 1}),
      encode_line({11, 1763800000123459, 10}, std::vector<Op>{text, json, bytes, gone}, true),
      encode_segment_header({1, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20", 1, 1763800000000000}),
      encode_segment_end({9, "wal-00000000000000000010.jsonl"}),
      encode_owner({1, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20", 4711, "box", 1763800000000000, 12}),
  };
  for (std::string& line : lines) line.pop_back();
  return lines;
}

// Whether anything of this format was found in these bytes.
bool is_taken(std::string_view text) {
  std::vector<Op> ops;
  base::Scratch scratch;
  const LineKind kind = decode(text, ops, scratch).kind;
  return kind != LineKind::kUnsealed && kind != LineKind::kBadCrc && kind != LineKind::kBlank;
}

TEST(Damage, OfAnySingleByteIsNoticed) {
  for (const std::string& line : sample_lines()) {
    ASSERT_TRUE(is_taken(line));
    for (size_t at = 0; at < line.size(); ++at) {
      std::string damaged = line;
      for (int value = 0; value < 256; ++value) {
        if (static_cast<char>(value) == line[at]) continue;
        damaged[at] = static_cast<char>(value);
        EXPECT_FALSE(is_taken(damaged)) << damaged;
      }
    }
  }
}

TEST(Damage, OfAnyTwoNeighbouringBitsOrALostOrDoubledByteIsNoticed) {
  for (const std::string& line : sample_lines()) {
    for (size_t bit = 0; bit + 1 < 8 * line.size(); ++bit) {
      std::string damaged = line;
      for (const size_t b : {bit, bit + 1}) damaged[b / 8] = static_cast<char>(damaged[b / 8] ^ 1 << b % 8);
      EXPECT_FALSE(is_taken(damaged)) << damaged;
    }
    for (size_t at = 0; at < line.size(); ++at) {
      EXPECT_FALSE(is_taken(std::string(line).erase(at, 1)));
      EXPECT_FALSE(is_taken(std::string(line).insert(at, 1, line[at])));
    }
  }
}

TEST(Damage, ByACutAnywhereIsNoticedWhateverFollows) {
  for (const std::string& line : sample_lines()) {
    for (size_t size = 0; size < line.size(); ++size) {
      const std::string head = line.substr(0, size);
      for (const char filler : {'\0', ' ', '\r', '}', '\xff'}) {
        EXPECT_FALSE(is_taken(head)) << head;
        if (filler == line.back() && size + 1 == line.size()) continue;  // that mends it
        EXPECT_FALSE(is_taken(head + std::string(line.size() - size, filler))) << head;
        EXPECT_FALSE(is_taken(head + std::string(100, filler))) << head;
      }
      EXPECT_FALSE(is_taken(line.substr(line.size() - size)));
      EXPECT_FALSE(size != 0 && is_taken(head + line)) << "a torn line that lost its newline hides the one behind it";
    }
  }
}

}  // namespace
}  // namespace kvstore::format
