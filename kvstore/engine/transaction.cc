#include "kvstore/engine/transaction.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <thread>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/arguments.h"

namespace kvstore::engine {

using format::Op;
using format::Seq;

namespace {

// So short that the sentence itself needs no memory.
Status out_of_memory() { return {Code::kOutOfMemory, "out of memory"}; }

}  // namespace

// ---- reading -------------------------------------------------------------------------------------

TransactionState::TransactionState(Engine& engine)
    : engine_(engine),
      instant_(std::in_place, engine.table_, [&engine] { return engine.now_us(); }),
      seq_(instant_->pin.seq()) {
  KV_ASSERT(seq_ <= engine.table_.published());
}

Result<Transaction> TransactionState::begin(Engine& engine) {
  return Transaction(std::make_unique<TransactionState>(engine));
}

std::optional<EntryView> TransactionState::view_of_own(const Writes::value_type& write) const noexcept {
  KV_ASSERT(instant_.has_value());
  const auto& [key, wanted] = write;
  int64_t expires_us = wanted.options.expires_us;
  const int64_t ttl_us = wanted.options.ttl.count();
  if (ttl_us > 0) expires_us = instant_->taken_us + ttl_us;  // keep() has refused what would overflow
  const bool expired = expires_us != 0 && expires_us <= instant_->taken_us;
  if (wanted.kind != Op::Kind::kPut || expired) return std::nullopt;
  return EntryView{
      .key = key, .value = wanted.value, .is_json = wanted.is_json, .version = 0, .expires_us = expires_us};
}

// Without memory to note what it reads it still answers; commit() then refuses.
TransactionState::Found TransactionState::find(std::string_view key) noexcept {
  KV_ASSERT(instant_.has_value());
  if (const auto own = writes_.find(key); own != writes_.end()) return {.entry = nullptr, .own = view_of_own(*own)};
  const table::Entry* entry = instant_->find(key);
  KV_ASSERT(entry == nullptr || entry->seq() <= seq_);
  try {
    reads_.add_key(key, engine_.table_.hash(key), entry != nullptr ? entry->seq() : 0);
  } catch (const std::bad_alloc&) {
    refuse("note what was read", out_of_memory());
  }
  return {.entry = entry, .own = std::nullopt};
}

Result<std::vector<Entry>> TransactionState::scan(const table::Filter& filter) {
  KV_ASSERT(instant_.has_value());
  try {
    if (!watching_) {
      const std::lock_guard lock(engine_.commit_lock_);
      reads_.start_watching(engine_.recent_writes_.watch());
      watching_ = true;
    }
    Seq highest = 0;
    const std::vector<const table::Entry*> found = instant_->collect(filter, &highest);
    reads_.add_range(filter, seq_, highest, found);

    std::vector<Entry> merged;
    merged.reserve(found.size());
    KV_ASSERT(watching_);  // what comes after this scan is noticed
    auto own = writes_.begin();
    const auto add_own = [&](const Writes::value_type& write) {
      if (!filter.matches(write.first)) return;
      if (const std::optional<EntryView> view = view_of_own(write)) merged.push_back(copy_of(*view));
    };
    for (const table::Entry* entry : found) {
      while (own != writes_.end() && own->first < entry->key()) add_own(*own++);
      if (own != writes_.end() && own->first == entry->key()) continue;  // comes with the next round
      merged.push_back(copy_of(*entry));
    }
    while (own != writes_.end()) add_own(*own++);
    KV_DASSERT(
        std::is_sorted(merged.begin(), merged.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; }));
    return merged;
  } catch (const std::bad_alloc&) {
    return out_of_memory().with("scan");
  }
}

// ---- writing -------------------------------------------------------------------------------------

void TransactionState::refuse(std::string_view call, Status why) noexcept {
  KV_ASSERT(!why.ok());
  if (refused_.ok()) refused_ = std::move(why).with(call);
}

