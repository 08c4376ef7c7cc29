// Directories as nobody should leave them: links that lead elsewhere, pipes, directories and odd names in place of files,
// files that may not be read or written, lines without an end. The store says what is wrong, never waits, never
// touches what lies outside, and takes bounded memory.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "kvstore/base/crc32c.h"
#include "kvstore/format/encode.h"
#include "kvstore/kvstore.h"
#include "kvstore/wal/chunk.h"
#include "kvstore/wal/file_names.h"
#include "tests/support/process_memory.h"
#include "tests/support/store_test.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTorn = "{\"seq\":99,\"ts\":1";

class HostileTest : public StoreTest {
 protected:
  // A closed store with a snapshot, a segment of records behind it, and LOCK.
  void make_store() {
    expects_damage_ = true;
    open();
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(store_->put("k" + std::to_string(i), "v").ok());
    ASSERT_TRUE(store_->compact().ok());
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(store_->put("k" + std::to_string(i), "w").ok());
    close();
    files_ = log_files_of(dir());
    ASSERT_EQ(files_.size(), 2U);
  }
  [[nodiscard]] fs::path beside(const std::string& name) const { return dir().parent_path() / name; }

  // All the ways to meet the store. Each must end, and must not say OK where `refused`.
  void try_everything(bool refused) {
    const std::vector<Status> results = {Store::open(dir()).status(), Store::open(dir(), {.read_only = true}).status(),
                                         plan_repair(dir()).status(), repair(dir(), beside("repaired")).status()};
    const Result<VerifyReport> verified = verify(dir());
    EXPECT_TRUE(!refused || !verified.ok() || !verified->findings.empty());
    for (const Status& result : results) {
      EXPECT_TRUE(!refused || !result.ok());
      if (!result.ok()) {
        said_ += std::string(result.message()) + "\n";
      }
    }
    (void)info(dir()).ok();
    (void)LogCursor::open(dir()).ok();
  }

  std::vector<fs::path> files_;  // snapshot, segment
  std::string said_;
};

std::string permissions(const fs::path& path) {
  struct stat facts {};
  EXPECT_EQ(::lstat(path.c_str(), &facts), 0) << path;
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "%o", facts.st_mode & 07777U);
  return text.data();
}

TEST_F(HostileTest, WhateverIsMadeBelongsToItsOwnerAlone) {
  const mode_t old_mask = ::umask(0);
  make_store();
  write_bytes(files_[1], bytes_of(files_[1]) + kTorn);
  open({.segment_bytes = 4096});  // cuts, into lost+found
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(store_->put("k", std::string(200, 'v')).ok());
  ASSERT_TRUE(store_->backup(beside("copy").string()).ok());
  close();
  std::string text = bytes_of(log_files_of(dir())[1]);
  text[text.find("\"key\"") + 7] ^= 1;
  write_bytes(log_files_of(dir())[1], text);
  ASSERT_TRUE(repair(dir(), beside("repaired")).ok());
  ::umask(old_mask);
  size_t files = 0;
  for (const fs::path& root : {dir(), beside("copy"), beside("repaired")}) {
    EXPECT_EQ(permissions(root), "700") << root;
    for (const auto& item : fs::recursive_directory_iterator(root)) {
      EXPECT_EQ(permissions(item.path()), item.is_directory() ? "700" : "600") << item.path();
      ++files;
    }
  }
  EXPECT_GT(files, 12U);
}

// ---- links -------------------------------------------------------------------------------------------

TEST_F(HostileTest, NoLinkInTheDirectoryIsFollowed) {
  make_store();
  for (const fs::path& file : {files_[0], files_[1], dir() / "LOCK"}) {
    SCOPED_TRACE(file);
    const fs::path elsewhere = beside("elsewhere");
    fs::rename(file, elsewhere);
    fs::create_symlink(elsewhere, file);
    const std::string before = bytes_of(elsewhere);
    said_.clear();
    try_everything(/*refused=*/true);
    EXPECT_NE(said_.find("it is a symbolic link, and those are not followed"), std::string::npos) << said_;
    EXPECT_EQ(bytes_of(elsewhere), before);
    EXPECT_FALSE(fs::exists(beside("repaired")));
    fs::remove(file);
    fs::rename(elsewhere, file);
  }
}

