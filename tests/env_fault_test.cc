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
    auto file = env.open(path, OpenMode::kCreate);
    EXPECT_TRUE(file.ok()) << file.status().message();
    EXPECT_TRUE((*file)->write_at(0, content).ok());
    return std::move(*file);
  }

  MemEnv mem;
  FaultEnv env{mem};
};

TEST_F(Fault, EveryKindOfCallCanBeMadeToFail) {
  ASSERT_TRUE(mem.create_dir("d").ok());
  auto file = create("f", "x");
  std::string out(1, '?');
  struct Case {
    EnvOp op;
    std::function<Status()> call;
  };
  const std::vector<Case> cases = {
      {EnvOp::kOpen, [&] { return env.open("f", OpenMode::kRead).status(); }},
      {EnvOp::kCreate, [&] { return env.open("new", OpenMode::kCreate).status(); }},
      {EnvOp::kRead, [&] { return file->read_at(0, out).status(); }},
      {EnvOp::kWrite, [&] { return file->write_at(0, "y"); }},
      {EnvOp::kSize, [&] { return file->size().status(); }},
      {EnvOp::kTruncate, [&] { return file->truncate(0); }},
      {EnvOp::kSync, [&] { return file->sync(); }},
      {EnvOp::kMap, [&] { return file->map(4096).status(); }},
      {EnvOp::kRename, [&] { return env.rename("f", "f"); }},
      {EnvOp::kRemove, [&] { return env.remove("f"); }},
      {EnvOp::kList, [&] { return env.list("d").status(); }},
      {EnvOp::kCreateDir, [&] { return env.create_dir("new_dir"); }},
      {EnvOp::kSyncDir, [&] { return env.sync_dir("d"); }},
      {EnvOp::kLock, [&] { return env.lock("LOCK").status(); }},
  };
  ASSERT_EQ(cases.size(), kEnvOpCount);
  for (const Case& each : cases) {
    SCOPED_TRACE(name_of(each.op));
    env.fail({.op = each.op, .sys_errno = EMFILE});
    const uint64_t calls = env.calls(each.op);
    const Status status = each.call();
    EXPECT_EQ(status.code(), Code::kIoError);
    EXPECT_EQ(status.sys_errno(), EMFILE);
    EXPECT_FALSE(status.path().empty());
    EXPECT_EQ(status.message().substr(0, 10), "injected: ");
    EXPECT_EQ(env.calls(each.op), calls + 1);
    EXPECT_EQ(mem.files(), std::vector<std::string>{"f"});  // it did nothing
    EXPECT_EQ(mem.get_file("f"), "x");
  }
  EXPECT_EQ(env.failures(), kEnvOpCount);
  // Each order was for one call only.
  for (const Case& each : cases) EXPECT_TRUE(each.call().ok()) << name_of(each.op);
}

TEST_F(Fault, TheNthCallFailsAndTheOthersDoNot) {
  auto file = create("f");
  env.fail({.op = EnvOp::kSync, .nth = 3});
  EXPECT_TRUE(file->sync().ok());
  EXPECT_TRUE(file->write_at(0, "other kinds do not count").ok());
  EXPECT_TRUE(file->sync().ok());
  EXPECT_EQ(file->sync().sys_errno(), EIO);
  EXPECT_TRUE(file->sync().ok());
}

TEST_F(Fault, FromThenOnMeansUntilHealed) {
  auto file = create("f");
  env.fail({.op = EnvOp::kWrite, .nth = 2, .sys_errno = ENOSPC, .from_then_on = true});
  EXPECT_TRUE(file->write_at(0, "x").ok());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(file->write_at(0, "y").code(), Code::kNoSpace);
  env.heal();
  EXPECT_TRUE(file->write_at(0, "z").ok());
  EXPECT_EQ(mem.get_file("f"), "z");
}

TEST_F(Fault, OnlyCallsOnPathsThatContainThePartFit) {
  auto log = create("wal-1"), lock = create("LOCK");
  env.fail({.op = EnvOp::kSync, .path_part = "wal-"});
  EXPECT_TRUE(lock->sync().ok());
  EXPECT_FALSE(log->sync().ok());
}

TEST_F(Fault, AWriteMayGetPartOfTheWay) {
  auto file = create("f", "..........");
  env.fail({.op = EnvOp::kWrite, .sys_errno = ENOSPC, .bytes_written = 3});
  const Status status = file->write_at(2, "abcdef");
  EXPECT_EQ(status.message(), "injected: write f at byte 5: no space left on device");
  EXPECT_EQ(status.offset(), 5u);
  EXPECT_EQ(mem.get_file("f"), "..abc.....");
}

TEST_F(Fault, ACallMayDoItsWorkAndStillFail) {
  create("a", "x");
  env.fail({.op = EnvOp::kRename, .takes_effect = true});
  EXPECT_FALSE(env.rename("a", "b").ok());
  EXPECT_EQ(mem.files(), std::vector<std::string>{"b"});
  env.fail({.op = EnvOp::kCreate, .takes_effect = true});
  EXPECT_FALSE(env.open("c", OpenMode::kCreate).ok());
  EXPECT_EQ(mem.files(), (std::vector<std::string>{"b", "c"}));
  env.fail({.op = EnvOp::kLock, .takes_effect = true});
  EXPECT_FALSE(env.lock("LOCK").ok());
  EXPECT_FALSE(mem.is_locked("LOCK"));  // but a lock that nobody was given is nobody's
}

