// json.h over plain texts: what is parsed and written is what nlohmann/json would say, errors name the place, single fields
// are found without a document.
#include "kvstore/json.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

using nlohmann::json;

std::string failure_of(std::string_view text) {
  const auto document = unmarshal(text, Pools());
  if (document.ok()) return "none";
  EXPECT_EQ(document.status().code(), Code::kInvalidArgument);
  return std::string(document.status().message());
}

// The text of `text`'s document, by way of leased memory.
std::string through_a_document(std::string_view text, const Pools& pools = Pools()) {
  const auto document = unmarshal(text, pools);
  if (!document.ok()) return std::string(document.status().message());
  const auto out = marshal(**document, pools);
  return std::string(out.ok() ? out->view() : out.status().message());
}

std::string nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

// ---- Documents ------------------------------------------------------------------------------------

TEST(Json, ADocumentIsReadAsNlohmannsOwn) {
  const auto user =
      unmarshal(R"({"name":"Ada Lovelace, Countess","born":1815,"tags":["a",null,true,1.5],"at":{"x":-1}})", Pools());
  ASSERT_TRUE(user.ok());
  EXPECT_EQ((*user)->at("name"), "Ada Lovelace, Countess");
  EXPECT_EQ((*user)->value("born", 0), 1815);
  EXPECT_EQ((*user)->at("tags").size(), 4U);
  EXPECT_EQ((**user)["at"]["x"], -1);
  EXPECT_EQ((*user)->at("name").get<std::string>(), "Ada Lovelace, Countess");
  const json copy = **user;
  EXPECT_EQ(copy["tags"][3], 1.5);
}

TEST(Json, NumbersAreReadAsNlohmannReadsThem) {
  for (const std::string_view text : {"0",
                                      "-0",
                                      "1",
                                      "-1",
                                      "9223372036854775807",
                                      "9223372036854775808",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "-9223372036854775808",
                                      "-9223372036854775809",
                                      "123456789012345678901234567890",
                                      "0.1",
                                      "-0.0",
                                      "1e2",
                                      "1E+2",
                                      "1.7976931348623157e308",
                                      "2.2250738585072014e-308",
                                      "4.9406564584124654e-324",
                                      "5e-324",
                                      "1e-400",
                                      "-1e-400",
                                      "0e999999999999999999999",
                                      "0.000000000000000000000000000000000000000000000000001e40",
                                      "1.0",
                                      "9007199254740993.0"}) {
    const auto ours = unmarshal(text, Pools());
    const json theirs = json::parse(text);
    ASSERT_TRUE(ours.ok()) << text;
    EXPECT_EQ((*ours)->type(), PooledJson::value_t(theirs.type())) << text;
    EXPECT_EQ(json(**ours).dump(), theirs.dump()) << text;
  }
  for (const std::string_view text : {"1e400", "-1e309", "123e99999999999999999999", "0.001e312", "1000000e303"}) {
    EXPECT_THROW(static_cast<void>(json::parse(text).size()), json::exception) << text;
    EXPECT_EQ(failure_of(text), "no JSON document: line 1, column 1: the number is beyond every double");
  }
  EXPECT_EQ(failure_of("{\"a\":\n [1,1e999]}"),
            "no JSON document: line 2, column 5: the number is beyond every double");
}

// Random JSON text with everything in it, from white space to surrogates.
class RandomText {
 public:
  explicit RandomText(uint64_t seed) : random_(seed) {}

  std::string value(int depth) {
    switch (random_() % (depth > 0 ? 8 : 5)) {
      case 0:
        return pick({"null", "true", "false"});
      case 1:
        return std::to_string(static_cast<int64_t>(random_()) >> random_() % 64);
      case 2:
        return std::to_string(random_());
      case 3:
        return pick({"1.5", "-0.25e10", "1e-3", "0.1", "123456789.123456789", "3E5"});
      case 4:
        return string();
      case 5:
        return array(depth);
      default:
        return object(depth);
    }
  }

 private:
  std::string pick(std::vector<std::string> choices) { return choices[random_() % choices.size()]; }
  std::string space() { return random_() % 4 == 0 ? pick({" ", "\n", "\t ", "\r\n"}) : ""; }
  std::string string() {
    std::string text = "\"";
    for (uint64_t i = random_() % 30; i > 0; --i) {
      text += pick({"a", "zz", "\u00e9", "\u4e2d", "\U0001F600", "\\n", "\\\"", "\\u0000", "\\u00E9", "\\ud83d\\ude00",
                    "/", "\\/"});
    }
    return text + '"';
  }
  std::string array(int depth) {
    std::string text = "[" + space();
    for (uint64_t i = 0, count = random_() % 5; i < count; ++i)
      text += (i ? "," : "") + space() + value(depth - 1) + space();
    return text + "]";
  }
  std::string object(int depth) {
    std::string text = "{" + space();
    for (uint64_t i = 0, count = random_() % 6; i < count; ++i) {
      const std::string name = random_() % 2 ? string() : pick({"\"a\"", "\"b\"", "\"\\u0061\""});  // some come twice
      text += (i ? "," : "") + space() + name + space() + ":" + space() + value(depth - 1) + space();
    }
    return text + "}";
  }
  std::mt19937_64 random_;
};