// lost+found was created "unless it is there", and a link to a directory counted as being there: the cut bytes went
// wherever it led.
TEST_F(HostileTest, ALinkInPlaceOfLostAndFoundIsNotFollowed) {
  make_store();
  fs::create_directory(beside("elsewhere"));
  fs::create_directory_symlink(beside("elsewhere"), dir() / "lost+found");
  write_bytes(files_[1], bytes_of(files_[1]) + kTorn);
  const std::string before = bytes_of(files_[1]);
  const Status refused = Store::open(dir()).status();
  EXPECT_NE(refused.message().find("it is a symbolic link, and those are not followed"), std::string::npos)
      << refused.message();
  EXPECT_TRUE(fs::is_empty(beside("elsewhere")));
  EXPECT_EQ(bytes_of(files_[1]), before) << "nothing is cut that could not be kept";
  fs::remove(dir() / "lost+found");
  EXPECT_TRUE(Store::open(dir()).ok());
}

TEST_F(HostileTest, AFileInPlaceOfLostAndFoundStopsACut) {
  make_store();
  write_bytes(dir() / "lost+found", "mine");
  write_bytes(files_[1], bytes_of(files_[1]) + kTorn);
  const std::string before = bytes_of(files_[1]);
  EXPECT_FALSE(Store::open(dir()).ok());
  EXPECT_EQ(bytes_of(files_[1]), before);
  EXPECT_EQ(bytes_of(dir() / "lost+found"), "mine");
}

TEST_F(HostileTest, ALeftoverThatIsALinkGoesAndWhatItNamesStays) {
  make_store();
  write_bytes(beside("elsewhere"), "mine");
  fs::create_symlink(beside("elsewhere"), files_[1].string() + ".tmp");
  EXPECT_TRUE(Store::open(dir()).ok());
  EXPECT_FALSE(fs::is_symlink(files_[1].string() + ".tmp"));
  EXPECT_EQ(bytes_of(beside("elsewhere")), "mine");
}

TEST_F(HostileTest, ALinkWhereTheNextSegmentIsToBeBornIsNotWrittenThrough) {
  make_store();
  open({.segment_bytes = 4096});
  write_bytes(beside("elsewhere"), "mine");
  for (uint64_t seq = 21; seq < 80; ++seq) {  // one of these is the next
    std::string name = std::to_string(seq);
    name = "wal-" + std::string(20 - name.size(), '0') + name + ".jsonl.tmp";
    fs::create_symlink(beside("elsewhere"), dir() / name);
  }
  Status last;
  for (int i = 0; i < 60 && last.ok(); ++i) last = store_->put("k", std::string(200, 'v'));
  EXPECT_EQ(bytes_of(beside("elsewhere")), "mine");
}

TEST_F(HostileTest, TheDirectoryItselfMayBeALink) {
  make_store();
  fs::create_directory_symlink(dir(), beside("link"));
  Result<Store> store = Store::open(beside("link"));
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->get("k1"), "w");
}

// ---- what is no file -----------------------------------------------------------------------------------

TEST_F(HostileTest, APipeOrADirectoryInPlaceOfAFileIsRefusedAtOnce) {
  make_store();
  for (const fs::path& file : {files_[0], files_[1], dir() / "LOCK"}) {
    for (const bool is_pipe : {true, false}) {
      SCOPED_TRACE(file.string() + (is_pipe ? " as a pipe" : " as a directory"));
      fs::rename(file, beside("kept"));
      ASSERT_EQ(is_pipe ? ::mkfifo(file.c_str(), 0600) : ::mkdir(file.c_str(), 0700), 0);
      said_.clear();
      try_everything(/*refused=*/true);
      EXPECT_NE(said_.find(file.filename().string()), std::string::npos) << said_;
      fs::remove(file);
      fs::rename(beside("kept"), file);
    }
  }
}

