// What env.h promises, asked of every environment: the operating system's, and the ones that stand in for it in
// tests. A test proves as much as its environment is like the real one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/env/mem_env.h"
#include "tests/support/crash_env.h"
#include "tests/support/fault_env.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

using env::Env;
using env::File;
using env::FileLock;
using env::OpenMode;

// One environment under test, and a directory in it that is there and empty.
struct Ground {
  virtual ~Ground() = default;
  virtual Env& env() = 0;
  virtual std::string root() = 0;
};

struct PosixGround : Ground {
  Env& env() override { return env::posix_env(); }
  std::string root() override { return dir.path(); }
  TempDir dir;
};

struct MemGround : Ground {
  MemGround() { EXPECT_TRUE(mem.create_dir("ground").ok()); }
  Env& env() override { return mem; }
  std::string root() override { return "ground"; }
  env::MemEnv mem;
};

struct CrashGround : Ground {
  CrashGround() { EXPECT_TRUE(crash.create_dir("ground").ok()); }
  Env& env() override { return crash; }
  std::string root() override { return "ground"; }
  CrashEnv crash;
};

struct FaultGround : MemGround {
  Env& env() override { return fault; }
  FaultEnv fault{mem};  // nothing on order
};

struct Candidate {
  std::string name;
  std::function<std::unique_ptr<Ground>()> make;
  // NOLINTNEXTLINE(readability-identifier-naming): GoogleTest's name
  friend void PrintTo(const Candidate& candidate, std::ostream* out) { *out << candidate.name; }
};

class EnvPromise : public ::testing::TestWithParam<Candidate> {
 protected:
  [[nodiscard]] std::string at(const std::string& name) const { return ground->root() + "/" + name; }
  Env& env() { return ground->env(); }

  std::unique_ptr<File> open(const std::string& name, OpenMode mode) {
    auto file = env().open(at(name), mode);
    EXPECT_TRUE(file.ok()) << file.status().message();
    return file.ok() ? std::move(*file) : nullptr;
  }
  std::unique_ptr<File> create(const std::string& name, std::string_view content = {}) {
    auto file = open(name, OpenMode::kCreate);
    EXPECT_TRUE(file->write_at(0, content).ok());
    return file;
  }
  std::string content(const std::string& name) { return content(*open(name, OpenMode::kRead)); }
  static std::string content(File& file) {
    std::string bytes(file.size().value(), '?');
    EXPECT_EQ(file.read_at(0, bytes).value(), bytes.size());
    return bytes;
  }
  int open_errno(const std::string& name, OpenMode mode) { return env().open(at(name), mode).status().sys_errno(); }

  std::unique_ptr<Ground> ground = GetParam().make();
};

#define EXPECT_OK(expression)                           \
  do {                                                  \
    const auto& outcome_ = (expression);                \
    EXPECT_TRUE(outcome_.ok()) << message_of(outcome_); \
  } while (false)

std::string message_of(const Status& status) { return std::string(status.message()); }

using Names = std::vector<std::string>;

// ---- bytes ----------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, AFileReadsBackWhatWasWritten) {
  auto file = create("a", "hello");
  EXPECT_OK(file->write_at(5, " world"));
  EXPECT_OK(file->write_at(0, "J"));
  EXPECT_EQ(content(*file), "Jello world");
  EXPECT_EQ(content("a"), "Jello world");
}

TEST_P(EnvPromise, ReadingGivesFewerBytesOnlyAtTheEnd) {
  auto file = create("a", "0123456789");
  std::string out(4, '?');
  EXPECT_EQ(file->read_at(3, out).value(), 4u);
  EXPECT_EQ(out, "3456");
  EXPECT_EQ(file->read_at(8, out).value(), 2u);
  EXPECT_EQ(out, "8956");
  EXPECT_EQ(file->read_at(10, out).value(), 0u);
  EXPECT_EQ(file->read_at(1000, out).value(), 0u);
}

