// P7, where processes die: which lines of a log may be torn, and that a store with exactly these opens. Whoever checks
// P7 in other tests asks first_line_that_is_no_json(), so it is held here to what FORMAT.md says ("Writing").
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "kvstore/kvstore.h"
#include "kvstore/wal/file_names.h"
#include "tests/support/store_test.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

class PlainTextTest : public StoreTest {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir()); }

  void put_file(std::string_view name, const std::string& text) { write_bytes(dir() / name, text); }
  // The name of the file with the line at fault and that line, "-" when there is none.
  [[nodiscard]] std::string flagged() const {
    const std::string found = first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/true);
    if (found.empty()) return "-";
    return found.substr(dir().string().size() + 1);
  }

  const std::string first_ = wal::segment_name(1);
  const std::string second_ = wal::segment_name(3);
  const std::string next_ = std::string(wal::kNextSegmentName);
  const std::string records_ = header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2");
  const std::string torn_record_ = put_line(3, "c", "3").substr(0, 25);
  const std::string filler_ = std::string(200, '\n');
};

// The crash runner called a torn line damage where the next segment was there already, made ahead and still blank.
TEST_F(PlainTextTest, TheLastLineOfTheLogMayBeTornAlsoWithABlankSegmentBehindIt) {
  for (const LogIo io : {LogIo::kMapped, LogIo::kWrite}) {
    const std::string rest = io == LogIo::kMapped ? filler_ : "";
    put_file(wal::kLockName, lock_line(0));
    put_file(first_, records_ + torn_record_ + rest);
    put_file(next_, rest);
    EXPECT_EQ(flagged(), "-");

    open({.log_io = io});
    ASSERT_EQ(store_->recovery().cuts.size(), 1U);
    EXPECT_EQ(store_->recovery().cuts[0].bytes, torn_record_.size());
    EXPECT_EQ(bytes_of(store_->recovery().cuts[0].kept_as), torn_record_);
    EXPECT_EQ(store_->last_seq(), 2U);
    ASSERT_TRUE(store_->put("c", "again").ok());
    close();
    EXPECT_EQ(lines_of(dir() / first_).size(), 4U);
    EXPECT_FALSE(std::filesystem::exists(dir() / next_));
    std::filesystem::remove_all(dir());
    std::filesystem::create_directories(dir());
  }
}

TEST_F(PlainTextTest, TheLastLineMayBeTornInTheNextSegmentWhileTheOneBeforeIsWhole) {
  put_file(first_, records_ + filler_);
  put_file(next_, header_line(3) + torn_record_ + filler_);
  EXPECT_EQ(flagged(), "-");
  put_file(next_, header_line(3).substr(0, 30) + filler_);
  EXPECT_EQ(flagged(), "-");
}

TEST_F(PlainTextTest, TheClosingLineOfTheSegmentBeforeMayBeTornToo) {
  for (const std::string& last : {put_line(3, "c", "3"), torn_record_, std::string()}) {
    for (const size_t bytes : {size_t{1}, size_t{10}, end_line(2).size() - 2}) {
      put_file(first_, records_ + end_line(2).substr(0, bytes) + filler_);
      put_file(second_, header_line(3) + last + filler_);
      EXPECT_EQ(flagged(), "-") << bytes;
    }
  }
  put_file(wal::kLockName, lock_line(0));
  open({.create_if_missing = false});
  EXPECT_EQ(store_->last_seq(), 2U);
  EXPECT_TRUE(store_->recovery().cuts.empty());  // a closing line is no record: nothing is lost with it
}

TEST_F(PlainTextTest, EveryOtherTornLineIsAFinding) {
  // A record where only a closing line may be torn.
  put_file(first_, records_ + torn_record_ + filler_);
  put_file(second_, header_line(3) + put_line(3, "c", "3"));
  EXPECT_EQ(flagged(), first_ + ": line 4 is no JSON object: " + torn_record_);
  // The closing line of another segment.
  put_file(first_, records_ + end_line(8).substr(0, 32));
  EXPECT_EQ(flagged(), first_ + ": line 4 is no JSON object: " + end_line(8).substr(0, 32));
  // The right one, but the segment behind it has been closed since.
  put_file(first_, records_ + end_line(2).substr(0, 32));
  put_file(second_, header_line(3) + put_line(3, "c", "3") + end_line(3));
  put_file(wal::segment_name(4), header_line(4));
  EXPECT_EQ(flagged(), first_ + ": line 4 is no JSON object: " + end_line(2).substr(0, 32));
  // Not the last line.
  put_file(first_, records_ + end_line(2));
  put_file(wal::segment_name(4), header_line(4) + put_line(4, "d", "4").substr(0, 9) + "\n" + put_line(5, "e", "5"));
  EXPECT_EQ(flagged(), wal::segment_name(4) + ": line 2 is no JSON object: " + put_line(4, "d", "4").substr(0, 9));
  // A whole line of JSON that is no object.
  put_file(wal::segment_name(4), header_line(4) + "[1]\n" + put_line(4, "d", "4"));
  EXPECT_EQ(flagged(), wal::segment_name(4) + ": line 2 is no JSON object: [1]");
  // A snapshot has its name once it is whole.
  std::filesystem::remove_all(dir());
  std::filesystem::create_directories(dir());
  const std::string snapshot = snapshot_of(2, entry_line(1, "a", "1"));
  put_file(wal::snapshot_name(2), snapshot.substr(0, snapshot.size() - 9));
  EXPECT_TRUE(flagged().starts_with(wal::snapshot_name(2) + ": line 3 is no JSON object")) << flagged();
  put_file(second_, filler_);
  EXPECT_TRUE(flagged().starts_with(wal::snapshot_name(2) + ": line 3 is no JSON object")) << flagged();
}

TEST_F(PlainTextTest, WithoutAnyDeathNoLineMayBeTorn) {
  put_file(first_, records_ + torn_record_);
  EXPECT_NE(first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/false), "");
}

}  // namespace
}  // namespace kvstore::testing
