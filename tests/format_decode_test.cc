// What decode() makes of lines that people, programs and adversaries write.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "tests/support/format_spelling.h"

namespace kvstore::format {
namespace {

using testing::sealed;

std::string text_of(const Op& op) {
  const std::string expires = op.expires_us == 0 ? "" : fmt::format(" until {}", op.expires_us);
  if (op.removes()) return fmt::format("{} {}", op.kind == Op::Kind::kDel ? "del" : "evict", op.key);
  return fmt::format("put {}={}{}{}", op.key, op.is_json ? "json " : "", op.value, expires);
}

// One line for a reader: what the line is, or why it is nothing.
std::string reading(std::string_view text) {
  std::vector<Op> ops;
  base::Scratch scratch;
  const Line line = decode(text, ops, scratch);
  EXPECT_EQ(ops.size(), line.op_count);
  if (line.kind != LineKind::kRecord && line.kind != LineKind::kEntry) return explain(text, line);
  const bool is_entry = line.kind == LineKind::kEntry;
  EXPECT_TRUE(!is_entry || (line.stamp == Stamp{line.stamp.seq, 0, 0} && line.by.empty() && !line.is_batch));
  std::string out = fmt::format("{}@{}", line.stamp.seq, is_entry ? "snapshot" : std::to_string(line.stamp.ts_us));
  if (line.stamp.synced != 0) out += fmt::format(" synced {}", line.stamp.synced);
  if (line.is_batch) out += " batch";
  for (const Op& op : ops) out += " | " + text_of(op);
  return line.by.empty() ? out : out + fmt::format(" | by {}", line.by);
}

// A record with sequence number 9 and these further members.
std::string reading_of(std::string_view members) {
  return reading(sealed(fmt::format(R"({{"seq":9,"ts":5,{})", members)));
}

TEST(Decode, ReadsEveryKindOfRecord) {
  EXPECT_EQ(reading(R"({"seq":7,"ts":1763800000123456,"op":"put","key":"user:1","value":"Ada","crc":"6ac5481b"})"),
            "7@1763800000123456 | put user:1=Ada");
  EXPECT_EQ(reading_of(R"("synced":8,"op":"put","key":"k","json":{"a": 1.50},"expires":77,"by":"me")"),
            R"(9@5 synced 8 | put k=json {"a": 1.50} until 77 | by me)");
  EXPECT_EQ(reading_of(R"("op":"del","key":"k")"), "9@5 | del k");
  EXPECT_EQ(reading_of(R"("op":"evict","key":"k")"), "9@5 | evict k");
  EXPECT_EQ(reading_of(R"( "op":"evict","key64":"aw==")"), "9@5 | evict k");
  EXPECT_EQ(reading_of(R"("op":"batch","ops":[{"op":"evict","key":"a"},{"op":"put","key":"b","value":"1"}])"),
            "9@5 batch | evict a | put b=1");
  EXPECT_EQ(reading_of(R"("op":"batch","ops":[{"op":"put","key":"a","value":"1"},{"op":"del","key":"b"}])"),
            "9@5 batch | put a=1 | del b");
  EXPECT_EQ(reading_of(R"("op":"batch","ops":[])"), "9@5 batch");
  EXPECT_EQ(reading_of(R"("op":"put","key64":"AAE=","value64":"")"), std::string("9@5 | put \0\x01=", 13));
  EXPECT_EQ(reading_of(R"("op":"put","key":"\u0041\ud83c\uDF88\/\n","value":"\u0000")"),
            std::string("9@5 | put A\xf0\x9f\x8e\x88/\n=\0", 19));
}

TEST(Decode, TakesAPutWithoutATimeForAnEntryOfASnapshot) {
  const auto entry = [](std::string_view members) { return reading(sealed(fmt::format(R"({{"seq":9,{})", members))); };
  EXPECT_EQ(entry(R"("op":"put","key":"k","value":"v")"), "9@snapshot | put k=v");
  EXPECT_EQ(entry(R"("op":"put","key":"k","json":{"a": 1.50},"expires":77)"),
            R"(9@snapshot | put k=json {"a": 1.50} until 77)");
  EXPECT_EQ(entry(R"("op":"put","key64":"AAE=","value64":"")"), std::string("9@snapshot | put \0\x01=", 20));
  EXPECT_EQ(entry(R"( "value64":"dg==", "\u006bey":"k", "x":[], "o\u0070":"p\u0075t")"), "9@snapshot | put k=v");
}

TEST(Decode, TakesNothingElseWithoutATime) {
  const auto expect = [](std::string_view members, std::string_view why) {
    for (const std::string_view space : {"", " "}) {  // our own spelling, and not
      const std::string text = fmt::format(R"({{"seq":9,{}{})", members, space);
      EXPECT_EQ(reading(sealed(text)), fmt::format("malformed: {}", why)) << members;
    }
  };
  expect(R"("op":"del","key":"k")", R"(missing member "ts" at column 15)");
  expect(R"("op":"evict","key":"k")", R"(missing member "ts" at column 15)");
  expect(R"("op":"batch","ops":[])", R"(missing member "ts" at column 15)");
  expect(R"("op":"batch","ops":[{"op":"put","key":"k","value":"v"}])", R"(missing member "ts" at column 15)");
  expect(R"("op":"merge","key":"k")", R"(missing member "ts" at column 15)");
  expect(R"("op":"put","key":"k","value":"v","by":"me")", R"(missing member "ts" at column 15)");
  expect(R"("op":"put","key":"k","value":"v","by":"")", R"(missing member "ts" at column 15)");
  expect(R"("synced":8,"op":"put","key":"k","value":"v")", R"(missing member "ts" at column 26)");
  expect(R"("op":7,"key":"k","value":"v")", R"(missing member "ts" at column 15)");
  expect(R"("op":"put","key":"k")", R"(missing member "value" at column 15)");
  expect(R"("op":"put","key":"","value":"v")", R"(an empty key in "key" at column 27)");
  expect(R"("op":"put","key":"k","value":"v","seq":9)", R"(duplicate member "seq" at column 43)");
  EXPECT_EQ(reading(sealed(R"({"seq":0,"op":"put","key":"k","value":"v")")),
            R"(malformed: a sequence number of 0 in "seq" at column 8)");
  EXPECT_EQ(reading(sealed(R"({"op":"put","key":"k","value":"v")")), R"(malformed: missing member "seq" at column 7)");
}

TEST(Decode, ReadsTheOtherKindsOfLines) {
  std::vector<Op> ops;
  base::Scratch scratch;
  const std::string header = encode_segment_header({1, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20", 43, 1763800000000000});
  Line line = decode(std::string_view(header).substr(0, header.size() - 1), ops, scratch);
  ASSERT_EQ(line.kind, LineKind::kSegmentHeader);
  EXPECT_EQ(line.header.format, 1u);
  EXPECT_EQ(line.header.store, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20");
  EXPECT_EQ(line.header.first_seq, 43u);
  EXPECT_EQ(line.header.created_us, 1763800000000000);

  const std::string end = encode_segment_end({42, "wal-00000000000000000043.jsonl"});
  line = decode(std::string_view(end).substr(0, end.size() - 1), ops, scratch);
  ASSERT_EQ(line.kind, LineKind::kSegmentEnd);
  EXPECT_EQ(line.end.last_seq, 42u);
  EXPECT_EQ(line.end.next, "wal-00000000000000000043.jsonl");

  const std::string snapshot =
      encode_snapshot_header({1, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20", 94210, 1763800000000000});
  line = decode(std::string_view(snapshot).substr(0, snapshot.size() - 1), ops, scratch);
  ASSERT_EQ(line.kind, LineKind::kSnapshotHeader);
  EXPECT_EQ(line.snapshot.format, 1u);
  EXPECT_EQ(line.snapshot.store, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20");
  EXPECT_EQ(line.snapshot.last_seq, 94210u);
  EXPECT_EQ(line.snapshot.created_us, 1763800000000000);

  const std::string snapshot_end = encode_snapshot_end({2, 94210, "wal-00000000000000094211.jsonl", 0x0ab1c0de});
  line = decode(std::string_view(snapshot_end).substr(0, snapshot_end.size() - 1), ops, scratch);
  ASSERT_EQ(line.kind, LineKind::kSnapshotEnd);
  EXPECT_EQ(line.snapshot_end.entries, 2u);
  EXPECT_EQ(line.snapshot_end.last_seq, 94210u);
  EXPECT_EQ(line.snapshot_end.next, "wal-00000000000000094211.jsonl");
  EXPECT_EQ(line.snapshot_end.whole, 0x0ab1c0deu);

  const std::string owner =
      encode_owner({1, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20", 4711, "b\"ox", 1763800000000001, 40});
  line = decode(std::string_view(owner).substr(0, owner.size() - 1), ops, scratch);
  ASSERT_EQ(line.kind, LineKind::kOwner);
  EXPECT_EQ(line.owner.format, 1u);
  EXPECT_EQ(line.owner.pid, 4711);
  EXPECT_EQ(line.owner.host, "b\"ox");
  EXPECT_EQ(line.owner.started_us, 1763800000000001);
  EXPECT_EQ(line.owner.closed_seq, 40u);
  EXPECT_EQ(line.owner.store, "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20");
}

TEST(Decode, TellsBlankFillerFromEverythingElse) {
  for (const char* blank : {"", " ", "\t\r ", "                   \r"}) EXPECT_EQ(reading(blank), "blank");
  EXPECT_EQ(reading(std::string(4096, '\0')),
            R"(not sealed: does not end in ,"crc":"xxxxxxxx"}; it is 4096 zero bytes)");
  EXPECT_EQ(reading("\v"), R"(not sealed: does not end in ,"crc":"xxxxxxxx"})");
}

TEST(Decode, KnowsASealByItsOneSpelling) {
  const std::string body = R"({"seq":7,"ts":1763800000123456,"op":"put","key":"user:1","value":"Ada")";
  EXPECT_EQ(reading(body + R"(,"crc":"6ac5481c"})"), "crc mismatch (stored 6ac5481c, computed 6ac5481b)");
  for (const char* seal :
       {R"(,"crc":"6AC5481B"})", R"(,"crc":"6ac5481b"} )", R"(, "crc":"6ac5481b"})", R"(,"crc":"6ac5481"})",
        R"(,"crc":"6ac5481g"})", R"(,"crc":"6ac5481b")", R"(,"CRC":"6ac5481b"})", "", "}"}) {
    EXPECT_EQ(reading(body + seal), R"(not sealed: does not end in ,"crc":"xxxxxxxx"})") << seal;
  }
  EXPECT_EQ(reading(sealed("")), "malformed: expected an object at column 1");
  EXPECT_EQ(reading(sealed("{")), "malformed: expected a member name in quotes at column 2");
}

TEST(Decode, RefusesWhatIsNoRecordAndSaysWhatAndWhere) {
  const auto expect = [](std::string_view members, std::string_view why) {
    EXPECT_EQ(reading_of(members), fmt::format("malformed: {}", why)) << members;
  };
  // {"seq":9,"ts":5, is 16 bytes, so the first byte below is column 17.
  expect(R"("op":"put","key":"a","key":"b","value":"1")", R"(duplicate member "key" at column 38)");
  expect(R"("op":"put","key":"a","\u006bey":"b","value":"1")", R"(duplicate member "\u006bey" at column 38)");
  expect(R"("op":"put","key":"a","value":"1","x":1,"y":2,"x":[])", R"(duplicate member "x" at column 62)");
  expect(R"("op":"put","key":"a","value":"1","crc":"00000000")", R"(duplicate member "crc" at column 67)");
  expect(R"("op":"put","key":"a","value":"1","seq":9)", R"(duplicate member "seq" at column 50)");
  expect(R"("op":"put","key":"a","key64":"YQ==","value":"1")", R"(a second key in "key64" at column 46)");
  expect(R"("op":"put","key":"a","value":"1","json":1)", R"(a second value in "json" at column 57)");
  expect(R"("op":"put","key":"a","value":"1","value64":"")", R"(a second value in "value64" at column 60)");
  expect(R"("op":"put","key":"a")", R"(missing member "value" at column 22)");
  expect(R"("op":"put","value":"a")", R"(missing member "key" at column 22)");
  expect(R"("op":"put","key":"","value":"1")", R"(an empty key in "key" at column 34)");
  expect(R"("op":"put","key64":"","value":"1")", R"(an empty key in "key64" at column 36)");
  expect(R"("op":"put","key":1,"value":"1")", "expected a string at column 34");
  expect(R"("op":"put","key":"a","value":1)", "expected a string at column 46");
  expect(R"("op":"put","key":"a","value":null)", "expected a string at column 46");
  expect(R"("op":"del","key":"a","value":"1")", R"(a del with a member "value" at column 46)");
  expect(R"("op":"evict","key":"a","json":1)", R"(an evict with a member "json" at column 47)");
  expect(R"("op":"del","key":"a","expires":1)", R"(a del with a member "expires" at column 48)");
  expect(R"("op":"del","key":"a","ops":[])", R"(a single operation with a member "ops" at column 44)");
  expect(R"("op":"batch")", R"(missing member "ops" at column 22)");
  expect(R"("op":"batch","ops":{})", "expected an array at column 36");
  expect(R"("op":"batch","ops":[1])", "expected an object at column 37");
  expect(R"("op":"batch","ops":[{}])", R"(missing member "op" at column 37)");
  expect(R"("op":"batch","ops":[{"op":"batch","ops":[]}])", "a batch inside a batch at column 43");
  expect(R"("op":"batch","ops":[{"op":"del","key":"a","key":"a"}])", R"(duplicate member "key" at column 59)");
  expect(R"("op":"batch","ops":[],"key":"a")", R"(a batch with a member "key" at column 45)");
  expect(R"("op":1,"key":"a")", "expected a string at column 22");
  expect(R"("key":"a")", R"(missing member "op" at column 1)");
  expect(R"("op":"put","key":"a","value":"\ud800")", "unpaired surrogate at column 47");
  expect(R"("op":"put","key":"a","value":"\udc00\ud800")", "unpaired surrogate at column 47");
  expect(R"("op":"put","key":"a","value":"\ud800\u0041")", "unpaired surrogate at column 47");
  expect(R"("op":"put","key":"a","value":"\x")", "unknown escape at column 47");
  expect(R"("op":"put","key":"a","value":"\u12g4")", "expected four hex digits behind \\u at column 47");
  expect("\"op\":\"put\",\"key\":\"a\",\"value\":\"1\t2\"",
         "a control character in a string must be escaped at column 48");
  expect(std::string_view("\"op\":\"put\",\"key\":\"a\0\",\"value\":\"\"", 32),
         "a control character in a string must be escaped at column 36");
  expect("\"op\":\"put\",\"key\":\"a\xff\",\"value\":\"1\"", "the string is not valid UTF-8 at column 36");
  expect("\"op\":\"put\",\"key\":\"a\",\"value\":\"1\",\"x\":[\"\xed\xa0\x80\"]",
         "the string is not valid UTF-8 at column 56");
  expect("\"op\":\"put\",\"key\":\"a\",\"value\":\"\xe2\x82\"", "the string is not valid UTF-8 at column 47");
  expect("\"op\":\"put\",\"key\":\"a\",\"value\":\"\xff\\n\"",
         "the string is not valid UTF-8 at column 47");  // before an escape,
  expect("\"op\":\"put\",\"key\":\"a\",\"value\":\"\\n\xff\"",
         "the string is not valid UTF-8 at column 49");  // behind one,
  expect("\"op\":\"put\",\"key\":\"a\",\"value\":\"\xc3\\n\xa9\"",
         "the string is not valid UTF-8 at column 47");  // around it
  expect(R"("op":"put","key":"a","value":nonsense)", "expected a JSON value at column 46");
  expect(R"("op":"put","key":"a","json":)", "expected a JSON value at column 45");
  expect(R"("op":"put","key":"a","json":01)", "a number must not have leading zeros at column 46");
  expect(R"("op":"put","key":"a","value":"1"})", "text behind the object at column 50");
  expect(R"("op":"put","key":"a","json":{"x":1)", "expected ',' or '}' at column 69");
}

TEST(Decode, TakesBase64InItsOneStrictSpelling) {
  const auto value64 = [](std::string_view text) {
    return reading_of(fmt::format(R"("op":"put","key":"a","value64":"{}")", text));
  };
  EXPECT_EQ(value64("TWFu"), "9@5 | put a=Man");
  EXPECT_EQ(value64("TWE="), "9@5 | put a=Ma");
  EXPECT_EQ(value64("TQ=="), "9@5 | put a=M");
  EXPECT_EQ(value64("\\u0054Q=\\u003d"), "9@5 | put a=M");
  for (const char* wrong : {"TQ", "TQ=", "TWE", "TR==", "TWF=", "TQ==TQ==", "T===", "====", "TW u", "TW-_", "TWFuT",
                            "=TWF", "TQ=A", "TWFu\\n"}) {
    EXPECT_EQ(value64(wrong), "malformed: not base64 with padding (RFC 4648) at column 48") << wrong;
  }
}

TEST(Decode, TakesWholeNumbersUpTo53BitsAndNoOthers) {
  const auto with_expires = [](std::string_view number) {
    return reading_of(fmt::format(R"("op":"put","key":"a","value":"1","expires":{})", number));
  };
  EXPECT_EQ(with_expires("0"), "9@5 | put a=1");
  EXPECT_EQ(with_expires("9007199254740991"), "9@5 | put a=1 until 9007199254740991");
  EXPECT_EQ(with_expires(" 12\t"), "9@5 | put a=1 until 12");
  for (const char* above :
       {"9007199254740992", "9007199254740993", "18446744073709551617", "99999999999999999999999999999999999999"}) {
    EXPECT_EQ(with_expires(above), "malformed: number above 9007199254740991 at column 60") << above;
  }
  for (const char* wrong : {"-1", "-0", "1.0", "1e3", "1E0", "0.5"}) {
    EXPECT_EQ(with_expires(wrong),
              "malformed: expected a whole number, without sign, fraction or exponent at column 60")
        << wrong;
  }
  EXPECT_EQ(with_expires("007"), "malformed: a number must not have leading zeros at column 61");
  EXPECT_EQ(with_expires("\"7\""),
            "malformed: expected a whole number, without sign, fraction or exponent at column 60");
}

TEST(Decode, HoldsTheStampToWhatAStampCanBe) {
  const std::string rest = R"("op":"del","key":"a")";
  EXPECT_EQ(reading(sealed(R"({"seq":0,"ts":5,)" + rest)), R"(malformed: a sequence number of 0 in "seq" at column 8)");
  EXPECT_EQ(reading(sealed(R"({"seq":9,)" + rest)), R"(malformed: missing member "ts" at column 15)");
  EXPECT_EQ(reading(sealed(R"({"ts":9,)" + rest)), R"(malformed: missing member "seq" at column 14)");
  EXPECT_EQ(reading_of(R"("synced":9,)" + rest),
            R"(malformed: a voucher for this record or a later one in "synced" at column 26)");
  EXPECT_EQ(reading_of(R"("synced":8,)" + rest), "9@5 synced 8 | del a");
  EXPECT_EQ(reading_of(R"("synced":0,)" + rest), "9@5 | del a");
}

TEST(Decode, LeavesNewerVersionsToNewerVersions) {
  const auto expect = [](std::string_view body, std::string_view why) {
    EXPECT_EQ(reading(sealed(body)), fmt::format("{}: written by a newer version than format 1", why)) << body;
  };
  expect(R"({"seq":9,"ts":5,"op":"merge","key":7)", R"(unknown operation "merge" at column 22)");
  expect(R"({"seq":9,"ts":5,"op":"batch","ops":[{"op":"del","key":"a"},{"op":"cas"}])",
         R"(unknown operation "cas" at column 66)");
  expect(R"({"kvstore":"wal","format":2)", "unknown format number 2 at column 27");
  expect(R"({"kvstore":"lock","format":9007199254740991)", "unknown format number 9007199254740991 at column 28");
  expect(R"({"kvstore":"snapshot","format":2)", "unknown format number 2 at column 32");
  expect(R"({"kvstore":"index","of":[])", R"(unknown kind of line "index" at column 12)");

  std::vector<Op> ops(2);
  base::Scratch scratch;
  const Line line =
      decode(sealed(R"({"seq":9,"ts":5,"op":"batch","ops":[{"op":"del","key":"a"},{"op":"cas"}])"), ops, scratch);
  EXPECT_EQ(line.kind, LineKind::kUnknownOp);
  EXPECT_EQ(line.stamp.seq, 9u) << "what could be read is there";
  EXPECT_EQ(ops.size(), 2u) << "no half batch";
}

TEST(Decode, RefusesSpecialLinesThatDoNotSayWhatTheyMust) {
  const auto expect = [](std::string_view body, std::string_view why) {
    EXPECT_EQ(reading(sealed(body)), why) << body;
  };
  expect(R"({"kvstore":7)", "malformed: expected a string at column 12");
  expect(R"({"kvstore":"wal")", R"(malformed: missing member "format" at column 1)");
  expect(R"({"kvstore":"wal","format":1,"store":"u","first_seq":1)",
         R"(malformed: missing member "created" at column 1)");
  expect(R"({"kvstore":"wal","format":1,"store":"u","first_seq":-1,"created":1)",
         "malformed: expected a whole number, without sign, fraction or exponent at column 53");
  expect(R"({"kvstore":"wal","format":1,"store":"u","first_seq":0,"created":1)",
         R"(malformed: a sequence number of 0 in "first_seq" at column 53)");
  expect(R"({"kvstore":"wal","format":1,"store":"","first_seq":1,"created":1)",
         R"(malformed: an empty text in "store" at column 37)");
  expect(R"({"kvstore":"snapshot","format":1,"store":"","last_seq":1,"created":1)",
         R"(malformed: an empty text in "store" at column 42)");
  expect(R"({"kvstore":"lock","format":1,"store":"","pid":0,"host":"","started":0,"closed_seq":0)",
         "an intact owner line");
  expect(R"({"kvstore":"end","last_seq":1,"next":"../../etc/passwd")",
         R"(malformed: no name of a segment in "next" at column 38)");
  expect(R"({"kvstore":"end","last_seq":1,"next":"wal-0000000000000000000a.jsonl")",
         R"(malformed: no name of a segment in "next" at column 38)");
  expect(R"({"kvstore":"end","last_seq":1,"next":"wal-00000000000000000002.jsonl","extra":[1])",
         "an intact segment end");

  expect(R"({"kvstore":"snapshot","format":1,"store":"u","created":1)",
         R"(malformed: missing member "last_seq" at column 1)");
  expect(R"({"last_seq":0,"kvstore":"snapshot","format":1,"store":"u","created":1)", "an intact snapshot header");
  const std::string end = R"({"kvstore":"snapshot_end","last_seq":1,"next":"wal-00000000000000000002.jsonl",)";
  expect(end + R"("entries":1,"whole":"0123abcd")", "an intact snapshot end");
  expect(end + R"("entries":1,"whole":"\u0030123abcd", "extra":1)", "an intact snapshot end");
  expect(end + R"("whole":"0123abcd")", R"(malformed: missing member "entries" at column 1)");
  expect(end + R"("entries":1)", R"(malformed: missing member "whole" at column 1)");
  expect(end + R"("entries":1,"whole":19114957)", "malformed: expected a string at column 100");
  for (const char* whole : {"0123ABCD", "0123abc", "0123abcd0", "0x23abcd", "+123abcd", "0123abc ", ""}) {
    expect(end + fmt::format(R"("entries":1,"whole":"{}")", whole),
           R"(malformed: not eight lower-case hexadecimal digits in "whole" at column 100)");
  }
  expect(R"({"kvstore":"snapshot_end","entries":1,"last_seq":1,"next":"wal-2.jsonl","whole":"0123abcd")",
         R"(malformed: no name of a segment in "next" at column 59)");
}

TEST(Decode, BoundsKeysAndValuesByWhatTheyMeanNotByHowTheyAreSpelled) {
  const auto line = [](std::string_view key, std::string_view value) {
    return sealed(fmt::format(R"({{"seq":9,"ts":5,"op":"put","key":"{}","value":"{}")", key, value));
  };
  const auto repeat = [](std::string_view text, size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += text;
    return out;
  };
  std::vector<Op> ops;
  base::Scratch scratch;
  EXPECT_EQ(decode(line(std::string(kKeyBytesMax, 'k'), ""), ops, scratch).kind, LineKind::kRecord);
  EXPECT_EQ(decode(line(repeat("\\u0041", kKeyBytesMax), ""), ops, scratch).kind, LineKind::kRecord);
  EXPECT_EQ(decode(line(std::string(kKeyBytesMax + 1, 'k'), ""), ops, scratch).kind, LineKind::kMalformed);
  EXPECT_EQ(decode(line(repeat("\\u00e9", kKeyBytesMax / 2 + 1), ""), ops, scratch).kind, LineKind::kMalformed);
  EXPECT_EQ(decode(line("k", std::string(kValueBytesMax, 'v')), ops, scratch).kind, LineKind::kRecord);
  EXPECT_EQ(decode(line("k", std::string(kValueBytesMax + 1, 'v')), ops, scratch).kind, LineKind::kMalformed);
}

TEST(Decode, SurvivesHostileNestingAndMillionsOfMembers) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(reading_of(R"("op":"put","key":"a","json":)" + nested(1000)).starts_with("9@5 | put a=json [["));
  EXPECT_EQ(reading_of(R"("op":"put","key":"a","json":)" + nested(1001)),
            "malformed: nested more than 1000 levels deep at column 1045");
  EXPECT_TRUE(reading_of(R"("op":"batch","ops":[{"op":"put","key":"a","json":)" + nested(1000) + "}]")
                  .starts_with("9@5 batch"));
  EXPECT_TRUE(reading_of(R"("op":"batch","ops":[{"op":"put","key":"a","json":)" + nested(1001) + "}]")
                  .starts_with("malformed"));
  EXPECT_TRUE(
      reading_of(R"("op":"del","key":"a","x":)" + std::string(2'000'000, '[')).starts_with("malformed: nested"));

  std::string members = R"("op":"del","key":"a")";
  for (int i = 0; i < 200'000; ++i) members += fmt::format(R"(,"{}":0)", i);
  EXPECT_EQ(reading_of(members), "9@5 | del a");
  EXPECT_EQ(reading_of(members + R"(,"77777":0)"), "malformed: duplicate member \"77777\" at column 2088928");
}

TEST(Explain, ShowsOnlyTheBeginningOfALongName) {
  const std::string name(100, 'n');
  EXPECT_EQ(reading_of(fmt::format(R"("{0}":1,"{0}":2,"op":"del","key":"a")", name)),
            "malformed: duplicate member \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn... at column 122");
}

}  // namespace
}  // namespace kvstore::format