TEST(Json, AnyDocumentIsWhatNlohmannMakesOfIt) {
  RandomText random(seed());
  const Pools pools;
  for (int i = 0; i < 3'000; ++i) {
    const std::string text = random.value(6);
    ASSERT_EQ(json::parse(through_a_document(text, pools)), json::parse(text)) << text;
    const auto document = unmarshal(text, pools);
    ASSERT_EQ(json(**document), json::parse(text)) << text;
  }
}

TEST(Json, WhatIsWrittenIsWhatNlohmannDumps) {
  // Doubles aside, which nlohmann/json does not always write with the fewest digits.
  const std::string text = R"({"a":[1,-2,18446744073709551615,0.1,1.0,null,true,"\u0001\"\\é😀"],"b":{},"c":[]})";
  EXPECT_EQ(through_a_document(text), json::parse(text).dump());
  const auto ordered = nlohmann::ordered_json::parse(R"({"z":1,"a":{"y":2,"b":3}})");
  EXPECT_EQ(marshal(ordered, Pools())->view(), R"({"z":1,"a":{"y":2,"b":3}})");
}

TEST(Json, MalformedTextIsRefusedWithItsPlace) {
  EXPECT_EQ(failure_of(""), "no JSON document: line 1, column 1: expected a JSON value");
  EXPECT_EQ(failure_of("{\n  \"a\": 1,\n  b\n}"),
            "no JSON document: line 3, column 3: expected a member name in quotes");
  EXPECT_EQ(failure_of("[1,2"), "no JSON document: line 1, column 5: expected ',' or ']'");
  EXPECT_EQ(failure_of("[1] x"), "no JSON document: line 1, column 5: unexpected text behind the JSON value");
  EXPECT_EQ(failure_of("\"\xff\""), "no JSON document: line 1, column 2: the string is not valid UTF-8");
  EXPECT_EQ(failure_of("\"\\ud800\""), "no JSON document: line 1, column 2: unpaired surrogate");
  EXPECT_EQ(failure_of("01"), "no JSON document: line 1, column 2: a number must not have leading zeros");
}

TEST(Json, AThousandLevelsAreBorneAndNoMore) {
  EXPECT_EQ(through_a_document(nested(1000)), nested(1000));
  EXPECT_EQ(failure_of(nested(1001)), "no JSON document: line 1, column 1001: nested more than 1000 levels deep");
  json deep;
  for (int i = 0; i < 1000; ++i) deep = json::array({std::move(deep)});
  const auto text = marshal(deep, Pools());
  EXPECT_TRUE(text.ok());
  deep = json::array({std::move(deep)});
  EXPECT_EQ(marshal(deep, Pools()).status().message(), "nested more than 1000 levels deep");
}

TEST(Json, WhatHasNoJsonTextIsRefused) {
  EXPECT_EQ(marshal(json("\xff"), Pools()).status().message(), "a string is not valid UTF-8");
  EXPECT_EQ(marshal(json::binary({1, 2}), Pools()).status().message(), "a document with binary parts has no JSON text");
}

TEST(Json, TheLastOfDuplicatesIsRead) {
  EXPECT_EQ(through_a_document(R"({"a":{"x":[1,2]},"b":0,"a":{"y":2}})"), R"({"a":{"y":2},"b":0})");
}

// ---- Single fields --------------------------------------------------------------------------------

std::string field(std::string_view text, std::string_view pointer) {
  const auto value = extract_field(text, pointer);
  if (!value.ok()) return std::string(value.status().message());
  return std::string(value->value_or("nothing"));
}

