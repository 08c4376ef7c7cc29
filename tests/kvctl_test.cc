// kvctl from outside: the real program, its exit codes, its two streams, and what it must never do. What it prints,
// word for word, is in the stories (kvctl_stories_test.cc).
#include "tests/support/kvctl_test.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <tuple>

#include "kvstore/store.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string file_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Everything below a directory: name, bytes, and when it was last changed.
std::map<std::string, std::pair<std::string, fs::file_time_type>> tree(const fs::path& root) {
  std::map<std::string, std::pair<std::string, fs::file_time_type>> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    files[entry.path()] = {entry.is_directory() ? "" : file_bytes(entry.path()), entry.last_write_time()};
  }
  return files;
}

const std::vector<std::vector<std::string>> kReadingCommands = {
    {"get", "db", "key:1"},
    {"ls", "db"},
    {"export", "db"},
    {"log", "db"},
    {"info", "db"},
    {"stats", "db"},
    {"verify", "db"},
    {"stats", "db", "-o", "prometheus"},
    {"compact", "db", "--dry-run"},
};

// ---- beside an owner ---------------------------------------------------------------------------

TEST_F(KvctlTest, ALockedStoreIsRefusedAtOnceNamingItsOwner) {
  fill("db", 3);
  const Result<Store> owner = Store::open(path("db"));
  ASSERT_TRUE(owner.ok());
  const std::vector<std::vector<std::string>> writing = {
      {"put", "db", "a", "1"}, {"del", "db", "key:1"}, {"incr", "db", "n"}, {"patch", "db", "a", "{}"},
      {"batch", "db"},         {"import", "db", "-"},  {"compact", "db"}};
  for (const std::vector<std::string>& arguments : writing) {
    const auto begin = std::chrono::steady_clock::now();
    const ProcessResult result = kvctl(arguments);
    EXPECT_EQ(result.exit_code, 4) << arguments[0];
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(std::to_string(::getpid())), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("\ntry: "), std::string::npos) << result.err;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  }
}