TEST_P(EnvPromise, WhatIsWrittenInPagesReadsBackLikeAllElse) {
  std::string text;
  for (int i = 0; text.size() < 20'000; ++i) text += std::to_string(i);
  auto file = create("a", "Hello");
  EXPECT_OK(file->write_in_pages(4, text));  // neither begins nor ends with a page
  EXPECT_OK(file->write_in_pages(4, ""));
  EXPECT_EQ(content(*file), "Hell" + text);
  auto reader = open("a", OpenMode::kRead);
  EXPECT_FALSE(reader->write_in_pages(0, text).ok());
}

TEST_P(EnvPromise, AHoleReadsAsZeros) {
  auto file = create("a", "x");
  EXPECT_OK(file->write_at(4, "y"));
  EXPECT_EQ(content(*file), std::string("x\0\0\0y", 5));
}

TEST_P(EnvPromise, WritingNothingFarOutDoesNotExtend) {
  auto file = create("a", "x");
  EXPECT_OK(file->write_at(100, ""));
  EXPECT_EQ(file->size().value(), 1u);
}

TEST_P(EnvPromise, TruncateForgetsForGoodAndExtendsWithZeros) {
  auto file = create("a", "0123456789");
  EXPECT_OK(file->truncate(4));
  EXPECT_EQ(content(*file), "0123");
  EXPECT_OK(file->truncate(6));
  EXPECT_EQ(content(*file), std::string("0123\0\0", 6));
}

TEST_P(EnvPromise, SyncAndWritebackAreAcceptedAtAnyTime) {
  auto file = create("a", "x");
  EXPECT_OK(file->sync());
  file->start_writeback(0, 1);
  file->start_writeback(0, 0);
  file->start_writeback(1 << 20, 1 << 20);
  EXPECT_OK(open("a", OpenMode::kRead)->sync());
  EXPECT_OK(env().sync_dir(ground->root()));
}

TEST_P(EnvPromise, HintsAboutPagesChangeNoByte) {
  constexpr size_t kBytes = size_t{64} << 10;
  auto file = create("a", std::string(kBytes, '\n'));
  char* const mapping = *file->map(kBytes * 2);
  file->prepare_pages(0, kBytes);
  file->prepare_pages(1, 2);  // less than a page
  std::string expected(kBytes, '\n');
  for (size_t i = 0; i < kBytes; i += 1000) mapping[i] = expected[i] = 'a';
  file->let_go_of_pages(0, kBytes);
  EXPECT_EQ(content(*file), expected);
  for (size_t i = 500; i < kBytes; i += 1000) mapping[i] = expected[i] = 'b';  // and they can still be stored into
  file->let_go_of_pages(4096, 8192);
  EXPECT_EQ(std::string_view(mapping, kBytes), expected);
  EXPECT_EQ(content(*file), expected);
  file->unmap();
}

TEST_P(EnvPromise, AFileOpenForReadingCannotBeChanged) {
  create("a", "x");
  auto file = open("a", OpenMode::kRead);
  EXPECT_EQ(file->write_at(0, "y").code(), Code::kIoError);
  EXPECT_EQ(file->truncate(0).code(), Code::kIoError);
  EXPECT_EQ(file->map(4096).status().sys_errno(), EACCES);
  EXPECT_EQ(content("a"), "x");
}

// ---- mappings -------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, AMappingAndTheFileShowTheSameBytes) {
  auto file = create("a", "0123456789");
  char* bytes = file->map(4096).value();
  EXPECT_EQ(std::string(bytes, 10), "0123456789");
  bytes[0] = 'A';
  EXPECT_OK(file->write_at(1, "B"));
  EXPECT_EQ(std::string(bytes, 4), "AB23");
  EXPECT_EQ(content("a"), "AB23456789");
}

TEST_P(EnvPromise, AMappingLongerThanTheFileStaysWhereItIsWhileTheFileGrowsIntoIt) {
  constexpr size_t kCapacity = 1 << 20;
  auto file = create("a");
  char* bytes = file->map(kCapacity).value();
  for (size_t end = 0; end < kCapacity; end += 65536) {
    EXPECT_OK(file->write_at(end, std::string(65536, '\n')));
    bytes[end] = '{';
    bytes[end + 65535] = '}';
  }
  std::string expected(65536, '\n');
  expected.front() = '{', expected.back() = '}';
  const std::string all = content(*file);
  ASSERT_EQ(all.size(), kCapacity);
  for (size_t at = 0; at < kCapacity; at += 65536) EXPECT_EQ(all.substr(at, 65536), expected) << at;
}

