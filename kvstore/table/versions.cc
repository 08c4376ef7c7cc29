#include "kvstore/table/versions.h"

#include <memory>
#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::table {
namespace {

constexpr size_t kReserveIdle = 16;  // spare nodes kept when none is needed

}  // namespace

Versions::~Versions() {
  while (newest_ != nullptr) {
    KV_ASSERT(newest_->pins == 0);
    PinRecord* older = newest_->older;
    delete newest_;
    newest_ = older;
  }
}

PinRecord* Versions::pin(const std::atomic<format::Seq>& published) {
  auto record = std::make_unique<PinRecord>();  // before the mutex: the writer may be waiting for it
  record->since = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  records_.fetch_add(1, std::memory_order_seq_cst);
  record->seq = published.load(std::memory_order_seq_cst);
  if (newest_ != nullptr && newest_->seq == record->seq) {
    records_.fetch_sub(1, std::memory_order_seq_cst);  // newest_ is counted already
    if (newest_->pins++ == 0) {
      KV_ASSERT(gone_.load(std::memory_order_relaxed) > 0);  // it was counted when its last pin went
      gone_.fetch_sub(1, std::memory_order_relaxed);
      newest_->since = record->since;
    }
    return newest_;
  }
  KV_ASSERT(newest_ == nullptr || newest_->seq < record->seq);
  record->pins = 1;
  record->older = newest_;
  if (newest_ != nullptr) newest_->newer = record.get();
  newest_ = record.get();
  return record.release();
}

void Versions::pin_again(PinRecord* record) noexcept {
  const std::lock_guard lock(mutex_);
  KV_ASSERT(record->pins > 0);
  ++record->pins;
}

void Versions::unpin(PinRecord* record) noexcept {
  const std::lock_guard lock(mutex_);
  KV_ASSERT(record->pins > 0);
  if (--record->pins == 0) gone_.fetch_add(1, std::memory_order_relaxed);
}

PinStats Versions::pin_stats() const noexcept {
  PinStats out;
  const std::lock_guard lock(mutex_);
  for (const PinRecord* record = newest_; record != nullptr; record = record->older) {
    if (record->pins == 0) continue;
    out.pins += record->pins;
    out.oldest_seq = record->seq;
    out.oldest_since = record->since;
  }
  return out;
}

bool Versions::reserve(size_t count) noexcept {
  while (reserve_count_ < count) {
    void* memory = arena_.allocate(sizeof(HeldVersion));
    if (memory == nullptr) return false;
    reserve_ = new (memory) HeldVersion{nullptr, 0, 0, 0, reserve_};
    ++reserve_count_;
  }
  return true;
}

void Versions::trim_reserve(size_t count) noexcept {
  while (reserve_count_ > count + kReserveIdle) {
    HeldVersion* node = reserve_;
    reserve_ = node->next;
    --reserve_count_;
    arena_.free(node, sizeof(HeldVersion));
  }
}

PinRecord* Versions::newest_pin_below(format::Seq seq) noexcept {
  if (records_.load(std::memory_order_seq_cst) == 0) return nullptr;
  const std::lock_guard lock(mutex_);
  PinRecord* record = newest_;
  while (record != nullptr && (record->seq >= seq || record->pins == 0)) record = record->older;
  return record;
}

std::optional<format::Seq> Versions::newest_pinned() noexcept {
  const std::lock_guard lock(mutex_);
  const PinRecord* record = newest_;
  while (record != nullptr && record->pins == 0) record = record->older;
  return record == nullptr ? std::nullopt : std::optional(record->seq);
}

Table::Seen Versions::seen(uint64_t much) noexcept {
  const uint64_t all = held_bytes() + held_count() * sizeof(HeldVersion);
  const uint64_t share = much / 16;
  Table::Seen out;
  out.may_hold = std::max(much - std::min(much, all), share);
  uint64_t sum = 0;
  const std::lock_guard lock(mutex_);
  for (const PinRecord* record = newest_; record != nullptr; record = record->older) {
    if (record->pins == 0) continue;
    if (out.newest == 0) out.newest = record->seq;
    sum += record->held_bytes;
    if (all < much) break;
    if (sum < share) continue;
    out.for_long = record->seq;
    break;
  }
  return out;
}

uint64_t Versions::held_bytes_at(format::Seq instant) noexcept {
  const std::lock_guard lock(mutex_);
  const PinRecord* record = newest_;
  while (record != nullptr && record->seq > instant) record = record->older;
  return record != nullptr && record->seq == instant ? record->held_bytes : 0;
}

