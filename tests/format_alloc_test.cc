// Once warm, encoding and decoding allocate nothing. Its own program, because it replaces operator new.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "tests/support/counting_new.h"
#include "tests/support/format_random.h"
#include "tests/support/seed.h"

namespace kvstore::format {
namespace {

TEST(Allocation, StopsOnceBufferScratchAndOperationsAreWarm) {
  testing::Rng rng(testing::seed());
  std::vector<testing::RandomRecord> records(200);
  std::vector<std::string> lines;
  for (testing::RandomRecord& record : records) {
    record = testing::random_record(rng);
    lines.push_back(encode_line(record.stamp, record.ops, record.is_batch, record.by));
  }
  base::Buffer buffer;
  base::Scratch scratch;
  std::vector<Op> ops;
  size_t checked = 0;
  const auto pass = [&] {
    for (size_t i = 0; i < records.size(); ++i) {
      buffer.clear();
      encode_body(buffer, records[i].ops, records[i].is_batch, records[i].by);
      ops.clear();
      scratch.clear();
      const std::string_view line(lines[i].data(), lines[i].size() - 1);
      checked += decode(line, ops, scratch).kind == LineKind::kRecord;
    }
  };
  pass();
  const testing::AllocationCount warm = testing::allocations;
  EXPECT_GT(warm.calls, 0u) << "the counter counts";
  pass();
  EXPECT_EQ((testing::allocations - warm).calls, 0u);
  EXPECT_EQ(checked, 2 * records.size());
}

}  // namespace
}  // namespace kvstore::format