TEST_P(EnvPromise, AFileMayGrowBeyondItsMapping) {
  auto file = create("a", "0123");
  char* bytes = file->map(4096).value();
  EXPECT_OK(file->write_at(4090, "abcdefghijkl"));  // six bytes inside, six behind
  EXPECT_EQ(std::string(bytes + 4090, 6), "abcdef");
  bytes[4095] = 'F';
  std::string out(12, '?');
  EXPECT_EQ(file->read_at(4090, out).value(), 12u);
  EXPECT_EQ(out, "abcdeFghijkl");
  file->unmap();
  EXPECT_EQ(content(*file).substr(4090), "abcdeFghijkl");
}

TEST_P(EnvPromise, StoresSurviveUnmappingAndTheLastTruncate) {
  auto file = create("a", std::string(100, '\n'));
  char* bytes = file->map(8192).value();
  std::copy_n("line", 4, bytes);
  EXPECT_OK(file->truncate(5));
  file->unmap();
  file->unmap();  // harmless
  EXPECT_EQ(content("a"), "line\n");
  char* again = file->map(4096).value();
  again[4] = '!';
  file.reset();  // unmaps
  EXPECT_EQ(content("a"), "line!");
}

TEST_P(EnvPromise, AMappingOfNothingIsRefused) { EXPECT_EQ(create("a")->map(0).status().sys_errno(), EINVAL); }

// ---- opening --------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, OpenWantsTheFileToExistAndCreateWantsItNotTo) {
  EXPECT_EQ(open_errno("a", OpenMode::kRead), ENOENT);
  EXPECT_EQ(open_errno("a", OpenMode::kReadWrite), ENOENT);
  create("a", "x");
  EXPECT_EQ(open_errno("a", OpenMode::kCreate), EEXIST);
  EXPECT_EQ(content(*open("a", OpenMode::kReadWrite)), "x");
}

TEST_P(EnvPromise, ADirectoryIsNoFileAndAFileIsNoDirectory) {
  EXPECT_OK(env().create_dir(at("dir")));
  create("file");
  EXPECT_EQ(open_errno("dir", OpenMode::kRead), EISDIR);
  EXPECT_EQ(open_errno("dir", OpenMode::kReadWrite), EISDIR);
  EXPECT_EQ(open_errno("dir", OpenMode::kCreate), EEXIST);
  EXPECT_EQ(env().lock(at("dir")).status().sys_errno(), EISDIR);
  EXPECT_EQ(env().remove(at("dir")).sys_errno(), EISDIR);
  EXPECT_EQ(open_errno("file/below", OpenMode::kRead), ENOTDIR);
  EXPECT_EQ(open_errno("file/far/below", OpenMode::kCreate), ENOTDIR);
  EXPECT_EQ(open_errno("nowhere/far/below", OpenMode::kCreate), ENOENT);
}

TEST_P(EnvPromise, AFailureNamesStepPathAndReason) {
  const Status status = env().open(at("absent"), OpenMode::kReadWrite).status();
  EXPECT_EQ(status.code(), Code::kIoError);
  EXPECT_EQ(status.path(), at("absent"));
  EXPECT_EQ(status.message(), "open for writing " + at("absent") + ": no such file or directory");
}

TEST_P(EnvPromise, ARemovedFileLivesOnForThoseWhoHaveItOpen) {
  auto file = create("a", "old");
  char* bytes = file->map(4096).value();
  EXPECT_OK(env().remove(at("a")));
  EXPECT_EQ(open_errno("a", OpenMode::kRead), ENOENT);
  bytes[0] = 'O';
  EXPECT_OK(file->write_at(3, "!"));
  create("a", "new");
  EXPECT_EQ(content(*file), "Old!");
  EXPECT_EQ(content("a"), "new");
  EXPECT_OK(file->sync());
}

// ---- names ----------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, ListGivesTheNamesOfADirectorySorted) {
  create("b");
  create("a");
  create(".hidden");
  EXPECT_OK(env().create_dir(at("dir")));
  create("dir/inside");
  create("dirt");
  EXPECT_EQ(env().list(ground->root()).value(), (Names{".hidden", "a", "b", "dir", "dirt"}));
  EXPECT_EQ(env().list(at("dir")).value(), (Names{"inside"}));
  EXPECT_EQ(env().list(at("dir/")).value(), (Names{"inside"}));
}

