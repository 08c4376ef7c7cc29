#include "kvstore/base/buffer_pool.h"

#include <mutex>
#include <utility>
#include <vector>

namespace kvstore::base {

// One list under one mutex: the plainest pool that keeps the promises.
struct BufferPool::Impl {
  Options options;
  std::mutex mutex;
  std::vector<std::unique_ptr<Buffer>> idle;
  PoolStats stats;
};

BufferPool::Lease::Lease(Lease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      buffer_(std::move(other.buffer_)),
      leased_capacity_(other.leased_capacity_) {}

BufferPool::Lease& BufferPool::Lease::operator=(Lease&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(buffer_, other.buffer_);
  std::swap(leased_capacity_, other.leased_capacity_);
  return *this;
}

BufferPool::Lease::~Lease() {
  if (buffer_ == nullptr) return;
  Impl& pool = *pool_->impl_;
  if (pool.options.wipe) buffer_->wipe();
  buffer_->clear();
  const std::lock_guard lock(pool.mutex);
  if (buffer_->capacity() > leased_capacity_) ++pool.stats.grown;
  if (buffer_->capacity() > pool.options.giant_bytes ||
      pool.stats.retained_bytes + buffer_->capacity() > pool.options.retained_bytes_max) {
    ++pool.stats.dropped;
    return;
  }
  pool.stats.retained_bytes += buffer_->capacity();
  pool.idle.push_back(std::move(buffer_));
}

BufferPool::BufferPool(Options options) : impl_(std::make_unique<Impl>()) { impl_->options = options; }
BufferPool::~BufferPool() = default;

BufferPool::Lease BufferPool::lease(size_t size_hint) {
  Lease lease;
  lease.pool_ = this;
  {
    const std::lock_guard lock(impl_->mutex);
    ++impl_->stats.leases;
    if (!impl_->idle.empty()) {
      ++impl_->stats.hits;
      lease.buffer_ = std::move(impl_->idle.back());
      impl_->idle.pop_back();
      impl_->stats.retained_bytes -= lease.buffer_->capacity();
    } else {
      ++impl_->stats.misses;
    }
  }
  if (lease.buffer_ == nullptr) lease.buffer_ = std::make_unique<Buffer>(impl_->options.start_bytes);
  lease.buffer_->reserve(size_hint);
  lease.leased_capacity_ = lease.buffer_->capacity();
  return lease;
}

void BufferPool::release_idle() noexcept {
  const std::lock_guard lock(impl_->mutex);
  impl_->idle.clear();
  impl_->stats.retained_bytes = 0;
}

PoolStats BufferPool::stats() const noexcept {
  const std::lock_guard lock(impl_->mutex);
  PoolStats stats = impl_->stats;
  stats.start_bytes = impl_->options.start_bytes;
  return stats;
}

}  // namespace kvstore::base
