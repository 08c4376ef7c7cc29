// The rules of loss that CrashEnv plays by, one test each, and at the end what they are for: a protocol that is
// right survives every crash, and one that lacks a sync is caught.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/crash_env.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

using env::File;
using env::MemEnv;
using env::OpenMode;
using Data = CrashChoice::Data;
using Names = CrashChoice::Names;

constexpr size_t kBlock = 512;

std::string block(char byte) { return std::string(kBlock, byte); }

std::unique_ptr<File> create(env::Env& env, const std::string& path, std::string_view content = {}) {
  auto file = env.open(path, OpenMode::kCreate);
  EXPECT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE((*file)->write_at(0, content).ok());
  return std::move(*file);
}

// A file whose content and name are durable.
std::unique_ptr<File> create_durable(env::Env& env, const std::string& path, std::string_view content) {
  auto file = create(env, path, content);
  EXPECT_TRUE(file->sync().ok());
  EXPECT_TRUE(env.sync_dir(".").ok());
  return file;
}

void write(File& file, uint64_t offset, std::string_view bytes) { EXPECT_TRUE(file.write_at(offset, bytes).ok()); }
void sync(File& file) { EXPECT_TRUE(file.sync().ok()); }
void sync_dir(env::Env& env, const std::string& dir) { EXPECT_TRUE(env.sync_dir(dir).ok()); }
void rename(env::Env& env, const std::string& from, const std::string& to) { EXPECT_TRUE(env.rename(from, to).ok()); }
void remove(env::Env& env, const std::string& path) { EXPECT_TRUE(env.remove(path).ok()); }
void create_dir(env::Env& env, const std::string& dir) { EXPECT_TRUE(env.create_dir(dir).ok()); }

// "a=1 b=2": the small files of a disk, with their content.
std::string describe(const MemEnv& disk) {
  std::string text;
  for (const std::string& path : disk.files()) text += (text.empty() ? "" : " ") + path + "=" + *disk.get_file(path);
  return text;
}

using States = std::set<std::string>;

// Every state that comes up in many random crashes with all names kept: the possible contents of one file. Names of
// blocks stand for their bytes, so "abz" is a file of three blocks.
States contents_after_crashes(CrashEnv& env, const std::string& path,
                              const std::function<std::string(std::string)>& tell, uint64_t block_bytes = kBlock) {
  States seen;
  for (uint64_t i = 0; i < 3000; ++i) {
    const CrashChoice choice{.data = Data::kRandom, .block_bytes = block_bytes, .seed = seed() + i};
    seen.insert(tell(env.crash_clone(choice)->get_file(path).value()));
  }
  return seen;
}

States disks_after_crashes(CrashEnv& env, Names rule) {
  States seen;
  for (uint64_t i = 0; i < 500; ++i) {
    const CrashChoice choice{.data = Data::kAll, .names = rule, .seed = seed() + i};
    seen.insert(describe(*env.crash_clone(choice)));
  }
  return seen;
}

// One letter a block: its byte if all bytes are the same ('0' for zeros), '%' if not.
std::string letters(const std::string& content) {
  std::string text;
  for (size_t at = 0; at < content.size(); at += kBlock) {
    const std::string bytes = content.substr(at, kBlock);
    const bool is_uniform = bytes.find_first_not_of(bytes[0]) == std::string::npos;
    text += !is_uniform ? '%' : bytes[0] == '\0' ? '0' : bytes[0];
  }
  return text;
}

// ---- kill -9 --------------------------------------------------------------------------------------------------

TEST(CrashKill, ProcessDeathKeepsEverythingThatWasWrittenOrStored) {
  CrashEnv env;
  create_dir(env, "db");
  auto file = create(env, "db/wal", "0123456789");
  file->map(4096).value()[0] = 'X';
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_everything())), "db/wal=X123456789");
}