TEST_F(HostileTest, ADirectoryThatIsAFileIsNoStore) {
  write_bytes(dir(), "a file");
  expects_damage_ = true;
  try_everything(/*refused=*/true);
  EXPECT_EQ(bytes_of(dir()), "a file");
}

// ---- names ---------------------------------------------------------------------------------------------

TEST_F(HostileTest, NamesWithOddNumbersAreSomebodyElses) {
  make_store();
  const std::vector<std::string> odd = {"wal-1.jsonl",
                                        "wal-99999999999999999999.jsonl",  // above 2^64
                                        "wal-18446744073709551615.jsonl",  // 2^64 - 1
                                        "wal-00009007199254740992.jsonl",  // 2^53: no record has it
                                        "wal-00000000000000000000.jsonl",
                                        "wal--0000000000000000001.jsonl",
                                        "wal-+0000000000000000001.jsonl",
                                        "wal-0000000000000000000a.jsonl",
                                        "wal-00000000000000000030.JSONL",
                                        "wal-00000000000000000030.jsonl~",
                                        "snapshot-00000000000000000000.jsonl",
                                        "snapshot-7.jsonl",
                                        "snapshot-99999999999999999999.jsonl"};
  for (const std::string& name : odd) write_bytes(dir() / name, "mine");
  open({.create_if_missing = false});
  EXPECT_EQ(store_->get("k1"), "w");
  ASSERT_TRUE(store_->compact().ok());
  close();
  Result<VerifyReport> verified = verify(dir());
  EXPECT_TRUE(verified.ok() && verified->findings.empty());
  for (const std::string& name : odd) EXPECT_EQ(bytes_of(dir() / name), "mine") << name;
}

// Beyond 2^53 - 1 a number would have run into the flags beside it, and the segment behind the last record would have had a
// name that no opening finds.
TEST_F(HostileTest, TheNumbersEndBeforeTheyWrap) {
  expects_damage_ = true;
  constexpr format::Seq kLast = format::kIntegerMax;
  const auto name = [](const char* kind, format::Seq seq) {
    return std::string(kind) + "-0000" + std::to_string(seq) + ".jsonl";
  };
  fs::create_directory(dir());
  write_bytes(dir() / name("snapshot", kLast - 3), snapshot_of(kLast - 3, entry_line(kLast - 3, "a", "1")));
  write_bytes(dir() / name("wal", kLast - 2), header_line(kLast - 2));
  {
    Result<Store> store = Store::open(dir());
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_TRUE(store->put("b", "2").ok());
    EXPECT_TRUE(store->put("b", "3").ok());
    EXPECT_EQ(store->last_seq(), kLast - 1);
    const Status refused = store->put("c", "4");
    EXPECT_EQ(refused.code(), Code::kNoSpace);
    EXPECT_NE(refused.message().find("there is no sequence number left"), std::string::npos) << refused.message();
    EXPECT_EQ(store->compact().status().code(), Code::kNoSpace);
    EXPECT_TRUE(store->backup(beside("copy").string()).ok());
    EXPECT_EQ(store->get("b"), "3");
    EXPECT_TRUE(store->close().ok());
  }
  // Somebody else's writer may have used the last one.
  const fs::path segment = dir() / name("wal", kLast - 2);
  write_bytes(segment, bytes_of(segment) + put_line(kLast, "z", "9"));
  Result<Store> store = Store::open(dir());
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->last_seq(), kLast);
  EXPECT_EQ(store->get("z"), "9");
  EXPECT_EQ(store->get("b"), "3");
  EXPECT_FALSE(store->put("c", "4").ok());
  EXPECT_EQ(store->compact().status().code(), Code::kNoSpace);
  EXPECT_EQ(store->backup(beside("another").string()).status().code(), Code::kNoSpace);
  EXPECT_TRUE(store->close().ok());
  EXPECT_TRUE(Store::open(dir()).ok());
}

