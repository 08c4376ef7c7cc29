// kvstore/FORMAT.md against the code: its tables are the code's, its examples are lines we read and write.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/verdict.h"
#include "kvstore/options.h"
#include "kvstore/version.h"

namespace kvstore::format {
namespace {

std::string document() {
  std::ifstream file(KVSTORE_SOURCE_DIR "/kvstore/FORMAT.md", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Every line of the document that is, or begins like, a line of a log, in order.
std::vector<std::string> example_lines() {
  std::vector<std::string> lines;
  std::istringstream text(document());
  for (std::string line; std::getline(text, line);) {
    const size_t begin = line.find_first_not_of(' ');
    if (begin != std::string_view::npos && line[begin] == '{') lines.push_back(line.substr(begin));
  }
  return lines;
}

// The line as we would write it, without its newline.
std::string written_again(const Line& line, const std::vector<Op>& ops) {
  std::string text;
  switch (line.kind) {
    case LineKind::kRecord:
      text = encode_line(line.stamp, ops, line.is_batch, line.by);
      break;
    case LineKind::kEntry: {
      base::Buffer out;
      encode_entry(out, ops.at(0), line.stamp.seq);
      text = out.view();
      break;
    }
    case LineKind::kSnapshotHeader:
      text = encode_snapshot_header(line.snapshot);
      break;
    case LineKind::kSnapshotEnd:
      text = encode_snapshot_end(line.snapshot_end);
      break;
    case LineKind::kSegmentHeader:
      text = encode_segment_header(line.header);
      break;
    case LineKind::kSegmentEnd:
      text = encode_segment_end(line.end);
      break;
    case LineKind::kOwner:
      text = encode_owner(line.owner);
      break;
    default:
      return "nothing we write";
  }
  text.pop_back();
  return text;
}

TEST(FormatDocument, ShowsLinesAsWeWriteThemButForOneTornAndOneForeignLine) {
  std::vector<std::string> torn, foreign;
  std::map<LineKind, int> kinds;
  for (const std::string& text : example_lines()) {
    std::vector<Op> ops;
    base::Scratch scratch;
    const Line line = decode(text, ops, scratch);
    ++kinds[line.kind];
    if (line.kind == LineKind::kUnsealed) {
      torn.push_back(text);
    } else if (const std::string again = written_again(line, ops); again != text) {
      EXPECT_EQ(line.kind, LineKind::kRecord) << explain(text, line) << "\n" << text;
      foreign.push_back(again);
    }
  }
  EXPECT_EQ(torn, std::vector<std::string>{R"({"seq":6,"ts":1763800000006000,"op":"put","key":"note","value")"});
  EXPECT_EQ(foreign,
            std::vector<std::string>{
                R"({"seq":1,"ts":1763800000001000,"op":"put","key":"user:1","value":"Ada","crc":"c97dfd32"})"});
  EXPECT_GE(kinds[LineKind::kRecord], 8);
  EXPECT_GE(kinds[LineKind::kSegmentHeader], 3);
  EXPECT_GE(kinds[LineKind::kSegmentEnd], 2);
  EXPECT_GE(kinds[LineKind::kOwner], 2);
  EXPECT_GE(kinds[LineKind::kEntry], 2);
  EXPECT_GE(kinds[LineKind::kSnapshotHeader], 1);
  EXPECT_GE(kinds[LineKind::kSnapshotEnd], 1);
}

TEST(FormatDocument, CutsItsWorkedExampleWhereTheTornLineBegins) {
  const std::string text = document();
  size_t at = text.find("```jsonl\n{\"kvstore\":\"wal\"", text.find("whose last line is torn"));
  ASSERT_NE(at, std::string_view::npos);
  at += std::string_view("```jsonl\n").size();
  const size_t torn = text.find("{\"seq\":6,", at);
  ASSERT_NE(torn, std::string_view::npos);
  const size_t torn_bytes = text.find('\n', torn) - torn;
  EXPECT_NE(text.find(fmt::format("wal-00000000000000000004.jsonl.{}`", torn - at)), std::string_view::npos)
      << torn - at;
  EXPECT_NE(text.find(fmt::format("the {} bytes are", torn_bytes)), std::string_view::npos) << torn_bytes;
}

TEST(FormatDocument, ShowsASnapshotThatIsWhole) {
  const std::string text = document();
  size_t at = text.find("{\"kvstore\":\"snapshot\"");
  ASSERT_NE(at, std::string::npos);
  const size_t begin = at;
  std::vector<Op> ops;
  base::Scratch scratch;
  Line line;
  uint64_t entries = 0;
  Seq last_seq = 0;
  for (;; at = text.find('\n', at) + 1) {
    line = decode(std::string_view(text).substr(at, text.find('\n', at) - at), ops, scratch);
    if (line.kind == LineKind::kSnapshotHeader) last_seq = line.snapshot.last_seq;
    if (line.kind != LineKind::kSnapshotHeader && line.kind != LineKind::kEntry) break;
    entries += line.kind == LineKind::kEntry;
  }
  ASSERT_EQ(line.kind, LineKind::kSnapshotEnd);
  EXPECT_EQ(line.snapshot_end.entries, entries);
  EXPECT_EQ(line.snapshot_end.last_seq, last_seq);
  EXPECT_EQ(line.snapshot_end.next, fmt::format("wal-{:020}.jsonl", last_seq + 1));
  EXPECT_EQ(line.snapshot_end.whole, base::crc32c(std::string_view(text).substr(begin, at - begin)));
  EXPECT_NE(text.find(fmt::format("`snapshot-{:020}.jsonl`:", last_seq)), std::string::npos);
}

std::string_view cell(Need need) {
  return need == Need::kYes ? "yes" : need == Need::kNo ? "no" : "\xc2\xb7";  // a middle dot
}

TEST(FormatDocument, PrintsTheRecoveryTable) {
  constexpr std::string_view kVerdicts[] = {"accept", "cut", "corrupt", "unsupported"};
  std::string table;
  for (const VerdictRow& row : kVerdictTable) {
    for (const Need need :
         {row.newline, row.sealed, row.crc_ok, row.well_formed, row.known_op, row.next_seq, row.vouched}) {
      table += fmt::format("| {} ", cell(need));
    }
    table += fmt::format("| **{}** | {} |\n", kVerdicts[static_cast<size_t>(row.verdict)], row.why);
  }
  EXPECT_NE(document().find(table + "\n"), std::string::npos) << "the document should have:\n" << table;
}

TEST(FormatDocument, StatesOurLimits) {
  const std::string text = document();
  const auto states = [&text](const std::string& fact) { return text.find(fact) != std::string_view::npos; };
  EXPECT_TRUE(states(fmt::format("# The log format, version {}", kFormatVersion)));
  EXPECT_TRUE(states(fmt::format("The last {} bytes of a line", kSealBytes)));
  EXPECT_TRUE(states(fmt::format("| key | 1 byte … {} KiB |", kKeyBytesMax >> 10)));
  EXPECT_TRUE(states(fmt::format("| value, JSON document | 0 bytes … {} MiB |", kValueBytesMax >> 20)));
  EXPECT_TRUE(states(fmt::format("| `by` | writers keep to {} bytes |", kByBytesMax)));
  EXPECT_TRUE(states(fmt::format("| JSON nesting | {} levels |", kJsonDepthMax)));
  EXPECT_TRUE(states(fmt::format("| line | {} MiB", kLineBytesMax >> 20)));
  EXPECT_TRUE(states(fmt::format("{} MiB by default", Options().segment_bytes >> 20)));
  EXPECT_TRUE(states(fmt::format("0 … {} (2^53 - 1)", kIntegerMax)));
}

}  // namespace
}  // namespace kvstore::format