TEST(CrashKill, LocksAreGoneAfterwards) {
  CrashEnv env;
  auto lock = env.lock("LOCK");
  auto after = env.crash_clone(CrashChoice::keep_everything());
  EXPECT_TRUE(env.is_locked("LOCK"));
  EXPECT_FALSE(after->is_locked("LOCK"));
  EXPECT_TRUE(after->lock("LOCK").ok());
}

// A copy made while another thread stores must be what the files were at some instant. Here the thread goes over both
// files again and again, each time with a higher number:
//   wal-1  3333333   wal-2  3332222      but never  wal-1  3333233  nor a higher number in wal-2 than in wal-1
// It stores only one word in eight, and so overtakes the copy all the time.
TEST(CrashKill, StoresOfAnotherThreadAreSeenInTheOrderTheyWereMade) {
  constexpr size_t kWords = 4096;
  constexpr size_t kStride = 8;
  CrashEnv env;
  std::atomic<bool> stop = false;
  std::vector<std::unique_ptr<File>> files;
  std::vector<volatile uint64_t*> mappings;
  for (const char* path : {"wal-1", "wal-2"}) {
    // Something to copy between the two, so that the thread gets further in the meantime.
    if (!files.empty()) create(env, "idle", std::string(64 << 10, '.'));
    files.push_back(create(env, path, std::string(kWords * sizeof(uint64_t), '\0')));
    mappings.push_back(reinterpret_cast<uint64_t*>(files.back()->map(kWords * sizeof(uint64_t)).value()));
  }
  std::thread writer([&] {
    for (uint64_t round = 1; !stop; ++round) {
      for (volatile uint64_t* words : mappings) {
        for (size_t i = 0; i < kWords; i += kStride) words[i] = round;
      }
    }
  });
  for (int copies = 0; copies < 200 && !HasFailure(); ++copies) {
    auto after = env.crash_clone(CrashChoice::keep_everything());
    const std::string bytes = *after->get_file("wal-1") + *after->get_file("wal-2");
    std::vector<uint64_t> seen(2 * kWords / kStride);
    for (size_t i = 0; i < seen.size(); ++i)
      std::memcpy(&seen[i], &bytes[i * kStride * sizeof(uint64_t)], sizeof(uint64_t));
    EXPECT_TRUE(std::is_sorted(seen.rbegin(), seen.rend()));
  }
  stop = true;
  writer.join();
}

// ---- bytes ----------------------------------------------------------------------------------------------------

TEST(CrashBytes, SyncMakesTheContentOfThatMomentDurableAndNoMore) {
  CrashEnv env;
  auto file = create_durable(env, "f", "");
  char* bytes = file->map(4096).value();
  write(*file, 0, "aaaa");
  bytes[1] = 'b';
  sync(*file);
  write(*file, 2, "c");
  bytes[3] = 'd';
  EXPECT_EQ(describe(env.live()), "f=abcd");
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "f=abaa");
}

//   durable  a a a      written since  B B B      after: each block for itself
TEST(CrashBytes, EachBlockIsOldOrNewForItself) {
  CrashEnv env;
  auto file = create_durable(env, "f", block('a') + block('a') + block('a'));
  write(*file, 0, block('B') + block('B') + block('B'));
  const States seen = contents_after_crashes(env, "f", letters);
  for (const char* state : {"aaa", "aaB", "aBa", "aBB", "Baa", "BaB", "BBa", "BBB"})
    EXPECT_TRUE(seen.contains(state)) << state;
}

//   durable  aaaaaaaa      written since  BBBBBBBB      torn  BBBaaaaa, at any byte, never aaaBBBBB
TEST(CrashBytes, ATornBlockIsNewUpToSomeByteAndOldBehindIt) {
  CrashEnv env;
  auto file = create_durable(env, "f", block('a'));
  write(*file, 0, block('B'));
  const States seen = contents_after_crashes(env, "f", [](const std::string& bytes) { return bytes; });
  for (const std::string& state : seen) EXPECT_EQ(state.find('B', state.find('a')), std::string::npos) << state;
  EXPECT_GT(seen.size(), 100u);  // tears at many bytes
}

