// JsonWriter: what it writes is JSON, arrives whole and in order, in few pieces, and failures are told.
#include "kvstore/json_writer.h"

#include <gtest/gtest.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/counting_new.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

using Layout = JsonWriter::Layout;

struct Pieces {
  std::vector<std::string> pieces;
  JsonWriter::Sink sink() {
    return [this](std::string_view bytes) { pieces.emplace_back(bytes); };
  }
  [[nodiscard]] std::string all() const {
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    return text;
  }
};

std::string taken(JsonWriter& json) {
  const Result<PooledText> text = json.take();
  return text.ok() ? std::string(text->view()) : std::string(text.status().message());
}

TEST(JsonWriter, SetsCommasQuotesAndBraces) {
  JsonWriter json{Pools()};
  json.begin_object().member("a").number(1).member("b").begin_array().text("x\"\n").null().boolean(true).end_array();
  json.member("c")
      .begin_object()
      .end_object()
      .member("d")
      .raw("1.0")
      .member("e")
      .begin_array()
      .end_array()
      .end_object();
  EXPECT_EQ(taken(json), R"({"a":1,"b":["x\"\n",null,true],"c":{},"d":1.0,"e":[]})");
}

TEST(JsonWriter, NumbersReadBackAsTheyWere) {
  JsonWriter json{Pools()};
  json.begin_array().number(INT64_MIN).number(INT64_MAX).number(UINT64_MAX).number(0.1).number(1.0).number(-0.0);
  json.number(std::numeric_limits<double>::max()).number(std::numeric_limits<double>::denorm_min()).number(1e22);
  json.number(std::numeric_limits<double>::infinity()).number(std::nan("")).end_array();
  EXPECT_EQ(taken(json),
            "[-9223372036854775808,9223372036854775807,18446744073709551615,0.1,1.0,-0.0,"
            "1.7976931348623157e+308,5e-324,1e+22,null,null]");
}

TEST(JsonWriter, DoublesAgreeWithNlohmannWhenReadBack) {
  std::mt19937_64 random(seed());
  for (int i = 0; i < 20'000; ++i) {
    const auto value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    JsonWriter json{Pools()};
    json.number(value);
    const auto parsed = nlohmann::json::parse(taken(json));
    ASSERT_TRUE(parsed.is_number_float());
    ASSERT_EQ(std::bit_cast<uint64_t>(parsed.get<double>()), std::bit_cast<uint64_t>(value));
  }
}

// std::to_chars, and a point where it sets neither that nor an exponent.
std::string shortest(double value) {
  char text[40];
  std::string all(text, std::to_chars(text, text + sizeof text, value).ptr);
  if (all.find_first_of(".e") == std::string::npos) all += ".0";
  return all;
}

// Decimals of every size and length, which have a quick way of their own, and their neighbours, which must not take it.
TEST(JsonWriter, DoublesHaveTheFewestDigits) {
  std::vector<double> values = {0.0,       0.001,   0.0009,      0.0001,           1e-6,      1e-7,
                                9999.0,    10000.0, 99999.0,     100000.0,         123456.0,  1e5,
                                1e6,       1e9,     999999999.0, 999999999.999999, 1e9 + 0.5, 9007199254740993.0,
                                0.1 + 0.2, 1.0 / 3};
  std::mt19937_64 random(seed());
  for (int i = 0; i < 20'000; ++i) {
    double value = static_cast<double>(random() >> random() % 64);
    for (uint64_t places = random() % 10; places > 0; --places) value /= 10;
    values.push_back(value);
    values.push_back(static_cast<double>(random() % 1'000'000'000'000) / 1e6);
  }
  for (const double value : values) {
    for (const double near : {value, std::nextafter(value, 0), std::nextafter(value, 1e300)}) {
      for (const double either : {near, -near}) {
        JsonWriter json{Pools()};
        json.number(either);
        ASSERT_EQ(taken(json), shortest(either));
      }
    }
  }
}

TEST(JsonWriter, IntegersOfEveryLength) {
  for (int bits = 0; bits < 64; ++bits) {
    for (const uint64_t value : {uint64_t{1} << bits, (uint64_t{1} << bits) - 1}) {
      JsonWriter json{Pools()};
      const auto as_signed = static_cast<int64_t>(value);
      json.begin_array().number(value).number(as_signed).number(as_signed == INT64_MIN ? 0 : -as_signed).end_array();
      EXPECT_EQ(taken(json), "[" + std::to_string(value) + "," + std::to_string(as_signed) + "," +
                                 std::to_string(as_signed == INT64_MIN ? 0 : -as_signed) + "]");
    }
  }
}

