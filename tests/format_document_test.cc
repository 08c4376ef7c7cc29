// FORMAT.md says what the code does: its recovery table is kVerdictTable, and its worked example checks out.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iterator>
#include <string>

#include "kvstore/base/scratch.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/verdict.h"

namespace kvstore::testing {
namespace {

std::string document() {
  std::ifstream in(KVSTORE_SOURCE_DIR "/kvstore/FORMAT.md");
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(FormatDocument, PrintsTheRecoveryTable) {
  constexpr std::array kNeeds = {"no", "yes", "any"};
  constexpr std::array kVerdicts = {"accept", "cut", "corrupt", "unsupported"};
  std::string table;
  for (const format::VerdictRow& row : format::kVerdictTable) {
    for (const format::Need need :
         {row.newline, row.sealed, row.crc_ok, row.well_formed, row.known_op, row.next_seq, row.vouched}) {
      table += fmt::format("| {} ", kNeeds[static_cast<size_t>(need)]);
    }
    table += fmt::format("| {} | {} |\n", kVerdicts[static_cast<size_t>(row.verdict)], row.why);
  }
  EXPECT_NE(document().find(table), std::string::npos) << "FORMAT.md should print\n" << table;
}

TEST(FormatDocument, ItsWorkedExampleChecksOut) {
  const std::string text = document().substr(document().find("## A worked example"));
  std::vector<format::Op> ops;
  base::Scratch scratch;
  for (const uint64_t seq : {7U, 8U}) {
    const size_t begin = text.find(fmt::format("    {{\"seq\":{}", seq)) + 4;
    const std::string line = text.substr(begin, text.find('\n', begin) - begin);
    const format::Line decoded = format::decode(line, ops, scratch);
    EXPECT_EQ(decoded.kind, format::LineKind::kRecord) << line;
    EXPECT_EQ(decoded.stamp.seq, seq);
  }
}

}  // namespace
}  // namespace kvstore::testing