//   durable  aa|aa|aa|aa      stored since in block 1 only      after: blocks 0, 2 and 3 are as they were
TEST(CrashBytes, DurableBytesThatWereNotTouchedAreNeverHarmed) {
  CrashEnv env;
  auto file = create_durable(env, "f", std::string(4 * kBlock, 'a'));
  file->map(4 * kBlock).value()[kBlock + 7] = 'B';
  for (const std::string& state : contents_after_crashes(env, "f", [](const std::string& bytes) { return bytes; })) {
    std::string expected(4 * kBlock, 'a');
    expected[kBlock + 7] = state[kBlock + 7];
    EXPECT_EQ(state, expected);
  }
}

//   durable  aa|      appended since  BB|BB      after: the first block stays; the others may be zeros, garbage,
//   or what a deleted file left there
TEST(CrashBytes, WhereTheFileGrewThereMayBeZerosGarbageOrTheContentOfDeletedFiles) {
  CrashEnv env;
  create_durable(env, "old", std::string(3 * kBlock, 'o'));
  remove(env, "old");
  sync_dir(env, ".");
  auto file = create_durable(env, "f", block('a'));
  write(*file, kBlock, block('B') + block('B'));
  const States seen = contents_after_crashes(env, "f", letters);
  for (const char* state : {"a", "aB", "a0", "a%", "ao", "aBB", "a00", "aB0", "a0B", "aoo", "a%%"}) {
    EXPECT_TRUE(seen.contains(state)) << state;
  }
  for (const std::string& state : seen) EXPECT_EQ(state[0], 'a') << state;
}

//   durable  aaa      appended in the same block  aaaBBB      after: aaa, and anything behind it
TEST(CrashBytes, DurableBytesStayWhenSomethingIsAppendedInTheirBlock) {
  CrashEnv env;
  auto file = create_durable(env, "f", "durable");
  write(*file, 7, block('B'));
  const States seen = contents_after_crashes(env, "f", [](const std::string& bytes) { return bytes; });
  for (const std::string& state : seen) EXPECT_EQ(state.substr(0, 7), "durable");
  EXPECT_GT(seen.size(), 100u);
}

TEST(CrashBytes, TheBlocksOfAFileWhoseRemovalMayBeLostAreNotGivenToAnother) {
  CrashEnv env;
  auto file = create_durable(env, "f", "");
  create_durable(env, "old", block('o'));
  remove(env, "old");  // and no sync_dir
  write(*file, 0, block('B'));
  const States seen = contents_after_crashes(env, "f", letters);
  EXPECT_FALSE(seen.contains("o"));
  EXPECT_TRUE(seen.contains("%"));  // garbage it may be
}

//   sizes since the last sync: 512 (durable), 2048, 1024 (live)
TEST(CrashBytes, TheSizeIsOneTheFileHadOrABlockBoundaryOnTheWay) {
  CrashEnv env;
  auto file = create_durable(env, "f", block('a'));
  write(*file, kBlock, std::string(3 * kBlock, 'B'));
  EXPECT_TRUE(file->truncate(2 * kBlock).ok());
  States sizes;
  for (const std::string& state : contents_after_crashes(env, "f", letters)) sizes.insert(std::to_string(state.size()));
  EXPECT_EQ(sizes, (States{"1", "2", "3", "4"}));
  sync(*file);
  EXPECT_EQ(contents_after_crashes(env, "f", letters), States{"aB"});
}

TEST(CrashBytes, ACutThatWasNotSyncedMayComeBack) {
  CrashEnv env;
  auto file = create_durable(env, "f", "promised, then cut");
  EXPECT_TRUE(file->truncate(8).ok());
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "f=promised, then cut");
  const States seen = contents_after_crashes(env, "f", [](const std::string& bytes) { return bytes; });
  EXPECT_TRUE(seen.contains("promised"));
  EXPECT_TRUE(seen.contains("promised, then cut"));
}

