// Reading JSON in place, held against nlohmann/json as the second opinion.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/format/json_string.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/utf8.h"
#include "tests/support/format_random.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

using testing::below;

std::string complaint(std::string_view text) {
  const std::optional<JsonError> error = check_json(text);
  return error ? describe(text, *error) : "ok";
}

TEST(CheckJson, TakesEveryKindOfValueWithWhiteSpaceAround) {
  for (const char* text :
       {"0", "-0", "1.5e-3", "1E+5", "123456789012345678901234567890", "true", "false", "null", "\"\"", "{}", "[]",
        " [ ] ", "\t{\r\n\"a\" : [ 1 , {\"b\":null} ] }\n", R"("\"\\\/\b\f\n\r\t\u0000\ud83c\udf88")",
        "\"\xc3\xa9\xf0\x9f\x8e\x88\x7f\"", R"({"a":1,"a":2})", "[[[[]]],[]]"}) {
    EXPECT_EQ(complaint(text), "ok") << text;
  }
}

TEST(CheckJson, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(complaint(""), "line 1, column 1: expected a JSON value");
  EXPECT_EQ(complaint(" "), "line 1, column 2: expected a JSON value");
  EXPECT_EQ(complaint("tru"), "line 1, column 1: expected a JSON value");
  EXPECT_EQ(complaint("nul l"), "line 1, column 1: expected a JSON value");
  EXPECT_EQ(complaint("truex"), "line 1, column 5: unexpected text behind the JSON value");
  EXPECT_EQ(complaint("1 2"), "line 1, column 3: unexpected text behind the JSON value");
  EXPECT_EQ(complaint("01"), "line 1, column 2: a number must not have leading zeros");
  EXPECT_EQ(complaint("-"), "line 1, column 2: expected a digit");
  EXPECT_EQ(complaint("1."), "line 1, column 3: expected a digit behind '.'");
  EXPECT_EQ(complaint("1e+"), "line 1, column 4: expected a digit in the exponent");
  EXPECT_EQ(complaint(".5"), "line 1, column 1: expected a JSON value");
  EXPECT_EQ(complaint("+1"), "line 1, column 1: expected a JSON value");
  EXPECT_EQ(complaint("NaN"), "line 1, column 1: expected a JSON value");
  EXPECT_EQ(complaint("[1,]"), "line 1, column 4: expected a JSON value");
  EXPECT_EQ(complaint("[1"), "line 1, column 3: expected ',' or ']'");
  EXPECT_EQ(complaint("[1}"), "line 1, column 3: expected ',' or ']'");
  EXPECT_EQ(complaint("[}"), "line 1, column 2: expected a JSON value");
  EXPECT_EQ(complaint("{\"a\":1,}"), "line 1, column 8: expected a member name in quotes");
  EXPECT_EQ(complaint("{a:1}"), "line 1, column 2: expected a member name in quotes");
  EXPECT_EQ(complaint("{\"a\" 1}"), "line 1, column 6: expected ':'");
  EXPECT_EQ(complaint("{\n  \"a\": 1\n  \"b\": 2\n}"), "line 3, column 3: expected ',' or '}'");
  EXPECT_EQ(complaint("\"abc"), "line 1, column 5: the string does not end");
  EXPECT_EQ(complaint("\"abc\\"), "line 1, column 6: the string does not end");
  EXPECT_EQ(complaint("\"a\nb\""), "line 1, column 3: a control character in a string must be escaped");
  EXPECT_EQ(complaint("\"a\xff\""), "line 1, column 3: the string is not valid UTF-8");
  EXPECT_EQ(complaint(R"("\ud800")"), "line 1, column 2: unpaired surrogate");
  EXPECT_EQ(complaint(R"("\ud800\ud800")"), "line 1, column 2: unpaired surrogate");
  EXPECT_EQ(complaint(R"("x\q")"), "line 1, column 3: unknown escape");
  EXPECT_EQ(complaint("\"\\\0\""), "line 1, column 3: the string does not end");  // the literal ends at its NUL
  EXPECT_EQ(complaint(std::string_view("\"\\\0\"", 4)), "line 1, column 2: unknown escape");
  EXPECT_EQ(complaint("\xef\xbb\xbf{}"), "line 1, column 1: expected a JSON value");
}

