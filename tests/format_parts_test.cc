// UTF-8 and base64, the two questions asked of every byte that is no ASCII.
#include <gtest/gtest.h>

#include <cctype>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/format/base64.h"
#include "kvstore/format/special.h"
#include "kvstore/format/utf8.h"
#include "tests/support/format_random.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

using testing::below;

// RFC 3629 by its definition: decode, then ask whether encoding again gives the same bytes.
bool is_utf8_by_definition(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto byte = [bytes](size_t i) { return uint32_t{static_cast<unsigned char>(bytes[i])}; };
    const uint32_t lead = byte(0);
    const size_t size = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 0;
    if (size == 0 || size > bytes.size()) return false;
    uint32_t code_point = size == 1 ? lead : lead & (0x7fu >> size);
    for (size_t i = 1; i < size; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return false;
      code_point = code_point << 6 | (byte(i) & 63);
    }
    if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000)) return false;
    std::string shortest;
    testing::append_code_point(shortest, code_point);
    if (shortest != bytes.substr(0, size)) return false;
    bytes.remove_prefix(size);
  }
  return true;
}

void expect_judged(const std::string& text) {
  const std::vector<char> exact(text.begin(), text.end());  // on the heap, so a sanitizer sees reads outside
  const std::string_view bytes(exact.data(), exact.size());
  const bool expected = is_utf8_by_definition(bytes);
  ASSERT_EQ(is_utf8(bytes), expected) << ::testing::PrintToString(text);
  const size_t valid = valid_utf8_prefix(bytes);
  ASSERT_EQ(valid == bytes.size(), expected) << ::testing::PrintToString(text);
  ASSERT_TRUE(is_utf8_by_definition(bytes.substr(0, valid)));
}

TEST(Utf8, EveryPairOfBytesIsJudgedRightWhereverItStands) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string pair = {static_cast<char>(first), static_cast<char>(second)};
      expect_judged(pair);
      expect_judged(std::string(15, 'x') + pair);  // across a block's border
      expect_judged(pair + "\x80");
      expect_judged("\xe2\x82\xac" + pair + "\x80\x80" + std::string(16, 'y'));
    }
  }
}

TEST(Utf8, EveryCodePointIsValidAndNoCutOfItIs) {
  for (uint32_t code_point = 0; code_point <= 0x10ffff; code_point += code_point < 0x3000 ? 1 : 13) {
    if (code_point >= 0xd800 && code_point < 0xe000) continue;
    std::string text(code_point % 19, 'x');
    const size_t before = text.size();
    testing::append_code_point(text, code_point);
    ASSERT_TRUE(is_utf8(text)) << code_point;
    for (size_t cut = before + 1; cut < text.size(); ++cut) ASSERT_FALSE(is_utf8(text.substr(0, cut))) << code_point;
  }
}