//   durable  aa      written  BB, then  CC      after: also BB, which had been written out in between
TEST(CrashBytes, ABlockMayShowAVersionFromBetween) {
  CrashEnv env;
  auto file = create_durable(env, "f", block('a'));
  write(*file, 0, block('B'));
  write(*file, 0, block('C'));
  const States seen = contents_after_crashes(env, "f", letters);
  for (const char* state : {"a", "B", "C"}) EXPECT_TRUE(seen.contains(state)) << state;
}

TEST(CrashBytes, BlocksOf4096BytesAreLostAndKeptAsAWhole) {
  CrashEnv env;
  auto file = create_durable(env, "f", std::string(8192, 'a'));
  write(*file, 0, std::string(8192, 'B'));
  for (const std::string& state : contents_after_crashes(env, "f", letters, 4096)) {
    const std::string first = state.substr(0, 8), second = state.substr(8);
    for (const std::string& half : {first, second}) {
      // Torn once at most: B...B%a...a, where the % may be missing.
      EXPECT_LE(std::count(half.begin(), half.end(), '%'), 1) << state;
      EXPECT_EQ(half.find('B', std::min(half.find('a'), half.find('%'))), std::string::npos) << state;
    }
  }
}

//   sync fails: page 0 is taken for clean.  Page 1 is written later.  The next sync says OK, and page 0 may still
//   not be there, unless somebody writes it anew.
TEST(CrashBytes, WhatAFailedSyncLeftBehindIsNotMadeDurableByTheNext) {
  CrashEnv env;
  auto file = create_durable(env, "f", std::string(8192, 'a'));
  write(*file, 0, std::string(4096, 'B'));
  env.fail_next_sync();
  EXPECT_EQ(file->sync().sys_errno(), EIO);
  write(*file, 4096, std::string(4096, 'C'));
  sync(*file);
  EXPECT_EQ(letters(*env.live().get_file("f")), "BBBBBBBBCCCCCCCC");
  const auto least = [&] { return letters(*env.crash_clone(CrashChoice::keep_only_synced())->get_file("f")); };
  EXPECT_EQ(least(), "aaaaaaaaCCCCCCCC");
  write(*file, 0, std::string(4096, 'B'));  // the same bytes again, but dirty now
  sync(*file);
  EXPECT_EQ(least(), "BBBBBBBBCCCCCCCC");
}

// ---- names ----------------------------------------------------------------------------------------------------

TEST(CrashNames, AFileIsLostWithItsNameHoweverWellItWasSynced) {
  CrashEnv env;
  auto file = create(env, "f", "x");
  sync(*file);
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "");
  sync_dir(env, ".");
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "f=x");
}

//   sync_dir("db") makes durable what is in db, not that there is a db
TEST(CrashNames, ANewDirectoryNeedsASyncOfTheOneAboveIt) {
  CrashEnv env;
  create_dir(env, "db");
  sync(*create(env, "db/f", "x"));
  sync_dir(env, "db");
  EXPECT_FALSE(env.crash_clone(CrashChoice::keep_only_synced())->is_dir("db"));
  sync_dir(env, ".");
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "db/f=x");
}

TEST(CrashNames, TheFileOfALockIsCreatedAsAnyOther) {
  CrashEnv env;
  auto lock = env.lock("LOCK");
  EXPECT_EQ(env.crash_clone(CrashChoice::keep_only_synced())->files(), std::vector<std::string>{});
  EXPECT_TRUE((*lock)->file().write_at(0, "pid 1").ok());
  sync((*lock)->file());
  sync_dir(env, ".");
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "LOCK=pid 1");
}

TEST(CrashNames, ARemovedFileMayComeBackWithItsContent) {
  CrashEnv env;
  create_dir(env, "other");
  create_durable(env, "f", "x");
  remove(env, "f");
  sync_dir(env, "other");  // which is not where it was removed
  EXPECT_EQ(describe(env.live()), "");
  EXPECT_EQ(disks_after_crashes(env, Names::kOrdered), (States{"", "f=x"}));
  sync_dir(env, ".");
  EXPECT_EQ(disks_after_crashes(env, Names::kBare), States{""});
}

