// BufferPool: encode buffers that are leased, reused and given back whole, so that the write path stops
// allocating once it is warm. Any thread may lease and any thread may return; a lease is a move-only owner,
// so a buffer cannot leak or come back twice.
//
// Not worth it for: rare operations, and buffers held for long (a held buffer is one the pool lacks).
#pragma once

#include <cstddef>
#include <memory>

#include "kvstore/base/buffer.h"
#include "kvstore/stats.h"

namespace kvstore::base {

class BufferPool {
 public:
  struct Options {
    size_t start_bytes = 1024;            // starting capacity until the pool has seen real sizes
    size_t giant_bytes = size_t{1} << 20; // a returned buffer above this capacity is freed
    size_t retained_bytes_max = size_t{16} << 20;  // idle capacity kept in all
    bool wipe = false;                    // zero a buffer's whole capacity before it goes back
  };

  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();  // gives the buffer back
    Buffer& operator*() noexcept { return *buffer_; }
    Buffer* operator->() noexcept { return buffer_.get(); }

   private:
    friend class BufferPool;
    BufferPool* pool_ = nullptr;
    std::unique_ptr<Buffer> buffer_;
    size_t leased_capacity_ = 0;
  };

  explicit BufferPool(Options options);
  ~BufferPool();  // needs: every lease is back
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // An empty buffer with room for at least `size_hint` bytes (0: the starting size, which follows what is
  // seen). Throws std::bad_alloc. Cost when warm: one atomic exchange.
  [[nodiscard]] Lease lease(size_t size_hint = 0);
  // Frees every idle buffer.
  void release_idle() noexcept;
  [[nodiscard]] PoolStats stats() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvstore::base