// The opening made room for as many entries as the footer told of, before it read the first.
TEST_F(HostileTest, AFooterThatPromisesMillionsOfEntriesTakesNoMemoryForThem) {
  make_store();
  const std::string entries = entry_line(1, "a", "1") + entry_line(2, "b", "2");
  std::string text = snapshot_header_line(10) + entries;
  text += format::encode_snapshot_end(
      {.entries = 20'000'000, .last_seq = 10, .next = wal::segment_name(11), .whole = base::crc32c(text)});
  expects_damage_ = true;
  fs::remove_all(dir());
  fs::create_directory(dir());
  write_bytes(dir() / wal::snapshot_name(10), text);
  write_bytes(dir() / wal::segment_name(11), header_line(11));
  rusage before{};
  rusage after{};
  ASSERT_EQ(::getrusage(RUSAGE_SELF, &before), 0);
  const Status refused = Store::open(dir()).status();
  ASSERT_EQ(::getrusage(RUSAGE_SELF, &after), 0);
  EXPECT_NE(refused.message().find("the footer counts 20000000 entries, but 2 stand in the file"),
            std::string_view::npos)
      << refused.message();
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 100 << 10);  // KiB
}

// The footer's number was believed where the file is as long as that takes, and a hole makes it so.
TEST_F(HostileTest, AFooterBehindAHoleTakesNoMemoryForWhatItPromises) {
  make_store();
  constexpr uint64_t kLast = 10'000;  // entries enough to be read before the damage, which is far from the hole
  std::string begin = snapshot_header_line(kLast);
  for (uint64_t seq = 1; seq <= kLast; ++seq) begin += entry_line(seq, "key" + std::to_string(seq), "1");
  begin += "a damaged line\n";
  const std::string end =
      "\n" + format::encode_snapshot_end(
                 {.entries = 400'000'000, .last_seq = kLast, .next = wal::segment_name(kLast + 1), .whole = 1});
  expects_damage_ = true;
  fs::remove_all(dir());
  fs::create_directory(dir());
  const fs::path path = dir() / wal::snapshot_name(kLast);
  write_bytes(path, begin);
  std::error_code error;
  fs::resize_file(path, uint64_t{32} << 30, error);
  if (error) GTEST_SKIP() << "this file system takes no file of 32 GiB: " << error.message();
  std::ofstream(path, std::ios::binary | std::ios::app) << end;
  write_bytes(dir() / wal::segment_name(kLast + 1), header_line(kLast + 1));
  rusage before{};
  rusage after{};
  ASSERT_EQ(::getrusage(RUSAGE_SELF, &before), 0);
  EXPECT_EQ(Store::open(dir(), {.replay_threads = 1}).status().code(), Code::kCorruption);
  ASSERT_EQ(::getrusage(RUSAGE_SELF, &after), 0);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 1 << 20);  // KiB
  fs::remove(path);                                        // the fixture would read it
}

// With progress to report, verify() began with a summary of the files, and ended where that found damage.
TEST_F(HostileTest, VerifyFindsTheSameWithAndWithoutProgress) {
  make_store();
  fs::resize_file(files_[0], fs::file_size(files_[0]) - 40);
  const Result<VerifyReport> silent = verify(dir());
  int calls = 0;
  const Result<VerifyReport> shown = verify(dir(), [&](const Progress&) { ++calls; });
  ASSERT_TRUE(silent.ok() && shown.ok()) << shown.status().message();
  ASSERT_EQ(silent->findings.size(), shown->findings.size());
  EXPECT_EQ(silent->findings.at(0).message, shown->findings.at(0).message);
  EXPECT_EQ(silent->findings.at(0).advice.find("verify"), std::string::npos) << silent->findings.at(0).advice;
}

