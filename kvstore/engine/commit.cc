// Writing: everything becomes a Request, and every Request takes the one path through commit().
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/base/scratch.h"
#include "kvstore/engine/arguments.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/prepared.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/utf8.h"

namespace kvstore::engine {

using base::error;
using format::Op;

namespace {

constexpr size_t kEntryOverheadBytes = 64;  // a line's members around key and value, for the size hint

// Whether to measure this commit: every one that waits for the disk, and one in kCommitSampleInterval of the others, where the
// clock would be a tenth of the cost. At random, because a count would keep step with a caller that writes to
// several stores in turn; thread by thread, because a shared counter would travel between the cores. A linear
// congruential generator with D. Knuth's MMIX constants (TAOCP 2, 3.3.4), stirred with the time, for the sake of
// threads that write once and end.
bool is_sampled(Durability durability, int64_t now_us) noexcept {
  if (durability == Durability::kSync) return true;
  constinit static thread_local uint64_t state = 0;
  state = (state + static_cast<uint64_t>(now_us)) * 6364136223846793005U + 1442695040888963407U;
  return (state >> 32) % kCommitSampleInterval == 0;
}

Status out_of_memory() { return {Code::kOutOfMemory, "out of memory; nothing was written"}; }

}  // namespace

Result<Engine::Request> Engine::request_for(const WriteOptions& options, std::string_view key) const {
  if (options_.read_only) return Status(Code::kReadOnly, "the store was opened read-only");
  if (Status s = check_key(key); !s.ok()) return s;
  if (options.by.size() > kByBytesMax || !format::is_utf8(options.by)) {
    return error(Code::kInvalidArgument, "`by` must be UTF-8 of at most {} bytes", kByBytesMax);
  }
  if (options.if_absent && options.if_version.value_or(0) != 0) {
    return Status(Code::kInvalidArgument, "both if_absent and if_version are given; give one");
  }
  Request request;
  request.by = options.by;
  request.durability = options.durability.value_or(options_.durability);
  request.now_us = now_us();
  if (options.if_absent) request.condition = {Condition::Kind::kVersion, 0};
  if (options.if_version.has_value()) request.condition = {Condition::Kind::kVersion, *options.if_version};
  if (is_sampled(request.durability, request.now_us)) request.entered = std::chrono::steady_clock::now();
  return request;
}

Status Engine::prepare(const Request& request, Prepared& out) {
  KV_ASSERT(!request.ops.empty());
  KV_ASSERT(request.as_batch || request.ops.size() == 1);
  KV_ASSERT(out.slots.size() == request.ops.size());
  size_t size_hint = kEntryOverheadBytes;
  for (size_t i = 0; i < request.ops.size(); ++i) {
    const Op& op = request.ops[i];
    out.slots[i].hash = table_.hash(op.key);
    table_.prefetch_bucket(out.slots[i].hash);
    size_hint += kEntryOverheadBytes + op.key.size() + op.value.size();
  }
  out.buffer = base::PoolAccess::of(pools_)->buffers.lease(size_hint);
  format::encode_body(*out.buffer, request.ops, request.as_batch, request.by);
  KV_ASSERT(!out.buffer->empty());
  // The body alone: the stamp, which only the commit lock knows, is taken at its longest.
  const size_t line_bytes = format::kStampBytesMax + out.buffer->size() + format::kSealBytes + 1;
  if (line_bytes > kLineBytesMax) {
    return error(Code::kInvalidArgument,
                 "the batch makes a log line of {} bytes; a line has at most {}. try: several batches", line_bytes,
                 kLineBytesMax);
  }
  out.body = wal::Body::of(out.buffer->view());
  return {};
}

// Judged as of `ts`, the record's time, which moves on to now where that matters: since the call began others may have seen
// the key expired.
Status Engine::check_condition(const Request& request, const Prepared& prepared, int64_t& ts) {
  if (request.condition.kind == Condition::Kind::kNone) return {};
  KV_ASSERT(!request.as_batch);  // a condition is about one key
  const table::Entry* current = table_.newest(request.ops.front().key, prepared.slots.front().hash);
  if (current == nullptr) {
    ts = std::max(ts, clock_floor_us_.load());  // by which it may have been swept as expired
  } else if (current->expires_us() != 0) {
    ts = std::max(ts, now_us());
    if (current->is_expired(ts)) {
      // Nobody may find it alive any more, or who reads again after a conflict would do so for ever.
      clock_floor_us_ = std::max(clock_floor_us_.load(), ts);
      current = nullptr;
    }
  }
  const Seq version = current != nullptr ? current->seq() : 0;
  KV_ASSERT(version <= table_.published());  // under the commit lock nothing is half done
  if (request.condition.kind == Condition::Kind::kPresent) {
    return version != 0 ? Status() : Status(Code::kConflict, "the key is absent");
  }
  if (version == request.condition.version) return {};
  if (version == 0) {
    return error(Code::kConflict, "the key is absent, expected version {}", request.condition.version);
  }
  if (request.condition.version == 0) return error(Code::kConflict, "the key exists, with version {}", version);
  return error(Code::kConflict, "the key has version {}, expected {}", version, request.condition.version);
}

// Throws std::bad_alloc; what is staged by then stays staged.
void Engine::stage(const Request& request, Prepared& prepared) {
  for (size_t i = 0; i < request.ops.size(); ++i) {
    KV_ASSERT(prepared.slots[i].staged == nullptr);  // it would leak
    prepared.slots[i].staged = table_.stage(request.ops[i], prepared.slots[i].hash);
  }
}

// Needs: commit_lock_ held. On failure nothing has changed, but for keys that were evicted to make room.
Result<Seq> Engine::commit_locked(const Request& request, Prepared& prepared) {
  if (closed_) return Status(Code::kClosed, "the store is closed");
  int64_t ts = 0;
  KV_ASSERT(writer_ != nullptr);  // request_for() lets nobody write to what was opened read-only
  Seq seq = 0;
  Seq synced = 0;
  const auto check = [&]() -> Status {
    ts = std::max(request.now_us, last_ts_us_);
    if (Status s = check_condition(request, prepared, ts); !s.ok()) return s;
    if (request.reads == nullptr) return {};
    ts = std::max(ts, clock_floor_us_.load());  // what was swept as expired has expired by this record's time, too
    Status s = request.reads->check(table_, recent_writes_, ts);
    // Or whoever tries again would read by the old time.
    if (!s.ok()) clock_floor_us_ = std::max(clock_floor_us_.load(), ts);
    return s;
  };
  const auto append = [&]() -> Status {
    if (Status s = check(); !s.ok()) return s;
    if (has_limits_) {
      if (Status s = stage_within_limits(request, prepared); !s.ok()) return s;
      if (Status s = check(); !s.ok()) return s;  // of what it rests on, something may have gone to make room
    } else {
      stage(request, prepared);
    }
    seq = writer_->last_seq() + 1;
    KV_ASSERT(seq == table_.published() + 1);  // log and table are in step
    synced = writer_->synced_seq();
    const auto blame = [seq](Status s) { return std::move(s).with(fmt::format("write record {}", seq)); };
    if (Status s = writer_->make_room(prepared.body.text.size()); !s.ok()) return blame(std::move(s));
    Status s = writer_->append({.seq = seq, .ts_us = ts, .synced = synced > vouched_ ? synced : 0}, prepared.body);
    return s.ok() ? s : blame(std::move(s));
  };
  Status appended;
  try {
    appended = append();
  } catch (const std::bad_alloc&) {
    appended = out_of_memory();
  }
  if (!appended.ok()) {
    prepared.discard();
    return appended;
  }
  KV_ASSERT(writer_->last_seq() == seq);
  KV_ASSERT(synced < seq);
  KV_ASSERT(ts >= last_ts_us_);
  KV_ASSERT(synced >= vouched_);  // what is on disk stays there
  vouched_ = std::max(vouched_, synced);
  last_ts_us_ = ts;
  for (Prepared::Slot& slot : prepared.slots) {
    KV_ASSERT(slot.staged != nullptr);
    table_.link(std::exchange(slot.staged, nullptr), slot.hash, seq);
  }
  // Before publish(): an eviction's keys lie in entries that it frees.
  if (recent_writes_.watched()) recent_writes_.add(request.ops);
  table_.publish(seq);
  KV_ASSERT(table_.published() == writer_->last_seq());
  return seq;
}

Result<Seq> Engine::acknowledge(Seq seq, const Request& request) {
  const bool waits = request.durability == Durability::kSync;
  if (waits) {
    if (Status s = group_->wait_for(seq); !s.ok()) {
      std::array<char, 40> step;  // no memory: running out of it is taken for "nothing was written"
      const auto end = fmt::format_to_n(step.data(), step.size(), "sync record {}", seq);
      // Of the record, every other code would say that it was not written.
      if (s.code() != Code::kBroken) s = std::move(s).as(Code::kIoError);
      return std::move(s).with({step.data(), end.size});
    }
    KV_ASSERT(writer_->synced_seq() >= seq);  // P2
  }
  if (request.entered != std::chrono::steady_clock::time_point()) {
    (waits ? durations_.commit_sync : durations_.commit_process).record_since(request.entered);
  }
  return seq;
}

Result<Seq> Engine::commit(Request& request, Acknowledge when) {
  try {
    Prepared prepared(table_, request.ops.size());
    if (Status s = prepare(request, prepared); !s.ok()) return s;
    Result<Seq> seq = Seq{0};
    for (;;) {
      {
        const std::lock_guard lock(commit_lock_);
        seq = commit_locked(request, prepared);
      }
      if (prepared.waits_for == Prepared::WaitsFor::kNothing) break;
      wait_for_memory(prepared);
      prepared.waits_for = Prepared::WaitsFor::kNothing;
      request.now_us = std::max(request.now_us, now_us());  // it may have taken long, and others have seen keys expire
    }
    if (!seq.ok() || when == Acknowledge::kLater) return seq;
    return acknowledge(*seq, request);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

// ---- the calls -----------------------------------------------------------------------------------

Status Engine::put(std::string_view key, std::string_view value, bool is_json, const WriteOptions& options) {
  Result<Request> request = request_for(options, key);
  if (!request.ok()) return std::move(request).status().with("put");
  if (Status s = check_value(value); !s.ok()) return std::move(s).with("put");
  const Result<int64_t> expires = expiry_of(options.ttl, options.expires_us, request->now_us);
  if (!expires.ok()) return Status(expires.status()).with("put");
  base::Scratch scratch;
  if (is_json) {
    try {
      Result<std::string_view> document = normal_json(value, scratch);
      if (!document.ok()) return std::move(document).status().with("put");
      value = *document;
    } catch (const std::bad_alloc&) {
      return out_of_memory();
    }
  }
  const Op op{.kind = Op::Kind::kPut, .is_json = is_json, .key = key, .value = value, .expires_us = *expires};
  request->ops = {&op, 1};
  return commit(*request).status();
}

Result<bool> Engine::del(std::string_view key, const WriteOptions& options) {
  Result<Request> request = request_for(options, key);
  if (!request.ok()) return std::move(request).status().with("del");
  if (options.ttl.count() != 0 || options.expires_us.has_value() || options.if_absent || options.if_version == 0U) {
    return Status(Code::kInvalidArgument, "del: takes neither an expiry nor the condition that the key is absent");
  }
  const Op op{.kind = Op::Kind::kDel, .is_json = false, .key = key, .value = {}, .expires_us = 0};
  request->ops = {&op, 1};
  const bool unconditional = request->condition.kind == Condition::Kind::kNone;
  if (unconditional) request->condition = {Condition::Kind::kPresent, 0};
  Result<Seq> seq = commit(*request);
  if (seq.ok()) return true;
  if (unconditional && seq.status().code() == Code::kConflict) return false;
  return std::move(seq).status();
}

Status Engine::write(const Batch& batch, const WriteOptions& options) {
  if (batch.empty()) return {};
  Result<Request> request = request_for(options, "any");
  if (!request.ok()) return std::move(request).status().with("write");
  if (options.ttl.count() != 0 || options.expires_us.has_value() || request->condition.kind != Condition::Kind::kNone) {
    return {Code::kInvalidArgument, "write: a batch takes neither an expiry nor a condition"};
  }
  try {
    std::vector<Op> ops(batch.size());
    base::Scratch scratch;  // the ops may point into it
    for (size_t i = 0; i < batch.size(); ++i) {
      const Batch::Op source = batch[i];
      const auto blame = [i](Status s) { return std::move(s).with(fmt::format("write: operation {}", i)); };
      Op& op = ops[i];
      op.key = source.key;
      if (Status s = check_key(op.key); !s.ok()) return blame(std::move(s));
      if (source.kind == Batch::Op::Kind::kDel) {
        op.kind = Op::Kind::kDel;
        continue;
      }
      op.value = source.value;
      op.is_json = source.kind == Batch::Op::Kind::kPutJson;
      if (op.is_json) {
        Result<std::string_view> document = normal_json(op.value, scratch);
        if (!document.ok()) return blame(std::move(document).status());
        op.value = *document;
      } else if (Status s = check_value(op.value); !s.ok()) {
        return blame(std::move(s));
      }
      const int64_t absolute = source.options.expires_us;
      const Result<int64_t> expires =
          expiry_of(source.options.ttl, absolute != 0 ? std::optional(absolute) : std::nullopt, request->now_us);
      if (!expires.ok()) return blame(Status(expires.status()));
      op.expires_us = *expires;
    }
    request->ops = ops;
    request->as_batch = true;
    return commit(*request).status();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

// Holds the commit lock while it looks for the keys: that, and nothing less, makes "every key" exact.
Result<uint64_t> Engine::erase_prefix(std::string_view prefix, const WriteOptions& options) {
  Result<Request> request = request_for(options, "any");
  if (!request.ok()) return std::move(request).status().with("erase_prefix");
  if (request->condition.kind != Condition::Kind::kNone || options.ttl.count() != 0 || options.expires_us.has_value()) {
    return Status(Code::kInvalidArgument, "erase_prefix: takes neither a condition nor an expiry");
  }
  try {
    Result<Seq> seq = Seq{0};
    uint64_t count = 0;
    {
      const std::lock_guard lock(commit_lock_);  // without which nobody unlinks an entry
      if (closed_) return Status(Code::kClosed, "the store is closed");
      std::vector<const table::Entry*> doomed;
      {
        // Gone before the commit, or all that is erased would be kept for it.
        const table::Table::Pin pin(table_);
        KV_ASSERT(pin.seq() == writer_->last_seq());
        // The clock after the pin: see Table::sweep_expired(). What has expired by it counts as gone, here and for the record,
        // so nobody may find it alive any more.
        const int64_t as_of = std::max(now_us(), request->now_us);
        clock_floor_us_ = std::max(clock_floor_us_.load(), as_of);
        request->now_us = as_of;
        table_.collect(pin, {.prefix = prefix, .now_us = as_of}, doomed);
      }
      if (doomed.empty()) return uint64_t{0};
      count = doomed.size();
      std::vector<Op> ops;
      ops.reserve(count);
      for (const table::Entry* entry : doomed) {
        ops.push_back({.kind = Op::Kind::kDel, .is_json = false, .key = entry->key(), .value = {}, .expires_us = 0});
      }
      request->ops = ops;
      request->as_batch = true;
      Prepared prepared(table_, ops.size());
      if (Status s = prepare(*request, prepared); !s.ok()) return s;
      seq = commit_locked(*request, prepared);
    }
    if (seq.ok()) seq = acknowledge(*seq, *request);
    if (!seq.ok()) return std::move(seq).status();
    return count;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Status Engine::sync() {
  if (options_.read_only) return {Code::kReadOnly, "the store was opened read-only"};
  {
    const std::lock_guard lock(commit_lock_);
    if (closed_) return {Code::kClosed, "the store is closed"};
  }
  return group_->wait_for(writer_->last_seq(), wal::GroupSync::For::kUpkeep);
}

}  // namespace kvstore::engine