//   write tmp -> (no sync) -> rename -> sync directory:   the name is new, the bytes never came
TEST(CrashNames, ARenameWithoutASyncOfTheFileMayShowAnEmptyOne) {
  CrashEnv env;
  create_durable(env, "f", "old");
  create(env, "tmp", "new");
  rename(env, "tmp", "f");
  sync_dir(env, ".");
  EXPECT_EQ(describe(*env.crash_clone(CrashChoice::keep_only_synced())), "f=");
}

//   pending: create a, create b, create c      after: a beginning of that sequence
TEST(CrashNames, OrderedKeepsABeginningOfAllOperations) {
  CrashEnv env;
  for (const char* name : {"a", "b", "c"}) create(env, name);
  EXPECT_EQ(disks_after_crashes(env, Names::kOrdered), (States{"", "a=", "a= b=", "a= b= c="}));
}

//   pending: create x/a, create y/b, sync y, create x/c      after: at least up to the last one in y
TEST(CrashNames, OrderedKeepsAllThatWentBeforeASyncOfAnyDirectory) {
  CrashEnv env;
  create_dir(env, "x");
  create_dir(env, "y");
  create(env, "x/a");
  create(env, "y/b");
  sync_dir(env, "y");
  create(env, "x/c");
  EXPECT_EQ(disks_after_crashes(env, Names::kOrdered), (States{"x/a= y/b=", "x/a= x/c= y/b="}));
}

//   pending: create a, create b, rename a to c      after: any of them, each whole
TEST(CrashNames, ReorderedKeepsAnyOperationsEachWhole) {
  CrashEnv env;
  create_durable(env, "a", "1");
  create(env, "b", "2");
  rename(env, "a", "c");
  EXPECT_EQ(disks_after_crashes(env, Names::kReordered), (States{"a=1", "a=1 b=2", "c=1", "b=2 c=1"}));
}

//   pending: rename new to f      after: f is the old one or the new one, and always there
TEST(CrashNames, UnlessBareARenameIsAllOrNothing) {
  for (const Names rule : {Names::kOrdered, Names::kReordered}) {
    CrashEnv env;
    create_durable(env, "f", "1");
    create_durable(env, "new", "2");
    rename(env, "new", "f");
    EXPECT_EQ(disks_after_crashes(env, rule), (States{"f=1 new=2", "f=2"}));
  }
}

//   pending: rename new to f = [new gone] + [f new]      after: any of the four
TEST(CrashNames, BareKeepsEvenTheHalvesOfARenameForThemselves) {
  CrashEnv env;
  create_durable(env, "f", "1");
  create_durable(env, "new", "2");
  rename(env, "new", "f");
  EXPECT_EQ(disks_after_crashes(env, Names::kBare), (States{"f=1 new=2", "f=1", "f=2 new=2", "f=2"}));
}

TEST(CrashNames, BareKeepsOnlyWhatTheSyncedDirectoryHolds) {
  CrashEnv env;
  create_dir(env, "x");
  create_dir(env, "y");
  sync_dir(env, ".");
  create(env, "x/a", "1");
  sync_dir(env, "x");
  rename(env, "x/a", "y/b");
  sync_dir(env, "y");
  EXPECT_EQ(disks_after_crashes(env, Names::kBare), (States{"x/a=1 y/b=1", "y/b=1"}));
}

TEST(CrashNames, ARenamedDirectoryTakesItsFilesAlong) {
  CrashEnv env;
  create_dir(env, "tmp");
  create(env, "tmp/f", "x");
  sync_dir(env, "tmp");
  sync_dir(env, ".");
  rename(env, "tmp", "db");
  EXPECT_EQ(disks_after_crashes(env, Names::kOrdered), (States{"tmp/f=x", "db/f=x"}));
}

// ---- watching and replaying -----------------------------------------------------------------------------------