TEST(CheckJson, NestsToItsLimitAndNoFurther) {
  const auto nested = [](size_t depth, std::string_view open, std::string_view close) {
    std::string out;
    for (size_t i = 0; i < depth; ++i) out += open;
    out += "1";
    for (size_t i = 0; i < depth; ++i) out += close;
    return out;
  };
  EXPECT_EQ(complaint(nested(kJsonDepthMax, "[", "]")), "ok");
  EXPECT_EQ(complaint(nested(kJsonDepthMax, R"({"a":)", "}")), "ok");
  EXPECT_EQ(complaint(nested(kJsonDepthMax + 1, "[", "]")), "line 1, column 1001: nested more than 1000 levels deep");
  EXPECT_EQ(complaint(nested(kJsonDepthMax / 2 + 1, R"([{"a":)", "}]")),
            "line 1, column 3001: nested more than 1000 levels deep");
  EXPECT_EQ(complaint(std::string(1'000'000, '[')), "line 1, column 1001: nested more than 1000 levels deep");
}

// nullopt where the other reader has limits of its own: it wants numbers to fit a double.
std::optional<bool> is_json_elsewhere(std::string_view text) {
  try {
    return !nlohmann::json::parse(text).is_discarded();
  } catch (const nlohmann::json::out_of_range&) {
    return std::nullopt;
  } catch (const nlohmann::json::parse_error&) {
    return false;
  }
}

TEST(CheckJson, AgreesWithAnotherReaderOnMutilatedDocuments) {
  testing::Rng rng(testing::seed());
  constexpr const char* kSnippets[] = {"\"", "\\", ",", "{", "}",     "[",       "]",        ":",    " ",    "0",
                                       "1",  "-",  ".", "e", "\\u00", "\\ud83d", "\xc3\xa9", "\xff", "true", "\x01"};
  int legal = 0;
  for (int i = 0; i < 20'000 && !::testing::Test::HasFailure(); ++i) {
    std::string text = testing::random_json(rng, 5);
    for (uint64_t edits = below(rng, 3); edits > 0; --edits) {
      const size_t at = below(rng, text.size() + 1);
      if (below(rng, 2) == 0) {
        text.insert(at, kSnippets[below(rng, std::size(kSnippets))]);
      } else {
        text.erase(at, 1 + below(rng, 3));
      }
    }
    const std::optional<bool> expected = is_json_elsewhere(text);
    if (!expected) continue;
    EXPECT_EQ(!check_json(text).has_value(), *expected) << text;
    legal += *expected;
  }
  EXPECT_GT(legal, 5000);
  EXPECT_LT(legal, 19'000);
}

TEST(Unescape, UndoesWhatAnotherWriterEscaped) {
  testing::Rng rng(testing::seed());
  base::Scratch scratch;
  for (int i = 0; i < 5000; ++i) {
    const auto texture = static_cast<testing::Texture>(below(rng, static_cast<uint64_t>(testing::Texture::kMixed) + 1));
    const std::string text = testing::random_bytes(rng, texture, testing::random_size(rng));
    const std::string quoted = nlohmann::json(text).dump(-1, ' ', /*ensure_ascii=*/below(rng, 2) == 0);
    ASSERT_EQ(complaint(quoted), "ok");
    scratch.clear();
    EXPECT_EQ(unescape_json(quoted, scratch), text);
  }
  const std::string plain = "\"nothing to undo\"";
  EXPECT_EQ(unescape_json(plain, scratch).data(), plain.data() + 1) << "no copy without need";
}

// Heap copies of exactly the promised sizes, so that a sanitizer sees any step outside.
std::optional<std::string> unescaped_to_quote(decltype(unescape_to_quote)* unescape, const std::string& text,
                                              size_t room, size_t* used) {
  const std::vector<char> exact(text.begin(), text.end());
  std::vector<char> out(room);
  const Unescaped result = unescape(out.data(), room, exact.data(), exact.data() + exact.size());
  if (result.quote == nullptr) return std::nullopt;
  *used = static_cast<size_t>(result.quote - exact.data());
  const std::string content(out.data(), result.end);
  EXPECT_TRUE(result.may_be_non_utf8 || is_utf8(content));
  return content;
}

TEST(Unescape, InOnePassFindsTheEndOrGivesUp) {
  testing::Rng rng(testing::seed());
  const std::string behind = R"(,"crc":"01234567"})";
  int short_of_room = 0;
  for (int i = 0; i < 10'000 && !::testing::Test::HasFailure(); ++i) {
    const auto texture = static_cast<testing::Texture>(below(rng, static_cast<uint64_t>(testing::Texture::kMixed) + 1));
    const std::string content = testing::random_bytes(rng, texture, testing::random_size(rng));
    const std::string quoted = nlohmann::json(content).dump(-1, ' ', /*ensure_ascii=*/below(rng, 2) == 0);
    const std::string text = quoted.substr(1) + behind;
    for (const auto unescape : {unescape_to_quote, unescape_to_quote_portable}) {
      size_t used = 0;
      EXPECT_EQ(unescaped_to_quote(unescape, text, content.size() + 3 * kUnescapeSlack, &used), content) << text;
      EXPECT_EQ(used, quoted.size() - 2);
      const std::optional<std::string> tight =
          unescaped_to_quote(unescape, text, below(rng, content.size() + 40), &used);
      EXPECT_EQ(tight.value_or(content), content) << "too little room may only make it give up";
      short_of_room += !tight;
      EXPECT_EQ(unescaped_to_quote(unescape, quoted.substr(1, quoted.size() - 2), 8192, &used), std::nullopt)
          << "no quote";
    }
  }
  EXPECT_GT(short_of_room, 1000);
  for (const char* wrong :
       {R"(\x")", R"(\u12)", R"(\u12g4")", R"(\ud800")", R"(\udc00")", R"(\ud800\u0041")", "\x01\"", "a\n\"", "\\"}) {
    for (const char* before : {"", "0123456789abcde", "0123456789abcdef0123456789"}) {
      for (const auto unescape : {unescape_to_quote, unescape_to_quote_portable}) {
        size_t used = 0;
        EXPECT_EQ(unescaped_to_quote(unescape, std::string(before) + wrong + behind, 8192, &used), std::nullopt)
            << wrong;
      }
    }
  }
}

