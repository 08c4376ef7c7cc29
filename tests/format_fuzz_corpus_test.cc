// Every input that the fuzzer has found worth keeping still passes. New ones: make fuzz, then copy what it
// finds into tests/fuzz/corpus/codec/.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/format_fuzz.h"

namespace kvstore {
namespace {

TEST(FuzzCorpus, EveryKeptInputPasses) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(KVSTORE_SOURCE_DIR "/tests/fuzz/corpus/codec")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  EXPECT_GT(paths.size(), 20u) << "where has the corpus gone?";
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    SCOPED_TRACE(path.filename());
    testing::fuzz_codec(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    // And cut short everywhere, as crashes do.
    for (size_t size = 0; size < input.size(); size += 1 + input.size() / 64) {
      testing::fuzz_codec(reinterpret_cast<const uint8_t*>(input.data()), size);
    }
  }
}

}  // namespace
}  // namespace kvstore