TEST(CrashHook, SeesEveryOperationBeforeDuringAndAfter) {
  CrashEnv env;
  std::vector<std::string> seen;
  env.set_hook([&](const CrashEnv::OpInfo& op) {
    seen.push_back(op.describe() + " | " + describe(*env.crash_clone(CrashChoice::keep_everything())));
  });
  auto file = create(env, "f", "ab");
  EXPECT_TRUE(file->truncate(1).ok());
  sync(*file);
  rename(env, "f", "g");
  sync_dir(env, ".");
  remove(env, "g");
  create_dir(env, "d");
  EXPECT_EQ(seen, (std::vector<std::string>{"#1 before create f | ", "#1 after create f | f=",  //
                                            "#2 before write f 0+2 | f=", "#2 during write f 0+2 | f=a",
                                            "#2 after write f 0+2 | f=ab",                                    //
                                            "#3 before truncate f 1 | f=ab", "#3 after truncate f 1 | f=a",   //
                                            "#4 before sync f | f=a", "#4 after sync f | f=a",                //
                                            "#5 before rename f to g | f=a", "#5 after rename f to g | g=a",  //
                                            "#6 before sync_dir . | g=a", "#6 after sync_dir . | g=a",        //
                                            "#7 before remove g | g=a", "#7 after remove g | ",               //
                                            "#8 before create_dir d | ", "#8 after create_dir d | "}));
  EXPECT_EQ(env.op_count(), 8u);
}

TEST(CrashHook, MapAndLockAreSeenToo) {
  CrashEnv env;
  auto file = create(env, "f");
  std::vector<std::string> seen;
  env.set_hook([&](const CrashEnv::OpInfo& op) { seen.push_back(op.describe()); });
  EXPECT_TRUE(file->map(4096).ok());
  EXPECT_TRUE(env.lock("LOCK").ok());
  EXPECT_EQ(seen, (std::vector<std::string>{"#3 before map f", "#3 after map f", "#4 before lock LOCK",
                                            "#4 after lock LOCK"}));
}

TEST(CrashChoice, TheSameSeedGivesTheSameDiskAndTheStoryTellsWhatHappened) {
  CrashEnv env;
  auto file = create_durable(env, "f", block('a') + block('a'));
  write(*file, 0, block('B') + block('B') + block('B'));
  create(env, "g", "x");
  const CrashChoice choice = CrashChoice::random(seed(), Names::kReordered);
  std::string story, again;
  EXPECT_EQ(describe(*env.crash_clone(choice, &story)), describe(*env.crash_clone(choice, &again)));
  EXPECT_EQ(story, again);
  EXPECT_EQ(story.substr(0, story.find('\n')), "crash " + choice.describe());
  (void)env.crash_clone(CrashChoice::keep_only_synced(), &story);
  EXPECT_EQ(story, "crash data=synced names=synced block_bytes=512 seed=0\n  lost: create g\n");
}

TEST(CrashChoice, AfterACrashTheNextOneStartsFromWhatWasLeft) {
  CrashEnv first;
  create_durable(first, "f", "durable");
  create(first, "g", "not");
  CrashEnv second(first.crash_clone(CrashChoice::keep_only_synced()));
  create_dir(second, "d");
  EXPECT_EQ(describe(*second.crash_clone(CrashChoice::keep_only_synced())), "f=durable");
  auto file = second.open("f", OpenMode::kReadWrite);
  write(**file, 0, "D");
  EXPECT_EQ(describe(*second.crash_clone(CrashChoice::keep_only_synced())), "f=durable");
  EXPECT_EQ(describe(*second.crash_clone(CrashChoice::keep_everything())), "f=Durable");
}

// ---- what it is for -------------------------------------------------------------------------------------------

// Replacing a file for good, or badly: write tmp -> sync tmp -> rename -> sync directory, each sync optional.
struct Replacing {
  bool syncs_file = true;
  bool syncs_dir = true;
  CrashEnv::Weakness disk{};