TEST_F(KvctlTest, ReadingCommandsWorkBesideAnOwner) {
  fill("db", 3);
  Result<Store> owner = Store::open(path("db"));
  ASSERT_TRUE(owner.ok());
  ASSERT_TRUE(owner->put("key:1", "fresh").ok());
  for (const std::vector<std::string>& arguments : kReadingCommands) {
    const ProcessResult result = kvctl(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments[0] << ": " << result.err;
    EXPECT_EQ(result.err, "") << arguments[0];
  }
  EXPECT_EQ(kvctl({"get", "db", "key:1"}).out, "fresh\n");
  const json info = json::parse(kvctl({"info", "db", "-o", "json"}).out);
  EXPECT_EQ(info["owner"]["pid"], ::getpid());
  EXPECT_EQ(info["owner"]["alive"], true);
}

// Its log is locked, too. "nobody" was what the person on call read, with a writer at work.
TEST_F(KvctlTest, InfoKnowsOfAnOwnerWhoseLockIsLost) {
  fill("db", 3);
  Result<Store> owner = Store::open(path("db"));
  ASSERT_TRUE(owner.ok());
  std::filesystem::remove(path("db/LOCK"));
  EXPECT_NE(kvctl({"info", "db"}).out.find("a process that LOCK does not name, running"), std::string::npos);
  EXPECT_EQ(json::parse(kvctl({"info", "db", "-o", "json"}).out)["owner"]["alive"], true);
}

TEST_F(KvctlTest, ReadingCommandsChangeNothing) {
  fill("db", 3);
  for (const char* state : {"closed", "owned", "torn"}) {
    std::optional<Result<Store>> owner;
    if (state == std::string("owned")) owner.emplace(Store::open(path("db")));
    if (state == std::string("torn")) {
      std::ofstream(path("db/wal-00000000000000000001.jsonl"), std::ios::app) << R"({"seq":2,"ts":)";
    }
    const auto before = tree(path("db"));
    for (const std::vector<std::string>& arguments : kReadingCommands) {
      EXPECT_EQ(kvctl(arguments).exit_code, 0) << arguments[0];
      EXPECT_TRUE(tree(path("db")) == before) << arguments[0] << " changed the store: " << state;
    }
    EXPECT_EQ(kvctl({"backup", "db", std::string("copy of ") + state}).exit_code, 0);
    EXPECT_TRUE(tree(path("db")) == before) << "backup changed the store: " << state;
  }
}

// Cut off where a writer might be just now: half a record behind the last whole one, the filler behind it.
TEST_F(KvctlTest, VerifyTakesARecordUnderWayForATornTailOnlyWhenNobodyIsWriting) {
  fill("db", 3);
  const std::string log = path("db/wal-00000000000000000001.jsonl");
  std::optional<Result<Store>> owner(Store::open(path("db")));
  ASSERT_TRUE((*owner)->put("key:1", "fresh").ok());
  const size_t end = file_bytes(log).find_last_not_of('\n') + 2;
  const std::string half = R"({"seq":3,"ts":17)";
  ASSERT_LT(end + half.size(), fs::file_size(log));
  std::fstream(log, std::ios::binary | std::ios::in | std::ios::out).seekp(static_cast<std::streamoff>(end)) << half;
  const ProcessResult beside = kvctl({"verify", "db", "--strict"});
  EXPECT_EQ(beside.exit_code, 0) << beside.err;
  EXPECT_NE(beside.out.find("16 bytes of a record that the process which has the store open is writing just now"),
            std::string::npos)
      << beside.out;
  owner.reset();  // trims the file to its last whole record
  std::ofstream(log, std::ios::app) << half;
  EXPECT_EQ(kvctl({"verify", "db", "--strict"}).exit_code, 3);
}

TEST_F(KvctlTest, ReadingCommandsMakeNoStore) {
  fs::create_directory(path("empty"));
  for (std::vector<std::string> arguments : kReadingCommands) {
    for (const char* dir : {"empty", "nowhere"}) {
      arguments[1] = dir;
      const ProcessResult result = kvctl(arguments);
      EXPECT_EQ(result.exit_code, 5) << arguments[0];
      EXPECT_EQ(result.out, "");
      EXPECT_TRUE(result.err.starts_with("kvctl: " + arguments[0] + ": " + dir)) << result.err;
    }
  }
  EXPECT_TRUE(fs::is_empty(path("empty")));
  EXPECT_FALSE(fs::exists(path("nowhere")));
}

// ---- bytes -------------------------------------------------------------------------------------

// Undoes escape() in tools/kvctl/text.h.
std::string unescaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text[0] != '\\') {
      out += text[0];
      text.remove_prefix(1);
      continue;
    }
    const char kind = text[1];
    const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 0;
    const std::string hex(text.substr(2, digits));
    if (kind == 'x') out += static_cast<char>(std::stoi(hex, nullptr, 16));
    if (kind == 'u') out += json::parse("\"\\u" + hex + "\"").get<std::string>();
    if (digits == 0) out += kind == 'n' ? '\n' : kind == 't' ? '\t' : kind == 'r' ? '\r' : kind;
    text.remove_prefix(2 + digits);
  }
  return out;
}

// Bytes from a pool that holds what is likely to go wrong.
std::string random_bytes(std::mt19937_64& random, size_t size_max) {
  static const std::vector<std::string> pool = {
      "a",    "Z",    "0",        "\n",           "\\",       "\"", "\t", "\x1b[31m", "\x7f", "\x80",
      "\xff", "\xc3", "\xc2\x9b", "\xe2\x80\xae", "\xe4\xb8", "é",  "世", "🎈",        ",",    std::string(1, '\0')};
  std::string bytes;
  for (size_t i = random() % size_max + 1; i > 0; --i) bytes += pool[random() % pool.size()];
  return bytes;
}

TEST_F(KvctlTest, ListedKeysTellTheirBytesAndHoldNoControls) {
  std::mt19937_64 random(seed());
  std::set<std::string> keys;
  Result<Store> store = Store::open(path("db"));
  ASSERT_TRUE(store.ok());
  for (int i = 0; i < 500; ++i) {
    const std::string key = random_bytes(random, 8);
    keys.insert(key);
    ASSERT_TRUE(store->put(key, "x").ok());
  }
  std::set<std::string> listed;
  for (const std::string& line : lines_of_text(kvctl({"ls", "db"}).out)) {
    for (unsigned char c : line) EXPECT_FALSE(c < 0x20 || c == 0x7F) << line;
    EXPECT_EQ(line.find("\xc2\x9b"), std::string::npos) << line;
    EXPECT_EQ(line.find("\xe2\x80\xae"), std::string::npos) << line;
    listed.insert(unescaped(line));
  }
  EXPECT_EQ(listed, keys);
}

