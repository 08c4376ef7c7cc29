// kvctl's streams: who gets what, on a pipe, on a terminal, on a full disk, when the reader goes away, when a signal
// comes, and while input is still arriving.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "kvstore/kvstore.h"
#include "tests/support/kvctl_test.h"
#include "tests/support/small_disk.h"

namespace kvstore::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;

// Tries `done` until it is true, for up to ten seconds.
template <typename Condition>
bool wait_until(Condition done) {
  for (int i = 0; i < 1000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

// ---- streams -----------------------------------------------------------------------------------

TEST_F(KvctlTest, AReaderThatGoesAwayEndsItQuietly) {
  fill("db", 100'000);
  for (const char* name : {"ls", "export", "log"}) {
    Process process(command({name, "db"}), here());
    EXPECT_NE(process.read_line(), "") << name;
    process.close_output();
    const ProcessResult result = process.finish();
    EXPECT_EQ(result.exit_code, 0) << name;
    EXPECT_EQ(result.err, "") << name;
  }
}

TEST_F(KvctlTest, AFullDiskBehindStdoutIsAFailure) {
  fill("db", 3);
  const ProcessResult result = shell("$kvctl export db > /dev/full");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.err, "kvctl: export: write to stdout: No space left on device\n");
}

// The mapped log's filler took the room: with 6.4 of 8 MB free, a snapshot of 1.9 MB did not fit.
TEST_F(KvctlTest, ACompactionNeedsRoomForTheSnapshotOnly) {
  std::string lines;
  for (int i = 0; i < 12'000; ++i) {
    lines += R"({"key":"key:)" + std::to_string(i) + R"(","value":")" + std::string(150, 'x') + "\"}\n";
  }
  fs::create_directory(path("small"));
  const SmallDiskOutcome outcome = on_small_disk(SmallDisk::kTmpfs, 8, path("small"), [&]() -> std::string {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"import", "small/db", "-"}, {"compact", "small/db"}}) {
      const ProcessResult result = kvctl(arguments, lines);
      if (result.exit_code != 0) return result.err;
    }
    return "";
  });
  if (!outcome.skipped.empty()) GTEST_SKIP() << "no small file system here: " << outcome.skipped;
  EXPECT_EQ(outcome.wrong, "");
}

// It used to be the store's directory, whose disk had room.
TEST_F(KvctlTest, TheDiskToLookAtIsTheFullOne) {
  fill("db", 50'000);
  fs::create_directory(path("small"));
  const SmallDiskOutcome outcome = on_small_disk(SmallDisk::kTmpfs, 1, path("small"), [&]() -> std::string {
    std::string said;
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"backup", "db", "small/copy"}, {"repair", "db", "--to", "small/new"}}) {
      const std::vector<std::string> lines = lines_of_text(kvctl(arguments).err);
      said += lines.empty() ? "nothing\n" : lines.back() + "\n";
    }
    return said;
  });
  if (!outcome.skipped.empty()) GTEST_SKIP() << "no small file system here: " << outcome.skipped;
  EXPECT_EQ(outcome.wrong, "try: df small/copy\ntry: df small/new\n");
}

// Descriptors that the caller closed are the lowest free numbers, so the log may get the one of stderr. With two of
// them closed, the note about a torn tail used to overwrite the segment's header.
TEST_F(KvctlTest, WhatItPrintsNeverLandsInTheStore) {
  for (const std::string closed : {"<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"}) {
    fill("db", 3);
    std::ofstream(path("db/wal-00000000000000000001.jsonl"), std::ios::app) << "torn";
    const bool cannot_print = closed.find(">&-") == 0 || closed.find(" >&-") != std::string::npos;
    EXPECT_EQ(shell("$kvctl incr db n " + closed).exit_code, cannot_print ? 5 : 0) << closed;
    const ProcessResult verified = kvctl({"verify", "db", "--strict"});
    EXPECT_EQ(verified.exit_code, 0) << closed << ": " << verified.err;
    EXPECT_EQ(kvctl({"get", "db", "n"}).out, "1\n") << closed;
    fs::remove_all(path("db"));
  }
}

