// Scratch: addresses that stay, and memory that is kept but does not pile up. Its own program, because it replaces
// operator new.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "kvstore/base/scratch.h"
#include "tests/support/counting_new.h"

namespace kvstore::base {
namespace {

TEST(Scratch, PiecesStayWhereTheyAreUntilItIsCleared) {
  Scratch scratch;
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < 500; ++i) {
    const size_t size = i % 50 == 7 ? 100'000 : i;
    char* const out = scratch.allocate(size + 10);
    std::fill_n(out, size, static_cast<char>('a' + i % 26));
    scratch.shrink_last(size + 10, size);
    pieces.emplace_back(out, size);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    ASSERT_EQ(pieces[i].find_first_not_of(static_cast<char>('a' + i % 26)), std::string_view::npos) << i;
  }
}

TEST(Scratch, AllocatesNothingOnceItIsWarm) {
  Scratch scratch;
  const auto use = [&scratch] {
    scratch.clear();
    for (const size_t size : {10, 60'000, 200'000, 5'000, 70'000, 0, 64 << 10}) (void)scratch.allocate(size);
  };
  use();
  const testing::AllocationCount warm = testing::allocations;
  use();
  EXPECT_EQ((testing::allocations - warm).calls, 0u);
}

// Every piece that was a byte longer than those before it used to get, and keep, a block of its own: here 5 GB.
TEST(Scratch, SlowlyGrowingPiecesDoNotPileUp) {
  constexpr size_t kLargest = 1'000'000;
  Scratch scratch;
  const testing::AllocationCount before = testing::allocations;
  for (size_t size = 64 << 10; size <= kLargest; size += 100) {
    scratch.clear();
    (void)scratch.allocate(size);
  }
  EXPECT_LE((testing::allocations - before).bytes, 4 * kLargest + (64 << 10));
}

}  // namespace
}  // namespace kvstore::base
