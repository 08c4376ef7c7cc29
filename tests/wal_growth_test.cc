// A segment that is full while the rotation before is unfinished grows (wal/log_writer.h): what may meet it in that state. Here
// nobody syncs unless the test does, so that the first rotation stays unfinished.
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/env/mem_env.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/log_walk.h"
#include "kvstore/wal/log_writer.h"
#include "tests/support/fault_env.h"

namespace kvstore::testing {
namespace {

using format::Op;
using Names = std::vector<std::string>;

constexpr uint64_t kSegment = 4096;

class Growth : public ::testing::TestWithParam<LogIo> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(env_.create_dir("db").ok());
    open({});
  }
  // Reads back what was written.
  void TearDown() override {
    if (writer_->is_broken()) return;
    writer_->check();
    const format::Seq written = writer_->last_seq();
    ASSERT_TRUE(writer_->close().ok());
    writer_.reset();
    Result<wal::LogWalk> walk = wal::LogWalk::open(env_, "db", 1);
    ASSERT_TRUE(walk.ok()) << walk.status().message();
    for (;;) {
      Result<std::optional<wal::Records>> records = walk->next();
      ASSERT_TRUE(records.ok()) << records.status().message();
      if (!records->has_value()) break;
    }
    EXPECT_EQ(walk->last_seq(), written);
    EXPECT_TRUE(walk->end().cuts.empty());
  }

  void open(wal::LogWriter::Place place) {
    Result<std::unique_ptr<wal::LogWriter>> writer =
        wal::LogWriter::open(env_,
                             {.dir = "db",
                              .store = "00000000-0000-4000-8000-000000000000",
                              .io = GetParam(),
                              .segment_bytes = kSegment,
                              .now_us = [] { return int64_t{1}; },
                              .on_low_room = [] {},
                              .on_rotation = [] {}},
                             std::move(place));
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    writer_ = *std::move(writer);
  }
  Status append(size_t value_bytes = 100) {
    base::Buffer body;
    const std::string value(value_bytes, 'v');
    const Op op{.kind = Op::Kind::kPut, .is_json = false, .key = "k", .value = value, .expires_us = 0};
    format::encode_body(body, {&op, 1}, false, {});
    if (Status s = writer_->make_room(body.size()); !s.ok()) return s;
    return writer_->append({.seq = writer_->last_seq() + 1, .ts_us = 1, .synced = 0}, wal::Body::of(body.view()));
  }
  // Until the second segment is twice as large as one should be, and still the active one.
  void grow() {
    while (writer_->counters().rotations == 0) ASSERT_TRUE(append().ok());
    const uint64_t begin = writer_->counters().log_bytes;
    while (writer_->counters().log_bytes < begin + 2 * kSegment) ASSERT_TRUE(append().ok());
    ASSERT_EQ(writer_->counters().rotations, 1U);
    writer_->check();
  }
  Names files() { return *disk_.list("db"); }

  env::MemEnv disk_;
  FaultEnv env_{disk_};
  std::unique_ptr<wal::LogWriter> writer_;
};

TEST_P(Growth, EndsWithTheRotationBefore) {
  grow();
  ASSERT_TRUE(writer_->sync().ok());
  const uint64_t begin = writer_->counters().log_bytes;
  while (writer_->counters().rotations == 1) ASSERT_TRUE(append().ok());
  EXPECT_LT(writer_->counters().log_bytes, begin + kSegment);
}

TEST_P(Growth, HasAnEndAndThenACommitFinishesTheRotation) {
  grow();
  while (writer_->counters().rotations == 1) ASSERT_TRUE(append().ok());
  EXPECT_EQ(files().size(), 3U);  // two with a number, and the next
  EXPECT_LT(writer_->counters().log_bytes, (1 + 4 + 1) * kSegment);
}

TEST_P(Growth, GivesWayToALineThatIsLongerThanAllOfIt) {
  grow();
  ASSERT_TRUE(append(10 * kSegment).ok());
  EXPECT_EQ(writer_->counters().rotations, 2U);
  ASSERT_TRUE(append().ok());
}

TEST_P(Growth, GivesWayToACompaction) {
  grow();
  ASSERT_TRUE(writer_->begin_segment().ok());
  EXPECT_EQ(writer_->counters().rotations, 2U);
  ASSERT_TRUE(append().ok());
}

TEST_P(Growth, OnAFullDiskLosesNothing) {
  grow();
  env_.disk_full_after(0);
  Status refused;
  while ((refused = append()).ok()) continue;
  EXPECT_EQ(refused.code(), Code::kNoSpace);
  EXPECT_FALSE(writer_->is_broken());
  env_.disk_never_full();
  ASSERT_TRUE(append().ok());
}

TEST_P(Growth, IsNoMatterToAnOpening) {
  grow();
  const format::Seq last = writer_->last_seq();
  ASSERT_TRUE(writer_->close().ok());
  const std::string segment = files().back();
  const uint64_t bytes = disk_.get_file("db/" + segment)->size();
  ASSERT_GT(bytes, kSegment);
  open({.segment = segment, .offset = bytes, .last_seq = last, .sealed_bytes = 0, .segments = 2});
  ASSERT_TRUE(append().ok());
  EXPECT_EQ(writer_->counters().rotations, 1U);  // it is full
}

INSTANTIATE_TEST_SUITE_P(BothLogs, Growth, ::testing::Values(LogIo::kMapped, LogIo::kWrite),
                         [](const auto& instance) { return instance.param == LogIo::kMapped ? "mapped" : "write"; });

class MappedGrowth : public Growth {};

// Where addresses are scarce the mapping is as large as the segment, and there is nothing to grow into.
TEST_P(MappedGrowth, NeedsAddressesAndDoesWithoutThem) {
  ASSERT_TRUE(append().ok());
  while (writer_->counters().rotations == 0) {
    env_.fail({.op = EnvOp::kMap, .sys_errno = ENOMEM});
    ASSERT_TRUE(append().ok());
    env_.heal();
  }
  while (writer_->counters().rotations == 1) ASSERT_TRUE(append().ok());
  EXPECT_LT(writer_->counters().log_bytes, 3 * kSegment);
}

// A log mapped as before goes on as before.
TEST_P(MappedGrowth, ALineThatNoMappingHasRoomForIsRefusedAndTheNextIsNot) {
  env_.fail({.op = EnvOp::kMap, .sys_errno = ENOMEM});
  const Status refused = append(10 * kSegment);
  EXPECT_TRUE(refused.message().starts_with("make room for a long line: ")) << refused.message();
  EXPECT_FALSE(writer_->is_broken());
  ASSERT_TRUE(append().ok());
  ASSERT_TRUE(append(10 * kSegment).ok());
}

// Nothing touches a mapping that is lost for good.
TEST_P(MappedGrowth, AMappingLostForGoodBreaksTheWriterAndNothingElse) {
  env_.fail({.op = EnvOp::kMap, .sys_errno = ENOMEM, .from_then_on = true});
  EXPECT_FALSE(append(10 * kSegment).ok());
  EXPECT_TRUE(writer_->is_broken());
  writer_->extend();
  EXPECT_EQ(append().code(), Code::kBroken);
}

INSTANTIATE_TEST_SUITE_P(Mapped, MappedGrowth, ::testing::Values(LogIo::kMapped), [](const auto&) { return "mapped"; });

}  // namespace
}  // namespace kvstore::testing
