// Reading: no lock, no waiting. A ReadGuard keeps entries in place while a call looks at them.
#include <algorithm>

#include "kvstore/base/assert.h"
#include "kvstore/engine/engine.h"

namespace kvstore::engine {

using table::Table;

const table::Entry* Engine::find_live(std::string_view key) const {
  const table::Entry* entry = table_.find(key, table_.hash(key));
  if (entry == nullptr) return nullptr;
  KV_DASSERT(!entry->is_tombstone());
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
  return copy_of(*entry);
}

bool Engine::read(std::string_view key, Values which, void (*fn)(void*, std::string_view), void* arg) const {
  const Table::ReadGuard guard(table_);
  const table::Entry* entry = find_live(key);
  if (entry == nullptr || (which == Values::kJson && !entry->is_json())) return false;
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
  return field_of(find_live(key), pointer);
}

Result<Snapshot> Engine::snapshot() const {
  try {
    return Snapshot(std::make_unique<SnapshotState>(table_, [this] { return now_us(); }));
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "snapshot: out of memory");
  }
}

}  // namespace kvstore::engine
