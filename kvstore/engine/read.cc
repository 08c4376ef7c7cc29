// Reading: no lock, no waiting. A ReadGuard keeps entries in place while a call looks at them.
#include <algorithm>

#include "kvstore/engine/engine.h"
#include "kvstore/format/json_text.h"

namespace kvstore::engine {

using table::Table;

EntryView view_of(const table::Entry& entry) noexcept {
  return {.key = entry.key(),
          .value = entry.value(),
          .is_json = entry.is_json(),
          .version = entry.seq(),
          .expires_us = entry.expires_us()};
}

const table::Entry* Engine::find_live(std::string_view key) const {
  const table::Entry* entry = table_.find(key, table_.hash(key));
  if (entry == nullptr) return nullptr;
  if (entry->expires_us() != 0 && entry->is_expired(now_us())) return nullptr;  // the clock is read only if need be
  return entry;
}

std::optional<std::string> Engine::get(std::string_view key) const {
  const Table::ReadGuard guard(table_);
  const table::Entry* entry = find_live(key);
  if (entry == nullptr) return std::nullopt;
  return std::string(entry->value());
}

std::optional<Entry> Engine::get_entry(std::string_view key) const {
  const Table::ReadGuard guard(table_);
  const table::Entry* entry = find_live(key);
  if (entry == nullptr) return std::nullopt;
  return Entry{.key = std::string(entry->key()),
               .value = std::string(entry->value()),
               .is_json = entry->is_json(),
               .version = entry->seq(),
               .expires_us = entry->expires_us()};
}

bool Engine::read(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const {
  const Table::ReadGuard guard(table_);
  const table::Entry* entry = find_live(key);
  if (entry == nullptr) return false;
  fn(arg, entry->value());
  return true;
}

bool Engine::contains(std::string_view key) const {
  const Table::ReadGuard guard(table_);
  return find_live(key) != nullptr;
}

std::vector<std::optional<std::string>> Engine::multi_get(std::span<const std::string_view> keys) const {
  std::vector<const table::Entry*> found(keys.size());
  std::vector<std::optional<std::string>> values(keys.size());
  const Table::ReadGuard guard(table_);
  table_.find_many(keys, found);
  const int64_t now = now_us();
  for (size_t i = 0; i < keys.size(); ++i) {
    if (found[i] != nullptr && !found[i]->is_expired(now)) values[i].emplace(found[i]->value());
  }
  return values;
}

std::optional<std::string> Engine::get_field(std::string_view key, std::string_view pointer) const {
  const Table::ReadGuard guard(table_);
  const table::Entry* entry = find_live(key);
  if (entry == nullptr || !entry->is_json()) return std::nullopt;
  const std::optional<std::string_view> field = format::find_json(entry->value(), pointer);
  if (!field.has_value()) return std::nullopt;
  return std::string(*field);
}

Result<Scan> Engine::scan(std::string_view prefix) const {
  try {
    auto state = std::make_unique<ScanState>(table_);
    // The clock after the pin: see Table::sweep_expired().
    table_.collect(state->pin, {.prefix = prefix, .now_us = now_us()}, state->entries);
    std::sort(state->entries.begin(), state->entries.end(),
              [](const table::Entry* a, const table::Entry* b) { return a->key() < b->key(); });
    return Scan(std::move(state));
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "scan: out of memory");
  }
}

Status Engine::for_each(void (*fn)(void*, const EntryView&), void* arg) const {
  ScanState state(table_);
  try {
    table_.collect(state.pin, {.now_us = now_us()}, state.entries);
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "for_each: out of memory"};
  }
  for (const table::Entry* entry : state.entries) fn(arg, view_of(*entry));
  return {};
}

Stats Engine::stats() const {
  Stats stats;
  const table::TableStats table = table_.stats();
  stats.entries = table.entries;
  stats.key_bytes = table.key_bytes;
  stats.value_bytes = table.value_bytes;
  stats.table_bytes = table.memory_bytes;
  stats.versions_held = table.versions_held;
  stats.last_seq = table_.published();
  stats.encode_pool = pool_.stats();
  if (writer_ == nullptr) {
    stats.synced_seq = recovery_.synced_seq;
    stats.log_bytes = recovery_.bytes;
    stats.log_segments = recovery_.segments;
    return stats;
  }
  const wal::LogWriter::Counters& log = writer_->counters();
  stats.synced_seq = writer_->synced_seq();
  stats.log_bytes = log.log_bytes;
  stats.log_segments = log.segments;
  stats.commits = stats.last_seq - recovery_.last_seq;
  stats.syncs = log.syncs;
  stats.sync_waits = group_->shared();
  stats.rotations = log.rotations;
  stats.reserve_stalls = log.reserve_stalls;
  stats.broken = writer_->is_broken();
  return stats;
}

}  // namespace kvstore::engine
