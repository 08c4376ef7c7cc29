// Opens every store under data/golden/ and compares with its expected.txt, which a second implementation of the
// format wrote (data/golden/make_golden.py; data/golden/README.md describes both).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "kvstore/kvstore.h"
#include "tests/support/store_test.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(fs::path(KVSTORE_SOURCE_DIR) / "data" / "golden")) {
    if (fs::exists(item.path() / "expected.txt")) names.push_back(item.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string escaped(std::string_view bytes, std::string_view also = "") {
  std::string out;
  for (const char c : bytes) {
    const bool plain = c >= 0x20 && c <= 0x7e && c != '\\' && also.find(c) == std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

// What opening `dir` gives, in the words of expected.txt.
std::string outcome_of(const fs::path& dir) {
  Result<Store> store = Store::open(dir);
  if (!store.ok()) {
    const Status& s = store.status();
    const std::string_view message = s.message();
    // ".../wal-….jsonl:4 (byte 337): ..."
    const size_t colon = message.find(".jsonl:") + 7;
    return fmt::format("open: {}\nat: line {} byte {}\n", s.code() == Code::kUnsupported ? "unsupported" : "corrupt",
                       message.substr(colon, message.find(' ', colon) - colon), *s.offset());
  }
  std::string text = "open: ok\n";
  if (const std::vector<CutReport>& cuts = store->recovery().cuts; !cuts.empty()) {
    EXPECT_EQ(cuts.size(), 1U);
    text = fmt::format("open: cut\nat: line {} byte {}\n", cuts[0].line, cuts[0].offset);
  }
  text += fmt::format("last_seq: {}\nstate:\n", store->last_seq());
  Result<Scan> scan = store->scan();
  for (const EntryView e : *scan) {
    text += fmt::format("{} {} {} {}={}\n", e.version, e.expires_us, e.is_json ? "json" : "bytes", escaped(e.key, " ="),
                        escaped(e.value));
  }
  return text;
}

std::string expectation_in(const fs::path& file) {
  std::string text;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with('#')) text += line + "\n";
  }
  return text;
}

class GoldenStore : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenStore, OpensAsTheSecondImplementationSays) {
  const fs::path golden = fs::path(KVSTORE_SOURCE_DIR) / "data" / "golden" / GetParam();
  const TempDir temp;
  const fs::path dir = temp / "db";
  fs::copy(golden, dir);
  fs::remove(dir / "expected.txt");
  const std::string log_before = bytes_of(log_files_of(dir).at(0));

  const std::string expected = expectation_in(golden / "expected.txt");
  EXPECT_EQ(outcome_of(dir), expected);

  const bool refused = expected.starts_with("open: corrupt") || expected.starts_with("open: unsupported");
  if (refused) {
    EXPECT_EQ(bytes_of(log_files_of(dir).at(0)), log_before) << "a refused log is not touched";
    return;
  }
  // What was cut is kept, whole; what is left opens again, clean and the same.
  const std::string log_after = bytes_of(log_files_of(dir).at(0));
  EXPECT_EQ(first_line_that_is_no_json(dir, false), "");
  if (expected.starts_with("open: cut")) {
    std::string kept;
    for (const auto& item : fs::directory_iterator(dir / "lost+found")) kept += bytes_of(item.path());
    EXPECT_EQ(log_before.find(kept), log_before.rfind(kept));
    EXPECT_EQ(log_before.substr(log_before.find(kept) + kept.size()).find_first_not_of('\n'), std::string::npos);
    EXPECT_TRUE(log_before.starts_with(log_after.substr(0, log_before.find(kept))));
  }
  std::string expected_again = expected;
  if (expected.starts_with("open: cut")) expected_again = "open: ok\n" + expected.substr(expected.find("last_seq"));
  EXPECT_EQ(outcome_of(dir), expected_again);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenStore, ::testing::ValuesIn(golden_names()), [](const auto& instance) {
  std::string name = instance.param;
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace kvstore::testing