void Versions::hold(PinRecord* pin, Entry* version, uint64_t hash) noexcept {
  KV_ASSERT(reserve_ != nullptr);
  KV_ASSERT(reserve_count_ > 0);
  KV_ASSERT(pin->seq >= version->seq());  // it can be seen there
  KV_ASSERT(!version->link().is_unlinked());
  HeldVersion* node = reserve_;
  reserve_ = node->next;
  --reserve_count_;
  *node = HeldVersion{version, hash, version->footprint() + sizeof(HeldVersion), version->seq(), pin->held};
  pin->held = node;
  pin->held_bytes += node->bytes;
  count_held(+1, static_cast<int64_t>(version->footprint()));
}

Versions::Step Versions::drain_step() noexcept {
  if (draining_ == nullptr) {
    if (gone_.load(std::memory_order_relaxed) == 0) return {};
    begin_drain();
    if (draining_ == nullptr) return {};
  }
  HeldVersion* node = draining_->held;
  KV_ASSERT(heir_ == nullptr || heir_->seq < draining_->seq);
  if (node == nullptr) {
    end_drain();
    return {.worked = true};
  }
  KV_ASSERT(node->seq <= draining_->seq);
  draining_->held = node->next;
  KV_ASSERT(draining_->held_bytes >= node->bytes);
  draining_->held_bytes -= node->bytes;
  if (heir_ != nullptr && heir_->seq >= node->seq) {
    node->next = heir_->held;
    heir_->held = node;
    heir_->held_bytes += node->bytes;
    return {.worked = true};
  }
  KV_ASSERT(node->version->seq() == node->seq);
  KV_ASSERT(!node->version->link().is_unlinked());  // it was held, so nobody has let go of it
  const Step step{.worked = true, .version = node->version, .hash = node->hash};
  arena_.free(node, sizeof(HeldVersion));
  count_held(-1, -static_cast<int64_t>(step.version->footprint()));
  return step;
}

// Chooses a record without pins, and takes away those before it that have none either and hold nothing: many snapshots may
// go at once. The heir stays in the list meanwhile: nobody else removes records but end_drain(), the one being drained.
// Should the heir lose its last pin, what it inherited is drained again.
void Versions::begin_drain() noexcept {
  const std::lock_guard lock(mutex_);
  PinRecord* record = newest_;
  while (record != nullptr && record->pins > 0) record = record->older;
  if (record == nullptr) return;
  draining_ = record;
  KV_ASSERT(record->older == nullptr || record->older->seq < record->seq);
  KV_ASSERT(record->newer == nullptr || record->newer->seq > record->seq);
  heir_ = record->older;
  while (heir_ != nullptr && heir_->pins == 0) {
    PinRecord* const gone = std::exchange(heir_, heir_->older);
    if (gone->held == nullptr) remove(gone);
  }
}

// Needs: mutex_ held, no pins.
void Versions::remove(PinRecord* record) noexcept {
  KV_ASSERT(record->held == nullptr);
  KV_ASSERT(gone_.load(std::memory_order_relaxed) > 0);
  KV_ASSERT(records_.load(std::memory_order_relaxed) > 0);
  (record->newer != nullptr ? record->newer->older : newest_) = record->older;
  if (record->older != nullptr) record->older->newer = record->newer;
  records_.fetch_sub(1, std::memory_order_seq_cst);
  gone_.fetch_sub(1, std::memory_order_relaxed);
  delete record;
}

void Versions::end_drain() noexcept {
  PinRecord* record = draining_;
  draining_ = nullptr;
  heir_ = nullptr;
  const std::lock_guard lock(mutex_);
  if (record->pins == 0) remove(record);  // else pinned again: its instant is still the newest
}

// Written by one thread at a time, hence no read-modify-write.
void Versions::count_held(int64_t change, int64_t bytes) noexcept {
  KV_ASSERT(change > 0 || held_count() > 0);
  KV_ASSERT(bytes > 0 || held_bytes() >= static_cast<uint64_t>(-bytes));
  held_count_.store(held_count() + static_cast<uint64_t>(change), std::memory_order_relaxed);
  held_bytes_.store(held_bytes() + static_cast<uint64_t>(bytes), std::memory_order_relaxed);
}

}  // namespace kvstore::table