  // How many of all the crashes at all moments leave anything but the old or the new content, or the old one although
  // the new one was acknowledged.
  [[nodiscard]] uint64_t violations(Names rule) const {
    CrashEnv env;
    const std::string old_content(3000, 'o'), new_content(5000, 'n');
    create_durable(env, "f", old_content);
    env.weaken(disk);
    bool acknowledged = false;
    uint64_t count = 0;
    const auto check = [&] {
      for (uint64_t i = 0; i < 50; ++i) {
        const auto after = env.crash_clone(CrashChoice::random(seed() + i, rule));
        const std::optional<std::string> content = after->get_file("f");
        const bool is_right = content == new_content || (content == old_content && !acknowledged);
        count += is_right ? 0 : 1;
      }
    };
    env.set_hook([&](const CrashEnv::OpInfo&) { check(); });
    auto tmp = create(env, "tmp", new_content);
    if (syncs_file) sync(*tmp);
    rename(env, "tmp", "f");
    if (syncs_dir) sync_dir(env, ".");
    acknowledged = true;
    check();
    return count;
  }
};

TEST(CrashProtocol, TheRightOrderSurvivesEveryCrash) {
  for (const Names rule : CrashChoice::kChanceRules) EXPECT_EQ(Replacing{}.violations(rule), 0u);
}

TEST(CrashProtocol, AMissingSyncIsCaughtUnderEveryRule) {
  for (const Names rule : CrashChoice::kChanceRules) {
    EXPECT_GT(Replacing{.syncs_file = false}.violations(rule), 0u);
    EXPECT_GT(Replacing{.syncs_dir = false}.violations(rule), 0u);
  }
}

TEST(CrashProtocol, ALyingDiskIsCaughtUnderEveryRule) {
  for (const Names rule : CrashChoice::kChanceRules) {
    EXPECT_GT(Replacing{.disk = {.ignore_sync = true}}.violations(rule), 0u);
    EXPECT_GT(Replacing{.disk = {.ignore_dir_sync = true}}.violations(rule), 0u);
  }
}

// Random work on a few files, with a model that knows only what was promised.
TEST(CrashProtocol, WhatWasSyncedAndNotTouchedSinceIsThereAfterAnyCrash) {
  CrashEnv env;
  create_dir(env, "db");
  sync_dir(env, ".");
  std::map<std::string, std::optional<std::string>> promised;  // nullopt: touched since, or its name not synced
  Dice dice(seed());
  for (int step = 0; step < 600; ++step) {
    const std::string path = "db/f" + std::to_string(dice.below(5));
    const std::string target = "db/f" + std::to_string(dice.below(5));
    auto file = env.open(path, OpenMode::kReadWrite);
    switch (dice.below(file.ok() ? 6 : 1)) {
      case 0:
        if (!file.ok()) create(env, path);
        promised[path] = std::nullopt;
        break;
      case 1:
        write(**file, dice.below(6000), std::string(1 + dice.below(2000), static_cast<char>('a' + dice.below(26))));
        promised[path] = std::nullopt;
        break;
      case 2:
        EXPECT_TRUE((*file)->truncate(dice.below(6000)).ok());
        promised[path] = std::nullopt;
        break;
      case 3:
        sync(**file);
        sync_dir(env, "db");
        promised[path] = env.live().get_file(path);
        break;
      case 4:
        rename(env, path, target);
        if (path != target) promised[path] = promised[target] = std::nullopt;
        break;
      case 5:
        remove(env, path);
        promised[path] = std::nullopt;
        break;
    }
    for (const Names rule : CrashChoice::kChanceRules) {
      std::string story;
      const auto after = env.crash_clone(CrashChoice::random(seed() + static_cast<uint64_t>(step), rule), &story);
      for (const auto& [name, content] : promised) {
        if (!content) continue;
        ASSERT_EQ(after->get_file(name), content) << "step " << step << "\n" << story;
      }
    }
  }
}

}  // namespace
}  // namespace kvstore::testing