TEST_F(KvctlTest, ATerminalGetsNothingThatCouldSteerIt) {
  ASSERT_EQ(kvctl({"put", "db", "a", "red\x1b[31m\xc2\x9b\xe2\x80\xae"}).exit_code, 0);
  ASSERT_EQ(kvctl({"put", "db", "j", "{\"x\":\"\xc2\x9b\xe2\x80\xae\"}", "--json"}).exit_code, 0);
  const ProcessOptions terminal{.out_is_terminal = true};
  EXPECT_EQ(shell("$kvctl get db a", terminal).out, "red\\x1b[31m\\u009b\\u202e\n");
  EXPECT_EQ(shell("$kvctl get db j -o json", terminal).out,
            "{\"key\":\"j\",\"json\":{\"x\":\"\\u009b\\u202e\"},\"version\":2}\n");
  for (const char* script : {"$kvctl export db", "$kvctl log db", "$kvctl log db -o jsonl", "$kvctl log db -o json"}) {
    const std::string out = shell(script, terminal).out;
    EXPECT_EQ(out.find_first_of("\x1b\xc2\xe2"), std::string::npos) << out;
    EXPECT_NE(out.find("\\u202e"), std::string::npos) << out;
  }
  // A pipe gets the bytes, and so does a terminal for the asking.
  EXPECT_EQ(kvctl({"get", "db", "a"}).out, "red\x1b[31m\xc2\x9b\xe2\x80\xae\n");
  EXPECT_EQ(shell("$kvctl get db a --raw", terminal).out, "red\x1b[31m\xc2\x9b\xe2\x80\xae");
}

