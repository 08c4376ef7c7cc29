// Stories about kvctl: shell commands and what they print, in tests/testdata/kvctl/*.txt. One file, one test, in a
// directory of its own.
//
//     # a remark
//     $ printf 'x' | kvctl put db a -
//     > kvctl get db a          the command goes on
//       x                       stdout, behind two spaces
//     ! kvctl: put: …           stderr
//     = 1                       the exit code, unless it is 0
//
// What differs from run to run is masked: <time>, <ts>, <uuid>, <crc>, <n>. `make golden` rewrites the
// files; review the diff like code.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <utility>

#include "tests/support/run_process.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kStories = fs::path(KVSTORE_SOURCE_DIR) / "tests/testdata/kvctl";

std::string masked(std::string text) {
  static const std::vector<std::pair<std::regex, std::string>> masks = {
      {std::regex("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z"), "<time>"},
      {std::regex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"},
      {std::regex("\"(ts|created|started|expires)\":[1-9]\\d{15}"), "\"$1\":<ts>"},
      {std::regex("\"crc\":\"[0-9a-f]{8}\""), "\"crc\":\"<crc>\""},
      {std::regex("(stored|computed) [0-9a-f]{8}"), "$1 <crc>"},
      {std::regex("(replay_us|table_bytes)( +|\":)\\d+"), "$1 <n>"},
  };
  for (const auto& [pattern, mask] : masks) text = std::regex_replace(text, pattern, mask);
  return text;
}

std::string prefixed(const std::string& prefix, const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += (line.empty() ? prefix.substr(0, 1) : prefix) + line + '\n';
  return out;
}

// What the shell says to one command, in the notation of the stories.
std::string told(const std::string& command, const std::string& directory) {
  const std::string path = fs::path(KVSTORE_KVCTL).parent_path().string() + ":" + std::getenv("PATH");
  const ProcessResult result =
      run_process({"bash", "-c", command}, {},
                  {.directory = directory, .environment = {"PATH=" + path, "TZ=UTC", "LC_ALL=C.UTF-8"}});
  EXPECT_EQ(result.err.find("bash: "), std::string::npos) << command << '\n' << result.err;
  std::string out = prefixed("  ", masked(result.out)) + prefixed("! ", masked(result.err));
  if (result.exit_code != 0) out += "= " + std::to_string(result.exit_code) + '\n';
  return out;
}

// The story as it goes today: its commands and remarks, with what is printed now.
std::string retold(const std::string& story, const std::string& directory) {
  std::string out;
  std::string command;
  const auto run = [&] {
    if (!command.empty()) out += told(std::exchange(command, {}), directory);
  };
  std::istringstream lines(story);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('>')) {
      EXPECT_FALSE(command.empty()) << "goes on with no command: " << line;
      command += '\n' + line.substr(std::min<size_t>(2, line.size()));
    } else {
      run();
      if (line.starts_with("$ ")) command = line.substr(2);
      if (!line.starts_with("$ ") && !line.starts_with('#') && !line.empty()) continue;
    }
    out += line + '\n';
  }
  run();
  return out;
}

std::string line_at(const std::string& text, ptrdiff_t index) {
  std::istringstream lines(text);
  std::string line;
  for (ptrdiff_t i = 0; i <= index; ++i) std::getline(lines, line);
  return line;
}

std::vector<std::string> story_names() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(kStories)) names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

class KvctlStory : public ::testing::TestWithParam<std::string> {};

TEST_P(KvctlStory, GoesAsWritten) {
  const fs::path file = kStories / (GetParam() + ".txt");
  std::ifstream in(file);
  const std::string story{std::istreambuf_iterator<char>(in), {}};
  const TempDir directory;
  const std::string today = retold(story, directory.path());
  const char* rewrite = std::getenv("KVSTORE_REWRITE_GOLDEN");
  if (rewrite != nullptr && std::string_view(rewrite) == "1") {
    std::ofstream(file) << today;
    return;
  }
  // The first line that differs says it; two whole stories would not.
  const auto [now, then] = std::mismatch(today.begin(), today.end(), story.begin(), story.end());
  const auto line = std::count(today.begin(), now, '\n');
  EXPECT_EQ(line_at(today, line), line_at(story, line)) << "in line " << line + 1 << " of " << file;
  EXPECT_TRUE(now == today.end() && then == story.end());
}

INSTANTIATE_TEST_SUITE_P(All, KvctlStory, ::testing::ValuesIn(story_names()),
                         [](const auto& story) { return story.param; });

}  // namespace
}  // namespace kvstore::testing