TEST_F(Fault, ALockedFileIsWatchedAsAnyOther) {
  auto lock = env.lock("LOCK");
  env.fail({.op = EnvOp::kWrite});
  EXPECT_FALSE((*lock)->file().write_at(0, "pid 1").ok());
  EXPECT_TRUE((*lock)->file().write_at(0, "pid 1").ok());
  EXPECT_EQ(env.lock("LOCK").status().code(), Code::kLocked);
}

// How the engine's tests use it: one good run to count, then one for each call, failing it.
TEST_F(Fault, EveryCallOfAWorkloadCanBeFailedInTurn) {
  const auto workload = [](FaultEnv& on) {
    auto file = on.open("tmp", OpenMode::kCreate);
    if (!file.ok()) return file.status();
    if (Status status = (*file)->write_at(0, "new"); !status.ok()) return status;
    if (Status status = (*file)->sync(); !status.ok()) return status;
    if (Status status = on.rename("tmp", "f"); !status.ok()) return status;
    return on.sync_dir(".");
  };
  EXPECT_TRUE(workload(env).ok());
  ASSERT_EQ(env.calls(), 5u);
  std::string story;
  for (uint64_t nth = 1; nth <= env.calls(); ++nth) {
    MemEnv fresh;
    FaultEnv failing(fresh);
    failing.fail({.nth = nth});
    story += std::string(workload(failing).message()) + "\n";
    EXPECT_EQ(failing.calls(), nth);
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
  env.disk_full_after(5);
  const Status status = file->write_at(1, "abcdefgh");
  EXPECT_EQ(status.code(), Code::kNoSpace);
  EXPECT_EQ(status.sys_errno(), ENOSPC);
  EXPECT_EQ(status.message(), "write f at byte 8: no space left on device");
  EXPECT_EQ(mem.get_file("f"), ".abcdefg");
  EXPECT_EQ(env.room(), 0u);
  EXPECT_EQ(env.failures(), 1u);
  EXPECT_TRUE(file->write_at(0, "overwrite").code() == Code::kNoSpace);  // nine bytes, one too many
  EXPECT_TRUE(file->write_at(0, "replaced").ok());
  EXPECT_EQ(mem.get_file("f"), "replaced");
}

TEST_F(Fault, AFullDiskGoesOnOnceThereIsRoom) {
  auto file = create("f");
  env.disk_full_after(0);
  EXPECT_EQ(file->write_at(0, "x").code(), Code::kNoSpace);
  EXPECT_EQ(file->size().value(), 0u);
  env.give_room(1);
  EXPECT_TRUE(file->write_at(0, "x").ok());
  EXPECT_EQ(file->write_at(1, "y").code(), Code::kNoSpace);
  env.disk_never_full();
  EXPECT_TRUE(file->write_at(1, "y").ok());
  EXPECT_EQ(env.room(), std::nullopt);
}

TEST_F(Fault, CuttingRemovingAndReplacingFilesGivesTheirRoomBack) {
  env.disk_full_after(12);
  auto a = create("a", "1234");
  create("b", "1234");
  create("c", "1234");
  EXPECT_EQ(env.room(), 0u);
  EXPECT_TRUE(a->truncate(1).ok());
  EXPECT_EQ(env.room(), 3u);
  EXPECT_TRUE(env.remove("b").ok());
  EXPECT_EQ(env.room(), 7u);
  EXPECT_TRUE(env.rename("a", "c").ok());
  EXPECT_EQ(env.room(), 11u);
  EXPECT_TRUE(env.rename("c", "c").ok());
  EXPECT_FALSE(env.remove("absent").ok());
  EXPECT_EQ(env.room(), 11u);
}

TEST_F(Fault, HolesTakeNoRoom) {
  env.disk_full_after(2);
  auto file = create("f");
  EXPECT_TRUE(file->write_at(1000, "xy").ok());
  EXPECT_TRUE(file->truncate(5000).ok());
  EXPECT_EQ(env.room(), 0u);
}

TEST_F(Fault, ThreadsMayCallOrderAndCountAtOnce) {
  std::vector<std::thread> threads;
  threads.reserve(4);
  env.disk_full_after(1 << 20);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      auto file = create("f" + std::to_string(t));
      for (uint64_t i = 0; i < 200; ++i) {
        EXPECT_TRUE(file->write_at(i, "x").ok());
        if (i % 50 == 0) env.fail({.op = EnvOp::kSync, .path_part = "nowhere"});
        EXPECT_TRUE(file->sync().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(env.calls(EnvOp::kSync), 800u);
  EXPECT_EQ(env.room(), (1u << 20) - 800u);
}

}  // namespace
}  // namespace kvstore::testing