TEST(Utf8, RandomBytesAreJudgedAsTheDefinitionSays) {
  testing::Rng rng(testing::seed());
  constexpr unsigned char kLikely[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                                       0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
  for (int i = 0; i < 100'000; ++i) {
    std::string text;
    if (below(rng, 2) == 0) {
      for (size_t size = below(rng, 8); size > 0; --size)
        text += static_cast<char>(kLikely[below(rng, std::size(kLikely))]);
      text.insert(0, below(rng, 20), 'x');
    } else {
      text = testing::random_bytes(rng, static_cast<testing::Texture>(below(rng, 7)), below(rng, 70));
    }
    expect_judged(text);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(PlainRun, StopsAtTheFirstSpecialByteAndKnowsOnlyWhatCameBefore) {
  for (const auto scan : {scan_plain, scan_plain_portable}) {
    for (size_t size = 0; size < 50; ++size) {
      for (size_t at = 0; at < size; ++at) {
        for (const char special : {'"', '\\', '\x1f', '\0'}) {
          std::vector<char> text(size, 'x');
          text[at] = special;
          if (at + 1 < size) text[at + 1] = '\xff';
          PlainRun run = scan(text.data(), text.data() + size);
          ASSERT_EQ(run.end - text.data(), static_cast<ptrdiff_t>(at));
          ASSERT_FALSE(run.non_ascii) << "what stands behind the end is not part of the run";
          if (at == 0) continue;
          text[at - 1] = '\x80';
          run = scan(text.data(), text.data() + size);
          ASSERT_EQ(run.end - text.data(), static_cast<ptrdiff_t>(at));
          ASSERT_TRUE(run.non_ascii);
        }
      }
    }
  }
}

TEST(Base64, GivesTheExamplesOfTheStandardBothWays) {
  constexpr const char* kExamples[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"},
                                          {"\xfb\xff\xbf", "+/+/"}};
  for (const auto& [bytes, text] : kExamples) {
    std::string out(base64_size(std::string_view(bytes).size()), '~');
    EXPECT_EQ(write_base64(out.data(), bytes), out.data() + out.size());
    EXPECT_EQ(out, text);
    std::string back(base64_decoded_size(text).value(), '~');
    EXPECT_TRUE(read_base64(back.data(), text));
    EXPECT_EQ(back, bytes);
  }
}

// RFC 4648 by its definition: six bits after the other, then padding.
std::string base64_by_definition(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t bit = 0; bit < 8 * bytes.size(); bit += 6) {
    size_t digit = 0;
    for (size_t b = bit; b < bit + 6; ++b) {
      digit = digit << 1 | (b / 8 < bytes.size() ? static_cast<unsigned char>(bytes[b / 8]) >> (7 - b % 8) & 1u : 0u);
    }
    out += kAlphabet[digit];
  }
  return out + std::string((4 - out.size() % 4) % 4, '=');
}

// Through memory of exactly the promised sizes, on the heap, so that a sanitizer sees any step outside.
std::string written(std::string_view bytes) {
  const std::vector<char> exact(bytes.begin(), bytes.end());
  std::vector<char> out(base64_size(bytes.size()));
  EXPECT_EQ(write_base64(out.data(), {exact.data(), exact.size()}), out.data() + out.size());
  return {out.begin(), out.end()};
}
std::optional<std::string> read(std::string_view text) {
  const std::vector<char> exact(text.begin(), text.end());
  std::vector<char> out(base64_decoded_size(text).value());
  if (!read_base64(out.data(), {exact.data(), exact.size()})) return std::nullopt;
  return std::string(out.begin(), out.end());
}

TEST(Base64, IsWhatTheDefinitionSaysAtEverySize) {
  testing::Rng rng(testing::seed());
  for (size_t size = 0; size < 200; ++size) {
    const std::string bytes = testing::random_bytes(rng, testing::Texture::kBytes, size);
    const std::string text = written(bytes);
    ASSERT_EQ(text, base64_by_definition(bytes));
    ASSERT_EQ(read(text), bytes);
  }
}

TEST(Base64, KnowsItsAlphabetAtEveryPosition) {
  const std::string text = base64_by_definition(std::string(48, 'x'));
  for (size_t at = 0; at < text.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[at] = static_cast<char>(byte);
      if (byte == '=' && at + 1 == text.size()) continue;  // padding, if the bits before it allow
      const bool in_alphabet = byte < 128 && (std::isalnum(byte) || byte == '+' || byte == '/');
      ASSERT_EQ(read(changed).has_value(), in_alphabet) << changed;
    }
  }
}

TEST(Base64, HasOneSpellingForEachByteString) {
  testing::Rng rng(testing::seed());
  for (int i = 0; i < 20'000; ++i) {
    const std::string bytes = testing::random_bytes(rng, testing::Texture::kBytes, below(rng, 60));
    std::string text(base64_size(bytes.size()), '~');
    (void)write_base64(text.data(), bytes);
    if (!text.empty())
      text[below(rng, text.size())] =
          static_cast<char>(below(rng, 3) == 0 ? static_cast<char>(below(rng, 256)) : "AQgw=4/+"[below(rng, 8)]);
    std::string back(base64_decoded_size(text).value(), '~');
    if (!read_base64(back.data(), text)) continue;
    std::string again(base64_size(back.size()), '~');
    (void)write_base64(again.data(), back);
    ASSERT_EQ(again, text);
  }
}

}  // namespace
}  // namespace kvstore::format
