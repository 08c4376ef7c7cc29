// StoreTest: a fixture with one store in a directory of its own. After every test, unasked, it checks what
// must hold for any store at any time: every line of every file is JSON, verify() finds nothing, and reopening
// gives back exactly the state that was there, table, log and counters agree (Engine::check()).
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/kvstore.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {

// key -> value of everything live, as scan() sees it. JSON values are marked by a leading "json:".
std::map<std::string, std::string> contents_of(const Store& store);

// The lines of a file, without newlines and without blank ones.
std::vector<std::string> lines_of(const std::filesystem::path& file);
std::string bytes_of(const std::filesystem::path& file);
void write_bytes(const std::filesystem::path& file, std::string_view bytes);

// Every log file of a store, in order.
std::vector<std::filesystem::path> log_files_of(const std::filesystem::path& dir);

// P7: a sentence about the first non-blank line of a log file that is no JSON object, "" when there is none.
// Torn may be, if anything, the last line of the log, wherever that stands, and the closing line of the segment
// before the one where it stands; nothing else. Under a sanitizer the last 256 KiB of a log are looked at, the last two lines
// of each file, and one in 64 of the others; and of a line of more than 1 MiB its ends.
std::string first_line_that_is_no_json(const std::filesystem::path& dir, bool last_line_may_be_torn);

class StoreTest : public ::testing::Test {
 protected:
  // Opens (again) and expects that to work. Earlier handles are closed first.
  Store& open(Options options = {});
  void close();
  // Puts `count` keys, `key`0 and so on, into segments that end where they are full: each rotation is waited for, since the
  // next segment would grow meanwhile. Ends with none under way.
  void fill_segments(int count, const std::string& key, const std::string& value);
  [[nodiscard]] std::filesystem::path dir() const { return temp_ / "db"; }
  // The clock the store sees when its options come from clocked(); starts in 2025. Its threads read it too.
  [[nodiscard]] Options clocked(Options options = {});
  std::atomic<int64_t> now_us = 1'763'800'000'000'000;

  void TearDown() override;

  std::optional<Store> store_;
  bool expects_damage_ = false;  // a test that leaves damage behind says so

 private:
  TempDir temp_;
};

}  // namespace kvstore::testing
