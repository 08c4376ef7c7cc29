// Versions: who still needs a superseded version. Pins hold instants; each superseded version is attached to
// one pin that needs it, and is looked at again only when that pin goes.
//
// A version with number v, superseded by number n, is visible at the instants v .. n-1. It is needed exactly
// if there is a pin among these. It is attached to the newest pin before n (if that is before v, nobody
// needs it). When that pin goes, the newest pin before it is the version's next and only candidate: no pin
// can be born at an instant that has passed. So a version is looked at once for each pin that it
// outlives, and never scanned for.
//
// A pin that goes is only noted; the writer passes its versions on bit by bit (drain_step), because there
// may be millions. Memory held by a pin therefore returns with the writes after it, or with Table::tidy().
//
// Birth of a pin against publish(). The pin does, under the mutex: (a) count itself in records_, (b) read the published
// number p, (c) join the list. The writer does: (1) store the new number n, (2) read records_, and if it is not
// zero, (3) take the mutex and look for the newest pin below n. (a), (b), (1), (2) are seq_cst. Should (2)
// read zero, then (2) came before (a), so (1) came before (b), and the pin has p >= n: it needs nothing that n
// superseded. Otherwise the mutex orders them: pin first, and the writer finds it in the list; writer
// first, and the pin reads p >= n.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "kvstore/format/record.h"
#include "kvstore/table/arena.h"
#include "kvstore/table/entry.h"
#include "kvstore/table/table.h"

namespace kvstore::table {

struct HeldVersion {
  Entry* version = nullptr;
  uint64_t hash = 0;
  // The version's own, so that passing it on does not touch it.
  uint64_t bytes = 0;  // with this
  format::Seq seq = 0;
  HeldVersion* next = nullptr;
};

// All pins of one instant.
struct PinRecord {
  format::Seq seq = 0;
  uint64_t pins = 0;                              // under the mutex
  std::chrono::steady_clock::time_point since{};  // when `pins` last rose from 0; under the mutex
  PinRecord* older = nullptr;                     // under the mutex
  PinRecord* newer = nullptr;                     // under the mutex
  HeldVersion* held = nullptr;                    // the writer's
  uint64_t held_bytes = 0;                        // ... of these
};

class Versions {
 public:
  explicit Versions(Arena& arena) noexcept : arena_(arena) {}
  ~Versions();  // needs: no pin left
  Versions(const Versions&) = delete;
  Versions& operator=(const Versions&) = delete;

  // ---- any thread -----------------------------------------------------------------------------
  // Pins the published number as it is now. Throws std::bad_alloc.
  [[nodiscard]] PinRecord* pin(const std::atomic<format::Seq>& published);
  // One more pin of the same instant. Needs: one that stands until this returns.
  void pin_again(PinRecord* record) noexcept;
  void unpin(PinRecord* record) noexcept;
  [[nodiscard]] uint64_t held_count() const noexcept { return held_count_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t held_bytes() const noexcept { return held_bytes_.load(std::memory_order_relaxed); }
  // The pins that stand. Walks the list, under the mutex: some nanoseconds for each instant pinned.
  [[nodiscard]] PinStats pin_stats() const noexcept;

  // ---- the writer -------------------------------------------------------------------------------
  // Sets aside what `count` calls of hold() need. False when memory has run out.
  [[nodiscard]] bool reserve(size_t count) noexcept;
  void trim_reserve(size_t count) noexcept;
  // To be called after `seq` was stored as the published number. nullptr: no pin below it.
  [[nodiscard]] PinRecord* newest_pin_below(format::Seq seq) noexcept;
  // The latest instant that is pinned. Takes the mutex in every case: table_sweep.cc needs the order that this makes.
  [[nodiscard]] std::optional<format::Seq> newest_pinned() noexcept;
  [[nodiscard]] Table::Seen seen(uint64_t much) noexcept;
  [[nodiscard]] uint64_t held_bytes_at(format::Seq instant) noexcept;
  // Needs: pin = newest_pin_below(the number that superseded it), pin->seq >= version->seq().
  void hold(PinRecord* pin, Entry* version, uint64_t hash) noexcept;

  struct Step {
    bool worked = false;       // false: there is nothing to drain
    Entry* version = nullptr;  // set: nobody needs this one any more, and it is the caller's now
    uint64_t hash = 0;
  };
  // Passes on, or gives up, one version of a pin that has gone.
  // A pin has gone whose versions drain_step() has not gone through yet.
  [[nodiscard]] bool has_gone_pins() const noexcept {
    return draining_ != nullptr || gone_.load(std::memory_order_relaxed) != 0;
  }
  Step drain_step() noexcept;

  // Blocks of the arena in use here.
  [[nodiscard]] uint64_t block_count() const noexcept { return held_count() + reserve_count_; }

 private:
  void begin_drain() noexcept;
  void end_drain() noexcept;
  void remove(PinRecord* record) noexcept;
  void count_held(int64_t change, int64_t bytes) noexcept;

  Arena& arena_;
  mutable std::mutex mutex_;
  PinRecord* newest_ = nullptr;       // a list by seq; under the mutex
  std::atomic<uint64_t> records_{0};  // its length, or more for a moment
  std::atomic<uint64_t> gone_{0};     // records without pins

  PinRecord* draining_ = nullptr;  // the writer's: a record without pins that is being emptied
  PinRecord* heir_ = nullptr;      // ... and the newest one before it, nullptr when there is none
  HeldVersion* reserve_ = nullptr;
  size_t reserve_count_ = 0;
  std::atomic<uint64_t> held_count_{0};
  std::atomic<uint64_t> held_bytes_{0};  // of the versions, without the nodes that hold them
};

}  // namespace kvstore::table