// FORMAT.md: a line of spaces, tabs and carriage returns is blank, in a snapshot, too.
TEST_F(HostileTest, BlankLinesAroundASnapshotAreNoDamage) {
  make_store();
  fs::remove_all(dir());
  fs::create_directory(dir());
  std::string text = " \t\r\n\n" + snapshot_header_line(2) + entry_line(1, "a", "1") + entry_line(2, "b", "2");
  text += format::encode_snapshot_end(
      {.entries = 2, .last_seq = 2, .next = wal::segment_name(3), .whole = base::crc32c(text)});
  write_bytes(dir() / wal::snapshot_name(2), text + "  \r\n\n");
  write_bytes(dir() / wal::segment_name(3), header_line(3));
  const Result<Store> store = Store::open(dir());
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->get("a"), "1");
  EXPECT_EQ(store->get("b"), "2");
}

// ---- repair stays outside ---------------------------------------------------------------------------------

TEST_F(HostileTest, RepairWritesNothingIntoTheStoreByWhateverName) {
  make_store();
  fs::create_directory_symlink(dir(), beside("link"));
  for (const fs::path& target : {dir() / "new", dir() / "." / "new", dir() / "lost+found" / ".." / "new",
                                 beside("link") / "new", beside("link"), dir() / "lost+found"}) {
    const Status refused = repair(dir(), target).status();
    EXPECT_EQ(refused.code(), Code::kInvalidArgument) << target << " " << refused.message();
    EXPECT_NE(refused.message().find("which is to stay as it is"), std::string_view::npos) << refused.message();
  }
  EXPECT_EQ(log_files_of(dir()), files_);
  EXPECT_FALSE(fs::exists(dir() / "new"));
}

TEST_F(HostileTest, RepairAndBackupFollowNoLinkOutOfTheNewDirectory) {
  make_store();
  std::string text = bytes_of(files_[1]);
  text[text.find("\"key\"") + 7] ^= 1;
  fs::create_directory(beside("elsewhere"));
  fs::create_directory(beside("new"));
  fs::create_directory_symlink(beside("elsewhere"), beside("new") / "lost+found");
  open({.create_if_missing = false});
  EXPECT_FALSE(store_->backup(beside("new").string()).ok());
  close();
  write_bytes(files_[1], text);
  EXPECT_FALSE(repair(dir(), beside("new")).ok());
  EXPECT_TRUE(fs::is_empty(beside("elsewhere")));
}

// ---- what may not be read or written ---------------------------------------------------------------------

constexpr uid_t kNobody = 65534;

// Runs `body` as a user without privileges who owns `root`; "" when it returned "". Root may read and write anything.
std::string as_nobody(const fs::path& root, const std::function<std::string()>& body) {
  const bool is_root = ::geteuid() == 0;
  if (is_root) {
    EXPECT_EQ(::lchown(root.c_str(), kNobody, kNobody), 0);
    for (const auto& item : fs::recursive_directory_iterator(root))
      EXPECT_EQ(::lchown(item.path().c_str(), kNobody, kNobody), 0);
  }
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said;
    if (is_root && (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0))
      said = "cannot become nobody";
    if (said.empty()) said = body();
    (void)!::write(pipe[1], said.data(), said.size());
    ::_exit(0);
  }
  ::close(pipe[1]);
  std::string said(65536, '\0');
  size_t size = 0;
  for (ssize_t got = 0; (got = ::read(pipe[0], said.data() + size, said.size() - size)) > 0;)
    size += static_cast<size_t>(got);
  ::close(pipe[0]);
  said.resize(size);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return said;
}

