// What MemEnv offers beyond env.h: helpers for tests, and noticing what would be SIGBUS on a disk.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "kvstore/env/mem_env.h"

namespace kvstore::env {
namespace {

using Paths = std::vector<std::string>;

TEST(MemEnv, FilesArePutAndGotByAnySpellingOfTheirPath) {
  MemEnv env;
  env.put_file("/db//sub/./wal", "1");
  env.put_file("db/LOCK", "2");
  env.put_file("db/x/../LOCK", "3");
  EXPECT_EQ(env.files(), (Paths{"db/LOCK", "db/sub/wal"}));
  EXPECT_EQ(env.get_file("db/sub/wal"), "1");
  EXPECT_EQ(env.get_file("./db/LOCK"), "3");
  EXPECT_EQ(env.get_file("db"), std::nullopt);
  EXPECT_EQ(env.get_file("db/absent"), std::nullopt);
  EXPECT_TRUE(env.is_dir("db/sub/"));
  EXPECT_TRUE(env.is_dir("/"));
  EXPECT_FALSE(env.is_dir("db/LOCK"));
}

TEST(MemEnv, GetFileSeesStoresIntoAMapping) {
  MemEnv env;
  env.put_file("f", "0123");
  auto file = env.open("f", OpenMode::kReadWrite);
  (*file)->map(4096).value()[2] = 'X';
  EXPECT_EQ(env.get_file("f"), "01X3");
}

TEST(MemEnv, ReplacingAFileLeavesThoseWhoHaveItOpenWithTheOldOne) {
  MemEnv env;
  env.put_file("f", "old");
  auto file = env.open("f", OpenMode::kReadWrite);
  env.put_file("f", "new");
  EXPECT_TRUE((*file)->write_at(0, "O").ok());
  EXPECT_EQ(env.get_file("f"), "new");
}

TEST(MemEnv, UuidsDependOnTheSeedAlone) {
  EXPECT_EQ(MemEnv(7).new_uuid(), MemEnv(7).new_uuid());
  EXPECT_NE(MemEnv(7).new_uuid(), MemEnv(8).new_uuid());
}

// On a disk: SIGBUS. AddressSanitizer stops at the store itself, otherwise an assertion does at the next resize.
TEST(MemEnvDeathTest, AStoreIntoAMappingBeyondTheFilesSizeIsCaught) {
  EXPECT_DEATH(
      {
        MemEnv env;
        env.put_file("f", std::string(100, '\n'));
        auto file = env.open("f", OpenMode::kReadWrite);
        volatile char* bytes = (*file)->map(4096).value();
        bytes[100] = 'x';
        (void)(*file)->write_at(100, "more");
      },
      "stored_beyond_the_files_size|use-after-poison");
}

}  // namespace
}  // namespace kvstore::env
