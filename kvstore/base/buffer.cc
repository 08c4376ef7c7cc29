#include "kvstore/base/buffer.h"

#include <algorithm>
#include <new>

namespace kvstore::base {

void Buffer::grow_to(size_t needed) {
  if (needed < size_) throw std::bad_alloc();  // size_ + count ran over the end of size_t
  const size_t capacity = capacity_ <= SIZE_MAX / 2 ? std::max(needed, capacity_ * 2) : needed;
  auto bytes = std::make_unique_for_overwrite<char[]>(capacity);
  if (size_ != 0) std::memcpy(bytes.get(), bytes_.get(), size_);
  if (on_free_ == OnFree::kWipe) wipe();
  bytes_ = std::move(bytes);
  capacity_ = capacity;
}

void Buffer::wipe() noexcept {
  if (capacity_ == 0) return;
  std::memset(bytes_.get(), 0, capacity_);
  asm volatile("" : : "r"(bytes_.get()) : "memory");  // the zeros count as read, so they must be written
}

}  // namespace kvstore::base