// Why as_nobody() is not possible here: a fake root, or a temporary directory that is root's alone. "": it is.
std::string no_nobody(const fs::path& root) {
  if (::geteuid() != 0) return "";
  struct stat facts {};
  if (::stat(root.c_str(), &facts) != 0 || ::lchown(root.c_str(), kNobody, kNobody) != 0 ||
      ::lchown(root.c_str(), facts.st_uid, facts.st_gid) != 0) {
    return "not root enough to give a file away";
  }
  const std::string said = as_nobody(root, [&] { return ::access(root.c_str(), X_OK) == 0 ? "" : "no way in"; });
  return said.empty() ? "" : "another user cannot get at " + root.string() + ": " + said;
}

TEST_F(HostileTest, AFileThatMayNotBeReadIsNamed) {
  if (const std::string why = no_nobody(dir().parent_path()); !why.empty()) GTEST_SKIP() << why;
  make_store();
  for (const fs::path& file : {files_[0], files_[1], dir() / "LOCK"}) {
    ASSERT_EQ(::chmod(file.c_str(), 0), 0);
    const std::string said = as_nobody(dir().parent_path(), [&] {
      std::string text;
      for (const Status& s :
           {Store::open(dir()).status(), Store::open(dir(), {.read_only = true}).status(), verify(dir()).status(),
            plan_repair(dir()).status(), repair(dir(), beside("repaired")).status()}) {
        if (s.code() != Code::kIoError || s.sys_errno() != EACCES ||
            s.message().find(file.string()) == std::string_view::npos) {
          text += std::string(code_name(s.code())) + " " + std::string(s.message()) + "\n";
        }
      }
      return text;
    });
    EXPECT_EQ(said, "") << file;
    ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  }
}

TEST_F(HostileTest, ADirectoryThatMayNotBeReadIsNoMissingStore) {
  if (const std::string why = no_nobody(dir().parent_path()); !why.empty()) GTEST_SKIP() << why;
  make_store();
  ASSERT_EQ(::chmod(dir().c_str(), 0), 0);
  const std::string said = as_nobody(dir().parent_path(), [&] {
    const Status s = Store::open(dir(), {.create_if_missing = false}).status();
    return s.code() == Code::kIoError && s.sys_errno() == EACCES ? "" : std::string(s.message());
  });
  EXPECT_EQ(said, "");
  ASSERT_EQ(::chmod(dir().c_str(), 0700), 0);
}

// Some threads could be started and one could not: that ended the program.
TEST_F(HostileTest, WhereThreadsCannotBeStartedTheReplayDoesWithFewer) {
  if (const std::string why = no_nobody(dir().parent_path()); !why.empty()) GTEST_SKIP() << why;
  make_store();
  for (rlim_t limit = 1; limit <= 8; ++limit) {
    const std::string said = as_nobody(dir().parent_path(), [&]() -> std::string {
      const rlimit most{limit, limit};
      if (::setrlimit(RLIMIT_NPROC, &most) != 0) return "cannot limit the threads";
      const Status opened = Store::open(dir(), {.read_only = true, .replay_threads = 6}).status();
      if (!opened.ok() && opened.code() != Code::kIoError)
        return std::string(opened.message());  // it needs threads to stay
      const Result<RepairPlan> read = plan_repair(dir(), {.threads = 6});
      if (!read.ok()) return std::string(read.status().message());
      return read->opens && read->last_seq == 20 ? "done" : "something is missing";
    });
    EXPECT_EQ(said, "done") << limit;
  }
}

