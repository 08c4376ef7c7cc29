// The very bytes of a line.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/format/digits.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/escape.h"
#include "kvstore/options.h"
#include "tests/support/format_random.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

Op put(std::string_view key, std::string_view value, int64_t expires_us = 0) {
  return {Op::Kind::kPut, false, key, value, expires_us};
}
Op put_json(std::string_view key, std::string_view document) { return {Op::Kind::kPut, true, key, document, 0}; }
Op evict(std::string_view key) { return {Op::Kind::kEvict, false, key, "", 0}; }
Op del(std::string_view key) { return {Op::Kind::kDel, false, key, "", 0}; }

std::string body(const std::vector<Op>& ops, bool as_batch = false, std::string_view by = "") {
  base::Buffer out;
  encode_body(out, ops, as_batch, by);
  return std::string(out.view());
}

TEST(Encode, WritesTheExampleOfTheDesignToTheByte) {
  const Op op = put("user:1", "Ada");
  EXPECT_EQ(encode_line({7, 1763800000123456, 0}, {&op, 1}),
            R"({"seq":7,"ts":1763800000123456,"op":"put","key":"user:1","value":"Ada","crc":"6ac5481b"})"
            "\n");
}

TEST(Encode, WritesEachKindOfRecordInOneCanonicalMemberOrder) {
  EXPECT_EQ(body({put("k", "v", 5)}), R"("op":"put","key":"k","value":"v","expires":5)");
  EXPECT_EQ(body({put("k", "")}), R"("op":"put","key":"k","value":"")");
  EXPECT_EQ(body({put_json("k", R"({"name":"Bob"})")}, false, "import"),
            R"("op":"put","key":"k","json":{"name":"Bob"},"by":"import")");
  EXPECT_EQ(body({del("k")}), R"("op":"del","key":"k")");
  EXPECT_EQ(body({put("\xff", std::string_view("\0\xfe", 2))}), R"("op":"put","key64":"/w==","value64":"AP4=")");
  EXPECT_EQ(body({del("\xc0\xaf")}), R"("op":"del","key64":"wK8=")");
  EXPECT_EQ(body({evict("k")}), R"("op":"evict","key":"k")");
  EXPECT_EQ(body({evict("\xc0\xaf")}), R"("op":"evict","key64":"wK8=")");
  EXPECT_EQ(body({evict("a"), put("b", "1")}, true),
            R"("op":"batch","ops":[{"op":"evict","key":"a"},{"op":"put","key":"b","value":"1"}])");
  EXPECT_EQ(body({put("a", "1"), del("b")}, true, "me\n"),
            R"("op":"batch","ops":[{"op":"put","key":"a","value":"1"},{"op":"del","key":"b"}],"by":"me\n")");
  EXPECT_EQ(body({put("a", "1")}, true), R"("op":"batch","ops":[{"op":"put","key":"a","value":"1"}])");
  EXPECT_EQ(body({}, true), R"("op":"batch","ops":[])");
}

TEST(Encode, AppendsEntriesOfASnapshotAsWholeLines) {
  base::Buffer out;
  encode_entry(out, put("user:1", "Ada"), 17);
  encode_entry(out, put_json("user:2", " {\"name\":\n\"Bob\"}"), 94001);
  encode_entry(out, put("\xff", std::string_view("\0\xfe", 2), 1763803600000000), kIntegerMax);
  EXPECT_EQ(out.view(), R"({"seq":17,"op":"put","key":"user:1","value":"Ada","crc":"02e86445"})"
                        "\n"
                        R"({"seq":94001,"op":"put","key":"user:2","json":{"name":"Bob"},"crc":"b3b2e892"})"
                        "\n"
                        R"({"seq":9007199254740991,"op":"put","key64":"/w==","value64":"AP4=",)"
                        R"("expires":1763803600000000,"crc":"74a5d06e"})"
                        "\n");
}

TEST(Encode, KeepsAJsonDocumentsBytesButForLineBreaksAndTheSpaceAroundIt) {
  EXPECT_EQ(body({put_json("k", " {\"b\" : 1.50,\r\n \"a\":\t[1,\n2], \"a\":\"\\n/\"}\n")}),
            R"("op":"put","key":"k","json":{"b" : 1.50, "a":)"
            "\t"
            R"([1,2], "a":"\n/"})");
}