TEST(JsonWriter, BytesThatAreNoTextComeInBase64) {
  JsonWriter json{Pools()};
  json.begin_object().bytes("key", "Ada").bytes("value", "\xff\x00z").bytes("x", "").end_object();
  EXPECT_EQ(taken(json), R"({"key":"Ada","value64":"/w==","x":""})");  // the literal ends at its NUL
}

TEST(JsonWriter, ALongNameOfBytesKeepsItsEnd) {
  const std::string name(100'000, 'n');
  JsonWriter json{Pools()};
  json.begin_object().bytes(name, "\xff").end_object();
  EXPECT_EQ(taken(json), "{\"" + name + "64\":\"/w==\"}");
}

TEST(JsonWriter, WithoutMemoryTheRestIsDropped) {
  const std::string long_text(10'000, 'x'), in_chunks(100'000, 'x');
  for (uint64_t allowed = 0;; ++allowed) {
    const Pools pools;
    const MemoryRunsOut later(allowed);
    JsonWriter json(pools);
    json.begin_array().text("a text").text(long_text).number(1.5).text(in_chunks).end_array();
    Result<PooledText> text = json.take();
    if (text.ok()) break;
    EXPECT_EQ(text.status().code(), Code::kOutOfMemory);
  }
}

TEST(JsonWriter, WithoutMemoryForItsBufferNothingReachesTheSink) {
  const Pools pools;
  Pieces pieces;
  JsonWriter::Sink sink = pieces.sink();
  std::optional<JsonWriter> json;
  {
    const MemoryRunsOut now;
    json.emplace(pools, std::move(sink));
  }
  json->begin_array().number(1).end_array().end_row();
  EXPECT_EQ(json->finish().code(), Code::kOutOfMemory);
  EXPECT_TRUE(pieces.pieces.empty());
}

TEST(JsonWriter, LongTextComesOutWhole) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += "\u00e9\n\"x\x01";
  JsonWriter json{Pools()};
  json.text(text);
  EXPECT_EQ(nlohmann::json::parse(taken(json)), nlohmann::json(text));
}

TEST(JsonWriter, RowsAreLinesOrOneArray) {
  for (const auto& [layout, none, two] : {std::tuple(Layout::kLines, "", "{\"n\":1}\n[2,3]\n"),
                                          std::tuple(Layout::kArray, "[]\n", "[\n{\"n\":1},\n[2,3]\n]\n")}) {
    Pieces empty, full;
    JsonWriter nothing(Pools(), empty.sink(), layout);
    EXPECT_TRUE(nothing.finish().ok());
    EXPECT_EQ(empty.all(), none);
    JsonWriter json(Pools(), full.sink(), layout);
    json.begin_object().member("n").number(1).end_object().end_row();
    json.begin_array().number(2).number(3).end_array().end_row();
    EXPECT_TRUE(full.pieces.empty());
    EXPECT_TRUE(json.finish().ok());
    EXPECT_EQ(full.all(), two);
    EXPECT_EQ(full.pieces.size(), 1U);
  }
}

TEST(JsonWriter, LongOutputComesInBoundedPiecesThatEndBehindRows) {
  Pieces out;
  const Pools pools;
  JsonWriter json(pools, out.sink());
  for (int i = 0; i < 10'000; ++i)
    json.begin_object().member("n").number(i).member("t").text("0123456789").end_object().end_row();
  EXPECT_GT(out.pieces.size(), 2U);
  ASSERT_TRUE(json.finish().ok());
  for (const std::string& piece : out.pieces) {
    EXPECT_LE(piece.size(), 66'000U);
    EXPECT_EQ(piece.substr(piece.size() - 2), "}\n");
  }
  EXPECT_EQ(out.all().substr(0, 29), "{\"n\":0,\"t\":\"0123456789\"}\n{\"n\"");
}

TEST(JsonWriter, TheFirstFailureStays) {
  {
    JsonWriter json{Pools()};
    json.begin_array().text("\xff").number(1).end_array();
    EXPECT_TRUE(json.failed());
    EXPECT_EQ(taken(json), "a string is not valid UTF-8");
  }
  {
    JsonWriter json{Pools()};
    json.text(std::string(100'000, 'x') + "\xff");
    EXPECT_EQ(taken(json), "a string is not valid UTF-8");
  }
  {
    JsonWriter json{Pools()};
    for (int i = 0; i < 1000; ++i) json.begin_array();
    EXPECT_FALSE(json.failed());
    json.begin_array();
    EXPECT_EQ(taken(json), "nested more than 1000 levels deep");
  }
}

}  // namespace
}  // namespace kvstore::testing
