// Once warm, encoding and decoding allocate nothing. Its own program, because it counts every operator new.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "tests/support/format_random.h"

namespace {
std::atomic<size_t> allocation_count{0};
}

// Not inlined, or g++ 12 takes malloc and operator delete for a mismatched pair.
__attribute__((noinline)) void* operator new(size_t size) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size); memory != nullptr) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace kvstore::format {
namespace {

TEST(Allocation, StopsOnceBufferScratchAndOperationsAreWarm) {
  const uint64_t seed = testing::random_seed();
  SCOPED_TRACE(testing::replay_hint(seed));
  testing::Rng rng(seed);
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
  const size_t warm = allocation_count.load();
  EXPECT_GT(warm, 0u) << "the counter counts";
  pass();
  EXPECT_EQ(allocation_count.load() - warm, 0u);
  EXPECT_EQ(checked, 2 * records.size());
}

}  // namespace
}  // namespace kvstore::format
