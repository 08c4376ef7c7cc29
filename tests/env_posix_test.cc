// What only the operating system's environment can be asked: other processes, permissions, links, limits.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/env/failure.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

using env::OpenMode;
using env::posix_env;

// Runs `body` in a child process; true when it returned true there.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int how = 0;
  EXPECT_EQ(::waitpid(child, &how, 0), child);
  return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

mode_t permissions(const std::string& path) {
  struct stat facts {};
  EXPECT_EQ(::lstat(path.c_str(), &facts), 0) << path;
  return facts.st_mode & 07777;
}

TEST(PosixEnv, FilesAndDirectoriesBelongToTheirOwnerAlone) {
  const TempDir dir;
  const mode_t old_mask = ::umask(0);
  EXPECT_TRUE(posix_env().create_dir(dir / "db").ok());
  EXPECT_TRUE(posix_env().open(dir / "db/wal", OpenMode::kCreate).ok());
  EXPECT_TRUE(posix_env().lock(dir / "db/LOCK").ok());
  ::umask(old_mask);
  EXPECT_EQ(permissions(dir / "db"), 0700u);
  EXPECT_EQ(permissions(dir / "db/wal"), 0600u);
  EXPECT_EQ(permissions(dir / "db/LOCK"), 0600u);
}

TEST(PosixEnv, ASymbolicLinkIsNotFollowed) {
  const TempDir dir;
  EXPECT_TRUE(posix_env().open(dir / "elsewhere", OpenMode::kCreate).ok());
  ASSERT_EQ(::symlink("elsewhere", (dir / "link").c_str()), 0);
  for (const OpenMode mode : {OpenMode::kRead, OpenMode::kReadWrite}) {
    const Status status = posix_env().open(dir / "link", mode).status();
    EXPECT_EQ(status.sys_errno(), ELOOP);
    EXPECT_NE(status.message().find("it is a symbolic link, and those are not followed"), std::string::npos)
        << status.message();
  }
  EXPECT_EQ(posix_env().open(dir / "link", OpenMode::kCreate).status().sys_errno(), EEXIST);
  EXPECT_EQ(posix_env().lock(dir / "link").status().sys_errno(), ELOOP);
  EXPECT_FALSE(posix_env().is_locked(dir / "link"));
}

TEST(PosixEnv, AFifoInPlaceOfAFileIsRefusedAndDoesNotBlock) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "wal").c_str(), 0600), 0);
  EXPECT_EQ(posix_env().open(dir / "wal", OpenMode::kRead).status().sys_errno(), EINVAL);
  EXPECT_EQ(posix_env().lock(dir / "wal").status().sys_errno(), EINVAL);
  EXPECT_FALSE(posix_env().is_locked(dir / "wal"));
}

TEST(PosixEnv, DescriptorsAreNotInheritedByOtherPrograms) {
  const TempDir dir;
  auto file = posix_env().open(dir / "wal", OpenMode::kCreate);
  auto lock = posix_env().lock(dir / "LOCK");
  int found = 0;
  for (int fd = 3; fd < 64; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    std::array<char, 4096> target{};
    const std::string self = "/proc/self/fd/" + std::to_string(fd);
    if (flags == -1 || ::readlink(self.c_str(), target.data(), target.size() - 1) < 0) continue;
    if (std::string(target.data()).rfind(dir.path(), 0) != 0) continue;
    EXPECT_NE(flags & FD_CLOEXEC, 0) << target.data();
    ++found;
  }
#if defined(__linux__)
  EXPECT_EQ(found, 2);
#endif
}

// A program that has closed stdin, stdout or stderr gets their numbers handed out again by the next open().
TEST(PosixEnv, AStrayPrintfNeverReachesAFileOfTheStore) {
  const TempDir dir;
  EXPECT_TRUE(in_child([&] {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
    auto lock = posix_env().lock(dir / "LOCK");
    auto file = posix_env().open(dir / "wal", OpenMode::kCreate);
    auto again = posix_env().open(dir / "wal", OpenMode::kReadWrite);
    bool all_closed = lock.ok() && file.ok() && again.ok();
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      all_closed = all_closed && ::write(fd, "stray", 5) == -1 && errno == EBADF;
    }
    return all_closed && (*file)->write_at(0, "12345678").ok() && (*file)->size().value() == 8 &&
           posix_env().list(dir.path()).value().size() == 2 && posix_env().sync_dir(dir.path()).ok();
  }));
}