TEST_F(KvctlTest, MessagesEscapeWhatTheyQuote) {
  const ProcessResult result = kvctl({"get", "no\x1b[31m\xe2\x80\xaestore", "a"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_TRUE(result.err.starts_with("kvctl: get: no\\x1b[31m\\u202estore: ")) << result.err;
}

TEST_F(KvctlTest, ColoursAreForTerminalsThatWantThem) {
  const ProcessOptions colour{.environment = {"TERM=xterm", "NO_COLOR="}, .out_is_terminal = true};
  const ProcessOptions no_colour{.environment = {"TERM=xterm", "NO_COLOR=1"}, .out_is_terminal = true};
  const ProcessOptions dumb{.environment = {"TERM=dumb", "NO_COLOR="}, .out_is_terminal = true};
  const std::string script = "$kvctl get nowhere a 2>&1";
  EXPECT_TRUE(shell(script, colour).out.starts_with("\x1b[1;31mkvctl: get: \x1b[0mnowhere"));
  EXPECT_TRUE(shell(script, no_colour).out.starts_with("kvctl: get: nowhere"));
  EXPECT_TRUE(shell(script, dumb).out.starts_with("kvctl: get: nowhere"));
  EXPECT_TRUE(kvctl({"get", "nowhere", "a"}).err.starts_with("kvctl: get: nowhere"));
}

TEST_F(KvctlTest, ProgressIsForTerminalsAndForWorkOverASecond) {
  fill("db", 1);
  const std::string line = R"({"key":"a","value":"1"})"
                           "\n";
  ProcessOptions terminal = here();
  terminal.out_is_terminal = true;
  const std::vector<std::string> import = {"sh", "-c", "exec '" KVSTORE_KVCTL "' import db - 2>&1"};
  const auto begin = std::chrono::steady_clock::now();
  Process slow(import, terminal);
  for (bool shown = false; !shown; shown = slow.has_said("\r\x1b[Kkvctl: import: read ")) slow.write(line);
  EXPECT_GT(std::chrono::steady_clock::now() - begin, milliseconds(1000));
  const std::string said = slow.finish().out;
  const std::regex wiped("read [0-9.]+ (B|KiB)\r\x1b\\[Kkvctl: import: [0-9]+ entries committed\n$");
  EXPECT_TRUE(std::regex_search(said, wiped)) << said;

  Process unseen(command({"import", "db", "-"}), here());
  const auto end = std::chrono::steady_clock::now() + milliseconds(1500);
  for (; std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(milliseconds(50))) unseen.write(line);
  EXPECT_TRUE(std::regex_match(unseen.finish().err, std::regex("kvctl: import: [0-9]+ entries committed\n")));
  EXPECT_EQ(run_process(import, line, terminal).out, "kvctl: import: 1 entry committed\n");
}

// ---- as it happens -----------------------------------------------------------------------------

TEST_F(KvctlTest, BatchAppliesEachLineAsItArrives) {
  Process batch(command({"batch", "db"}), here());
  for (const std::string value : {"1", "2", "3"}) {
    batch.write(R"({"op":"put","key":"a","value":")" + value + "\"}\n");
    EXPECT_TRUE(wait_until([&] { return kvctl({"get", "db", "a"}).out == value + "\n"; })) << value;
  }
  EXPECT_EQ(batch.finish().exit_code, 0);
}

TEST_F(KvctlTest, AnInterruptedImportKeepsWholeLinesAndSaysHowMany) {
  std::string lines;
  for (int i = 0; i < 1500; ++i) lines += R"({"key":")" + std::to_string(i) + R"(","value":"1"})" + "\n";
  Process import(command({"import", "db", "-"}), here());
  import.write(lines + R"({"key":"half","val)");
  ASSERT_TRUE(wait_until([&] { return lines_of_text(kvctl({"ls", "db"}).out).size() == 1000; }));
  std::this_thread::sleep_for(milliseconds(100));  // for the rest of the lines to be read
  import.signal(SIGINT);
  const ProcessResult result = import.finish();
  EXPECT_EQ(result.exit_code, 130);
  const std::regex sentence("([0-9]+) entries committed, all up to line ([0-9]+)\nkvctl: import: interrupted");
  std::smatch numbers;
  ASSERT_TRUE(std::regex_search(result.err, numbers, sentence)) << result.err;
  EXPECT_EQ(numbers[1], numbers[2]);
  const size_t entries = std::stoul(numbers[1]);  // on a busy machine the signal may come before the last lines
  EXPECT_TRUE(entries >= 1000 && entries <= 1500) << entries;
  EXPECT_EQ(lines_of_text(kvctl({"ls", "db"}).out).size(), entries);
  EXPECT_EQ(kvctl({"verify", "db", "--strict"}).exit_code, 0);
  EXPECT_EQ(json::parse(kvctl({"info", "db", "-o", "json"}).out)["owner"]["pid"], 0);
}

TEST_F(KvctlTest, AnInterruptedBatchKeepsWholeLines) {
  const auto before = std::signal(SIGHUP, SIG_DFL);  // under nohup kvctl would inherit that it is ignored
  for (const int number : {SIGTERM, SIGHUP}) {
    const std::string db = "db" + std::to_string(number);
    Process batch(command({"batch", db}), here());
    batch.write("{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}\n{\"op\":\"put\",\"key\":\"b\",\"value\":\"1\"}");
    ASSERT_TRUE(wait_until([&] { return kvctl({"get", db, "a"}).exit_code == 0; }));
    batch.signal(number);
    const ProcessResult result = batch.finish();
    EXPECT_EQ(result.exit_code, 130);
    EXPECT_NE(result.err.find("1 line applied"), std::string::npos) << result.err;
    EXPECT_EQ(kvctl({"ls", db}).out, "a\n");
  }
  std::signal(SIGHUP, before);
}

TEST_F(KvctlTest, WhatNohupIgnoresStaysIgnored) {
  const ProcessResult result = shell(R"(
      trap '' HUP; mkfifo pipe
      $kvctl batch db <pipe & batch=$!
      exec 3>pipe
      echo '{"op":"put","key":"a","value":"1"}' >&3
      until $kvctl get db a >/dev/null 2>&1; do sleep 0.1; done
      kill -HUP $batch; sleep 0.2
      echo '{"op":"put","key":"b","value":"1"}' >&3
      exec 3>&-; wait $batch)");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(kvctl({"ls", "db"}).out, "a\nb\n");
}

// SIGXFSZ used to end it, without a word.
TEST_F(KvctlTest, AFileSizeLimitIsAFailureWithASentence) {
  fill("db", 1000);
  // In a coverage build gcov must not meet the limit.
  const ProcessResult result = shell(
      "$kvctl export db >db.jsonl; export GCOV_PREFIX=.gcov GCOV_ERROR_FILE=/dev/null; ulimit -f 8; "
      "$kvctl import copy db.jsonl");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_TRUE(result.err.ends_with(": file too large\n")) << result.err;
}

TEST_F(KvctlTest, AnInterruptedCompactionLeavesTheStoreAsItWas) {
  {
    Result<Store> store = Store::open(path("db"));
    ASSERT_TRUE(store.ok());
    const std::string value(size_t{4} << 20, 'x');
    for (int i = 0; i < 16; ++i) ASSERT_TRUE(store->put("key:" + std::to_string(i), value).ok());
  }
  const auto has_snapshot = [this](std::string_view ending) {
    for (const fs::directory_entry& file : fs::directory_iterator(path("try"))) {
      const std::string name = file.path().filename().string();
      if (name.starts_with("snapshot-") && name.ends_with(ending)) return true;
    }
    return false;
  };
  ProcessResult result;
  for (int tries = 0; tries < 20 && result.exit_code != 130; ++tries) {  // until the signal comes before the end
    fs::remove_all(path("try"));
    fs::copy(path("db"), path("try"));
    Process compact(command({"compact", "try"}), here());
    ASSERT_TRUE(wait_until([&] { return has_snapshot(".tmp") || has_snapshot(".jsonl"); }));
    compact.signal(SIGTERM);
    result = compact.finish();
  }
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.err, "kvctl: compact: interrupted; no snapshot was written\n");
  EXPECT_FALSE(has_snapshot(".jsonl") || has_snapshot(".tmp"));
  EXPECT_EQ(lines_of_text(kvctl({"ls", "try"}).out).size(), 16U);
  EXPECT_EQ(kvctl({"verify", "try", "--strict"}).exit_code, 0);
}

