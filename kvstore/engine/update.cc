// Writes that depend on what is there: read, decide, and commit on the condition that nothing changed in between. A
// conflict means that another writer got ahead, so the store as a whole always makes progress.
#include <array>
#include <charconv>
#include <functional>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/base/scratch.h"
#include "kvstore/engine/arguments.h"
#include "kvstore/engine/engine.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/merge_patch.h"

namespace kvstore::engine {

using base::error;
using format::Op;

namespace {

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

}  // namespace

// Commits what `change` makes of the current entry (nullptr: absent) until it goes through. False: `change` wanted
// nothing written. Its Op may point into the entry, which stays while it is encoded.
Result<bool> Engine::update(std::string_view key, const WriteOptions& options, const char* what, const Change& change) {
  Result<Request> request = request_for(options, key);
  if (!request.ok()) return std::move(request).status().with(what);
  if (request->condition.kind != Condition::Kind::kNone || options.ttl.count() != 0 || options.expires_us.has_value()) {
    return error(Code::kInvalidArgument, "{}: takes neither a condition nor an expiry in its options", what);
  }
  for (;;) {
    request->now_us = now_us();
    Result<Seq> seq = Seq{0};
    {
      const table::Table::ReadGuard guard(table_);
      const table::Entry* current = find_live(key);
      Result<std::optional<Op>> op = change(current, request->now_us);
      if (!op.ok()) return std::move(op).status().with(what);
      if (!op->has_value()) return false;
      KV_ASSERT((*op)->key == key);  // the condition is about this one
      KV_ASSERT(current == nullptr || !current->is_tombstone());
      request->ops = {&**op, 1};
      request->condition = {Condition::Kind::kVersion, current != nullptr ? current->seq() : 0};
      KV_ASSERT(!request->as_batch);
      seq = commit(*request, Acknowledge::kLater);
      KV_ASSERT(!seq.ok() || *seq > request->condition.version);
    }
    if (seq.ok()) seq = acknowledge(*seq, *request);
    if (seq.ok()) return true;
    if (seq.status().code() != Code::kConflict) return std::move(seq).status().with(what);
  }
}

Result<int64_t> Engine::increment(std::string_view key, int64_t delta, const WriteOptions& options) {
  int64_t sum = 0;
  std::array<char, 24> digits;
  const auto add = [&](const table::Entry* current, int64_t) -> Result<std::optional<Op>> {
    sum = delta;
    if (current != nullptr) {
      const std::optional<int64_t> number = parse_integer(current->value());
      if (!number.has_value()) return Status(Code::kInvalidArgument, "the value is no 64-bit integer");
      if (__builtin_add_overflow(*number, delta, &sum)) {
        return error(Code::kInvalidArgument, "{} + {} leaves the range of 64-bit integers", *number, delta);
      }
    }
    const auto [end, failure] = std::to_chars(digits.data(), digits.data() + digits.size(), sum);
    KV_ASSERT(failure == std::errc());
    KV_DASSERT(parse_integer({digits.data(), static_cast<size_t>(end - digits.data())}) ==
               sum);  // the next one can read it
    return std::optional(Op{.kind = Op::Kind::kPut,
                            .is_json = false,
                            .key = key,
                            .value = {digits.data(), static_cast<size_t>(end - digits.data())},
                            .expires_us = current != nullptr ? current->expires_us() : 0});
  };
  Result<bool> done =
      update(key, options, "increment", std::ref(add));  // which std::function keeps without memory of its own
  if (!done.ok()) return std::move(done).status();
  return sum;
}

Status Engine::patch(std::string_view key, std::string_view merge_patch, const WriteOptions& options) {
  try {
    base::Scratch scratch;
    if (const std::optional<format::JsonError> wrong = format::check_json(merge_patch)) {
      return error(Code::kInvalidArgument, "patch: no JSON text: {}", format::describe(merge_patch, *wrong));
    }
    const std::string_view normal = format::json_on_one_line(merge_patch, scratch);
    KV_DASSERT(normal.find('\n') == std::string_view::npos);
    const base::BufferPool::Lease merged = base::PoolAccess::of(pools_)->slices.lease();
    const Change merge = [&](const table::Entry* current, int64_t) -> Result<std::optional<Op>> {
      if (current != nullptr && !current->is_json()) {
        return Status(Code::kInvalidArgument, "the value is no JSON document");
      }
      merged->clear();
      format::merge_patch(*merged, current != nullptr ? current->value() : std::string_view(), normal);
      if (Status s = check_value(merged->view()); !s.ok()) return s;
      return std::optional(Op{.kind = Op::Kind::kPut,
                              .is_json = true,
                              .key = key,
                              .value = merged->view(),
                              .expires_us = current != nullptr ? current->expires_us() : 0});
    };
    return update(key, options, "patch", merge).status();
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "patch: out of memory; nothing was written"};
  }
}

namespace {

Op with_expiry(const table::Entry& entry, int64_t expires_us) {
  Op op = put_of(entry);
  op.expires_us = expires_us;
  return op;
}

}  // namespace

Result<bool> Engine::expire(std::string_view key, std::chrono::microseconds ttl, const WriteOptions& options) {
  if (ttl.count() <= 0) return Status(Code::kInvalidArgument, "expire: the ttl must be positive");
  return update(key, options, "expire", [&](const table::Entry* current, int64_t now) -> Result<std::optional<Op>> {
    if (current == nullptr) return std::optional<Op>();
    const Result<int64_t> expires = expiry_of(ttl, std::nullopt, now);
    if (!expires.ok()) return expires.status();
    KV_ASSERT(*expires > now);
    return std::optional(with_expiry(*current, *expires));
  });
}

Result<bool> Engine::persist(std::string_view key, const WriteOptions& options) {
  bool found = false;
  const Change change = [&](const table::Entry* current, int64_t) -> Result<std::optional<Op>> {
    found = current != nullptr;
    if (!found || current->expires_us() == 0) return std::optional<Op>();
    return std::optional(with_expiry(*current, 0));
  };
  Result<bool> written = update(key, options, "persist", change);
  if (!written.ok()) return written;
  return found;
}

std::optional<std::chrono::microseconds> Engine::ttl(std::string_view key) const {
  const table::Table::ReadGuard guard(table_);
  const table::Entry* entry = find_live(key);
  if (entry == nullptr) return std::nullopt;
  if (entry->expires_us() == 0) return std::chrono::microseconds::max();
  const int64_t left_us = entry->expires_us() - now_us();
  if (left_us <= 0) return std::nullopt;  // it has expired since it was found
  return std::chrono::microseconds(left_us);
}

}  // namespace kvstore::engine
