// BumpArena: memory for one JSON document at a time. Pieces are cut off the front of a block and never given back one
// by one; clear() takes all of them back at once, whatever stood in them, and keeps the blocks. The pool's ware for
// documents. Not thread-safe.
#pragma once

#include <cstddef>
#include <utility>

#include "kvstore/base/buffer.h"

namespace kvstore::base {

class BumpArena {
 public:
  static constexpr size_t kAlignment = 8;

  explicit BumpArena(size_t capacity, Buffer::OnFree on_free = Buffer::OnFree::kLeave);
  ~BumpArena();
  BumpArena(const BumpArena&) = delete;
  BumpArena& operator=(const BumpArena&) = delete;

  // `bytes` of uninitialised memory, at an address divisible by 8, until clear(). Throws std::bad_alloc.
  [[nodiscard]] void* allocate(size_t bytes) {
    if (bytes > static_cast<size_t>(end_ - at_)) return allocate_elsewhere(bytes);
    // A block's end is divisible by 8, so rounding up never passes it.
    return std::exchange(at_, at_ + (bytes + kAlignment - 1) / kAlignment * kAlignment);
  }
  // Bytes cut off since clear(), and what was left over at the ends of full blocks.
  [[nodiscard]] size_t size() const noexcept { return full_bytes_ + static_cast<size_t>(at_ - current_->bytes()); }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] size_t capacity() const noexcept { return capacity_; }
  void clear() noexcept;
  // Overwrites what was cut off since clear() with zeros, in a way the compiler may not drop. Behind it nothing was written.
  void wipe() noexcept;
  // Calls fn(char* begin, size_t bytes) for each block.
  template <typename Fn>
  void for_each_block(Fn&& fn) const {
    for (Block* block = first_; block != nullptr; block = block->next) fn(block->bytes(), block->capacity);
  }

 private:
  struct alignas(kAlignment) Block {  // with its bytes behind it
    Block* next = nullptr;
    size_t capacity = 0;  // divisible by 8
    [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }
  };

  static Block* make_block(size_t capacity);
  void* allocate_elsewhere(size_t bytes);
  void enter(Block& block) noexcept;

  char* at_ = nullptr;
  char* end_ = nullptr;
  Block* current_ = nullptr;
  Block* first_ = nullptr;
  size_t full_bytes_ = 0;  // capacity of the blocks before the current one
  size_t capacity_ = 0;
  Buffer::OnFree on_free_;
};

}  // namespace kvstore::base