TEST_F(KvctlTest, FollowPrintsRecordsAsTheyAreWritten) {
  fill("db", 3);
  Process follow(command({"log", "db", "--follow", "--prefix", "new"}), here());
  for (const char* key : {"new:1", "new:2"}) {
    ASSERT_EQ(kvctl({"put", "db", key, "x"}).exit_code, 0);
    EXPECT_NE(follow.read_line().find(std::string("put ") + key), std::string::npos);
  }
  follow.signal(SIGINT);
  const ProcessResult result = follow.finish();
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "");
}

TEST_F(KvctlTest, FollowStartsWithTheTail) {
  fill("db", 1);
  ASSERT_EQ(kvctl({"put", "db", "a", "1"}).exit_code, 0);
  ASSERT_EQ(kvctl({"put", "db", "b", "1"}).exit_code, 0);
  Process follow(command({"log", "db", "-f", "--tail", "1", "-o", "jsonl"}), here());
  EXPECT_EQ(json::parse(follow.read_line())["key"], "b");
  ASSERT_EQ(kvctl({"put", "db", "c", "1"}).exit_code, 0);
  EXPECT_EQ(json::parse(follow.read_line())["key"], "c");
}

// It used to go on waiting for the reader.
TEST_F(KvctlTest, FollowEndsOnASignalThoughItsReaderStandsStill) {
  fill("db", 10'000);
  const ProcessResult result = shell(R"(
      mkfifo pipe; sleep 20 <pipe & reader=$!
      $kvctl log db --follow >pipe & follower=$!
      until grep -q "^State:.S" /proc/$follower/status; do sleep 0.1; done; sleep 0.5
      kill $follower; wait $follower; code=$?
      kill $reader; exit $code)");
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_EQ(result.err, "kvctl: log: interrupted before all was printed\n");
}

TEST_F(KvctlTest, FollowThatACompactionOvertookSaysThatTheSameAgainGoesOn) {
  Result<Store> owner = Store::open(path("db"), {.segment_bytes = 4096});
  ASSERT_TRUE(owner.ok());
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(owner->put("key:" + std::to_string(i), "value").ok());
  Process follow(command({"log", "db", "--follow"}), here());
  EXPECT_NE(follow.read_line().find(" key:0 "), std::string::npos);  // and no more than a pipe holds
  ASSERT_TRUE(owner->compact().ok());
  ASSERT_TRUE(owner->put("new", "1").ok());
  const ProcessResult result = follow.finish();
  EXPECT_EQ(result.exit_code, 7);
  const std::regex sentence(
      "kvctl: log: db: the log from record [0-9]+ on has been compacted away\n"
      "try: the same again: it goes on where the log now begins\n");
  EXPECT_TRUE(std::regex_match(result.err, sentence)) << result.err;
  EXPECT_NE(shell("$kvctl log db --follow | head -1").out.find(" put new  1"), std::string::npos);
}

TEST_F(KvctlTest, FollowEndsWhenItsReaderGoesAway) {
  fill("db", 3);
  Process follow(command({"log", "db", "--follow"}), here());
  EXPECT_NE(follow.read_line(), "");
  follow.close_output();
  EXPECT_EQ(follow.finish().exit_code, 0);
}

}  // namespace
}  // namespace kvstore::testing
