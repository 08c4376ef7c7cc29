// JSON merge patch on text: RFC 7396's own table, nlohmann/json as the second opinion, and the bytes that must stay.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>

#include "kvstore/base/buffer.h"
#include "kvstore/format/merge_patch.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

std::string merged(std::string_view target, std::string_view patch) {
  base::Buffer out;
  merge_patch(out, target, patch);
  return std::string(out.view());
}

TEST(MergePatch, DoesWhatTheRfcListsInAppendixA) {
  EXPECT_EQ(merged(R"({"a":"b"})", R"({"a":"c"})"), R"({"a":"c"})");
  EXPECT_EQ(merged(R"({"a":"b"})", R"({"b":"c"})"), R"({"a":"b","b":"c"})");
  EXPECT_EQ(merged(R"({"a":"b"})", R"({"a":null})"), R"({})");
  EXPECT_EQ(merged(R"({"a":"b","b":"c"})", R"({"a":null})"), R"({"b":"c"})");
  EXPECT_EQ(merged(R"({"a":["b"]})", R"({"a":"c"})"), R"({"a":"c"})");
  EXPECT_EQ(merged(R"({"a":"c"})", R"({"a":["b"]})"), R"({"a":["b"]})");
  EXPECT_EQ(merged(R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})"), R"({"a":{"b":"d"}})");
  EXPECT_EQ(merged(R"({"a":[{"b":"c"}]})", R"({"a":[1]})"), R"({"a":[1]})");
  EXPECT_EQ(merged(R"(["a","b"])", R"(["c","d"])"), R"(["c","d"])");
  EXPECT_EQ(merged(R"({"a":"b"})", R"(["c"])"), R"(["c"])");
  EXPECT_EQ(merged(R"({"a":"foo"})", R"(null)"), R"(null)");
  EXPECT_EQ(merged(R"({"a":"foo"})", R"("bar")"), R"("bar")");
  EXPECT_EQ(merged(R"({"e":null})", R"({"a":1})"), R"({"e":null,"a":1})");
  EXPECT_EQ(merged(R"([1,2])", R"({"a":"b","c":null})"), R"({"a":"b"})");
  EXPECT_EQ(merged(R"({})", R"({"a":{"bb":{"ccc":null}}})"), R"({"a":{"bb":{}}})");
}

TEST(MergePatch, MakesADocumentOfNothing) { EXPECT_EQ(merged("", R"({"a":{"b":1,"c":null}})"), R"({"a":{"b":1}})"); }

TEST(MergePatch, KeepsTheBytesOfWhatItDoesNotName) {
  EXPECT_EQ(
      merged(R"({"n":1.0,"big":123456789012345678901234567890,"e":1E+2,"\u0061":"\/","a":[ 1 ]})", R"({"x":1e400})"),
      R"({"n":1.0,"big":123456789012345678901234567890,"e":1E+2,"\u0061":"\/","a":[ 1 ],"x":1e400})");
  EXPECT_EQ(merged(R"({"d":1,"d":2,"o":{"d":1,"d":2}})", R"({"o":{"x":1}})"),
            R"({"d":1,"d":2,"o":{"d":1,"d":2,"x":1}})");
}

TEST(MergePatch, OfDuplicatesTheLastOneCounts) {
  EXPECT_EQ(merged(R"({"a":{"x":1},"b":0,"a":{"y":2}})", R"({"a":{"z":3}})"), R"({"b":0,"a":{"y":2,"z":3}})");
  EXPECT_EQ(merged(R"({"a":1,"a":2})", R"({"a":null})"), R"({})");
  EXPECT_EQ(merged(R"({"a":1})", R"({"a":2,"a":3})"), R"({"a":3})");
  EXPECT_EQ(merged(R"({"a":1})", R"({"a":2,"a":null})"), R"({})");
}

TEST(MergePatch, NamesAreTheSameHoweverTheyAreSpelled) {
  EXPECT_EQ(merged(R"({"\u0061b":1})", R"({"ab":2})"), R"({"\u0061b":2})");
  EXPECT_EQ(merged(R"({"a/b":1})", R"({"a\/b":null})"), R"({})");
}

TEST(MergePatch, BearsAThousandLevels) {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += R"({"a":)";
  deep += "1" + std::string(1000, '}');
  EXPECT_EQ(merged(deep, deep), deep);
}

// A random document of few names, so that patches meet what is there.
std::string random_json(std::mt19937_64& random, int depth) {
  const uint64_t kind = random() % (depth > 0 ? 8 : 5);
  if (kind == 0) return "null";
  if (kind == 1) return std::to_string(random() % 100);
  if (kind == 2) return R"("text")";
  if (kind == 3) return "true";
  if (kind == 4) return "[1,{}]";
  std::string object = "{";
  for (uint64_t i = random() % 5; i > 0; --i) {
    if (object.size() > 1) object += ',';
    object += '"' + std::string(1, static_cast<char>('a' + random() % 4)) + "\":" + random_json(random, depth - 1);
  }
  return object + '}';
}

TEST(MergePatch, AgreesWithNlohmann) {
  std::mt19937_64 random(testing::seed());
  for (int i = 0; i < 5'000; ++i) {
    const std::string target = random_json(random, 4), patch = random_json(random, 4);
    nlohmann::json expected = nlohmann::json::parse(target);
    expected.merge_patch(nlohmann::json::parse(patch));
    ASSERT_EQ(nlohmann::json::parse(merged(target, patch)), expected) << target << " + " << patch;
  }
}

}  // namespace
}  // namespace kvstore::format