TEST_P(EnvPromise, ListTellsWhyItCannot) {
  create("file");
  EXPECT_EQ(env().list(at("absent")).status().sys_errno(), ENOENT);
  EXPECT_EQ(env().list(at("file")).status().sys_errno(), ENOTDIR);
  EXPECT_EQ(env().list(at("file/below")).status().sys_errno(), ENOTDIR);
  EXPECT_EQ(env().list(at("absent/below")).status().sys_errno(), ENOENT);
}

TEST_P(EnvPromise, CreateDirIsContentWithADirectoryAndWithNothingElse) {
  EXPECT_OK(env().create_dir(at("dir")));
  EXPECT_OK(env().create_dir(at("dir")));
  create("file");
  EXPECT_EQ(env().create_dir(at("file")).sys_errno(), EEXIST);
  EXPECT_EQ(env().create_dir(at("absent/below")).sys_errno(), ENOENT);
  EXPECT_EQ(env().create_dir(at("file/below")).sys_errno(), ENOTDIR);
}

TEST_P(EnvPromise, SyncDirWantsADirectory) {
  create("file");
  EXPECT_EQ(env().sync_dir(at("absent")).sys_errno(), ENOENT);
  EXPECT_EQ(env().sync_dir(at("file")).sys_errno(), ENOTDIR);
  EXPECT_OK(env().create_dir(at("dir")));
  EXPECT_OK(env().sync_dir(at("dir")));
}

TEST_P(EnvPromise, RenameReplacesItsTarget) {
  create("a", "new");
  auto old = create("b", "old");
  EXPECT_OK(env().rename(at("a"), at("b")));
  EXPECT_EQ(env().list(ground->root()).value(), (Names{"b"}));
  EXPECT_EQ(content("b"), "new");
  EXPECT_EQ(content(*old), "old");
  EXPECT_OK(env().rename(at("b"), at("b")));
  EXPECT_EQ(content("b"), "new");
}

TEST_P(EnvPromise, RenameMovesBetweenDirectoriesAndDirectoriesToo) {
  EXPECT_OK(env().create_dir(at("dir")));
  create("a", "x");
  EXPECT_OK(env().rename(at("a"), at("dir/b")));
  EXPECT_EQ(content("dir/b"), "x");
  EXPECT_OK(env().rename(at("dir"), at("moved")));
  EXPECT_EQ(content("moved/b"), "x");
  EXPECT_EQ(env().list(ground->root()).value(), (Names{"moved"}));
}

TEST_P(EnvPromise, RenameRefusesWhatCannotBe) {
  create("file");
  EXPECT_OK(env().create_dir(at("dir")));
  EXPECT_OK(env().create_dir(at("full")));
  create("full/x");
  EXPECT_EQ(env().rename(at("absent"), at("x")).sys_errno(), ENOENT);
  EXPECT_EQ(env().rename(at("file"), at("dir")).sys_errno(), EISDIR);
  EXPECT_EQ(env().rename(at("dir"), at("file")).sys_errno(), ENOTDIR);
  EXPECT_EQ(env().rename(at("dir"), at("full")).sys_errno(), ENOTEMPTY);
  EXPECT_EQ(env().rename(at("full"), at("full/inside")).sys_errno(), EINVAL);
  EXPECT_EQ(env().rename(at("file"), at("absent/x")).sys_errno(), ENOENT);
  EXPECT_OK(env().rename(at("full"), at("dir")));
  EXPECT_EQ(env().list(ground->root()).value(), (Names{"dir", "file"}));
}

TEST_P(EnvPromise, RemoveTakesOneNameAway) {
  create("a");
  EXPECT_OK(env().remove(at("a")));
  EXPECT_EQ(env().remove(at("a")).sys_errno(), ENOENT);
  EXPECT_EQ(env().list(ground->root()).value(), Names{});
}

// ---- locks ----------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, ALockExcludesOthersUntilItIsGivenBack) {
  auto lock = env().lock(at("LOCK"));
  EXPECT_OK(lock.status());
  const Status refused = env().lock(at("LOCK")).status();
  EXPECT_EQ(refused.code(), Code::kLocked);
  EXPECT_EQ(refused.path(), at("LOCK"));
  EXPECT_NE(refused.sys_errno(), 0);
  EXPECT_TRUE(env().is_locked(at("LOCK")));
  lock->reset();
  EXPECT_FALSE(env().is_locked(at("LOCK")));
  EXPECT_OK(env().lock(at("LOCK")).status());
}

