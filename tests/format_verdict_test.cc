// The recovery table, walked in full: what it says, and that what it says keeps the promises.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvstore/format/verdict.h"

namespace kvstore::format {
namespace {

std::vector<LineFacts> every_combination() {
  std::vector<LineFacts> all;
  for (unsigned bits = 0; bits < 128; ++bits) {
    const auto bit = [bits](unsigned index) { return (bits >> index & 1) != 0; };
    all.push_back({bit(0), bit(1), bit(2), bit(3), bit(4), bit(5), bit(6)});
  }
  return all;
}

std::string describe(const LineFacts& facts) {
  std::string out;
  const auto add = [&out](bool fact, const char* name) { out += fact ? std::string(" ") + name : ""; };
  add(facts.newline, "newline"), add(facts.sealed, "sealed"), add(facts.crc_ok, "crc_ok");
  add(facts.well_formed, "well_formed"), add(facts.known_op, "known_op"), add(facts.next_seq, "next_seq");
  add(facts.vouched, "vouched");
  return "facts:" + out;
}

bool is_intact(const LineFacts& facts) { return facts.sealed && facts.crc_ok; }
bool is_usable(const LineFacts& facts) {
  return is_intact(facts) && facts.well_formed && facts.known_op && facts.next_seq;
}

TEST(Verdict, AcceptsExactlyWhatIsIntactUnderstoodAndNext) {  // P1, P4
  for (const LineFacts& facts : every_combination()) {
    EXPECT_EQ(judge(facts) == Verdict::kAccept, is_usable(facts)) << describe(facts);
  }
}

TEST(Verdict, NeverCutsWhatWasPromised) {  // P1, P5
  for (const LineFacts& facts : every_combination()) {
    if (facts.vouched) {
      EXPECT_NE(judge(facts), Verdict::kCut) << describe(facts);
    }
  }
}

TEST(Verdict, NeverCutsIntactLinesOfNewerVersionsNorOfNoVersion) {  // P5
  for (const LineFacts& facts : every_combination()) {
    if (!is_intact(facts)) continue;
    if (facts.well_formed && !facts.known_op) {
      EXPECT_EQ(judge(facts), Verdict::kUnsupported) << describe(facts);
    }
    if (!facts.well_formed) {
      EXPECT_EQ(judge(facts), Verdict::kCorrupt) << describe(facts);
    }
  }
}

TEST(Verdict, NeverRefusesAMereTornTail) {
  for (const LineFacts& facts : every_combination()) {
    if (!is_intact(facts) && !facts.vouched) {
      EXPECT_EQ(judge(facts), Verdict::kCut) << describe(facts);
    }
  }
}

TEST(Verdict, DoesNotDependOnTheNewline) {
  for (LineFacts facts : every_combination()) {
    const Verdict verdict = judge(facts);
    facts.newline = !facts.newline;
    EXPECT_EQ(judge(facts), verdict) << describe(facts);
  }
}

TEST(Verdict, HasTheseOutcomesAndReasons) {
  const auto outcome = [](const LineFacts& facts) {
    constexpr const char* kNames[] = {"accept", "cut", "corrupt", "unsupported"};
    return std::string(kNames[static_cast<size_t>(judge(facts))]) + ": " + std::string(why(facts));
  };
  // In the order in which recovery finds out.
  LineFacts facts;
  EXPECT_EQ(outcome(facts), "cut: torn: it does not end in a seal, and no sync promised a record here");
  facts.sealed = true;
  EXPECT_EQ(outcome(facts), "cut: torn: its checksum differs, and no sync promised a record here");
  facts.crc_ok = true;
  EXPECT_EQ(outcome(facts), "corrupt: impossible: its bytes are intact, but no version writes such a line");
  facts.well_formed = true;
  EXPECT_EQ(outcome(facts), "unsupported: newer: intact, but of a kind or operation unknown to this version");
  facts.known_op = true;
  EXPECT_EQ(outcome(facts), "cut: out of order: a line is missing here, and no sync promised it");
  facts.next_seq = true;
  EXPECT_EQ(outcome(facts), "accept: intact, and next in order");
  facts.vouched = true;
  EXPECT_EQ(outcome(facts), "accept: intact, and next in order");
  facts.next_seq = false;
  EXPECT_EQ(outcome(facts), "corrupt: out of order: a line is missing here, though a sync promised it");
  facts.known_op = false;
  EXPECT_EQ(outcome(facts), "unsupported: newer: intact, but of a kind or operation unknown to this version");
  facts.well_formed = false;
  EXPECT_EQ(outcome(facts), "corrupt: impossible: its bytes are intact, but no version writes such a line");
  facts.crc_ok = false;
  EXPECT_EQ(outcome(facts), "corrupt: damaged: its checksum differs, where a sync promised a record");
  facts.sealed = false;
  EXPECT_EQ(outcome(facts), "corrupt: damaged: it does not end in a seal, where a sync promised a record");
}

}  // namespace
}  // namespace kvstore::format
