// A command that an error advises must mean the same directory in a shell, whatever that is called.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "kvstore/base/shell_word.h"

namespace kvstore {
namespace {

std::string echoed(const std::string& word) {
  std::FILE* shell = ::popen(("printf %s " + word).c_str(), "r");
  std::string out;
  for (int c = 0; (c = std::fgetc(shell)) != EOF;) out += static_cast<char>(c);
  EXPECT_EQ(::pclose(shell), 0);
  return out;
}

TEST(ShellWord, IsOneWordOfTheSamePath) {
  for (const char* path : {"db", "/var/db", "my db", "it's", "$HOME", "a\nb", "*", "a;b", "\"", "\\", "''", "~"}) {
    EXPECT_EQ(echoed(base::shell_word(path)), path);
  }
  EXPECT_EQ(base::shell_word("/var/my-db.1"), "/var/my-db.1");  // as it is
}

TEST(ShellWord, IsNoOption) {
  EXPECT_EQ(echoed(base::shell_word("-d")), "./-d");
  EXPECT_EQ(echoed(base::shell_word("-my db")), "./-my db");
}

}  // namespace
}  // namespace kvstore
