// A short run of what rot_explorer does for as long as one likes: stores whose files are damaged in every way open as
// exactly what they were, or as a prefix with a report, or not at all (P4, P5).
//
// KVSTORE_SEED=n replays a failure.
#include <gtest/gtest.h>

#include "tests/support/rot_explorer.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

// The sanitizers make it ten times as slow.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kStores = 3;
#else
constexpr uint64_t kStores = 8;
#endif

TEST(Rot, EndsIntactRepairedWithAReportOrRefusedWithAPlaceAndAdvice) {
  RotTally tally;
  for (uint64_t i = 0; i < kStores; ++i) {
    const auto tell = [&](const std::string& what) { ADD_FAILURE() << what << "\nrot_explorer --seed " << seed() + i; };
    RotExplorer({.seed = seed() + i, .samples = 20, .on_violation = tell}, tally).run();
  }
  EXPECT_EQ(tally.violations(), 0U) << tally.table();
  EXPECT_GT(tally.cases(), 100U * kStores);
}

}  // namespace
}  // namespace kvstore::testing
