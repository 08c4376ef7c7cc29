#include "tests/support/store_test.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "kvstore/engine/engine.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::engine {

struct StoreInside {
  static void check(const Store& store) { store.engine_->check(); }
};

}  // namespace kvstore::engine

namespace kvstore::testing {

std::map<std::string, std::string> contents_of(const Store& store) {
  std::map<std::string, std::string> contents;
  Result<Scan> scan = store.scan();
  EXPECT_TRUE(scan.ok());
  for (const EntryView entry : *scan) {
    contents[std::string(entry.key)] = (entry.is_json ? "json:" : "") + std::string(entry.value);
  }
  return contents;
}

std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::filesystem::path& file, std::string_view bytes) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::string> lines_of(const std::filesystem::path& file) {
  std::vector<std::string> lines;
  std::ifstream in(file, std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::filesystem::path> log_files_of(const std::filesystem::path& dir) {
  std::vector<std::filesystem::path> files;
  for (const auto& item : std::filesystem::directory_iterator(dir)) {
    if (item.path().extension() == ".jsonl") files.push_back(item.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

namespace {

bool is_segment(const std::filesystem::path& file) { return file.filename().string().starts_with("wal-"); }

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
// To parse every line that a test with a long log has written would be most of what it does.
constexpr size_t kLineParsedMax = size_t{1} << 20;
constexpr size_t kBytesParsed = size_t{256} << 10;  // and one line of so many
constexpr size_t kOneIn = 64;
#else
constexpr size_t kLineParsedMax = SIZE_MAX;
constexpr size_t kBytesParsed = SIZE_MAX;
constexpr size_t kOneIn = 1;
#endif

bool is_object(const std::string& line) {
  const size_t first = line.find_first_not_of(" \t\r");
  if (first == std::string::npos || line[first] != '{') return false;
  return line.size() > kLineParsedMax ? line.back() == '}' : nlohmann::json::accept(line);
}

nlohmann::json parsed(const std::string& line) {
  return nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
}

// The closing line of the segment before one that begins with these lines; "" where they do not say.
std::string closing_line_before(const std::vector<std::string>& lines) {
  const nlohmann::json header = parsed(lines.front());
  const auto at = header.is_object() ? header.find("first_seq") : header.end();
  if (at == header.end() || !at->is_number_unsigned()) return "";
  const auto first_seq = at->get<uint64_t>();
  return format::encode_segment_end({.last_seq = first_seq - 1, .next = wal::segment_name(first_seq)});
}

}  // namespace

std::string first_line_that_is_no_json(const std::filesystem::path& dir, bool last_line_may_be_torn) {
  size_t bytes = 0;
  // From the last file to the first: what is whole when a later file has lines was so before, also beside a writer.
  std::vector<std::filesystem::path> files = log_files_of(dir);
  std::reverse(files.begin(), files.end());
  std::string found;
  bool is_end_of_log = true;  // no segment behind this file has a line
  std::string closing_line;   // that may be under way in the next file looked at
  for (const std::filesystem::path& file : files) {
    const std::vector<std::string> lines = lines_of(file);
    if (lines.empty()) continue;
    is_end_of_log = is_end_of_log && is_segment(file);
    for (size_t i = lines.size(); i-- > 0;) {
      const std::string& line = lines[i];
      if (bytes > kBytesParsed && i % kOneIn != 0 && i + 2 < lines.size()) continue;
      bytes += line.size();
      if (is_object(line)) continue;
      if (last_line_may_be_torn && i + 1 == lines.size() && (is_end_of_log || closing_line.starts_with(line))) continue;
      // A block of a file read before a line came and the next block after it show a line without its middle: FORMAT.md,
      // "Reading beside a writer", has the remedy. By then the name may be another file's, of which the same is true.
      bool is_whole = false;
      for (int look = 0; look < 10 && !is_whole; ++look) {
        const std::vector<std::string> again = lines_of(file);
        is_whole = i >= again.size() || is_object(again[i]);
      }
      if (is_whole) continue;
      found = file.string() + ": line " + std::to_string(i + 1) + " is no JSON object: " + line;
    }
    closing_line = is_end_of_log ? closing_line_before(lines) : "";
    is_end_of_log = false;
  }
  return found;
}

Store& StoreTest::open(Options options) {
  close();
  Result<Store> opened = Store::open(dir(), std::move(options));
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  if (!opened.ok()) std::abort();
  store_.emplace(*std::move(opened));
  return *store_;
}

void StoreTest::close() {
  if (!store_.has_value()) return;
  const Status closed = store_->close();
  EXPECT_TRUE(closed.ok()) << closed.message();
  store_.reset();
}

void StoreTest::fill_segments(int count, const std::string& key, const std::string& value) {
  uint64_t rotations = store_->stats().rotations;
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(store_->put(key + std::to_string(i), value).ok());
    if (std::exchange(rotations, store_->stats().rotations) != rotations) {
      ASSERT_TRUE(store_->sync().ok());
    }
  }
}

Options StoreTest::clocked(Options options) {
  options.now_us = [this] { return now_us.load(); };
  return options;
}

void StoreTest::TearDown() {
  if (expects_damage_ || !store_.has_value() || store_->stats().broken) return;
  engine::StoreInside::check(*store_);
  const std::map<std::string, std::string> before = contents_of(*store_);
  const uint64_t last_seq = store_->last_seq();
  EXPECT_EQ(first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/false), "");
  close();
  EXPECT_EQ(first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/false), "");

  Result<VerifyReport> report = verify(dir());
  ASSERT_TRUE(report.ok()) << report.status().message();
  for (const Finding& finding : report->findings) ADD_FAILURE() << finding.message;

  const Store& again = open(clocked({.create_if_missing = false}));
  EXPECT_EQ(contents_of(again), before);
  EXPECT_EQ(again.last_seq(), last_seq);
  EXPECT_TRUE(again.recovery().clean_close);
  close();
}

}  // namespace kvstore::testing
