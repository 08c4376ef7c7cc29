// KvctlTest: runs the real kvctl in a directory of its own.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/run_process.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {

[[nodiscard]] std::vector<std::string> lines_of_text(const std::string& text);

class KvctlTest : public ::testing::Test {
 protected:
  [[nodiscard]] static std::vector<std::string> command(std::vector<std::string> arguments);
  [[nodiscard]] ProcessResult kvctl(std::vector<std::string> arguments, std::string_view input = {}) const;
  // With `$kvctl` for the program.
  [[nodiscard]] ProcessResult shell(const std::string& script, ProcessOptions options = {}) const;
  // Makes a store whose one record is a batch of `count` small entries: key:0, key:1, ...
  void fill(const std::string& name, int count) const;
  [[nodiscard]] std::string path(const std::string& name) const { return temp_ / name; }
  [[nodiscard]] ProcessOptions here() const { return {.directory = temp_.path()}; }

 private:
  TempDir temp_;
};

}  // namespace kvstore::testing
