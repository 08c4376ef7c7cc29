// What a Snapshot and a Scan hold on to: a pin of the table and a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/snapshot.h"
#include "kvstore/table/table.h"

namespace kvstore::engine {

[[nodiscard]] EntryView view_of(const table::Entry& entry) noexcept;
// The put that would write it again; points into the entry.
[[nodiscard]] format::Op put_of(const table::Entry& entry) noexcept;
// A copy of the JSON text at `pointer`; nullopt when there is no entry, no document, or nothing there.
[[nodiscard]] std::optional<std::string> field_of(const table::Entry* entry, std::string_view pointer);
[[nodiscard]] Entry copy_of(const EntryView& entry);
[[nodiscard]] inline Entry copy_of(const table::Entry& entry) { return copy_of(view_of(entry)); }

class SnapshotState {
 public:
  // `clock` is read once, after the pin stands: a sweep of expired entries relies on that order (table.h).
  SnapshotState(const table::Table& t, const std::function<int64_t()>& clock) : table(t), pin(t), taken_us(clock()) {}

  // nullptr when absent; good for as long as the pin.
  [[nodiscard]] const table::Entry* find(std::string_view key) const noexcept;
  // The live entries that match, sorted by key; good for as long as the pin. `highest` as Table::collect() returns it.
  // Throws std::bad_alloc, like scan() and for_each().
  [[nodiscard]] std::vector<const table::Entry*> collect(const table::Filter& filter,
                                                         format::Seq* highest = nullptr) const;
  [[nodiscard]] Scan scan(const table::Filter& filter) const;
  void for_each(void (*fn)(void*, const EntryView&), void* arg) const;

  const table::Table& table;
  const table::Table::Pin pin;
  const int64_t taken_us;
};

class ScanState {
 public:
  explicit ScanState(const table::Table::Pin& p) : pin(p) {}
  table::Table::Pin pin;
  std::vector<const table::Entry*> entries;  // sorted by key; stable while pinned
};

}  // namespace kvstore::engine