TEST_F(KvctlTest, ExportAndImportKeepEveryByte) {
  std::mt19937_64 random(seed());
  const std::vector<std::string> documents = {"1.0",
                                              "1e2",
                                              "-0",
                                              "123456789012345678901234567890",
                                              R"({"b":1,"a":2,"b":3})",
                                              R"([ 1 , "\u00e9\/é" ])",
                                              R"("\ud83c\udf88")",
                                              "{\"x\":\"\x7f\xc2\x9b\xe2\x80\xae\"}"};
  const int64_t later = 4'102'444'800'000'000;
  {
    Result<Store> store = Store::open(path("db"));
    ASSERT_TRUE(store.ok());
    for (int i = 0; i < 2500; ++i) {
      WriteOptions options;
      if (random() % 4 == 0) options.expires_us = later + static_cast<int64_t>(random() % 1000);
      const std::string key = std::to_string(random() % 2000) + random_bytes(random, 4);
      const Status put = random() % 3 == 0 ? store->put_json(key, documents[random() % documents.size()], options)
                                           : store->put(key, random_bytes(random, 20), options);
      ASSERT_TRUE(put.ok()) << put.message();
    }
  }
  const ProcessResult exported = kvctl({"export", "db"});
  ASSERT_EQ(exported.exit_code, 0);
  ASSERT_EQ(kvctl({"import", "copy", "-"}, exported.out).exit_code, 0);
  EXPECT_TRUE(kvctl({"export", "copy"}).out == exported.out);

  Options read_only;
  read_only.read_only = true;
  const Result<Store> one = Store::open(path("db"), read_only);
  const Result<Store> two = Store::open(path("copy"), read_only);
  const Result<Scan> left = one->scan();
  const Result<Scan> right = two->scan();
  ASSERT_EQ(left->size(), right->size());
  for (size_t i = 0; i < left->size(); ++i) {
    const EntryView a = (*left)[i];
    const EntryView b = (*right)[i];
    ASSERT_EQ(std::tie(a.key, a.value, a.is_json, a.expires_us), std::tie(b.key, b.value, b.is_json, b.expires_us));
  }
}

TEST_F(KvctlTest, AValueMayHave64MiBAndNotAByteMore) {
  std::string value(size_t{64} << 20, 'x');
  EXPECT_EQ(kvctl({"put", "db", "big", "-"}, value).exit_code, 0);
  EXPECT_TRUE(kvctl({"get", "db", "big", "--raw"}).out == value);
  value += 'x';
  const ProcessResult refused = kvctl({"put", "db", "bigger", "-"}, value);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.err, "kvctl: put: stdin has more than 64.0 MiB, which is the most allowed\ntry: kvctl help put\n");
  EXPECT_EQ(kvctl({"get", "db", "bigger"}).exit_code, 1);
}

