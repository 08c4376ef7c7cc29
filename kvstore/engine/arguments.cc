#include "kvstore/engine/arguments.h"

#include "kvstore/base/error.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/record.h"
#include "kvstore/options.h"

namespace kvstore::engine {

using base::error;

// Every key and value that a call may bring has a line, whatever escapes it needs.
static_assert(kKeyBytesMax == format::kKeyBytesMax);
static_assert(kValueBytesMax == format::kValueBytesMax);
static_assert(6 * (kValueBytesMax + kKeyBytesMax + kByBytesMax) + 1024 < kLineBytesMax);  // six bytes: \u00XX

namespace {

Status check_expiry(int64_t expires_us) {
  if (expires_us >= 0 && static_cast<uint64_t>(expires_us) <= format::kIntegerMax) return {};
  return error(Code::kInvalidArgument, "the expiry {} is no time in microseconds since 1970, or is past the year 2255",
               expires_us);
}

}  // namespace

Status check_key(std::string_view key) {
  if (key.empty()) return {Code::kInvalidArgument, "the key is empty; keys have 1 to 65536 bytes"};
  if (key.size() > kKeyBytesMax) {
    return error(Code::kInvalidArgument, "the key has {} bytes; keys have 1 to {}", key.size(), kKeyBytesMax);
  }
  return {};
}

Status check_value(std::string_view value) {
  if (value.size() <= kValueBytesMax) return {};
  return error(Code::kInvalidArgument, "the value has {} bytes; values have at most {}", value.size(), kValueBytesMax);
}

Result<int64_t> expiry_of(std::chrono::microseconds ttl, std::optional<int64_t> expires_us, int64_t now_us) {
  if (ttl.count() < 0) return Status(Code::kInvalidArgument, "the ttl is negative");
  if (ttl.count() > 0 && expires_us.has_value()) {
    return Status(Code::kInvalidArgument, "both ttl and expires_us are given; give one");
  }
  int64_t expires = expires_us.value_or(0);
  if (ttl.count() > 0 && __builtin_add_overflow(now_us, ttl.count(), &expires)) expires = INT64_MAX;
  if (Status s = check_expiry(expires); !s.ok()) return s;
  return expires;
}

Result<std::string_view> normal_json(std::string_view document, base::Scratch& scratch) {
  if (Status s = check_value(document); !s.ok()) return s;
  if (const std::optional<format::JsonError> wrong = format::check_json(document)) {
    return error(Code::kInvalidArgument, "the value is no JSON document: {}", format::describe(document, *wrong));
  }
  return format::json_on_one_line(document, scratch);
}

}  // namespace kvstore::engine
