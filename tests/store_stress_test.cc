// A short run of tests/stress: all features of a store at once, on many threads. Run it under the thread sanitizer.
#include "tests/support/store_stress.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/seed.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

TEST(Stress, AllFeaturesAtOnceKeepEveryRule) {
  StressTally tally;
  for (uint64_t i = 0; i < 3; ++i) {  // of three seeds in a row one evicts, and at least one keeps history
    const StressPlan plan{.seed = seed() % 1'000'000 + i, .duration = std::chrono::milliseconds(200)};
    SCOPED_TRACE(fmt::format("stress --seed {}", plan.seed));
    const TempDir temp;
    ASSERT_EQ(run_stress(plan, temp / "db", tally), "");
  }
  EXPECT_GT(tally.records, 0U);
  EXPECT_GT(tally.rotations, 0U);
  EXPECT_GT(tally.followed, 0U);
  EXPECT_GT(tally.openings, 0U);
  EXPECT_GT(tally.compactions, 0U);
}

}  // namespace
}  // namespace kvstore::testing
