// The largest key and value there are, in their worst spelling: 64 MiB of NULs take 384 MiB in JSON.
#include <gtest/gtest.h>

#include <string>

#include "kvstore/kvstore.h"
#include "tests/support/store_test.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

TEST(StoreLimits, TheLargestKeyAndValueRoundTripThroughTheLog) {
  const TempDir temp;
  const std::string key(kKeyBytesMax, '\x01');
  const std::string value(kValueBytesMax, '\0');
  {
    Result<Store> store = Store::open(temp / "db");
    ASSERT_TRUE(store.ok());
    ASSERT_TRUE(store->put(key, value).ok());
    ASSERT_TRUE(store->put("next", "line").ok());
  }
  Result<Store> store = Store::open(temp / "db", {.read_only = true});
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_TRUE(store->get(key) == value);
  EXPECT_EQ(store->get("next"), "line");
}

TEST(StoreLimits, ABatchWhoseLineWouldBeTooLongIsRefused) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "half a gigabyte, in one thread, would take two minutes";
#endif
  const TempDir temp;
  Result<Store> store = Store::open(temp / "db");
  ASSERT_TRUE(store.ok());
  Batch batch;
  batch.put("a", std::string(kValueBytesMax, '\0'));  // six bytes each in JSON
  batch.put("b", std::string(size_t{23} << 20, '\0'));
  const Status refused = store->write(batch);
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_TRUE(refused.message().starts_with("the batch makes a log line of 547356")) << refused.message();
  EXPECT_TRUE(refused.message().ends_with("a line has at most 536870912. try: several batches")) << refused.message();
  EXPECT_EQ(store->last_seq(), 0U);
  EXPECT_TRUE(store->put("a", "1").ok());
}

}  // namespace
}  // namespace kvstore::testing
