// However a record is spelled, it means the same; and where both readers understand a line, they agree.
#include "tests/support/format_spelling.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/readers.h"
#include "tests/support/format_random.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

using testing::below;
using testing::RandomRecord;

TEST(Spelling, OfSomebodyElseMeansTheSame) {
  testing::Rng rng(testing::seed());
  std::vector<Op> ops;
  base::Scratch scratch;
  for (int i = 0; i < 5000 && !::testing::Test::HasFailure(); ++i) {
    const RandomRecord record = testing::random_record(rng);
    const std::string text = testing::respell(rng, record);
    SCOPED_TRACE(text);
    ops.clear();
    scratch.clear();
    const Line line = decode(text, ops, scratch);
    ASSERT_EQ(line.kind, LineKind::kRecord) << explain(text, line);
    EXPECT_EQ(line.stamp, record.stamp);
    EXPECT_EQ(line.by, record.by);
    EXPECT_EQ(line.is_batch, record.is_batch);
    EXPECT_EQ(ops, record.ops);
  }
}

// Small edits that leave much of a line legal: a decoder that checked nothing but the seal would accept all.
std::string mutate(testing::Rng& rng, std::string text) {
  constexpr const char* kSnippets[] = {"\"",       "\\",   ",",        "{",       "}",
                                       "[",        "]",    ":",        " ",       "0",
                                       "1",        "9",    "\\n",      "\\u00e9", "\\ud83d\\ude00",
                                       "\\ud83d",  "\x7f", "\xc3\xa9", "\xff",    "\"key\":\"a\",",
                                       "\"x\":0,", "put",  "del",      "batch",   "=",
                                       "==",       "AAAA", "null",     "true",    "1.5",
                                       "-",        "\"\"", "64"};
  for (uint64_t edits = 1 + below(rng, 2); edits > 0; --edits) {
    const size_t at = below(rng, text.size() + 1);
    switch (below(rng, 4)) {
      case 0:
        text.insert(at, kSnippets[below(rng, std::size(kSnippets))]);
        break;
      case 1:
        text.erase(at, 1 + below(rng, 4));
        break;
      case 2:
        text.replace(at, std::min<size_t>(1, text.size() - at), kSnippets[below(rng, std::size(kSnippets))]);
        break;
      default:
        text.insert(at, text.substr(below(rng, text.size() + 1), below(rng, 24)));
        break;
    }
  }
  return text;
}

TEST(Readers, AgreeOnEveryMutilatedLineThatBothUnderstand) {
  testing::Rng rng(testing::seed());
  base::Scratch scratch;
  int understood_fast = 0, understood_general = 0;
  for (int i = 0; i < 60'000 && !::testing::Test::HasFailure(); ++i) {
    RandomRecord record = testing::random_record(rng);
    for (Op& op : record.ops) {  // short, so that edits hit the structure
      op.key = op.key.substr(0, 5);
      if (!op.is_json) op.value = op.value.substr(0, 9);
    }
    const std::string line = encode_line(record.stamp, record.ops, record.is_batch, record.by);
    const std::string text = testing::sealed(mutate(rng, line.substr(0, line.size() - 1 - kSealBytes)));
    SCOPED_TRACE(text);
    scratch.clear();
    Line fast, general;
    Problem problem;
    std::vector<Op> fast_ops, general_ops;
    const bool canonical = read_canonical(text, &fast, &fast_ops, &scratch);
    read_general(text, &general, &general_ops, &scratch, &problem);
    understood_fast += canonical;
    understood_general += general.kind == LineKind::kRecord;
    if (general.kind == LineKind::kMalformed || general.kind == LineKind::kUnknownOp) {
      EXPECT_FALSE(problem.what.empty());
      EXPECT_LE(problem.offset, text.size());
    }
    if (!canonical) {
      EXPECT_TRUE(fast_ops.empty());
      continue;
    }
    ASSERT_EQ(general.kind, LineKind::kRecord) << explain(text, general);
    EXPECT_EQ(fast.stamp, general.stamp);
    EXPECT_EQ(fast.by, general.by);
    EXPECT_EQ(fast.is_batch, general.is_batch);
    EXPECT_EQ(fast_ops, general_ops);
  }
  // The test is worth something only if many lines are still understood, and not all by both.
  EXPECT_GT(understood_fast, 3000);
  EXPECT_GT(understood_general, understood_fast + 500);
}

}  // namespace
}  // namespace kvstore::format
