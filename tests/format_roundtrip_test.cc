// What is encoded comes back, through both readers, and means the same to nlohmann/json.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvstore/format/base64.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/readers.h"
#include "kvstore/format/utf8.h"
#include "tests/support/format_random.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

using testing::below;
using testing::RandomRecord;

std::string encode(const RandomRecord& record) {
  return encode_line(record.stamp, record.ops, record.is_batch, record.by);
}

std::string_view without_newline(std::string_view line) {
  EXPECT_TRUE(line.ends_with('\n'));
  line.remove_suffix(1);
  EXPECT_EQ(line.find('\n'), std::string_view::npos) << "a record is one line";
  return line;
}

void expect_record(const RandomRecord& expected, const Line& line, const std::vector<Op>& ops) {
  ASSERT_EQ(line.kind, LineKind::kRecord);
  EXPECT_EQ(line.stamp, expected.stamp);
  EXPECT_EQ(line.by, expected.by);
  EXPECT_EQ(line.is_batch, expected.is_batch);
  ASSERT_EQ(line.op_count, expected.ops.size());
  for (size_t i = 0; i < line.op_count; ++i) EXPECT_EQ(ops[line.op_begin + i], expected.ops[i]) << "operation " << i;
}

TEST(RoundTrip, EveryRecordComesBackThroughTheFastReaderAndThroughTheGeneralOne) {
  testing::Rng rng(testing::seed());
  std::vector<Op> ops;
  base::Scratch scratch;
  for (int i = 0; i < 5000 && !::testing::Test::HasFailure(); ++i) {
    const RandomRecord record = testing::random_record(rng);
    const std::string line = encode(record);
    SCOPED_TRACE(line);
    const std::string_view text = without_newline(line);
    ops.assign(below(rng, 3), Op{});  // operations of earlier lines stay where they are
    scratch.clear();
    expect_record(record, decode(text, ops, scratch), ops);

    Line fast, general;
    EXPECT_TRUE(read_canonical(text, &fast, &ops, &scratch)) << "our own spelling must take the fast path";
    expect_record(record, fast, ops);
    Problem problem;
    read_general(text, &general, &ops, &scratch, &problem);
    expect_record(record, general, ops);
  }
}

// ---- nlohmann/json as the second implementation --------------------------------------------------

std::string bytes_of(const nlohmann::json& object, const char* text_name, const char* base64_name) {
  if (object.contains(text_name)) return object.at(text_name).get<std::string>();
  const auto& text = object.at(base64_name).get_ref<const std::string&>();
  std::string bytes(base64_decoded_size(text).value(), '\0');
  EXPECT_TRUE(read_base64(bytes.data(), text));
  EXPECT_FALSE(is_utf8(bytes)) << "P7: text stays text";
  return bytes;
}

void expect_same_meaning(const nlohmann::json& object, const Op& op) {
  EXPECT_EQ(object.at("op"), op.kind == Op::Kind::kPut ? "put" : "del");
  EXPECT_EQ(bytes_of(object, "key", "key64"), op.key);
  EXPECT_EQ(object.value("expires", int64_t{0}), op.expires_us);
  const size_t extras = (object.contains("seq") ? 3u : 0u) + object.contains("by") + object.contains("synced");
  EXPECT_EQ(object.size(), 2 + extras + (op.kind == Op::Kind::kPut) + (op.expires_us != 0));
  if (op.kind == Op::Kind::kDel) return;
  if (op.is_json) {
    EXPECT_EQ(object.at("json"), nlohmann::json::parse(op.value));
  } else {
    EXPECT_EQ(bytes_of(object, "value", "value64"), op.value);
  }
}

TEST(RoundTrip, AnotherJsonReaderFindsTheSameMeaningInEveryLine) {
  testing::Rng rng(testing::seed());
  for (int i = 0; i < 2000 && !::testing::Test::HasFailure(); ++i) {
    const RandomRecord record = testing::random_record(rng);
    const std::string line = encode(record);
    SCOPED_TRACE(line);
    const nlohmann::json object = nlohmann::json::parse(line);
    EXPECT_EQ(object.at("seq"), record.stamp.seq);
    EXPECT_EQ(object.at("ts"), record.stamp.ts_us);
    EXPECT_EQ(object.value("synced", uint64_t{0}), record.stamp.synced);
    EXPECT_EQ(object.value("by", ""), record.by);
    if (!record.is_batch) {
      expect_same_meaning(object, record.ops[0]);
      continue;
    }
    EXPECT_EQ(object.at("op"), "batch");
    ASSERT_EQ(object.at("ops").size(), record.ops.size());
    for (size_t op = 0; op < record.ops.size(); ++op) expect_same_meaning(object.at("ops").at(op), record.ops[op]);
  }
}

}  // namespace
}  // namespace kvstore::format
