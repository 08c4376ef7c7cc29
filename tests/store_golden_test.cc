// Opens every store under data/golden/ and compares with its expected.txt, which a second implementation of the
// format wrote (data/golden/make_golden.py; data/golden/README.md describes both).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
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
    std::string text = fmt::format("open: {}\n", s.code() == Code::kUnsupported ? "unsupported" : "corrupt");
    if (log_files_of(dir).size() > 1) text += fmt::format("in: {}\n", fs::path(s.path()).filename().string());
    // ".../wal-….jsonl:4 (byte 337): ..."
    if (const size_t name_end = s.message().find(".jsonl:"); s.offset() && name_end != std::string_view::npos) {
      const size_t line = name_end + 7;
      text += fmt::format("at: line {} byte {}\n", s.message().substr(line, s.message().find(' ', line) - line),
                          *s.offset());
    }
    return text;
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
    if (!line.starts_with('#') && !line.starts_with("verify:")) text += line + "\n";
  }
  return text;
}

std::map<std::string, std::string> files_in(const fs::path& dir) {
  std::map<std::string, std::string> files;
  for (const fs::path& file : log_files_of(dir)) files[file.filename().string()] = bytes_of(file);
  return files;
}

class GoldenStore : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenStore, OpensAsTheSecondImplementationSays) {
  const fs::path golden = fs::path(KVSTORE_SOURCE_DIR) / "data" / "golden" / GetParam();
  const TempDir temp;
  const fs::path dir = temp / "db";
  fs::copy(golden, dir);
  fs::remove(dir / "expected.txt");
  const std::map<std::string, std::string> before = files_in(dir);

  const std::string expected = expectation_in(golden / "expected.txt");
  const std::string outcome = outcome_of(dir);
  const bool refused = expected.starts_with("open: corrupt") || expected.starts_with("open: unsupported");
  if (refused) {
    EXPECT_TRUE(outcome.starts_with(expected)) << outcome << "expected:\n" << expected;  // which may name no place
    EXPECT_EQ(files_in(dir), before) << "a refused log is not touched";
    return;
  }
  EXPECT_EQ(outcome, expected);
  // Covered files are no part of the state, so damage in them stops no opening. The next compaction removes them.
  ASSERT_TRUE(Store::open(dir)->compact().ok());
  EXPECT_EQ(first_line_that_is_no_json(dir, false), "");
  fs::remove_all(dir);
  fs::copy(golden, dir, fs::copy_options::recursive);
  fs::remove(dir / "expected.txt");
  ASSERT_EQ(outcome_of(dir), expected);
  // What was cut is kept, whole; what is left opens again, clean and the same.
  const std::string log_before = before.rbegin()->second;
  const std::string log_after = bytes_of(log_files_of(dir).back());
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

TEST(GoldenStores, AreAllThere) { EXPECT_GE(golden_names().size(), 57U); }

INSTANTIATE_TEST_SUITE_P(All, GoldenStore, ::testing::ValuesIn(golden_names()), [](const auto& instance) {
  std::string name = instance.param;
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace kvstore::testing