Status TransactionState::keep(std::string_view key, std::string_view value, bool is_json,
                              const Batch::PutOptions& options) {
  if (Status s = check_key(key); !s.ok()) return s;
  if (Status s = check_value(value); !s.ok()) return s;
  const int64_t absolute = options.expires_us;
  const Result<int64_t> expires =
      expiry_of(options.ttl, absolute != 0 ? std::optional(absolute) : std::nullopt, instant_->taken_us);
  if (!expires.ok()) return expires.status();
  base::Scratch scratch;
  if (is_json) {
    Result<std::string_view> document = normal_json(value, scratch);
    if (!document.ok()) return std::move(document).status();
    value = *document;
  }
  Write write{.kind = Op::Kind::kPut, .is_json = is_json, .value = std::string(value), .options = options};
  writes_.insert_or_assign(std::string(key), std::move(write));
  return {};
}

void TransactionState::put(std::string_view key, std::string_view value, bool is_json,
                           const Batch::PutOptions& options) noexcept {
  KV_ASSERT(instant_.has_value());
  const char* const call = is_json ? "put_json" : "put";
  try {
    if (Status s = keep(key, value, is_json, options); !s.ok()) refuse(call, std::move(s));
  } catch (const std::bad_alloc&) {
    refuse(call, out_of_memory());
  }
}

void TransactionState::del(std::string_view key) noexcept {
  KV_ASSERT(instant_.has_value());
  if (Status s = check_key(key); !s.ok()) return refuse("del", std::move(s));
  try {
    writes_.insert_or_assign(std::string(key), Write{.kind = Op::Kind::kDel});
  } catch (const std::bad_alloc&) {
    refuse("del", out_of_memory());
  }
}

// ---- ending --------------------------------------------------------------------------------------

void TransactionState::rollback() noexcept {
  if (std::exchange(watching_, false)) {
    const std::lock_guard lock(engine_.commit_lock_);
    engine_.recent_writes_.unwatch();
  }
  instant_.reset();
}

// In slices, so that no writer waits long; as many as there is to do now, so that it ends whatever others write
// meanwhile.
Status TransactionState::catch_up() {
  KV_ASSERT(watching_);
  constexpr uint64_t kSlice = 2048;  // 3 ns each for every scan there was
  uint64_t behind = 0;
  {
    const std::lock_guard lock(engine_.commit_lock_);
    behind = reads_.behind(engine_.recent_writes_);
  }
  for (; behind > kSlice; behind -= kSlice) {
    const std::lock_guard lock(engine_.commit_lock_);
    if (Status s = reads_.catch_up(engine_.recent_writes_, kSlice); !s.ok()) return s;
  }
  return {};
}

Status TransactionState::commit_writes(const WriteOptions& options) {
  if (options.ttl.count() != 0 || options.expires_us.has_value() || options.if_version.has_value() ||
      options.if_absent) {
    return {Code::kInvalidArgument, "its options take durability and `by` only; an expiry belongs to put()"};
  }
  if (!refused_.ok()) return refused_;
  KV_ASSERT(instant_.has_value());
  KV_ASSERT(!reads_.has_ranges() || watching_);  // or nobody could tell what has changed since
  if (writes_.empty()) return {};
  Result<Engine::Request> request = engine_.request_for(options, "any");
  if (!request.ok()) return std::move(request).status();
  // The time it is written at is not before the time its reads were judged by, so what had expired then has expired
  // now.
  request->now_us = std::max(request->now_us, instant_->taken_us);
  std::vector<Op> ops;
  ops.reserve(writes_.size());
  for (const auto& [key, write] : writes_) {
    const int64_t absolute = write.options.expires_us;
    const Result<int64_t> expires =
        expiry_of(write.options.ttl, absolute != 0 ? std::optional(absolute) : std::nullopt, request->now_us);
    if (!expires.ok()) return expires.status();
    ops.push_back(
        {.kind = write.kind, .is_json = write.is_json, .key = key, .value = write.value, .expires_us = *expires});
  }
  KV_ASSERT(ops.size() == writes_.size());
  KV_ASSERT(request->condition.kind == Engine::Condition::Kind::kNone);
  request->ops = ops;
  request->as_batch = ops.size() > 1;
  request->reads = &reads_;
  if (reads_.has_ranges()) {
    if (Status s = reads_.check_scans(engine_.table_, instant_->pin); !s.ok()) return s;
    if (Status s = catch_up(); !s.ok()) return s;
  }
  instant_.reset();  // the commit may have to evict, and this would keep the memory from it
  Result<Seq> seq = engine_.commit(*request, Engine::Acknowledge::kLater);
  KV_ASSERT(!seq.ok() || *seq > seq_);
  rollback();  // nobody watches for as long as a sync may take
  if (seq.ok()) seq = engine_.acknowledge(*seq, *request);
  return std::move(seq).status();
}

