// Every input that a fuzzer has found worth keeping still passes, and so does what is left of it when it is cut short.
// New ones: make fuzz, then copy what it finds into tests/fuzz/corpus/<fuzzer>/.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/format_fuzz.h"
#include "tests/support/store_fuzz.h"
#include "tests/support/transaction_fuzz.h"
#ifdef KVSTORE_KVCTL
#include "tests/support/kvctl_import_fuzz.h"
#endif

namespace kvstore::testing {
namespace {

struct Fuzzer {
  std::string name;
  void (*body)(const uint8_t* data, size_t size);
  size_t cuts;  // so many prefixes of each input are tried too
};

class FuzzCorpus : public ::testing::TestWithParam<Fuzzer> {};

TEST_P(FuzzCorpus, EveryKeptInputPasses) {
  const Fuzzer& fuzzer = GetParam();
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(KVSTORE_SOURCE_DIR "/tests/fuzz/corpus/" + fuzzer.name)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  EXPECT_GE(paths.size(), 8U) << "where has the corpus gone?";
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    SCOPED_TRACE(path.filename());
    fuzzer.body(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    for (size_t size = 0; size < input.size(); size += 1 + input.size() / fuzzer.cuts) {
      fuzzer.body(reinterpret_cast<const uint8_t*>(input.data()), size);
    }
  }
}

std::vector<Fuzzer> fuzzers() {
  std::vector<Fuzzer> all = {
      {"codec", fuzz_codec, 64}, {"replay", fuzz_replay, 4}, {"transaction", fuzz_transactions, 2}};
#ifdef KVSTORE_KVCTL
  all.push_back({"import", fuzz_import, 64});
#endif
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, FuzzCorpus, ::testing::ValuesIn(fuzzers()),
                         [](const auto& fuzzer) { return fuzzer.param.name; });

}  // namespace
}  // namespace kvstore::testing
