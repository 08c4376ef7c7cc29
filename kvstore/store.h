// Store: an embedded key-value store whose log you can read.
//
//     auto store = kvstore::Store::open("mydb");
//     if (!store.ok()) return complain(store.status().message());
//     if (kvstore::Status s = store->put("user:1", "Ada"); !s.ok()) ...
//     std::optional<std::string> name = store->get("user:1");
//
// Keys and values are bytes. All live data is in memory; every change is one line of JSON in a
// write-ahead log. kvstore/FORMAT.md has the format, kvstore/DESIGN.md the promises P1-P9.
//
// Thread-safety: every call may be made from any thread at any time, except open(), close(), the
// moves and the destructor, which need the handle to themselves. Reads take no lock and never wait
// for disk or writers (P6). A writable store owns one thread, which syncs and extends the log.
//
// A write that returned OK survives kill -9 of this process at once, and with Durability::kSync a
// power cut. A write that returned an error changed nothing, but for kBroken and kIoError from a failed
// sync: then it may or may not survive a power cut, and the store refuses writes until reopened.
// No call throws, prints, or installs a signal handler. A read that copies and finds no memory for the copy
// ends the process (they are noexcept); read() copies nothing.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/batch.h"
#include "kvstore/options.h"
#include "kvstore/stats.h"
#include "kvstore/status.h"

namespace kvstore::engine {
class Engine;
class ScanState;
}  // namespace kvstore::engine

namespace kvstore::inline v1 {

// One live key. The views live as long as the Scan, or the callback, they came from.
struct EntryView {
  std::string_view key{};
  std::string_view value{};    // a JSON document's text when is_json
  bool is_json = false;
  uint64_t version = 0;      // sequence number of the write that put it
  int64_t expires_us = 0;    // microseconds since the epoch, 0: never
};

// The same with its own bytes.
struct Entry {
  std::string key{};
  std::string value{};
  bool is_json = false;
  uint64_t version = 0;
  int64_t expires_us = 0;
};

// The live keys of one instant, sorted by key bytes; see Store::scan(). Overwritten values that it can
// still see stay in memory until it is destroyed, so do not keep it for long. Movable; readable from
// many threads. Needs: the Store outlives it.
class Scan {
 public:
  Scan(Scan&&) noexcept;
  Scan& operator=(Scan&&) noexcept;
  ~Scan();

  [[nodiscard]] size_t size() const noexcept;
  [[nodiscard]] uint64_t seq() const noexcept;  // the instant: every write up to it, none after
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
  friend class engine::Engine;
  explicit Scan(std::unique_ptr<engine::ScanState> state) noexcept;
  std::unique_ptr<engine::ScanState> state_;
};

class Store {
 public:
  // Opens the store in directory `dir`, creating it (0700, files 0600) unless told otherwise, replays
  // its log and takes its lock. Fails at once, never waits:
  //   kLocked       another owner; the sentence names its pid, host and start time
  //   kNotAStore    nothing there and create_if_missing is off, or read_only
  //   kCorruption   promised data is damaged (P5); path(), offset() and the sentence say where
  //   kUnsupported  written by a newer version
  // Cost: reads the log once, about a second for five million records on two cores.
  // read_only takes no lock and changes nothing; it sees the state at opening and never later writes.
  static Result<Store> open(const std::filesystem::path& dir, Options options = {});

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();  // close(), its status ignored

  // Syncs, trims the log's filler, notes the clean close, gives the lock back. Writes are refused with
  // kClosed from then on; reads go on until destruction. The first call reports, later ones repeat it.
  Status close();

  // ---- reading --------------------------------------------------------------------------------
  // An expired key is absent, on every path, from the microsecond its time has come.