TEST_P(EnvPromise, LookingAtALockNeitherTakesItNorGivesItBack) {
  EXPECT_FALSE(env().is_locked(at("LOCK")));
  EXPECT_EQ(open_errno("LOCK", OpenMode::kRead), ENOENT);  // nor makes the file
  auto lock = env().lock(at("LOCK"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(env().is_locked(at("LOCK")));
  EXPECT_EQ(env().lock(at("LOCK")).status().code(), Code::kLocked);
  open("LOCK", OpenMode::kReadWrite);  // opening and closing it otherwise changes nothing either
  EXPECT_EQ(env().lock(at("LOCK")).status().code(), Code::kLocked);
}

TEST_P(EnvPromise, TheLockedFileCanBeReadAndWrittenAndKeepsItsContent) {
  EXPECT_OK(env().lock(at("LOCK")).value()->file().write_at(0, "pid 1"));
  auto lock = env().lock(at("LOCK"));
  EXPECT_EQ(content((*lock)->file()), "pid 1");
  EXPECT_OK((*lock)->file().write_at(4, "2"));
  EXPECT_EQ(content("LOCK"), "pid 2");
}

TEST_P(EnvPromise, OfManyThreadsOneGetsTheLock) {
  std::vector<std::unique_ptr<FileLock>> locks(8);
  std::vector<std::thread> threads;
  threads.reserve(locks.size());
  for (auto& slot : locks) {
    threads.emplace_back([&] {
      auto lock = env().lock(at("LOCK"));
      if (lock.ok()) slot = std::move(*lock);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::count_if(locks.begin(), locks.end(), [](const auto& lock) { return lock != nullptr; }), 1);
}

// ---- threads --------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, ReadingAndSyncingMayRunBesideStoresIntoTheMapping) {
  constexpr size_t kBytes = 64 << 10;
  auto file = create("a", std::string(kBytes, '\n'));
  char* bytes = file->map(kBytes).value();
  std::thread reader([&] {
    std::string seen(kBytes, '?');
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(file->read_at(0, seen).value(), kBytes);
      EXPECT_OK(file->sync());
      EXPECT_EQ(seen.find_first_not_of("\nx"), std::string::npos);  // each byte is old or new
    }
  });
  for (size_t i = 0; i < kBytes; ++i) bytes[i] = 'x';
  reader.join();
  EXPECT_EQ(content(*file), std::string(kBytes, 'x'));
}

TEST_P(EnvPromise, ManyThreadsMayMakeAndRemoveFiles) {
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string name = "f" + std::to_string(t);
        create(name, "x");
        EXPECT_OK(env().rename(at(name), at(name + "-moved")));
        EXPECT_OK(env().list(ground->root()).status());
        EXPECT_OK(env().remove(at(name + "-moved")));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(env().list(ground->root()).value(), Names{});
}

// ---- identity -------------------------------------------------------------------------------------------------

TEST_P(EnvPromise, UuidsAreOfVersion4AndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string uuid = env().new_uuid();
    ASSERT_EQ(uuid.size(), 36u);
    for (size_t at = 0; at < uuid.size(); ++at) {
      const bool dash = at == 8 || at == 13 || at == 18 || at == 23;
      EXPECT_TRUE(dash ? uuid[at] == '-'
                       : std::string_view("0123456789abcdef").find(uuid[at]) != std::string_view::npos)
          << uuid;
    }
    EXPECT_EQ(uuid[14], '4') << uuid;
    EXPECT_NE(std::string_view("89ab").find(uuid[19]), std::string_view::npos) << uuid;
    EXPECT_TRUE(seen.insert(uuid).second) << uuid;
  }
}

TEST_P(EnvPromise, KnowsWhoWeAre) {
  EXPECT_GT(env().pid(), 0);
  EXPECT_FALSE(env().host().empty());
}

INSTANTIATE_TEST_SUITE_P(Every, EnvPromise,
                         ::testing::Values(Candidate{"Posix", [] { return std::make_unique<PosixGround>(); }},
                                           Candidate{"Mem", [] { return std::make_unique<MemGround>(); }},
                                           Candidate{"Crash", [] { return std::make_unique<CrashGround>(); }},
                                           Candidate{"Fault", [] { return std::make_unique<FaultGround>(); }}),
                         [](const auto& candidate) { return candidate.param.name; });

}  // namespace
}  // namespace kvstore::testing