TEST(JsonFields, ExtractFieldFindsTheTextAtAPointer) {
  const std::string_view text = R"( {"a":{"b":[10,{"c":"x"},[] ]},"~/":1,"":2,"t":true,"n":null} )";
  EXPECT_EQ(field(text, "/a/b/0"), "10");
  EXPECT_EQ(field(text, "/a/b/1/c"), "\"x\"");
  EXPECT_EQ(field(text, "/a/b/2"), "[]");
  EXPECT_EQ(field(text, "/a/b/3"), "nothing");
  EXPECT_EQ(field(text, "/a/b/-"), "nothing");
  EXPECT_EQ(field(text, "/a/b/01"), "nothing");
  EXPECT_EQ(field(text, "/~0~1"), "1");
  EXPECT_EQ(field(text, "/~2"), "nothing");
  EXPECT_EQ(field(text, "/"), "2");
  EXPECT_EQ(field(text, "/t"), "true");
  EXPECT_EQ(field(text, "/n"), "null");
  EXPECT_EQ(field(text, "/a"), R"({"b":[10,{"c":"x"},[] ]})");
  EXPECT_EQ(field(text, ""), R"({"a":{"b":[10,{"c":"x"},[] ]},"~/":1,"":2,"t":true,"n":null})");
  EXPECT_EQ(field(text, "a"), "nothing");
  EXPECT_EQ(field(text, "/a/b/c"), "nothing");
}

TEST(JsonFields, TheLastOfDuplicatesCountsOnEveryLevel) {
  EXPECT_EQ(field(R"({"a":1,"a":2})", "/a"), "2");
  EXPECT_EQ(field(R"({"a":{"b":1},"a":{"c":2}})", "/a/b"), "nothing");
  EXPECT_EQ(field(R"({"a":{"b":1},"a":5})", "/a/b"), "nothing");
  EXPECT_EQ(field(R"({"a":{"b":1,"b":{"c":7}},"\u0061":{"b":2,"x":{"b":3},"b":{"c":8}}})", "/a/b/c"), "8");
  EXPECT_EQ(field(R"([{"a":1,"a":2},{"a":3}])", "/0/a"), "2");
}

TEST(JsonFields, ErrorsAreToldWhereTheTextWasRead) {
  EXPECT_EQ(field("{\"a\":1,\n\"b\":}", "/a"), "no JSON document: line 2, column 5: expected a JSON value");
  EXPECT_EQ(field("{\"a\":1} x", "/a"), "no JSON document: line 1, column 9: unexpected text behind the JSON value");
  EXPECT_EQ(field("{\"a\":1", "nonsense"), "no JSON document: line 1, column 7: expected ',' or '}'");
  // Only arrays lie on the path: nothing behind the value can change the answer, so nothing behind it is read.
  EXPECT_EQ(field("[[1,2],[3,x", "/0/1"), "2");
  EXPECT_EQ(field("[[1,2],[3,x", "/1/1"), "no JSON document: line 1, column 11: expected a JSON value");
}

TEST(JsonFields, NounsDoTheirBest) {
  const std::string_view text =
      R"({"name":"Ada \"A\" \u00e9","ok":true,"no":false,"n":1,"at":{"city":"London"},"a/b":"x"})";
  EXPECT_EQ(field_string(text, "name"), "Ada \"A\" \u00e9");
  EXPECT_EQ(field_string(text, "n"), std::nullopt);
  EXPECT_EQ(field_string(text, "city"), std::nullopt);
  EXPECT_EQ(field_string(text, "a/b"), "x");
  EXPECT_EQ(field_string("{malformed", "name"), std::nullopt);
  EXPECT_EQ(field_string("[1]", "0"), std::nullopt);
  EXPECT_EQ(field_bool(text, "ok"), true);
  EXPECT_EQ(field_bool(text, "no"), false);
  EXPECT_EQ(field_bool(text, "name"), std::nullopt);
  EXPECT_EQ(path_string(text, "/at/city"), "London");
  EXPECT_EQ(path_string(text, "/at"), std::nullopt);
  EXPECT_EQ(path_string("", "/at"), std::nullopt);
}

// Every path of a random document, compared with nlohmann's own pointers.
void compare_paths(std::string_view text, const json& here, const json::json_pointer& path) {
  const std::string found = field(text, path.to_string());
  ASSERT_NE(found, "nothing") << path.to_string() << " in " << text;
  ASSERT_EQ(json::parse(found), here) << path.to_string() << " in " << text;
  if (here.is_array()) {
    for (size_t i = 0; i < here.size(); ++i) compare_paths(text, here[i], path / i);
  } else if (here.is_object()) {
    for (const auto& [name, value] : here.items()) compare_paths(text, value, path / name);
  }
}

TEST(JsonFields, EveryPathOfARandomDocumentLeadsWhereNlohmannSays) {
  RandomText random(seed());
  for (int i = 0; i < 300; ++i) {
    const std::string text = random.value(5);
    compare_paths(text, json::parse(text), json::json_pointer());
  }
}

}  // namespace
}  // namespace kvstore::testing
