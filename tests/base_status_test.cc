// How failures are told: the sentence, what survives a copy, and what is left when not even the sentence finds memory.
#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/status.h"
#include "tests/support/counting_new.h"

namespace kvstore {
namespace {

using testing::MemoryRunsOut;

Status disk_full() {
  return Status(Code::kNoSpace, "write data/log.jsonl at byte 1048576")
      .at("data/log.jsonl", 1048576)
      .because_of_errno(ENOSPC);
}

TEST(Status, SuccessIsSilentAndFree) {
  const auto before = testing::allocations;
  const Status ok;
  const Status copy = ok;
  EXPECT_TRUE(copy.ok());
  EXPECT_EQ(copy.code(), Code::kOk);
  EXPECT_EQ(copy.message(), "OK");
  EXPECT_EQ(copy.path(), "");
  EXPECT_EQ(copy.sys_errno(), 0);
  EXPECT_EQ(copy.offset(), std::nullopt);
  EXPECT_EQ((testing::allocations - before).calls, 0u);
  EXPECT_EQ(sizeof(Status), sizeof(void*));
}

TEST(Status, TellsStepFileByteAndReasonInOneSentence) {
  const Status status = disk_full().with("append record 8812");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), Code::kNoSpace);
  EXPECT_EQ(status.message(), "append record 8812: write data/log.jsonl at byte 1048576: no space left on device");
  EXPECT_EQ(status.path(), "data/log.jsonl");
  EXPECT_EQ(status.offset(), 1048576u);
  EXPECT_EQ(status.sys_errno(), ENOSPC);
}

TEST(Status, TheSystemsWordsStandInsideASentence) {
  const auto words = [](int sys_errno) {
    return std::string(Status(Code::kIoError, "x").because_of_errno(sys_errno).message());
  };
  EXPECT_EQ(words(ENOENT), "x: no such file or directory");
  EXPECT_EQ(words(EACCES), "x: permission denied");
  EXPECT_EQ(words(EIO).substr(0, 4), "x: i");  // "input/output error"; "I/O error" elsewhere keeps its capital
  EXPECT_NE(words(99999).find("99999"), std::string::npos);
}

TEST(Status, BuildersLeaveSuccessAlone) {
  const Status status = Status().at("file", 7).because_of_errno(EIO).with("step");
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.message(), "OK");
  EXPECT_TRUE(Status(Code::kOk, "all is well").ok());
}

TEST(Status, ACopySharesNothingWithItsOriginal) {
  Status original = disk_full();
  const Status copy = original;
  original = std::move(original).with("append record 1");
  EXPECT_EQ(copy.message(), "write data/log.jsonl at byte 1048576: no space left on device");
  EXPECT_EQ(copy.path(), "data/log.jsonl");
  EXPECT_EQ(copy.offset(), 1048576u);
  EXPECT_EQ(copy.sys_errno(), ENOSPC);
  original = Status();
  EXPECT_EQ(copy.code(), Code::kNoSpace);

  Status assigned(Code::kConflict, "other");
  assigned = copy;
  EXPECT_EQ(assigned.message(), copy.message());
  const Status& same = assigned;
  assigned = same;
  EXPECT_EQ(assigned.message(), copy.message());
}

TEST(Status, MovedFromIsSuccess) {
  Status from = disk_full();
  const Status to = std::move(from);
  EXPECT_EQ(to.code(), Code::kNoSpace);
  EXPECT_TRUE(from.ok());  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move): the promise under test
}

TEST(Status, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(Code::kOutOfMemory); ++code) {
    names.insert(code_name(static_cast<Code>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(Code::kOutOfMemory) + 1);
  EXPECT_FALSE(names.contains("Unknown"));
  EXPECT_EQ(code_name(Code::kInvalidArgument), "InvalidArgument");
  EXPECT_EQ(code_name(Code::kOk), "Ok");
  EXPECT_EQ(code_name(static_cast<Code>(200)), "Unknown");  // of a newer library
}

TEST(Status, WithoutMemoryTheCodeSurvives) {
  for (int code = 1; code <= static_cast<int>(Code::kOutOfMemory); ++code) {
    std::string message = "a sentence that is too long for the room inside a string";
    const MemoryRunsOut now;
    const Status status = Status(static_cast<Code>(code), std::move(message))
                              .at("a path that is too long for the room inside a string", 9)
                              .because_of_errno(EIO)
                              .with("a step that is too long for the room inside a string");
    const Status copy = status;
    EXPECT_EQ(copy.code(), static_cast<Code>(code));
    EXPECT_EQ(copy.message(), code_name(static_cast<Code>(code)));
    EXPECT_EQ(copy.path(), "");
  }
}

TEST(Status, WheneverMemoryRunsOutWhatIsLeftIsTrue) {
  bool complete = false;
  for (uint64_t allowed = 0; !complete; ++allowed) {
    ASSERT_LT(allowed, 20u);
    const Status original = disk_full();
    Status copy;
    {
      const MemoryRunsOut later(allowed);
      copy = original;
      copy = std::move(copy).with("append record 8812, which is the one that found the disk full");
    }
    EXPECT_EQ(copy.code(), Code::kNoSpace);
    EXPECT_TRUE(copy.message() == "NoSpace" || copy.message().ends_with(original.message())) << copy.message();
    complete = copy.message().starts_with("append record") && copy.path() == original.path();
  }
}

// One allocation fails, the sentence's own; there is room again for the rest of the Status.
TEST(Status, WithoutMemoryForItsSentenceItIsTheCodesName) {
  Status formatted, literal;
  {
    const MemoryRunsOut now(0, 1);
    formatted = base::error(Code::kCorruption, "{} is a sentence that is too long for the room inside a string", 1);
  }
  {
    const MemoryRunsOut later(1, 1);
    literal = Status(Code::kIoError, "a sentence that is too long for the room inside a string");
  }
  EXPECT_EQ(formatted.message(), "Corruption");
  EXPECT_EQ(literal.message(), "IoError");
  literal = std::move(literal).at("path", 9);
  EXPECT_EQ(literal.path(), "path");
}

static_assert(std::is_nothrow_copy_constructible_v<Status> && std::is_nothrow_copy_assignable_v<Status>);
static_assert(std::is_nothrow_move_constructible_v<Status> && std::is_nothrow_move_assignable_v<Status>);

TEST(Result, HoldsAValueOrTheReasonWhyNot) {
  const Result<std::string> value = std::string("Ada");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value, "Ada");
  EXPECT_EQ(value->size(), 3u);
  EXPECT_TRUE(value.status().ok());

  const Result<std::string> none = Status(Code::kNotAStore, "open mydb: no store there");
  EXPECT_FALSE(none.ok());
  EXPECT_FALSE(static_cast<bool>(none));
  EXPECT_EQ(none.status().message(), "open mydb: no store there");
}

TEST(Status, ItsCodeMayChangeOnTheWayUp) {
  const Status s = disk_full().as(Code::kIoError);
  EXPECT_EQ(s.code(), Code::kIoError);
  EXPECT_EQ(s.message(), disk_full().message());
  EXPECT_EQ(s.sys_errno(), ENOSPC);
  EXPECT_TRUE(Status().as(Code::kIoError).ok());
  std::optional<Status> spare;
  {
    const MemoryRunsOut now;
    spare = Status(Code::kNoSpace, "this finds no room").as(Code::kIoError);
  }
  EXPECT_EQ(spare->code(), Code::kIoError);
}

}  // namespace
}  // namespace kvstore
