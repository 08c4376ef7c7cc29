// Buffer: a growable run of bytes that never zeroes what it is about to overwrite and keeps its
// capacity when cleared. The encoder's output; the pool's ware. Not thread-safe. A moved-from Buffer is empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "kvstore/base/assert.h"

namespace kvstore::base {

class Buffer {
 public:
  // What happens to bytes that are given back to the allocator, on growth and on destruction.
  enum class OnFree : uint8_t { kLeave, kWipe };

  Buffer() = default;
  explicit Buffer(size_t capacity, OnFree on_free = OnFree::kLeave) : on_free_(on_free) { grow_to(capacity); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer() {
    if (on_free_ == OnFree::kWipe) wipe();
  }

  [[nodiscard]] char* data() noexcept { return bytes_.get(); }
  [[nodiscard]] const char* data() const noexcept { return bytes_.get(); }
  [[nodiscard]] size_t size() const noexcept { return size_; }
  [[nodiscard]] size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::string_view view() const noexcept { return {bytes_.get(), size_}; }
  void clear() noexcept { size_ = 0; }
  void truncate(size_t size) noexcept {  // needs: size <= size()
    KV_ASSERT(size <= size_);
    size_ = size;
  }

  // Makes room for `count` bytes behind the content and returns where they go; size() is unchanged
  // until commit(). Throws std::bad_alloc. Earlier pointers and views die when it had to grow.
  char* reserve(size_t count) {
    if (capacity_ - size_ < count) grow_to(size_ + count);
    return bytes_.get() + size_;
  }
  // Needs: at most as many bytes as the last reserve() made room for.
  void commit(size_t count) noexcept {
    KV_ASSERT(count <= capacity_ - size_);
    size_ += count;
  }
  // Needs: `bytes` are not this buffer's own.
  void append(std::string_view bytes) {
    char* out = reserve(bytes.size());
    if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void append(char byte) {
    *reserve(1) = byte;
    ++size_;
  }

  // Overwrites the whole capacity with zeros in a way the compiler may not drop.
  void wipe() noexcept;

  void swap(Buffer& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(on_free_, other.on_free_);
  }

 private:
  void grow_to(size_t needed);  // at least doubles, so appending is amortised O(1)

  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
  OnFree on_free_ = OnFree::kLeave;
};

}  // namespace kvstore::base
