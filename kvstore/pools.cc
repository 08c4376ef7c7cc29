#include "kvstore/pools.h"

#include "kvstore/base/pools.h"

namespace kvstore::inline v1 {

Pools::Pools() : Pools(Options()) {}

Pools::Pools(const Options& options)
    : pools_(std::make_shared<base::Pools>(base::PoolOptions{
          .giant_bytes = options.giant_bytes, .retained_bytes_max = options.bytes_max, .wipe = options.wipe})) {}

PoolsStats Pools::stats() const noexcept { return pools_->stats(); }
size_t Pools::release_idle() noexcept { return pools_->release_idle(); }
void Pools::age() noexcept { pools_->age(); }

PooledText::~PooledText() {
  if (buffer_ != nullptr) const base::BufferPool::Lease back(*buffer_);
}

std::string_view PooledText::view() const noexcept { return buffer_ != nullptr ? buffer_->view() : std::string_view(); }

}  // namespace kvstore::inline v1
