#include "kvstore/engine/snapshot.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/format/json_text.h"

namespace kvstore::engine {

EntryView view_of(const table::Entry& entry) noexcept {
  KV_DASSERT(!entry.is_tombstone());
  KV_DASSERT(entry.seq() > 0);
  return {.key = entry.key(),
          .value = entry.value(),
          .is_json = entry.is_json(),
          .version = entry.seq(),
          .expires_us = entry.expires_us()};
}

Entry copy_of(const EntryView& entry) {
  return {.key = std::string(entry.key),
          .value = std::string(entry.value),
          .is_json = entry.is_json,
          .version = entry.version,
          .expires_us = entry.expires_us};
}

format::Op put_of(const table::Entry& entry) noexcept {
  KV_ASSERT(!entry.is_tombstone());  // or a copy would bring a dead key back
  return {.kind = format::Op::Kind::kPut,
          .is_json = entry.is_json(),
          .key = entry.key(),
          .value = entry.value(),
          .expires_us = entry.expires_us()};
}

std::optional<std::string> field_of(const table::Entry* entry, std::string_view pointer) {
  if (entry == nullptr || !entry->is_json()) return std::nullopt;
  const std::optional<std::string_view> field = format::find_json(entry->value(), pointer);
  if (!field.has_value()) return std::nullopt;
  return std::string(*field);
}

const table::Entry* SnapshotState::find(std::string_view key) const noexcept {
  // A sweep may free an entry that had expired before the pin was taken: until that is known, the guard holds it.
  const table::Table::ReadGuard guard(table);
  const table::Entry* entry = table.find(pin, key, table.hash(key));
  KV_ASSERT(entry == nullptr || entry->seq() <= pin.seq());  // nothing that came later
  return entry == nullptr || entry->is_expired(taken_us) ? nullptr : entry;
}

std::vector<const table::Entry*> SnapshotState::collect(const table::Filter& filter, format::Seq* highest) const {
  std::vector<const table::Entry*> entries;
  table::Filter live = filter;
  live.now_us = taken_us;
  const format::Seq seq = table.collect(pin, live, entries);
  KV_DASSERT(std::all_of(entries.begin(), entries.end(),
                         [this](const table::Entry* entry) { return entry->seq() <= pin.seq(); }));
  if (highest != nullptr) *highest = seq;
  std::sort(entries.begin(), entries.end(),
            [](const table::Entry* a, const table::Entry* b) { return a->key() < b->key(); });
  KV_DASSERT(std::adjacent_find(entries.begin(), entries.end(), [](const table::Entry* a, const table::Entry* b) {
               return a->key() == b->key();
             }) == entries.end());  // of each key one version
  return entries;
}

Scan SnapshotState::scan(const table::Filter& filter) const {
  auto state = std::make_unique<ScanState>(pin);
  state->entries = collect(filter);
  return Scan(std::move(state));
}

void SnapshotState::for_each(void (*fn)(void*, const EntryView&), void* arg) const {
  std::vector<const table::Entry*> entries;
  for (size_t shard = 0; shard < table::Table::kShards; ++shard) {
    entries.clear();
    table.collect_shard(pin, shard, taken_us, entries);
    for (const table::Entry* entry : entries) {
      KV_ASSERT(entry->seq() <= pin.seq());
      fn(arg, view_of(*entry));
    }
  }
}

}  // namespace kvstore::engine

namespace kvstore::inline v1 {

Scan::Scan(std::unique_ptr<engine::ScanState> state) noexcept : state_(std::move(state)) {}
Scan::Scan(Scan&&) noexcept = default;
Scan& Scan::operator=(Scan&&) noexcept = default;
Scan::~Scan() = default;
size_t Scan::size() const noexcept { return state_->entries.size(); }
uint64_t Scan::seq() const noexcept { return state_->pin.seq(); }
EntryView Scan::operator[](size_t index) const noexcept {
  KV_ASSERT(index < state_->entries.size());
  return engine::view_of(*state_->entries[index]);
}

Snapshot::Snapshot(std::unique_ptr<engine::SnapshotState> state) noexcept : state_(std::move(state)) {}
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&&) noexcept = default;
Snapshot::~Snapshot() = default;

uint64_t Snapshot::seq() const noexcept { return state_->pin.seq(); }
int64_t Snapshot::taken_us() const noexcept { return state_->taken_us; }

std::optional<std::string> Snapshot::get(std::string_view key) const noexcept {
  const table::Entry* entry = state_->find(key);
  if (entry == nullptr) return std::nullopt;
  return std::string(entry->value());
}

std::optional<Entry> Snapshot::get_entry(std::string_view key) const noexcept {
  const table::Entry* entry = state_->find(key);
  if (entry == nullptr) return std::nullopt;
  return engine::copy_of(*entry);
}

std::optional<EntryView> Snapshot::view(std::string_view key) const noexcept {
  const table::Entry* entry = state_->find(key);
  if (entry == nullptr) return std::nullopt;
  return engine::view_of(*entry);
}

bool Snapshot::contains(std::string_view key) const noexcept { return state_->find(key) != nullptr; }

std::vector<std::optional<std::string>> Snapshot::multi_get(std::span<const std::string_view> keys) const noexcept {
  std::vector<const table::Entry*> found(keys.size());
  std::vector<std::optional<std::string>> values(keys.size());
  const table::Table::ReadGuard guard(state_->table);
  state_->table.find_many(state_->pin, keys, found);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (found[i] == nullptr || found[i]->is_expired(state_->taken_us)) continue;
    KV_ASSERT(found[i]->seq() <= state_->pin.seq());
    values[i].emplace(found[i]->value());
  }
  return values;
}

std::optional<std::string> Snapshot::get_field(std::string_view key, std::string_view pointer) const noexcept {
  return engine::field_of(state_->find(key), pointer);
}

Result<Scan> Snapshot::scan(std::string_view prefix) const {
  try {
    return state_->scan({.prefix = prefix});
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "scan: out of memory");
  }
}

Result<Scan> Snapshot::scan(std::string_view from, std::string_view to) const {
  try {
    return state_->scan({.from = from, .to = to});
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "scan: out of memory");
  }
}

Status Snapshot::for_each_raw(void (*fn)(void*, const EntryView&), void* arg) const {
  try {
    state_->for_each(fn, arg);
    return {};
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "for_each: out of memory"};
  }
}

}  // namespace kvstore::inline v1
