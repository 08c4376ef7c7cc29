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
// nothing written. Its Op must not point into the entry: nothing is held while it is committed, since the commit may have to
// evict, and would wait for this very reader to get the memory.
Result<bool> Engine::update(std::string_view key, const WriteOptions& options, const char* what, const Change& change) {
  Result<Request> request = request_for(options, key);
  if (!request.ok()) return std::move(request).status().with(what);
  if (request->condition.kind != Condition::Kind::kNone || options.ttl.count() != 0 || options.expires_us.has_value()) {
    return error(Code::kInvalidArgument, "{}: takes neither a condition nor an expiry in its options", what);
  }
  for (;;) {
    request->now_us = now_us();
    Result<std::optional<Op>> op = std::optional<Op>();
    {
      const table::Table::ReadGuard guard(table_);
      const table::Entry* current = find_live(key);
      KV_ASSERT(current == nullptr || !current->is_tombstone());
      request->condition = {Condition::Kind::kVersion, current != nullptr ? current->seq() : 0};
      op = change(current, request->now_us);
    }
    if (!op.ok()) return std::move(op).status().with(what);
    if (!op->has_value()) return false;
    KV_ASSERT((*op)->key.data() == key.data());  // the condition is about this one
    request->ops = {&**op, 1};
    KV_ASSERT(!request->as_batch);
    Result<Seq> seq = commit(*request);
    KV_ASSERT(!seq.ok() || *seq > request->condition.version);
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
                            .is_json = current != nullptr && current->is_json(),
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

// Commits the entry once more, with the expiry that `expiry_for` gives it; nullopt: nothing.
Result<bool> Engine::change_expiry(
    std::string_view key, const WriteOptions& options, const char* what,
    const std::function<Result<std::optional<int64_t>>(const table::Entry*, int64_t now)>& expiry_for) {
  try {
    const base::BufferPool::Lease value = base::PoolAccess::of(pools_)->slices.lease();
    const Change change = [&](const table::Entry* current, int64_t now) -> Result<std::optional<Op>> {
      const Result<std::optional<int64_t>> expires = expiry_for(current, now);
      if (!expires.ok()) return expires.status();
      if (!expires->has_value()) return std::optional<Op>();
      KV_ASSERT(current != nullptr);
      value->clear();
      value->append(current->value());
      Op op = put_of(*current);
      op.key = key;
      op.value = value->view();
      op.expires_us = **expires;
      return std::optional(op);
    };
    return update(key, options, what, change);
  } catch (const std::bad_alloc&) {
    return error(Code::kOutOfMemory, "{}: out of memory; nothing was written", what);
  }
}

Result<bool> Engine::expire(std::string_view key, std::chrono::microseconds ttl, const WriteOptions& options) {
  if (ttl.count() <= 0) return Status(Code::kInvalidArgument, "expire: the ttl must be positive");
  return change_expiry(key, options, "expire",
                       [&](const table::Entry* current, int64_t now) -> Result<std::optional<int64_t>> {
                         if (current == nullptr) return std::optional<int64_t>();
                         const Result<int64_t> expires = expiry_of(ttl, std::nullopt, now);
                         if (!expires.ok()) return expires.status();
                         KV_ASSERT(*expires > now);
                         return std::optional(*expires);
                       });
}

Result<bool> Engine::persist(std::string_view key, const WriteOptions& options) {
  bool found = false;
  Result<bool> written = change_expiry(
      key, options, "persist", [&](const table::Entry* current, int64_t) -> Result<std::optional<int64_t>> {
        found = current != nullptr;
        return found && current->expires_us() != 0 ? std::optional<int64_t>(0) : std::nullopt;
      });
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
