// What a contestant must be able to do, and the list of them.
//
// An adapter is one file in adapters/: it implements Database and Session for one store, in the best setting that
// store's documentation gives for a durability, says why beside every setting, and registers a Peer for each
// durability. Nothing else knows the store. An adapter whose library is missing is not compiled.
//
// Whatever goes wrong ends the process with a sentence: a benchmark that swallows an error measures something else.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(stderr, "compare: {}\n", fmt::format(format, std::forward<Args>(args)...));
  std::_Exit(1);  // not exit(): a store with threads of its own may hang in a destructor
}

// What an acknowledged write outlives. Contestants of different levels never share a row of writes.
enum class Survives { kMemoryOnly, kKill, kPowerCut };
std::string_view name_of(Survives survives);

struct Item {
  std::string_view key{};
  std::string_view value{};
};

// One thread's access to an open database.
class Session {
 public:
  virtual ~Session() = default;
  // Acknowledged when it returns, unless the peer pipelines: then when flush() returns.
  virtual void put(std::string_view key, std::string_view value) = 0;
  virtual void flush() {}
  // Copies the value into `value`, whose capacity is reused; false when absent.
  virtual bool get(std::string_view key, std::string& value) = 0;
  // The value in a string of its own.
  virtual std::optional<std::string> get_new(std::string_view key) {
    std::string value;
    if (!get(key, value)) return std::nullopt;
    return value;
  }
  // All of them atomically, by one call. Only where Peer::can_batch.
  virtual void put_batch(std::span<const Item> /*items*/) { fail("this peer has no batches"); }
  // Gets all keys, by the call that the store has for it; returns the bytes of the values found. Only where
  // Peer::can_multi_get.
  virtual size_t multi_get(std::span<const std::string_view> /*keys*/) { fail("this peer has no multi-get"); }
  // Visits up to `count` entries from `from` on, in the order of their keys; returns how many. Only where Peer::can_scan.
  virtual size_t scan(std::string_view /*from*/, size_t /*count*/) { fail("this peer has no ordered scan"); }
};

// Closing is destroying, after the sessions. Any number of sessions may be used at a time, each by one thread.
class Database {
 public:
  virtual ~Database() = default;
  virtual std::unique_ptr<Session> session() = 0;
  // The live entries, where the store can say so without reading them all.
  virtual std::optional<uint64_t> count() { return std::nullopt; }
  // Drops what is dead, and returns when done. Only where Peer::can_compact.
  virtual void compact() { fail("this peer has no compaction"); }
  // The process whose memory holds the data, where it is not this one.
  virtual std::optional<pid_t> server() const { return std::nullopt; }
};

struct OpenOptions {
  std::filesystem::path dir;  // exists; the database's alone
  uint64_t entries = 0;       // expected, for stores that want to be told
  size_t value_bytes = 100;
};

struct Peer {
  std::string name;
  Survives survives = Survives::kKill;
  int rank = 0;  // order in tables
  bool can_batch = false;
  bool can_multi_get = false;
  bool can_scan = false;
  bool can_compact = false;
  bool raw = false;        // a reference to the limits of the machine, no store: it is never opened again
  bool pipelined = false;  // put() is acknowledged by flush() only: no latencies, no durable rows
  bool slow_put = false;   // a million single puts would take too long: it is filled by batches, and its puts are timed
                           // for some seconds only
  std::function<std::unique_ptr<Database>(const OpenOptions&)> open;
};

// All that were compiled in, by rank.
std::vector<Peer> peers();

// A namespace-scope object of this type in an adapter's file adds a peer.
struct Registration {
  explicit Registration(Peer peer);
};

}  // namespace bench