TEST(OneLine, DropsLineBreaksAndOuterSpaceAndNothingElse) {
  base::Scratch scratch;
  EXPECT_EQ(json_on_one_line(" {\r\n\t\"a\" : \"\\n\" ,\n\"b\":1}\r\n", scratch), "{\t\"a\" : \"\\n\" ,\"b\":1}");
  const std::string text = " [1, 2] ";
  EXPECT_EQ(json_on_one_line(text, scratch).data(), text.data() + 1) << "no copy without need";
}

// ---- RFC 6901 ------------------------------------------------------------------------------------

TEST(FindJson, AnswersTheExamplesOfTheStandard) {
  const std::string text =
      R"({"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8})";
  const auto find = [&text](std::string_view pointer) {
    return std::string(find_json(text, pointer).value_or("absent"));
  };
  EXPECT_EQ(find(""), text);
  EXPECT_EQ(find("/foo"), R"(["bar", "baz"])");
  EXPECT_EQ(find("/foo/0"), R"("bar")");
  EXPECT_EQ(find("/"), "0");
  EXPECT_EQ(find("/a~1b"), "1");
  EXPECT_EQ(find("/c%d"), "2");
  EXPECT_EQ(find("/e^f"), "3");
  EXPECT_EQ(find("/g|h"), "4");
  EXPECT_EQ(find("/i\\j"), "5");
  EXPECT_EQ(find("/k\"l"), "6");
  EXPECT_EQ(find("/ "), "7");
  EXPECT_EQ(find("/m~0n"), "8");
  for (const char* absent : {"foo", "/bar", "/foo/2", "/foo/-", "/foo/01", "/foo/", "/foo/0/0", "/foo/bar", "/m~2n",
                             "/m~", "/foo/99999999999999999999", "/ /"}) {
    EXPECT_EQ(find(absent), "absent") << absent;
  }
}

TEST(FindJson, SeesThroughEscapesAndTakesTheLastOfDuplicateMembers) {
  EXPECT_EQ(find_json(R"({"\u0061":1})", "/a"), "1");
  EXPECT_EQ(find_json(R"({"\ud83c\udf88":[ {"x":2} ]})", "/\xf0\x9f\x8e\x88/0/x"), "2");
  EXPECT_EQ(find_json(R"({"a":1,"a":{"b":2},"c":3})", "/a"), R"({"b":2})");
  EXPECT_EQ(find_json(R"({"a":{"b":1},"a":3})", "/a/b"), std::nullopt);
  EXPECT_EQ(find_json(" [1 , 2 ] ", ""), "[1 , 2 ]");
  EXPECT_EQ(find_json("[]", "/0"), std::nullopt);
  EXPECT_EQ(find_json("\"text\"", "/0"), std::nullopt);
}

TEST(FindJson, FindsWhatAnotherReaderFinds) {
  testing::Rng rng(testing::seed());
  int deep = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = testing::random_json(rng, 6);
    const nlohmann::json document = nlohmann::json::parse(text);  // keeps the last of duplicates, as we do
    const nlohmann::json flat = document.flatten();
    if (!document.is_structured()) continue;
    for (const auto& [pointer, value] : flat.items()) {
      const std::optional<std::string_view> found = find_json(text, pointer);
      ASSERT_TRUE(found.has_value()) << pointer << " in " << text;
      deep += std::count(pointer.begin(), pointer.end(), '/') > 2;
      if (value.is_primitive() && !value.is_null()) {
        EXPECT_EQ(nlohmann::json::parse(*found), value) << pointer << " in " << text;
      }
    }
  }
  EXPECT_GT(deep, 100);
}

}  // namespace
}  // namespace kvstore::format