Status TransactionState::commit(const WriteOptions& options) {
  if (!instant_.has_value()) {
    return {Code::kInvalidArgument,
            "commit: the transaction is over: it was committed or rolled back. try: begin another"};
  }
  Status result;
  try {
    result = commit_writes(options);
  } catch (const std::bad_alloc&) {
    result = out_of_memory();
  }
  rollback();
  return std::move(result).with("commit");
}

Result<Transaction> Engine::begin() {
  try {
    return TransactionState::begin(*this);
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "begin: out of memory");
  }
}

// The pause is random in full, up to a limit that doubles: see M. Brooker, "Exponential Backoff And Jitter", AWS
// Architecture Blog, 2015. It begins at about the time a small transaction takes.
Status Engine::transact(Status (*fn)(void*, Transaction&), void* arg, unsigned attempts, const WriteOptions& options) {
  constexpr unsigned kPauseUs = 8;
  constexpr unsigned kDoublingsMax = 9;  // 4 ms
  std::minstd_rand random(static_cast<unsigned>(std::chrono::steady_clock::now().time_since_epoch().count()));
  for (unsigned attempt = 1;; ++attempt) {
    Result<Transaction> transaction = begin();
    if (!transaction.ok()) return std::move(transaction).status();
    if (Status s = fn(arg, *transaction); !s.ok()) return s;
    Status committed = transaction->commit(options);
    if (committed.code() != Code::kConflict || attempt >= attempts) return committed;
    const unsigned limit_us = kPauseUs << std::min(attempt - 1, kDoublingsMax);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % (limit_us + 1)));
  }
}

}  // namespace kvstore::engine

namespace kvstore::inline v1 {

Transaction::Transaction(std::unique_ptr<engine::TransactionState> state) noexcept : state_(std::move(state)) {}
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction& Transaction::operator=(Transaction&&) noexcept = default;
Transaction::~Transaction() = default;

std::optional<std::string> Transaction::get(std::string_view key) noexcept {
  const engine::TransactionState::Found found = state_->find(key);
  if (found.absent()) return std::nullopt;
  return std::string(found.own.has_value() ? found.own->value : found.entry->value());
}

std::optional<Entry> Transaction::get_entry(std::string_view key) noexcept {
  const engine::TransactionState::Found found = state_->find(key);
  if (found.absent()) return std::nullopt;
  return engine::copy_of(found.own.has_value() ? *found.own : engine::view_of(*found.entry));
}

bool Transaction::contains(std::string_view key) noexcept { return !state_->find(key).absent(); }

Result<std::vector<Entry>> Transaction::scan(std::string_view prefix) { return state_->scan({.prefix = prefix}); }

Result<std::vector<Entry>> Transaction::scan(std::string_view from, std::string_view to) {
  return state_->scan({.from = from, .to = to});
}

void Transaction::put(std::string_view key, std::string_view value, const Batch::PutOptions& options) noexcept {
  state_->put(key, value, /*is_json=*/false, options);
}

void Transaction::put_json(std::string_view key, std::string_view document, const Batch::PutOptions& options) noexcept {
  state_->put(key, document, /*is_json=*/true, options);
}

void Transaction::del(std::string_view key) noexcept { state_->del(key); }
Status Transaction::commit(const WriteOptions& options) { return state_->commit(options); }
void Transaction::rollback() noexcept { state_->rollback(); }
uint64_t Transaction::seq() const noexcept { return state_->seq(); }
std::string_view Transaction::conflict_key() const noexcept { return state_->conflict_key(); }

}  // namespace kvstore::inline v1
