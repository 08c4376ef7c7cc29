// Pool: things that hold memory, leased, reused and given back whole, so that what needs them stops allocating once it is
// warm. One mechanism for bytes (Buffer) and for documents (BumpArena). Any thread may lease and any thread may return; a
// lease is a move-only owner, so what it holds cannot leak or come back twice.
//
// Where an idle one waits: first in a place of the thread that gave it back; then among all others, by size, in two
// generations: those that came back since the last age(), and those before, which the next age() frees.
//
// Not worth it for: rare operations, and what is held for long (what is held the pool lacks, and its capacity counts
// against what the pool may retain).
#pragma once

#include <cstddef>
#include <utility>

#include "kvstore/base/buffer.h"
#include "kvstore/base/bump_arena.h"
#include "kvstore/stats.h"

namespace kvstore::base {

struct PoolOptions {
  size_t start_bytes = 1024;                     // starting capacity until the pool has seen real sizes
  size_t giant_bytes = size_t{1} << 20;          // what comes back with more capacity is freed
  size_t retained_bytes_max = size_t{16} << 20;  // idle capacity kept in all, never exceeded
  bool wipe = false;                             // zero whatever was written, before it goes back or is freed
};

template <typename Ware>  // Buffer or BumpArena
class Pool {
 public:
  using Options = PoolOptions;

  // Owns one while it is out. Empty when default-constructed or moved from.
  // May be returned from another thread than it was leased by, and after the pool's end: then what it held is freed.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept : ware_(std::exchange(other.ware_, nullptr)) {}
    Lease& operator=(Lease&& other) noexcept {
      Lease taken(std::move(other));
      std::swap(ware_, taken.ware_);
      return *this;
    }
    ~Lease() {
      if (ware_ != nullptr) give_back(*ware_);
    }

    explicit operator bool() const noexcept { return ware_ != nullptr; }
    // Need: not empty. size() at the end counts as what was needed, so do not clear what you have filled.
    [[nodiscard]] Ware& operator*() const noexcept { return *ware_; }
    [[nodiscard]] Ware* operator->() const noexcept { return ware_; }

    // For owners that cannot show these types: what is detached comes back by way of a lease made of it again.
    [[nodiscard]] Ware* detach() noexcept { return std::exchange(ware_, nullptr); }
    explicit Lease(Ware& detached) noexcept : ware_(&detached) {}

   private:
    Ware* ware_ = nullptr;
  };

  explicit Pool(Options options);
  ~Pool();  // leases that are out stay good
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // An empty one with room for at least `size_hint` bytes; a new one has at least the starting size, which
  // follows the sizes that are seen. Throws std::bad_alloc. Cost when warm: two atomic exchanges for the lease and its
  // return, 14 ns on a Zen 5 where each exchange takes 5; no lock, no allocation.
  [[nodiscard]] Lease lease(size_t size_hint = 0);
  // Frees all that is idle, and returns how many bytes that was. What is leased stays as it is.
  size_t release_idle() noexcept;
  // Frees what has been idle since before the last age(). To be called now and then, from any thread.
  void age() noexcept;
  // Exact when nothing is leased or returned meanwhile. Cost: visits all there is, under the pool's lock.
  [[nodiscard]] PoolStats stats() const noexcept;

 private:
  static void give_back(Ware& ware) noexcept;

  struct Impl;
  Impl* const impl_;  // lives on until the last lease is back
};

using BufferPool = Pool<Buffer>;
using ArenaPool = Pool<BumpArena>;
extern template class Pool<Buffer>;
extern template class Pool<BumpArena>;

}  // namespace kvstore::base