TEST(Encode, WritesTheOtherKindsOfLines) {
  const std::string uuid = "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20";
  EXPECT_EQ(encode_segment_header({1, uuid, 1, 1763800000000000}),
            R"({"kvstore":"wal","format":1,"store":"6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20","first_seq":1,)"
            R"("created":1763800000000000,"crc":"bc18e768"})"
            "\n");
  EXPECT_EQ(encode_segment_end({9, "wal-00000000000000000010.jsonl"}),
            R"({"kvstore":"end","last_seq":9,"next":"wal-00000000000000000010.jsonl","crc":"f788f93f"})"
            "\n");
  EXPECT_EQ(encode_snapshot_header({1, uuid, 94210, 1763800000000000}),
            R"({"kvstore":"snapshot","format":1,"store":"6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20","last_seq":94210,)"
            R"("created":1763800000000000,"crc":"a610e47f"})"
            "\n");
  EXPECT_EQ(encode_snapshot_end({2, 94210, "wal-00000000000000094211.jsonl", 0x0ab1c0de}),
            R"({"kvstore":"snapshot_end","entries":2,"last_seq":94210,"next":"wal-00000000000000094211.jsonl",)"
            R"("whole":"0ab1c0de","crc":"34f9ac2b"})"
            "\n");
  EXPECT_TRUE(encode_owner({1, uuid, 4711, "böx\xff\"", 1763800000000000, 12})
                  .starts_with(R"({"kvstore":"lock","format":1,"store":"6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20",)"
                               R"("pid":4711,"host":"bx\"","started":1763800000000000,"closed_seq":12,"crc":")"));
}

TEST(Encode, StampsAndSealsAtEveryWidthOfNumber) {
  std::vector<uint64_t> numbers = {0, kIntegerMax};
  for (uint64_t power = 1; power <= kIntegerMax; power *= 10) {
    for (const uint64_t number : {power - 1, power, power + 1, power * 9 / 2})
      numbers.push_back(std::min(number, kIntegerMax));
  }
  for (const uint64_t number : numbers) {
    char digits[kDigitsRoom];
    EXPECT_EQ(std::string(digits, write_digits(digits, number)), std::to_string(number));
    char stamp[kStampBytesMax];
    const size_t size = encode_stamp(stamp, {number, static_cast<int64_t>(number), number});
    const std::string synced = number == 0 ? "" : fmt::format(R"("synced":{},)", number);
    EXPECT_EQ(std::string(stamp, size), fmt::format(R"({{"seq":{0},"ts":{0},{1})", number, synced));
  }
  char seal[kSealBytes];
  encode_seal(seal, 0x01abcdef);
  EXPECT_EQ(std::string(seal, kSealBytes), R"(,"crc":"01abcdef"})");
}

TEST(Digits, AreReadBackAndNothingElseIs) {
  const auto read = [](std::string text, size_t* used) -> int64_t {
    text += R"(,"crc":"01abcdef"})";
    uint64_t value = 0;
    const char* const end = read_digits(text.data(), text.data() + text.size(), &value);
    if (end == nullptr) return -1;
    *used = static_cast<size_t>(end - text.data());
    return static_cast<int64_t>(value);
  };
  size_t used = 0;
  for (uint64_t power = 1; power <= kIntegerMax; power *= 10) {
    for (const uint64_t number : {power - 1, power, power + 1, power * 7 / 3}) {
      const std::string text = std::to_string(number);
      EXPECT_EQ(read(text, &used), static_cast<int64_t>(number));
      EXPECT_EQ(used, text.size());
    }
  }
  EXPECT_EQ(read("9007199254740991", &used), 9007199254740991);
  for (const char* wrong : {"9007199254740992", "99999999999999999", "123456789012345678901", "00", "01", "007", "",
                            "-1", "+1", " 1", "x", "/", ":"}) {
    EXPECT_EQ(read(wrong, &used), -1) << wrong;
  }
  EXPECT_EQ(read("12.5", &used), 12);  // the caller finds '.' where it wants ','
  EXPECT_EQ(used, 2u);
}