TEST_F(KvctlTest, EveryJsonOutputIsJson) {
  fill("db", 3);
  ASSERT_EQ(kvctl({"put", "db", "doc", R"({"a":[1]})", "--json", "--ttl", "1d"}).exit_code, 0);
  const std::vector<std::vector<std::string>> one_value = {{"put", "db", "x", "1", "-o", "json"},
                                                           {"del", "db", "x", "-o", "json"},
                                                           {"incr", "db", "n", "-o", "json"},
                                                           {"get", "db", "doc", "-o", "json"},
                                                           {"ls", "db", "-o", "json"},
                                                           {"log", "db", "-o", "json"},
                                                           {"info", "db", "-o", "json"},
                                                           {"stats", "db", "-o", "json"},
                                                           {"verify", "db", "-o", "json"},
                                                           {"version", "-o", "json"},
                                                           {"get", "db", "doc", "-o", "jsonl"},
                                                           {"patch", "db", "doc", "{}", "-o", "json"},
                                                           {"backup", "db", "copy", "-o", "json"},
                                                           {"repair", "db", "--dry-run", "-o", "json"},
                                                           {"repair", "db", "--to", "repaired", "-o", "json"},
                                                           {"compact", "copy", "--dry-run", "-o", "json"},
                                                           {"compact", "copy", "-o", "json"}};
  for (const std::vector<std::string>& arguments : one_value) {
    const ProcessResult result = kvctl(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments[0];
    EXPECT_TRUE(json::accept(result.out)) << arguments[0] << ": " << result.out;
  }
  for (const char* name : {"ls", "log", "export"}) {
    std::vector<std::string> arguments = {name, "db"};
    if (name != std::string("export")) arguments.insert(arguments.end(), {"-o", "jsonl"});
    const std::vector<std::string> lines = lines_of_text(kvctl(arguments).out);
    EXPECT_GE(lines.size(), 4U) << name;
    for (const std::string& line : lines) EXPECT_TRUE(json::parse(line).is_object()) << line;
  }
}

// ---- the whole ---------------------------------------------------------------------------------

TEST_F(KvctlTest, VerifyAndReadingJudgeEveryGoldenLogAsExpected) {
  int judged = 0;
  for (const fs::directory_entry& folder : fs::directory_iterator(fs::path(KVSTORE_SOURCE_DIR) / "data/golden")) {
    if (!folder.is_directory()) continue;
    const std::string expected = file_bytes(folder.path() / "expected.txt");
    const auto says = [&](const std::string& what) { return expected.find("\nopen: " + what) != std::string::npos; };
    const ProcessResult result = kvctl({"verify", folder.path()});
    const ProcessResult strict = kvctl({"verify", folder.path(), "--strict"});
    const int opening = says("corrupt") ? 3 : says("unsupported") ? 6 : 0;
    const bool damage_counts_for_nothing = expected.find("\nverify: corrupt\n") != std::string::npos;
    EXPECT_EQ(result.exit_code, damage_counts_for_nothing ? 3 : opening) << folder.path();
    EXPECT_EQ(strict.exit_code, says("cut") ? 3 : result.exit_code) << folder.path();
    EXPECT_EQ(kvctl({"ls", folder.path()}).exit_code, opening) << folder.path();
    if (const size_t at = expected.find("\nat: line "); at != std::string::npos) {
      const size_t byte = expected.find(" byte ", at);
      const std::string place = ".jsonl:" + expected.substr(at + 10, byte - at - 10) + " (byte " +
                                expected.substr(byte + 6, expected.find('\n', byte) - byte - 6) + "): ";
      EXPECT_NE((says("cut") ? result.out : result.err).find(place), std::string::npos) << folder.path() << place;
    }
    ++judged;
  }
  EXPECT_GE(judged, 57);
}

TEST_F(KvctlTest, LogTellsWhatTheStoreEvictedFromWhatSomebodyDeleted) {
  const std::string evicted = std::string(KVSTORE_SOURCE_DIR) + "/data/golden/evicted";
  EXPECT_EQ(kvctl({"log", evicted, "--op", "evict"}).out,
            "       2 2025-11-22T08:26:40.002000Z evict a\n"
            "       3 2025-11-22T08:26:40.003000Z evict \\xff  batch=1/3\n"
            "       3 2025-11-22T08:26:40.003000Z evict absent  batch=3/3\n");
  EXPECT_EQ(kvctl({"log", evicted, "--op", "del"}).out, "");
  EXPECT_EQ(kvctl({"batch", "db"}, R"({"op":"evict","key":"a"})"
                                   "\n")
                .exit_code,
            2)
      << "only the store itself evicts";
}

TEST_F(KvctlTest, HelpHasAPageWithAnExampleForEveryCommand) {
  int pages = 0;
  for (const std::string& line : lines_of_text(kvctl({"help"}).out)) {
    if (!line.starts_with("  ") || line.size() < 12 || line[2] < 'a' || line[11] != ' ') continue;
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    const ProcessResult page = kvctl({"help", name});
    EXPECT_EQ(page.exit_code, 0) << name;
    EXPECT_TRUE(page.out.starts_with("usage: kvctl " + name)) << page.out;
    EXPECT_NE(page.out.find("\nexample:\n  "), std::string::npos) << page.out;
    EXPECT_EQ(kvctl({name, "--help"}).out, page.out);
    ++pages;
  }
  EXPECT_EQ(pages, 18);
}

}  // namespace
}  // namespace kvstore::testing
