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

}  // namespace
}  // namespace kvstore::testing