// ---- escaping ------------------------------------------------------------------------------------

// The rule of FORMAT.md, byte by byte, as slow and plain as can be.
std::string escaped_plainly(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    constexpr std::string_view kFrom = "\"\\\b\f\n\r\t", kTo = "\"\\bfnrt";
    if (const size_t at = kFrom.find(c); at != std::string_view::npos) {
      out += '\\', out += kTo[at];
    } else if (byte < 0x20) {
      out += "\\u00", out += "01"[byte >> 4], out += "0123456789abcdef"[byte & 15];
    } else {
      out += c;
    }
  }
  return out;
}

using EscapeFunction = Escaped (*)(char*, std::string_view) noexcept;

// Runs with exactly the promised room and looks whether the bytes around stayed as they were.
void expect_escaped(EscapeFunction run, const std::string& text) {
  const size_t room = kEscapeBytesMax * text.size() + kEscapeSlack;
  const std::vector<char> exact(text.begin(), text.end());  // on the heap, so a sanitizer sees reads outside
  std::vector<char> out(room + 2, '~');
  const Escaped escaped = run(out.data() + 1, {exact.data(), exact.size()});
  ASSERT_EQ(out.front(), '~');
  ASSERT_EQ(out.back(), '~');
  EXPECT_EQ(std::string(out.data() + 1, escaped.end), escaped_plainly(text)) << text;
  EXPECT_EQ(escaped.non_ascii, std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }));
}

// As JsonWriter does it. Passes on nothing but what has a special byte.
Escaped escape_nothing_or_all(char* out, std::string_view text) noexcept {
  const Escaped escaped = escape_nothing(out, text);
  if (escaped.end != nullptr) return escaped;
  EXPECT_TRUE(std::ranges::any_of(text, is_special)) << text;
  return escape(out, text);
}

TEST(Escape, TreatsEveryByteAtEveryPositionAsTheRuleSays) {
  for (const EscapeFunction run : {escape, escape_portable, escape_nothing_or_all}) {
    for (size_t size = 0; size <= 50; ++size) {
      for (size_t at = 0; at < size; ++at) {
        for (const int byte : {0x00, 0x08, 0x0a, 0x1f, 0x20, 0x22, 0x2f, 0x5c, 0x7f, 0x80, 0xa2, 0xdc, 0xff}) {
          std::string text(size, 'x');
          text[at] = static_cast<char>(byte);
          expect_escaped(run, text);
        }
      }
    }
    for (int byte = 0; byte < 256; ++byte) {
      for (const size_t size : {1u, 7u, 8u, 16u, 33u}) expect_escaped(run, std::string(size, static_cast<char>(byte)));
    }
  }
}

TEST(Escape, TreatsEveryTextureAtEverySizeAsTheRuleSays) {
  testing::Rng rng(testing::seed());
  for (int texture = 0; texture < static_cast<int>(testing::Texture::kCount); ++texture) {
    for (int i = 0; i < 300; ++i) {
      const std::string text =
          testing::random_bytes(rng, static_cast<testing::Texture>(texture), testing::random_size(rng));
      expect_escaped(escape, text);
      expect_escaped(escape_portable, text);
      expect_escaped(escape_nothing_or_all, text);
    }
  }
}

TEST(Encode, GrowsItsBufferInProportionToALargeValue) {
  const std::string value(3 << 20, 'x');
  base::Buffer out;
  const Op op = put("k", value);
  encode_body(out, {&op, 1}, false, {});
  EXPECT_LT(out.capacity(), 2 * value.size());
  const std::string escapes(1 << 20, '\x01');  // the worst case is still right
  EXPECT_EQ(body({put("k", escapes)}), R"("op":"put","key":"k","value":")" + escaped_plainly(escapes) + "\"");
}

TEST(Limits, AreThoseOfThePublicOptions) {
  EXPECT_EQ(format::kKeyBytesMax, kvstore::kKeyBytesMax);
  EXPECT_EQ(format::kValueBytesMax, kvstore::kValueBytesMax);
}

}  // namespace
}  // namespace kvstore::format
