// The way from the public handles (kvstore/pools.h) to the pools behind them.
#pragma once

#include <memory>

#include "kvstore/base/pools.h"
#include "kvstore/pools.h"

namespace kvstore::base {

class PoolAccess {
 public:
  [[nodiscard]] static const std::shared_ptr<Pools>& of(const kvstore::Pools& pools) noexcept { return pools.pools_; }
  [[nodiscard]] static Buffer& buffer_of(PooledText& text) noexcept { return *text.buffer_; }
  // Throw std::bad_alloc.
  [[nodiscard]] static PooledText slice(const kvstore::Pools& pools, size_t size_hint = 0) {
    return PooledText(pools.pools_->slices.lease(size_hint).detach());
  }
  [[nodiscard]] static PooledText buffer(const kvstore::Pools& pools, size_t size_hint = 0) {
    return PooledText(pools.pools_->buffers.lease(size_hint).detach());
  }
};

}  // namespace kvstore::base
