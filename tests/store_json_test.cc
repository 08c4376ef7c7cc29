// JSON documents in a store: every byte comes back, fields are read in place, patches are atomic.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "kvstore/json.h"
#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

using nlohmann::json;

class StoreJson : public StoreTest {};

// A document of about so many bytes.
std::string document_of(size_t bytes) {
  std::string text = "[0";
  for (int i = 1; text.size() + 2 < bytes; ++i) {
    const std::string element = R"(,{"n":)" + std::to_string(i) + R"(,"t":"é😀 text \" of some length"})";
    text += text.size() + element.size() + 1 <= bytes ? element : ",1";
  }
  return text + "]";
}

TEST_F(StoreJson, FromTenBytesToTenMebibytesEveryByteComesBack) {
  Store& store = open();
  for (const size_t bytes :
       {size_t{10}, size_t{100}, size_t{1} << 10, size_t{64} << 10, size_t{1} << 20, size_t{10} << 20}) {
    const std::string text = document_of(bytes);
    ASSERT_NEAR(static_cast<double>(text.size()), static_cast<double>(bytes), 2) << bytes;
    ASSERT_TRUE(store.put_json("key", text).ok());
    EXPECT_TRUE(store.get("key") == text);
    EXPECT_EQ(store.get_field("key", "/0"), "0");
    const auto document = get_json(store, "key");
    ASSERT_TRUE(document.ok() && document->has_value());
    EXPECT_TRUE(json(***document) == json::parse(text));
    ASSERT_TRUE(put_json(store, "copy", ***document).ok());
    EXPECT_TRUE(json::parse(*store.get("copy")) == json::parse(text));
  }
}

TEST_F(StoreJson, SpellingsAndDuplicatesAreKeptByteForByte) {
  Store& store = open();
  const std::string text =
      R"({"n":1.0,"e":1E+2,"big":123456789012345678901234567890,"max":18446744073709551616,"tiny":1e-400,)"
      R"("z":-0,"u":"\u00e9\/","d":1,"d":2,"s": [ 1 , 2 ]})";
  ASSERT_TRUE(store.put_json("key", text).ok());
  EXPECT_EQ(store.get("key"), text);
  EXPECT_EQ(store.get_field("key", "/d"), "2");
  open();
  EXPECT_EQ(store_->get("key"), text);
}

// Outside the fixture, whose own reader of the log has doubles only.
TEST(StoreJsonNumbers, OneBeyondEveryDoubleIsKeptAsTextAndFitsNoDocument) {
  const TempDir temp;
  auto store = Store::open(temp / "db");
  ASSERT_TRUE(store.ok() && store->put_json("key", "{\"a\": 1e400}").ok());
  EXPECT_EQ(store->get_field("key", "/a"), "1e400");
  EXPECT_EQ(get_json(*store, "key").status().message(),
            "get_json: no JSON document: line 1, column 7: the number is beyond every double");
}

TEST_F(StoreJson, AThousandLevelsAndNoMore) {
  Store& store = open();
  const std::string deep = std::string(1000, '[') + std::string(1000, ']');
  ASSERT_TRUE(store.put_json("key", deep).ok());
  EXPECT_EQ(store.get("key"), deep);
  EXPECT_TRUE(get_json(store, "key").ok());
  const Status refused = store.put_json("key", "[" + deep + "]");
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_NE(refused.message().find("line 1, column 1001: nested more than 1000 levels deep"), std::string_view::npos);
}

TEST_F(StoreJson, AbsentKeysAndPlainValuesAreNoDocuments) {
  Store& store = open();
  ASSERT_TRUE(store.put("text", R"({"a":1})").ok());
  EXPECT_FALSE(get_json(store, "text")->has_value());
  EXPECT_FALSE(get_json(store, "absent")->has_value());
  EXPECT_FALSE(store.read_json("text", [](std::string_view) { FAIL(); }));
}

