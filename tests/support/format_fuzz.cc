#include "tests/support/format_fuzz.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/readers.h"
#include "kvstore/format/utf8.h"
#include "tests/support/format_spelling.h"
#include "tests/support/must.h"

namespace kvstore::testing {
namespace {

using namespace kvstore::format;

void check_same(const Line& a, const std::vector<Op>& a_ops, const Line& b, const std::vector<Op>& b_ops) {
  must(a.kind == b.kind && a.stamp == b.stamp && a.by == b.by && a.is_batch == b.is_batch && a_ops == b_ops);
}

// Whatever was read as a record or an entry can be written, and then means the same.
void check_rewritten(const Line& line, const std::vector<Op>& ops) {
  base::Scratch scratch;
  std::vector<Op> expected = ops;
  for (Op& op : expected) {
    if (op.is_json) op.value = json_on_one_line(op.value, scratch);  // a foreign line may hold '\r' between tokens
  }
  std::string text;
  if (line.kind == LineKind::kEntry) {
    base::Buffer out;
    encode_entry(out, ops.at(0), line.stamp.seq);
    text = out.view();
  } else {
    text = encode_line(line.stamp, ops, line.is_batch, line.by);
  }
  must(text.find('\n') == text.size() - 1);
  std::vector<Op> again_ops;
  const Line again = decode(std::string_view(text).substr(0, text.size() - 1), again_ops, scratch);
  check_same(line, expected, again, again_ops);
}

void check_line(std::string_view text) {
  base::Scratch scratch;
  std::vector<Op> ops;
  const Line line = decode(text, ops, scratch);
  must(!explain(text, line).empty());
  if (line.kind != LineKind::kRecord && line.kind != LineKind::kEntry) {
    must(ops.empty());
  } else {
    must(line.op_count == ops.size());
    Line general;
    std::vector<Op> general_ops;
    Problem problem;
    read_general(text, &general, &general_ops, &scratch, &problem);
    check_same(line, ops, general, general_ops);
    check_rewritten(line, ops);
  }
}

void check_document(std::string_view text) {
  if (const std::optional<JsonError> error = check_json(text)) {
    must(error->offset <= text.size() && !describe(text, *error).empty());
    return;
  }
  must(find_json(text, "").has_value());
  (void)find_json(text, "/a/0/~1~0");
  base::Scratch scratch;
  const std::string_view one_line = json_on_one_line(text, scratch);
  must(!check_json(one_line).has_value());
  Line line;
  line.kind = LineKind::kRecord;
  line.stamp.seq = 1;
  check_rewritten(line, {{Op::Kind::kPut, true, "k", one_line, 0}});
}

void check_value(std::string_view bytes) {
  must(is_utf8(bytes) == (valid_utf8_prefix(bytes) == bytes.size()));
  Line line;
  line.kind = LineKind::kEntry;
  line.stamp.seq = kIntegerMax;
  const std::string_view key = bytes.empty() ? "k" : bytes.substr(0, format::kKeyBytesMax);
  check_rewritten(line, {{Op::Kind::kPut, false, key, bytes, 1}});
  line.kind = LineKind::kRecord;
  line.stamp = {kIntegerMax, static_cast<int64_t>(kIntegerMax), kIntegerMax - 1};
  check_rewritten(line, {{Op::Kind::kPut, false, key, bytes, 1}});
  line.is_batch = true;
  check_rewritten(line, {{Op::Kind::kDel, false, key, {}, 0},
                         {Op::Kind::kPut, false, key, bytes, 0},
                         {Op::Kind::kEvict, false, key, {}, 0}});
}

}  // namespace

void fuzz_codec(const uint8_t* data, size_t size) {
  // A copy of exactly this size, so that a sanitizer sees any read outside.
  const std::unique_ptr<char[]> copy(new char[size]);
  if (size != 0) std::memcpy(copy.get(), data, size);
  const std::string_view text(copy.get(), size);
  check_line(text);
  check_line(sealed(text));
  check_document(text);
  check_value(text);
}

}  // namespace kvstore::testing