TEST_F(HostileTest, WhatMayOnlyBeReadIsReadAndRepairedElsewhere) {
  if (const std::string why = no_nobody(dir().parent_path()); !why.empty()) GTEST_SKIP() << why;
  make_store();
  std::string text = bytes_of(files_[1]);
  text[text.find("\"key\"") + 7] ^= 1;
  const std::string whole = bytes_of(files_[1]);
  for (const bool is_damaged : {false, true}) {
    write_bytes(files_[1], is_damaged ? text : whole);
    for (const auto& item : fs::directory_iterator(dir())) ASSERT_EQ(::chmod(item.path().c_str(), 0400), 0);
    ASSERT_EQ(::chmod(dir().c_str(), 0500), 0);
    const fs::path target = beside(is_damaged ? "repaired" : "copy");
    const std::string said = as_nobody(dir().parent_path(), [&]() -> std::string {
      const Status writing = Store::open(dir()).status();
      if (writing.code() != Code::kIoError || writing.sys_errno() != EACCES)
        return "for writing: " + std::string(writing.message());
      if (Store::open(dir(), {.read_only = true}).ok() == is_damaged) return "read-only";
      if (!verify(dir()).ok()) return "verify: " + std::string(verify(dir()).status().message());
      const Result<RepairReport> report = repair(dir(), target);
      return report.ok() ? "" : std::string(report.status().message());
    });
    EXPECT_EQ(said, "");
    EXPECT_EQ(bytes_of(files_[1]), is_damaged ? text : whole);
    ASSERT_EQ(::chmod(dir().c_str(), 0700), 0);
    for (const auto& item : fs::directory_iterator(dir())) ASSERT_EQ(::chmod(item.path().c_str(), 0600), 0);
    Result<Store> store = Store::open(target, {.create_if_missing = false});
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_EQ(store->get("k5"), "w");
  }
}

// ---- lines without an end --------------------------------------------------------------------------------

struct Taken {
  int64_t memory = 0;
  size_t chunk_bytes = 0;
  size_t chunk_lines = 0;
  uint64_t bytes = 0;
};

Taken read_through(const fs::path& path, unsigned threads, size_t line_bytes_max) {
  Result<std::unique_ptr<env::File>> file = env::posix_env().open(path.string(), env::OpenMode::kRead);
  EXPECT_TRUE(file.ok());
  const int64_t before = anonymous_bytes();
  Taken taken;
  wal::ChunkPipeline pipeline(**file, 0, threads, line_bytes_max);
  for (;;) {
    Result<const wal::Chunk*> chunk = pipeline.next();
    EXPECT_TRUE(chunk.ok());
    if (!chunk.ok() || *chunk == nullptr) return taken;
    taken.memory = std::max(taken.memory, anonymous_bytes() - before);
    taken.chunk_bytes = std::max<size_t>(taken.chunk_bytes, (*chunk)->bytes.size());
    taken.chunk_lines = std::max((*chunk)->lines.size(), taken.chunk_lines);
    taken.bytes += (*chunk)->bytes.size();
  }
}

// Each of the chunks that helper threads read ahead could be as long as the longest line: with many cores, a file of
// zeros took many times that in memory.
TEST_F(HostileTest, AFileWithoutNewlinesTakesTheMemoryOfOneLine) {
  const fs::path path = beside("zeros");
  write_bytes(path, "");
  constexpr size_t kSize = size_t{600} << 20;
  fs::resize_file(path, kSize);  // a hole: it takes no space
  constexpr size_t kLine = size_t{40} << 20;
  const Taken taken = read_through(path, 8, kLine);
  EXPECT_EQ(taken.bytes, kSize);
  EXPECT_LE(taken.chunk_bytes, kLine + (size_t{256} << 10));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep freed memory
  EXPECT_LT(taken.memory, int64_t{300} << 20);
#endif
}

// A long line was read in blocks as long as itself, and each short line behind it in such a block takes a LineRef.
TEST_F(HostileTest, ManyShortLinesBehindALongOneComeInSmallChunks) {
  const fs::path path = beside("lines");
  std::string text(size_t{6} << 20, 'x');
  text += '\n';
  for (int i = 0; i < 3'000'000; ++i) text += "x\n";
  write_bytes(path, text);
  for (const unsigned threads : {1U, 4U}) {
    const Taken taken = read_through(path, threads, kLineBytesMax);
    EXPECT_EQ(taken.bytes, text.size());
    EXPECT_LE(taken.chunk_lines, 150'000U);
  }
}

}  // namespace
}  // namespace kvstore::testing
