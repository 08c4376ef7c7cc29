// A commit's operations, hashed and encoded: what is worked out before the commit lock is taken.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/engine/engine.h"

namespace kvstore::engine {

// One operation, the common case, allocates nothing.
struct Engine::Prepared {
  struct Slot {
    uint64_t hash = 0;
    table::Entry* staged = nullptr;
  };

  Prepared(table::Table& t, size_t op_count) : table(t) {
    KV_ASSERT(op_count > 0);
    if (op_count > 1) many.resize(op_count);
    slots = op_count > 1 ? std::span(many) : std::span(&one, op_count);
  }
  ~Prepared() {  // entries that did not get into the table; needs: the commit lock, if there are any
    KV_ASSERT(std::none_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.staged != nullptr; }));
  }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  void discard() noexcept {
    for (Slot& slot : slots) {
      if (slot.staged != nullptr) table.discard(std::exchange(slot.staged, nullptr));
    }
  }

  table::Table& table;
  base::BufferPool::Lease buffer;
  wal::Body body;
  Slot one;
  std::vector<Slot> many;
  std::span<Slot> slots;
  // Refused for want of memory that will come back: see Engine::full().
  enum class WaitsFor : uint8_t { kNothing, kVersions, kPin, kReaders } waits_for = WaitsFor::kNothing;
  uint64_t pins_ended = 0;  // by then
  bool has_waited_for_readers = false;
  bool readers_have_left = false;  // while it waited for them
  uint64_t unlinked_mark = 0;      // by then, too
};

}  // namespace kvstore::engine
