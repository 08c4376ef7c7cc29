// FaultEnv fails what it was asked to fail, when it was asked to, and nothing else.
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/env/mem_env.h"
#include "tests/support/fault_env.h"

namespace kvstore::testing {
namespace {

using env::File;
using env::MemEnv;
using env::OpenMode;

class Fault : public ::testing::Test {
 protected:
  std::unique_ptr<File> create(const std::string& path, std::string_view content = {}) {
    auto file = env_.open(path, OpenMode::kCreate);
    EXPECT_TRUE(file.ok()) << file.status().message();
    EXPECT_TRUE((*file)->write_at(0, content).ok());
    return std::move(*file);
  }

  MemEnv mem_;
  FaultEnv env_{mem_};
};

TEST_F(Fault, EveryKindOfCallCanBeMadeToFail) {
  ASSERT_TRUE(mem_.create_dir("d").ok());
  auto file = create("f", "x");
  std::string out(1, '?');
  struct Case {
    EnvOp op;
    std::function<Status()> call;
  };
  const std::vector<Case> cases = {
      {EnvOp::kOpen, [&] { return env_.open("f", OpenMode::kRead).status(); }},
      {EnvOp::kCreate, [&] { return env_.open("new", OpenMode::kCreate).status(); }},
      {EnvOp::kRead, [&] { return file->read_at(0, out).status(); }},
      {EnvOp::kWrite, [&] { return file->write_at(0, "y"); }},
      {EnvOp::kSize, [&] { return file->size().status(); }},
      {EnvOp::kTruncate, [&] { return file->truncate(0); }},
      {EnvOp::kSync, [&] { return file->sync(); }},
      {EnvOp::kMap, [&] { return file->map(4096).status(); }},
      {EnvOp::kRename, [&] { return env_.rename("f", "f"); }},
      {EnvOp::kRemove, [&] { return env_.remove("f"); }},
      {EnvOp::kList, [&] { return env_.list("d").status(); }},
      {EnvOp::kCreateDir, [&] { return env_.create_dir("new_dir"); }},
      {EnvOp::kSyncDir, [&] { return env_.sync_dir("d"); }},
      {EnvOp::kLock, [&] { return env_.lock("LOCK").status(); }},
  };
  ASSERT_EQ(cases.size(), kEnvOpCount);
  for (const Case& each : cases) {
    SCOPED_TRACE(name_of(each.op));
    env_.fail({.op = each.op, .sys_errno = EMFILE});
    const uint64_t calls = env_.calls(each.op);
    const Status status = each.call();
    EXPECT_EQ(status.code(), Code::kIoError);
    EXPECT_EQ(status.sys_errno(), EMFILE);
    EXPECT_FALSE(status.path().empty());
    EXPECT_EQ(status.message().substr(0, 10), "injected: ");
    EXPECT_EQ(env_.calls(each.op), calls + 1);
    EXPECT_EQ(mem_.files(), std::vector<std::string>{"f"});  // it did nothing
    EXPECT_EQ(mem_.get_file("f"), "x");
  }
  EXPECT_EQ(env_.failures(), kEnvOpCount);
  // Each order was for one call only.
  for (const Case& each : cases) EXPECT_TRUE(each.call().ok()) << name_of(each.op);
}

TEST_F(Fault, TheNthCallFailsAndTheOthersDoNot) {
  auto file = create("f");
  env_.fail({.op = EnvOp::kSync, .nth = 3});
  EXPECT_TRUE(file->sync().ok());
  EXPECT_TRUE(file->write_at(0, "other kinds do not count").ok());
  EXPECT_TRUE(file->sync().ok());
  EXPECT_EQ(file->sync().sys_errno(), EIO);
  EXPECT_TRUE(file->sync().ok());
}

TEST_F(Fault, FromThenOnMeansUntilHealed) {
  auto file = create("f");
  env_.fail({.op = EnvOp::kWrite, .nth = 2, .sys_errno = ENOSPC, .from_then_on = true});
  EXPECT_TRUE(file->write_at(0, "x").ok());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(file->write_at(0, "y").code(), Code::kNoSpace);
  env_.heal();
  EXPECT_TRUE(file->write_at(0, "z").ok());
  EXPECT_EQ(mem_.get_file("f"), "z");
}

TEST_F(Fault, OnlyCallsOnPathsThatContainThePartFit) {
  auto log = create("wal-1"), lock = create("LOCK");
  env_.fail({.op = EnvOp::kSync, .path_part = "wal-"});
  EXPECT_TRUE(lock->sync().ok());
  EXPECT_FALSE(log->sync().ok());
}

TEST_F(Fault, AWriteMayGetPartOfTheWay) {
  auto file = create("f", "..........");
  env_.fail({.op = EnvOp::kWrite, .sys_errno = ENOSPC, .bytes_written = 3});
  const Status status = file->write_at(2, "abcdef");
  EXPECT_EQ(status.message(), "injected: write f at byte 5: no space left on device");
  EXPECT_EQ(status.offset(), 5u);
  EXPECT_EQ(mem_.get_file("f"), "..abc.....");
}

TEST_F(Fault, ACallMayDoItsWorkAndStillFail) {
  create("a", "x");
  env_.fail({.op = EnvOp::kRename, .takes_effect = true});
  EXPECT_FALSE(env_.rename("a", "b").ok());
  EXPECT_EQ(mem_.files(), std::vector<std::string>{"b"});
  env_.fail({.op = EnvOp::kCreate, .takes_effect = true});
  EXPECT_FALSE(env_.open("c", OpenMode::kCreate).ok());
  EXPECT_EQ(mem_.files(), (std::vector<std::string>{"b", "c"}));
  env_.fail({.op = EnvOp::kLock, .takes_effect = true});
  EXPECT_FALSE(env_.lock("LOCK").ok());
  EXPECT_FALSE(mem_.is_locked("LOCK"));  // but a lock that nobody was given is nobody's
}

TEST_F(Fault, ALockedFileIsWatchedAsAnyOther) {
  auto lock = env_.lock("LOCK");
  env_.fail({.op = EnvOp::kWrite});
  EXPECT_FALSE((*lock)->file().write_at(0, "pid 1").ok());
  EXPECT_TRUE((*lock)->file().write_at(0, "pid 1").ok());
  EXPECT_EQ(env_.lock("LOCK").status().code(), Code::kLocked);
}

// How the engine's tests use it: one good run to count, then one for each call, failing it.
TEST_F(Fault, EveryCallOfAWorkloadCanBeFailedInTurn) {
  const auto workload = [](FaultEnv& env) {
    auto file = env.open("tmp", OpenMode::kCreate);
    if (!file.ok()) return file.status();
    if (Status status = (*file)->write_at(0, "new"); !status.ok()) return status;
    if (Status status = (*file)->sync(); !status.ok()) return status;
    if (Status status = env.rename("tmp", "f"); !status.ok()) return status;
    return env.sync_dir(".");
  };
  EXPECT_TRUE(workload(env_).ok());
  ASSERT_EQ(env_.calls(), 5u);
  std::string story;
  for (uint64_t nth = 1; nth <= env_.calls(); ++nth) {
    MemEnv mem;
    FaultEnv env(mem);
    env.fail({.nth = nth});
    story += std::string(workload(env).message()) + "\n";
    EXPECT_EQ(env.calls(), nth);
  }
  EXPECT_EQ(story,
            "injected: create tmp: input/output error\n"
            "injected: write tmp at byte 0: input/output error\n"
            "injected: sync tmp: input/output error\n"
            "injected: rename tmp: input/output error\n"
            "injected: sync_dir .: input/output error\n");
}

// ---- the size of the disk -------------------------------------------------------------------------------------

//   room for 5 bytes, "..." is there:   write "abcdefgh" at 1  ->  .abcdefg   "ab" replace, "cdefg" fit, "h" does not
TEST_F(Fault, OnAFullDiskAWriteGetsAsFarAsThereIsRoom) {
  auto file = create("f", "...");
  env_.disk_full_after(5);
  const Status status = file->write_at(1, "abcdefgh");
  EXPECT_EQ(status.code(), Code::kNoSpace);
  EXPECT_EQ(status.sys_errno(), ENOSPC);
  EXPECT_EQ(status.message(), "write f at byte 8: no space left on device");
  EXPECT_EQ(mem_.get_file("f"), ".abcdefg");
  EXPECT_EQ(env_.room(), 0u);
  EXPECT_EQ(env_.failures(), 1u);
  EXPECT_TRUE(file->write_at(0, "overwrite").code() == Code::kNoSpace);  // nine bytes, one too many
  EXPECT_TRUE(file->write_at(0, "replaced").ok());
  EXPECT_EQ(mem_.get_file("f"), "replaced");
}

TEST_F(Fault, AFullDiskGoesOnOnceThereIsRoom) {
  auto file = create("f");
  env_.disk_full_after(0);
  EXPECT_EQ(file->write_at(0, "x").code(), Code::kNoSpace);
  EXPECT_EQ(file->size().value(), 0u);
  env_.give_room(1);
  EXPECT_TRUE(file->write_at(0, "x").ok());
  EXPECT_EQ(file->write_at(1, "y").code(), Code::kNoSpace);
  env_.disk_never_full();
  EXPECT_TRUE(file->write_at(1, "y").ok());
  EXPECT_EQ(env_.room(), std::nullopt);
}

TEST_F(Fault, CuttingRemovingAndReplacingFilesGivesTheirRoomBack) {
  env_.disk_full_after(12);
  auto a = create("a", "1234");
  create("b", "1234");
  create("c", "1234");
  EXPECT_EQ(env_.room(), 0u);
  EXPECT_TRUE(a->truncate(1).ok());
  EXPECT_EQ(env_.room(), 3u);
  EXPECT_TRUE(env_.remove("b").ok());
  EXPECT_EQ(env_.room(), 7u);
  EXPECT_TRUE(env_.rename("a", "c").ok());
  EXPECT_EQ(env_.room(), 11u);
  EXPECT_TRUE(env_.rename("c", "c").ok());
  EXPECT_FALSE(env_.remove("absent").ok());
  EXPECT_EQ(env_.room(), 11u);
}

TEST_F(Fault, HolesTakeNoRoom) {
  env_.disk_full_after(2);
  auto file = create("f");
  EXPECT_TRUE(file->write_at(1000, "xy").ok());
  EXPECT_TRUE(file->truncate(5000).ok());
  EXPECT_EQ(env_.room(), 0u);
}

TEST_F(Fault, ThreadsMayCallOrderAndCountAtOnce) {
  std::vector<std::thread> threads;
  env_.disk_full_after(1 << 20);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      auto file = create("f" + std::to_string(t));
      for (uint64_t i = 0; i < 200; ++i) {
        EXPECT_TRUE(file->write_at(i, "x").ok());
        if (i % 50 == 0) env_.fail({.op = EnvOp::kSync, .path_part = "nowhere"});
        EXPECT_TRUE(file->sync().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(env_.calls(EnvOp::kSync), 800u);
  EXPECT_EQ(env_.room(), (1u << 20) - 800u);
}

}  // namespace
}  // namespace kvstore::testing
