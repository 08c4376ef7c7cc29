// Snapshot: the exact state of a store after one write, for as long as you like.
//
//     auto snapshot = store.snapshot();
//     auto before = snapshot->get("user:1");          // whatever is written meanwhile
//     for (auto entry : *snapshot->scan("user:")) ...  // sorted by key
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/status.h"

namespace kvstore::engine {
class Engine;
class ScanState;
class SnapshotState;
}  // namespace kvstore::engine

namespace kvstore::inline v1 {

// One live key. The views live as long as the Scan, or the callback, they came from.
struct EntryView {
  std::string_view key{};
  std::string_view value{};  // a JSON document's text when is_json
  bool is_json = false;
  uint64_t version = 0;    // sequence number of the write that put it
  int64_t expires_us = 0;  // microseconds since the epoch, 0: never
};

// The same with its own bytes.
struct Entry {
  std::string key{};
  std::string value{};
  bool is_json = false;
  uint64_t version = 0;
  int64_t expires_us = 0;
};

// The live keys of one instant, sorted by key bytes; see Store::scan() and Snapshot::scan(). Overwritten values that it
// can still see stay in memory until it is destroyed, so do not keep it for long. Movable; readable from
// many threads. Needs: the Store outlives it.
class Scan {
 public:
  Scan(Scan&&) noexcept;
  Scan& operator=(Scan&&) noexcept;
  ~Scan();

  [[nodiscard]] size_t size() const noexcept;
  [[nodiscard]] uint64_t seq() const noexcept;                      // the instant: every write up to it, none after
  [[nodiscard]] EntryView operator[](size_t index) const noexcept;  // needs: index < size()

  class Iterator {
   public:
    using value_type = EntryView;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    EntryView operator*() const noexcept { return (*scan_)[index_]; }
    Iterator& operator++() noexcept { return ++index_, *this; }
    Iterator operator++(int) noexcept { return {scan_, index_++}; }
    bool operator==(const Iterator&) const = default;

   private:
    friend class Scan;
    Iterator(const Scan* scan, size_t index) : scan_(scan), index_(index) {}
    const Scan* scan_ = nullptr;
    size_t index_ = 0;
  };
  [[nodiscard]] Iterator begin() const noexcept { return {this, 0}; }
  [[nodiscard]] Iterator end() const noexcept { return {this, size()}; }

 private:
  friend class engine::SnapshotState;
  explicit Scan(std::unique_ptr<engine::ScanState> state) noexcept;
  std::unique_ptr<engine::ScanState> state_;
};

// The state after the write seq(), none after it and all before; consistent across every call. Taking one costs a
// small allocation, at any size of store. Values that are overwritten or deleted while it lives stay in memory until
// it goes (Stats::versions_held counts them), so do not forget one. What had not expired when it was taken never
// does in it. Movable; every call may be made from many threads. Needs: the Store outlives it.
class Snapshot {
 public:
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) noexcept;
  ~Snapshot();

  [[nodiscard]] uint64_t seq() const noexcept;
  // When it was taken, in microseconds since the epoch: expiry is judged by this time.
  [[nodiscard]] int64_t taken_us() const noexcept;

  // As the calls of the same name in store.h.
  [[nodiscard]] std::optional<std::string> get(std::string_view key) const noexcept;
  [[nodiscard]] std::optional<Entry> get_entry(std::string_view key) const noexcept;
  [[nodiscard]] bool contains(std::string_view key) const noexcept;
  [[nodiscard]] std::vector<std::optional<std::string>> multi_get(
      std::span<const std::string_view> keys) const noexcept;
  [[nodiscard]] std::optional<std::string> get_field(std::string_view key, std::string_view pointer) const noexcept;
  // Without a copy. The views live as long as the snapshot.
  [[nodiscard]] std::optional<EntryView> view(std::string_view key) const noexcept;

  // The keys that start with `prefix`; or those from `from` on and before `to` (empty: to the end). Sorted by key bytes.
  // Cost: visits every key of the store once and sorts the matches, 8 bytes each; copies nothing. The Scan may
  // outlive the snapshot. Fails only with kOutOfMemory.
  [[nodiscard]] Result<Scan> scan(std::string_view prefix = {}) const;
  [[nodiscard]] Result<Scan> scan(std::string_view from, std::string_view to) const;
  // Calls fn(const EntryView&) for every key, in no particular order, with a small part of the keys at hand at a
  // time. fn may call the store. Fails only with kOutOfMemory.
  template <std::invocable<const EntryView&> Fn>
  Status for_each(Fn&& fn) const {
    auto call = [&fn](const EntryView& entry) { fn(entry); };
    return for_each_raw([](void* c, const EntryView& entry) { (*static_cast<decltype(call)*>(c))(entry); }, &call);
  }

 private:
  friend class engine::Engine;
  explicit Snapshot(std::unique_ptr<engine::SnapshotState> state) noexcept;
  Status for_each_raw(void (*fn)(void*, const EntryView&), void* arg) const;
  std::unique_ptr<engine::SnapshotState> state_;
};

}  // namespace kvstore::inline v1
