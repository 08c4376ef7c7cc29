// One pass over the one spelling that encode.h produces, which is all that replay ever sees unless a person
// or another program wrote the line. It never reports: at the first surprise it gives up, and the general
// reader, which must agree wherever both succeed, finds out what the surprise is.
#include <algorithm>
#include <cstring>

#include "kvstore/format/base64.h"
#include "kvstore/format/digits.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/json_string.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/readers.h"
#include "kvstore/format/special.h"
#include "kvstore/format/utf8.h"

namespace kvstore::format {
namespace {

constexpr size_t kShortBytes = 4096;

// The string content at `first`, whose first escape is where `plain_run` ends: in one pass when it is short. Longer
// content has its end found first, so that it takes no more scratch than it must. Returns what follows the
// closing quote, nullptr when there is no such string. Outside the class, whose members are to stay in registers.
[[gnu::noinline]] const char* read_escaped(const char* first, const PlainRun& plain_run, const char* end,
                                           base::Scratch* scratch, std::string_view* content) {
  const auto plain = static_cast<size_t>(plain_run.end - first);
  if (plain <= kShortBytes) {
    const size_t room = std::min(static_cast<size_t>(end - first), kShortBytes) + 2 * kUnescapeSlack;
    char* const out = scratch->allocate(room);
    std::memcpy(out, first, plain);
    const Unescaped rest = unescape_to_quote(out + plain, room - plain, plain_run.end, end);
    const size_t size = rest.quote == nullptr ? 0 : static_cast<size_t>(rest.end - out);
    scratch->shrink_last(room, size);
    if (rest.quote != nullptr) {
      *content = {out, size};
      const bool may_be_non_utf8 = plain_run.non_ascii || rest.may_be_non_utf8;
      return !may_be_non_utf8 || is_utf8(*content) ? rest.quote + 1 : nullptr;
    }
  }
  JsonError error;
  const char* const quote = first - 1;
  const std::string_view text(quote, static_cast<size_t>(end - quote));
  const std::optional<size_t> size = skip_json_value(text, 0, &error);
  if (!size) return nullptr;
  *content = unescape_json(text.substr(0, *size), *scratch);
  return quote + *size;
}

class CanonicalReader {
 public:
  CanonicalReader(std::string_view text, base::Scratch* scratch) noexcept
      : at_(text.data()),
        seal_(text.data() + text.size() - kSealBytes),
        end_(text.data() + text.size()),
        scratch_(scratch) {}

  bool read(Line* line, std::vector<Op>* ops) {
    if (!literal(R"({"seq":)") || !integer(&line->stamp.seq)) return false;
    uint64_t ts = 0;
    if (!literal(R"(,"ts":)") || !integer(&ts)) return false;
    line->stamp.ts_us = static_cast<int64_t>(ts);
    if (literal(R"(,"synced":)") && !integer(&line->stamp.synced)) return false;
    if (line->stamp.seq == 0 || line->stamp.synced >= line->stamp.seq) return false;
    if (!literal(R"(,"op":")")) return false;
    if (literal(R"(batch","ops":[)")) {
      line->is_batch = true;
      if (!read_ops(ops)) return false;
    } else {
      if (!read_op(&ops->emplace_back())) return false;
    }
    if (literal(R"(,"by":")") && !string(&line->by)) return false;
    return at_ == seal_;
  }

 private:
  template <size_t kSize>
  bool literal(const char (&text)[kSize]) noexcept {
    constexpr size_t kCount = kSize - 1;
    if (static_cast<size_t>(end_ - at_) < kCount || std::memcmp(at_, text, kCount) != 0) return false;
    at_ += kCount;
    return true;
  }

  bool integer(uint64_t* value) noexcept {
    at_ = read_digits(at_, end_, value);
    return at_ != nullptr;
  }

  // At the first byte of a string's content; *content is what the string means.
  bool string(std::string_view* content) {
    const char* const first = at_;
    const PlainRun run = scan_plain(at_, end_);
    if (run.end == end_) return false;
    if (*run.end == '"') [[likely]] {
      at_ = run.end + 1;
      *content = {first, static_cast<size_t>(run.end - first)};
      return !run.non_ascii || is_utf8(*content);
    }
    at_ = read_escaped(first, run, end_, scratch_, content);
    return at_ != nullptr;
  }

  bool base64(std::string_view* bytes) {
    const char* const first = at_;
    const auto* const quote = static_cast<const char*>(std::memchr(first, '"', static_cast<size_t>(end_ - first)));
    if (quote == nullptr) return false;
    at_ = quote + 1;
    const std::string_view text(first, static_cast<size_t>(quote - first));
    const std::optional<size_t> size = base64_decoded_size(text);
    if (!size) return false;
    char* const out = scratch_->allocate(*size);
    *bytes = {out, *size};
    return read_base64(out, text);
  }

  bool json(std::string_view* document) noexcept {
    JsonError error;
    const std::string_view rest(at_, static_cast<size_t>(end_ - at_));
    const std::optional<size_t> size = skip_json_value(rest, 0, &error);
    if (!size) return false;
    *document = rest.substr(0, *size);
    at_ += *size;
    return true;
  }

  // Behind `"op":"`. Leaves at_ behind the last member.
  bool read_op(Op* op) {
    const bool put = literal("put\"");
    if (!put && !literal("del\"")) return false;
    if (literal(R"(,"key":")")) {
      if (!string(&op->key)) return false;
    } else if (!literal(R"(,"key64":")") || !base64(&op->key)) {
      return false;
    }
    if (op->key.empty() || op->key.size() > kKeyBytesMax) return false;
    if (!put) {
      op->kind = Op::Kind::kDel;
      return true;
    }
    if (literal(R"(,"value":")")) {
      if (!string(&op->value)) return false;
    } else if (literal(R"(,"json":)")) {
      op->is_json = true;
      if (!json(&op->value)) return false;
    } else if (!literal(R"(,"value64":")") || !base64(&op->value)) {
      return false;
    }
    if (op->value.size() > kValueBytesMax) return false;
    uint64_t expires = 0;
    if (literal(R"(,"expires":)") && !integer(&expires)) return false;
    op->expires_us = static_cast<int64_t>(expires);
    return true;
  }

  // Behind `"ops":[`.
  bool read_ops(std::vector<Op>* ops) {
    if (literal("]")) return true;
    do {
      if (!literal(R"({"op":")") || !read_op(&ops->emplace_back()) || !literal("}")) return false;
    } while (literal(","));
    return literal("]");
  }

  const char* at_;
  const char* const seal_;  // where the seal begins
  const char* const end_;   // behind the seal: everything may look this far, so the seal spares bounds checks
  base::Scratch* const scratch_;
};

}  // namespace

bool read_canonical(std::string_view text, Line* line, std::vector<Op>* ops, base::Scratch* scratch) {
  const size_t op_begin = ops->size();
  if (!CanonicalReader(text, scratch).read(line, ops)) {
    ops->resize(op_begin);
    return false;
  }
  line->kind = LineKind::kRecord;
  line->op_begin = op_begin;
  line->op_count = ops->size() - op_begin;
  return true;
}

}  // namespace kvstore::format