  // A copy of the value, nullopt when absent. One allocation for values over 15 bytes.
  [[nodiscard]] std::optional<std::string> get(std::string_view key) const noexcept;
  // The value with its version, expiry and kind.
  [[nodiscard]] std::optional<Entry> get_entry(std::string_view key) const noexcept;
  // Calls fn(std::string_view value) with the value in place, no copy; false when absent. The view dies
  // when fn returns; overwritten values are kept for as long as fn runs, so be brief.
  template <std::invocable<std::string_view> Fn>
  bool read(std::string_view key, Fn&& fn) const {
    auto call = [&fn](std::string_view value) { fn(value); };
    return read_raw(key, [](void* c, std::string_view value) { (*static_cast<decltype(call)*>(c))(value); }, &call);
  }
  [[nodiscard]] bool contains(std::string_view key) const noexcept;
  // Element i answers keys[i]. Faster than as many gets: cache misses overlap.
  [[nodiscard]] std::vector<std::optional<std::string>> multi_get(std::span<const std::string_view> keys) const noexcept;
  // The JSON text at a JSON pointer (RFC 6901) in a JSON value: get_field("user:2", "/name") gives
  // "\"Bob\"". nullopt when the key is absent, is no JSON document, or has no such member.
  [[nodiscard]] std::optional<std::string> get_field(std::string_view key, std::string_view pointer) const noexcept;

  // All keys that start with `prefix`, as of now, sorted by key bytes. Cost: visits every key of the
  // store once and sorts the matches; 8 bytes a match, nothing is copied. Fails only with kOutOfMemory.
  [[nodiscard]] Result<Scan> scan(std::string_view prefix = {}) const;
  // Calls fn(const EntryView&) for every key as of now, in no particular order. fn may call the store.
  template <std::invocable<const EntryView&> Fn>
  Status for_each(Fn&& fn) const {
    auto call = [&fn](const EntryView& entry) { fn(entry); };
    return for_each_raw([](void* c, const EntryView& entry) { (*static_cast<decltype(call)*>(c))(entry); }, &call);
  }

  // ---- writing --------------------------------------------------------------------------------
  // Common failures: kInvalidArgument (sizes, options), kConflict (conditions), kNoSpace, kIoError,
  // kBroken, kReadOnly, kClosed, kOutOfMemory.

  Status put(std::string_view key, std::string_view value, const WriteOptions& options = {});
  // `document` must be one JSON text at most 1000 levels deep: kInvalidArgument names line and column.
  Status put_json(std::string_view key, std::string_view document, const WriteOptions& options = {});
  // True when the key was there. False: it was absent, and nothing was written.
  Result<bool> del(std::string_view key, const WriteOptions& options = {});
  // All of the batch or nothing. An empty batch is OK and writes nothing. `options` may carry durability
  // and `by`; conditions and expiry are refused.
  Status write(const Batch& batch, const WriteOptions& options = {});
  // Adds `delta` to a decimal integer value, an absent key counting as 0; keeps the expiry.
  // kInvalidArgument when the value is no 64-bit integer or the sum would leave its range.
  Result<int64_t> increment(std::string_view key, int64_t delta = 1, const WriteOptions& options = {});
  // Deletes every key with this prefix, as one atomic batch; returns how many. An empty prefix means all.
  Result<uint64_t> erase_prefix(std::string_view prefix, const WriteOptions& options = {});

  // Returns when every write acknowledged before the call survives a power cut.
  Status sync();

  // ---- looking inside ---------------------------------------------------------------------------
  [[nodiscard]] Stats stats() const;
  [[nodiscard]] const RecoveryReport& recovery() const noexcept;  // what open() found
  [[nodiscard]] uint64_t last_seq() const noexcept;               // newest committed write
  [[nodiscard]] const std::filesystem::path& path() const noexcept;

 private:
  explicit Store(std::unique_ptr<engine::Engine> engine) noexcept;
  bool read_raw(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const;
  Status for_each_raw(void (*fn)(void*, const EntryView&), void* arg) const;
  std::unique_ptr<engine::Engine> engine_;
};

}  // namespace kvstore::inline v1
