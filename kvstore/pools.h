// Pools: the memory that a store reuses, so that what is done all the time allocates nothing once it is warm.
//
//     slices      JSON texts, which marshal() makes; they start at 512 bytes
//     buffers     log lines on their way to the log, and JsonWriter's output; they start at 1 KiB
//     documents   parsed documents (json.h); they start with room for 16 fields
//
// Each is leased, used, and given back whole, on any thread; each thread finds what it gave back last without a lock. A
// new piece starts with the size that nineteen in twenty of the late ones needed; giants are freed when they come back, all
// others keep what they grew to; what nobody needed for a while is freed (age()).
//
// When not to pool: for rare operations, where a plain allocation is as good, and for what is held for long. A held piece is
// one the pool lacks, so the next lease allocates anyway, and its size counts against what may lie idle. Copy out what you
// want to keep.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "kvstore/stats.h"

namespace kvstore::base {
class Buffer;
class PoolAccess;
struct Pools;
}  // namespace kvstore::base

namespace kvstore::inline v1 {

// A handle, to be copied freely: the pools live until the last one is gone. Leases may outlive them. Thread-safe. Every store
// has pools of its own: Store::pools().
class Pools {
 public:
  struct Options {
    size_t bytes_max = size_t{16} << 20;   // so much may lie idle in each of the three
    size_t giant_bytes = size_t{1} << 20;  // what comes back larger is freed at once
    bool wipe = false;                     // overwrite with zeros what was written, on return and before freeing
  };
  Pools();
  explicit Pools(const Options& options);

  [[nodiscard]] PoolsStats stats() const noexcept;
  // Frees all that is idle; returns how many bytes that was.
  size_t release_idle() noexcept;
  // Frees what has been idle since before the last call. A store does this once a minute; others call it when it suits
  // them, or never.
  void age() noexcept;

 private:
  friend class base::PoolAccess;
  std::shared_ptr<base::Pools> pools_;
};

// Text in leased memory, given back on destruction. Move-only; may end on any thread, and after the pools. Not for keeping.
class PooledText {
 public:
  PooledText() = default;  // empty
  PooledText(PooledText&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  PooledText& operator=(PooledText&& other) noexcept {
    PooledText taken(std::move(other));
    std::swap(buffer_, taken.buffer_);
    return *this;
  }
  ~PooledText();

  [[nodiscard]] std::string_view view() const noexcept;

 private:
  friend class base::PoolAccess;
  explicit PooledText(base::Buffer* buffer) noexcept : buffer_(buffer) {}
  base::Buffer* buffer_ = nullptr;
};

}  // namespace kvstore::inline v1
