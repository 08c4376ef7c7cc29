// Holds the sources to the picture in kvstore/DESIGN.md: includes only point down, public headers include only the
// standard library and each other, the namespace is the path, and only env/ makes system calls on files.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = fs::path(KVSTORE_SOURCE_DIR) / "kvstore";

// What each folder may include, itself aside. "" is the public headers.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {""}},
    {"env", {"", "base"}},
    {"format", {"", "base"}},
    {"table", {"", "base", "format"}},
    {"wal", {"", "base", "format", "env"}},
    {"engine", {"", "base", "format", "env", "table", "wal"}},
};

std::vector<fs::path> sources() {
  std::vector<fs::path> files;
  for (const auto& item : fs::recursive_directory_iterator(kRoot)) {
    if (item.path().extension() == ".h" || item.path().extension() == ".cc") files.push_back(item.path());
  }
  return files;
}

std::string folder_of(const fs::path& relative) { return relative.parent_path().string(); }

std::vector<std::string> lines_of(const fs::path& file) {
  std::vector<std::string> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Layers, IncludesOnlyPointDown) {
  const std::regex include(R"re(^#include "kvstore/([^"]+)")re");
  size_t checked = 0;
  for (const fs::path& file : sources()) {
    const fs::path relative = fs::relative(file, kRoot);
    const std::string from = folder_of(relative);
    for (const std::string& line : lines_of(file)) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      ++checked;
      const std::string to = folder_of(match[1].str());
      if (to == from) continue;
      if (from.empty() && relative.extension() == ".cc") continue;  // a public header's code stands on what it needs
      ASSERT_TRUE(from.empty() || kMayInclude.contains(from)) << "a folder without a layer: " << from;
      EXPECT_TRUE(!from.empty() && kMayInclude.at(from).contains(to)) << relative << " includes " << match[1];
    }
  }
  EXPECT_GT(checked, 100U);
}

TEST(Layers, PublicHeadersIncludeOnlyTheStandardLibraryAndEachOther) {
  const std::regex include(R"re(^#include (<([a-z_]+)>|"kvstore/[a-z_]+\.h"))re");
  for (const auto& item : fs::directory_iterator(kRoot)) {
    if (item.path().extension() != ".h") continue;
    for (const std::string& line : lines_of(item.path())) {
      if (!line.starts_with("#include")) continue;
      if (item.path().filename() == "json.h" && line == "#include <nlohmann/json.hpp>") continue;  // the one exception
      EXPECT_TRUE(std::regex_search(line, include)) << item.path() << ": " << line;
    }
  }
}

// Whoever does not ask for json.h must not need nlohmann/json.
TEST(Layers, NoHeaderIncludesTheOneThatSpeaksNlohmann) {
  for (const fs::path& file : sources()) {
    if (file.extension() != ".h") continue;
    for (const std::string& line : lines_of(file))
      EXPECT_FALSE(line.starts_with("#include \"kvstore/json.h\"")) << file;
  }
}

TEST(Layers, TheNamespaceIsThePath) {
  for (const fs::path& file : sources()) {
    const std::string folder = folder_of(fs::relative(file, kRoot));
    const std::string expected = folder.empty() ? "namespace kvstore" : "namespace kvstore::" + folder + " {";
    bool found = false;
    for (const std::string& line : lines_of(file)) found = found || line.starts_with(expected);
    if (file.filename() == "kvstore.h") found = true;  // the umbrella declares nothing
    EXPECT_TRUE(found) << file << " has no " << expected;
  }
}

TEST(Layers, OnlyEnvTouchesFilesAndNobodyPrints) {
  const std::regex system_header(R"(^#include <(fcntl\.h|sys/.*|unistd\.h|fstream|cstdio|stdio\.h|iostream)>)");
  const std::set<std::string> allowed = {"base/assert.cc",    // its last words
                                         "base/crc32c.cc",    // asks which instructions there are
                                         "table/chunks.cc"};  // memory, not files
  for (const fs::path& file : sources()) {
    const fs::path relative = fs::relative(file, kRoot);
    if (folder_of(relative) == "env" || allowed.contains(relative.string())) continue;
    for (const std::string& line : lines_of(file)) {
      EXPECT_FALSE(std::regex_search(line, system_header)) << relative << ": " << line;
    }
  }
}

TEST(Layers, FilesStayReadableInOneSitting) {
  for (const fs::path& file : sources()) EXPECT_LE(lines_of(file).size(), 500U) << file << " (aim: 400)";
}

}  // namespace
}  // namespace kvstore::testing