TEST_F(StoreJson, DocumentsOfAnyNlohmannTypeCanBePut) {
  Store& store = open();
  ASSERT_TRUE(put_json(store, "a", json{{"z", 1}, {"a", 2}}).ok());
  ASSERT_TRUE(put_json(store, "b", nlohmann::ordered_json{{"z", 1}, {"a", 2}}).ok());
  EXPECT_EQ(store.get("a"), R"({"a":2,"z":1})");
  EXPECT_EQ(store.get("b"), R"({"z":1,"a":2})");
  EXPECT_EQ(put_json(store, "a", json("\xff")).message(), "a string is not valid UTF-8");
  EXPECT_EQ(put_json(store, "a", json(1), {.if_absent = true}).code(), Code::kConflict);
}

TEST_F(StoreJson, PatchChangesWhatItNamesAndKeepsTheRest) {
  Store& store = open();
  ASSERT_TRUE(store.put_json("user", R"({"name":"Ada","n":1.0,"at":{"city":"London","zip":"1"}})").ok());
  ASSERT_TRUE(store.patch("user", "{\"at\": {\"zip\": null,\n \"street\": \"St James's\"}, \"x\": true}").ok());
  EXPECT_EQ(store.get("user"), R"({"name":"Ada","n":1.0,"at":{"city":"London","street":"St James's"},"x":true})");
  ASSERT_TRUE(patch(store, "user", json{{"name", "Eve"}}).ok());
  EXPECT_EQ(store.get_field("user", "/name"), "\"Eve\"");
}

TEST_F(StoreJson, PatchMakesADocumentOfAnAbsentKeyAndRefusesPlainValues) {
  Store& store = open();
  ASSERT_TRUE(store.patch("new", R"({"a":1,"b":null})").ok());
  EXPECT_EQ(store.get("new"), R"({"a":1})");
  ASSERT_TRUE(store.put("text", "{}").ok());
  EXPECT_EQ(store.patch("text", "{}").message(), "patch: the value is no JSON document");
  EXPECT_EQ(store.patch("new", "{\n\"a\":}").message(), "patch: no JSON text: line 2, column 5: expected a JSON value");
  EXPECT_EQ(store.get("new"), R"({"a":1})");
  EXPECT_EQ(store.patch("", "{}").code(), Code::kInvalidArgument);
  EXPECT_EQ(store.patch("new", "{}", {.if_version = 1}).code(), Code::kInvalidArgument);
}

TEST_F(StoreJson, PatchKeepsTheExpiry) {
  Store& store = open();
  ASSERT_TRUE(store.put_json("key", "{}", {.ttl = std::chrono::hours(1)}).ok());
  const auto before = store.get_entry("key")->expires_us;
  ASSERT_TRUE(store.patch("key", R"({"a":1})").ok());
  EXPECT_EQ(store.get_entry("key")->expires_us, before);
}

TEST_F(StoreJson, NoPatchIsLost) {
  constexpr int kThreads = 4, kPatches = 200;
  Store& store = open();
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPatches; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        if (!store.patch("key", R"({"last":)" + std::to_string(i) + ",\"" + name + "\":{}}").ok()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(json::parse(*store.get("key")).size(), static_cast<size_t>(kThreads * kPatches) + 1);
}

TEST_F(StoreJson, FieldsAreReadWholeBesideAWriter) {
  Store& store = open();
  ASSERT_TRUE(store.put_json("key", R"({"a":0,"b":0})").ok());
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 2'000; ++i) {
      const std::string n = std::to_string(i);
      if (!store
               .put_json("key", R"({"a":)" + n + R"(,"filler":")" + std::string(static_cast<size_t>(i % 100), 'x') +
                                    R"(","b":)" + n + "}")
               .ok())
        break;
    }
    done = true;
  });
  int wrong = 0;
  while (!done) {
    const auto document = get_json(store, "key");
    if (!document.ok() || (**document)->at("a") != (**document)->at("b")) ++wrong;
    if (!store.get_field("key", "/b").has_value()) ++wrong;
  }
  writer.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace kvstore::testing
