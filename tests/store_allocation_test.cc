// The write path allocates nothing once it is warm: the record is encoded in a pooled buffer and copied from there to
// the log, and the table reuses the entry that was replaced before.
#include <gtest/gtest.h>

#include <string>

#include "kvstore/kvstore.h"
#include "tests/support/counting_new.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

class StoreAllocation : public ::testing::TestWithParam<LogIo> {};

TEST_P(StoreAllocation, OverwritingAKeyAllocatesNothing) {
  const TempDir temp;
  Result<Store> store = Store::open(temp / "db", {.log_io = GetParam()});
  ASSERT_TRUE(store.ok());
  const std::string value(100, 'v');
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(store->put("key", value).ok());

  const AllocationCount before = allocations;
  for (int i = 0; i < 2000; ++i) {
    if (!store->put("key", value).ok()) FAIL();
  }
  const AllocationCount used = allocations - before;
  EXPECT_EQ(used.calls, 0U);
  EXPECT_EQ(used.bytes, 0U);
}

INSTANTIATE_TEST_SUITE_P(BothLogs, StoreAllocation, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

}  // namespace
}  // namespace kvstore::testing