// ---- locks between processes ------------------------------------------------------------------------------------

TEST(PosixEnv, ALockExcludesAnotherProcess) {
  const TempDir dir;
  auto lock = posix_env().lock(dir / "LOCK");
  ASSERT_TRUE(lock.ok());
  EXPECT_TRUE(in_child([&] {
    return posix_env().lock(dir / "LOCK").status().code() == Code::kLocked && posix_env().is_locked(dir / "LOCK");
  }));
  lock->reset();
  EXPECT_TRUE(in_child([&] { return !posix_env().is_locked(dir / "LOCK") && posix_env().lock(dir / "LOCK").ok(); }));
}

TEST(PosixEnv, AnotherProcessThatOnlyLooksLeavesTheLockWhereItIs) {
  const TempDir dir;
  auto lock = posix_env().lock(dir / "LOCK");
  ASSERT_TRUE(lock.ok());
  EXPECT_TRUE(in_child([&] { return posix_env().is_locked(dir / "LOCK"); }));
  EXPECT_TRUE(in_child([&] { return posix_env().lock(dir / "LOCK").status().code() == Code::kLocked; }));
}

// The reason for open-file-description locks: a crowd of inspectors must never make an owner's opening fail.
TEST(PosixEnv, InspectorsInAnotherProcessNeverMakeAnOpeningOwnerFail) {
  const TempDir dir;
  EXPECT_TRUE(posix_env().lock(dir / "LOCK").ok());
  std::array<int, 2> running{};
  ASSERT_EQ(::pipe(running.data()), 0);
  const pid_t inspector = ::fork();
  if (inspector == 0) {
    for (bool told = false; true; told = true) {
      (void)posix_env().is_locked(dir / "LOCK");
      if (!told && ::write(running[1], "x", 1) != 1) ::_exit(1);
    }
  }
  char byte = 0;
  ASSERT_EQ(::read(running[0], &byte, 1), 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  int failures = 0;
  while (std::chrono::steady_clock::now() < end) failures += posix_env().lock(dir / "LOCK").ok() ? 0 : 1;
  ::kill(inspector, SIGKILL);
  int how = 0;
  EXPECT_EQ(::waitpid(inspector, &how, 0), inspector);
  EXPECT_TRUE(WIFSIGNALED(how));  // it was still looking
  ::close(running[0]), ::close(running[1]);
  EXPECT_EQ(failures, 0);
}

TEST(PosixEnv, ALockDiesWithItsProcess) {
  const TempDir dir;
  EXPECT_TRUE(in_child([&] {
    static auto held = posix_env().lock(dir / "LOCK");  // static: not given back before _exit()
    return held.ok();
  }));
  EXPECT_FALSE(posix_env().is_locked(dir / "LOCK"));
  EXPECT_TRUE(posix_env().lock(dir / "LOCK").ok());
}

TEST(PosixEnv, ALockWhoseFileWasReplacedDoesNotGuardTheNewOne) {
  const TempDir dir;
  auto old = posix_env().lock(dir / "LOCK");
  ASSERT_EQ(::unlink((dir / "LOCK").c_str()), 0);
  EXPECT_FALSE(posix_env().is_locked(dir / "LOCK"));
  EXPECT_TRUE(posix_env().lock(dir / "LOCK").ok());
}

// ---- trouble ------------------------------------------------------------------------------------------------------

// A limit on the file size cuts a write short, just as a disk that fills up does:
//   pwrite(8 bytes at 4092) -> 4, then pwrite(4 bytes at 4096) -> EFBIG
TEST(PosixEnv, AShortWriteGoesOnAndTheFailureNamesTheByteItGotTo) {
  const TempDir dir;
  EXPECT_TRUE(in_child([&] {
    const rlimit limit{4096, 4096};
    ::signal(SIGXFSZ, SIG_IGN);
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
    auto file = posix_env().open(dir / "wal", OpenMode::kCreate);
    const Status status = (*file)->write_at(4092, "12345678");
    return status.code() == Code::kIoError && status.sys_errno() == EFBIG && status.offset() == 4096u &&
           status.message() == "write " + (dir / "wal") + " at byte 4096: file too large" &&
           (*file)->size().value() == 4096;
  }));
}

TEST(PosixEnv, AFullDiskIsNoSpaceAndOtherTroubleIsAnIoError) {
  EXPECT_EQ(env::failure(ENOSPC, "write", "wal", 7).code(), Code::kNoSpace);
  EXPECT_EQ(env::failure(EDQUOT, "write", "wal", 7).code(), Code::kNoSpace);
  EXPECT_EQ(env::failure(EIO, "sync", "wal").code(), Code::kIoError);
  const Status status = env::failure(ENOSPC, "write", "db/wal", 1048576);
  EXPECT_EQ(status.message(), "write db/wal at byte 1048576: no space left on device");
  EXPECT_EQ(status.path(), "db/wal");
  EXPECT_EQ(status.offset(), 1048576u);
  EXPECT_EQ(status.sys_errno(), ENOSPC);
}

TEST(PosixEnv, RunningOutOfDescriptorsIsReportedByEveryCallThatNeedsOne) {
  const TempDir dir;
  EXPECT_TRUE(posix_env().open(dir / "wal", OpenMode::kCreate).ok());
  EXPECT_TRUE(in_child([&] {
    const rlimit none{0, 0};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return false;
    return posix_env().open(dir / "wal", OpenMode::kRead).status().sys_errno() == EMFILE &&
           posix_env().list(dir.path()).status().sys_errno() == EMFILE &&
           posix_env().sync_dir(dir.path()).sys_errno() == EMFILE &&
           posix_env().lock(dir / "LOCK").status().sys_errno() == EMFILE && !posix_env().is_locked(dir / "wal");
  }));
}

TEST(PosixEnv, AnEnvironmentForAnAbsolutePathNeedsNoDescriptor) {
  EXPECT_TRUE(in_child([] {
    const rlimit none{0, 0};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return false;
    return env::posix_env_for("/var/db").ok() && env::posix_env_for("db").status().sys_errno() == EMFILE;
  }));
}

// It was taken to be there still, for it was held.
TEST(PosixEnv, AHeldDirectoryThatWasRemovedIsMadeAnew) {
  const TempDir dir;
  const std::string held = dir / "db";
  const std::unique_ptr<env::Env> env = env::posix_env_for(held).value();
  EXPECT_TRUE(env->create_dir(held).ok());
  EXPECT_TRUE(env->hold_dir(held).ok());
  std::filesystem::remove(held);
  EXPECT_EQ(env->lock(held + "/LOCK").status().sys_errno(), ENOENT);
  EXPECT_EQ(env->hold_dir(held).sys_errno(), ENOENT);
  EXPECT_TRUE(env->create_dir(held).ok());
  EXPECT_TRUE(env->hold_dir(held).ok());
  EXPECT_TRUE(env->lock(held + "/LOCK").ok());
  EXPECT_TRUE(std::filesystem::exists(held + "/LOCK"));
}

TEST(PosixEnv, AnOwnedFileIsLockedForOthersUntilItIsNot) {
  const TempDir dir;
  std::unique_ptr<env::File> file = posix_env().open(dir / "wal", OpenMode::kCreate).value();
  EXPECT_FALSE(posix_env().is_locked(dir / "wal"));
  EXPECT_TRUE(file->own(true));
  EXPECT_TRUE(posix_env().is_locked(dir / "wal"));
  EXPECT_FALSE(posix_env().open(dir / "wal", OpenMode::kReadWrite).value()->own(true));
  EXPECT_TRUE(posix_env().open(dir / "wal", OpenMode::kReadWrite).ok());  // and closed again
  EXPECT_TRUE(posix_env().is_locked(dir / "wal"));
  file->own(false);
  EXPECT_FALSE(posix_env().is_locked(dir / "wal"));
  file->own(true);
  EXPECT_TRUE(file->has_name());
  std::filesystem::rename(dir / "wal", dir / "wal2");
  EXPECT_TRUE(file->has_name());
  EXPECT_TRUE(posix_env().is_locked(dir / "wal2"));
  std::filesystem::remove(dir / "wal2");
  EXPECT_FALSE(file->has_name());
}

TEST(PosixEnv, AHeldDirectoryIsMeantWhereverItIsMoved) {
  const TempDir dir;
  const std::string held = dir / "db";
  EXPECT_TRUE(posix_env().create_dir(held).ok());
  const std::unique_ptr<env::Env> env = env::posix_env_for(held).value();
  EXPECT_TRUE(posix_env().hold_dir("nowhere").ok());  // all share it
  EXPECT_EQ(env->hold_dir(dir / "nowhere").sys_errno(), ENOENT);
  EXPECT_TRUE(env->hold_dir(held).ok());
  std::unique_ptr<env::FileLock> lock = env->lock(held + "/LOCK").value();
  std::filesystem::rename(held, dir / "moved");
  EXPECT_TRUE(posix_env().create_dir(held).ok());
  EXPECT_TRUE(lock->still_named());
  EXPECT_TRUE(env->is_locked(held + "//LOCK"));
  EXPECT_TRUE(env->open(held + "/a", OpenMode::kCreate).ok());
  EXPECT_TRUE(env->rename(held + "/a", held + "/b").ok());
  EXPECT_TRUE(env->create_dir(held + "/lost+found").ok());
  EXPECT_TRUE(env->create_dir(held).ok());
  EXPECT_EQ(env->list(held).value(), (std::vector<std::string>{"LOCK", "b", "lost+found"}));
  EXPECT_EQ(env->list(held + "/").value(), env->list(dir / "moved").value());
  EXPECT_TRUE(env->sync_dir(held).ok());
  EXPECT_TRUE(env->remove(held + "/b").ok());
  EXPECT_FALSE(std::filesystem::exists(dir / "moved/b"));
  EXPECT_TRUE(posix_env().list(held).value().empty());
  EXPECT_TRUE(env->open(held + "2", OpenMode::kCreate).ok());  // no path in it
  EXPECT_TRUE(std::filesystem::exists(held + "2"));
}

// It was made as descriptor 0, and then there was none above 2 to move it to: a file that nobody knew of.
TEST(PosixEnv, AFileThatCannotBeOpenedIsNotMade) {
  const TempDir dir;
  EXPECT_TRUE(in_child([&] {
    ::close(STDIN_FILENO);
    const rlimit stdio_only{3, 3};
    if (::setrlimit(RLIMIT_NOFILE, &stdio_only) != 0) return false;
    return posix_env().open(dir / "wal", OpenMode::kCreate).status().sys_errno() != 0;
  }));
  EXPECT_FALSE(std::filesystem::exists(dir / "wal"));
}

// A file of more bytes than one system call may move, mostly a hole.
TEST(PosixEnv, OffsetsBeyondFourGigabytesWork) {
  const TempDir dir;
  auto file = posix_env().open(dir / "wal", OpenMode::kCreate);
  ASSERT_TRUE(file.ok());
  constexpr uint64_t kFarOut = (uint64_t{5} << 30) + 3;
  EXPECT_TRUE((*file)->write_at(kFarOut, "far").ok());
  EXPECT_EQ((*file)->size().value(), kFarOut + 3);
  std::string out(8, '?');
  EXPECT_EQ((*file)->read_at(kFarOut - 5, out).value(), 8u);
  EXPECT_EQ(out, std::string("\0\0\0\0\0far", 8));
}

}  // namespace
}  // namespace kvstore::testing
