#include "tests/support/kvctl_test.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>

#include "kvstore/store.h"

namespace kvstore::testing {

std::vector<std::string> lines_of_text(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> KvctlTest::command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), KVSTORE_KVCTL);
  return arguments;
}

ProcessResult KvctlTest::kvctl(std::vector<std::string> arguments, std::string_view input) const {
  return run_process(command(std::move(arguments)), input, here());
}

ProcessResult KvctlTest::shell(const std::string& script, ProcessOptions options) const {
  options.directory = temp_.path();
  // By its name alone: the path may have spaces in it.
  const std::string bin = std::filesystem::path(KVSTORE_KVCTL).parent_path().string();
  options.environment.push_back("PATH=" + bin + ":" + std::getenv("PATH"));
  options.environment.emplace_back("kvctl=kvctl");
  return run_process({"sh", "-c", script}, {}, options);
}

void KvctlTest::fill(const std::string& name, int count) const {
  Result<Store> store = Store::open(path(name));
  ASSERT_TRUE(store.ok()) << store.status().message();
  Batch batch;
  for (int i = 0; i < count; ++i) batch.put("key:" + std::to_string(i), "value");
  ASSERT_TRUE(store->write(batch).ok());
  ASSERT_TRUE(store->close().ok());
}

}  // namespace kvstore::testing
