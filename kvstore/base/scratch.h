// Scratch: a bump allocator for decoded text whose addresses stay put until clear(). clear() keeps
// the memory, so a reused Scratch stops allocating. One piece at a time, it never holds more than four times
// the largest it was asked for, and 64 KiB. Not thread-safe.
#pragma once

#include <bit>
#include <cstddef>
#include <memory>
#include <vector>

namespace kvstore::base {

class Scratch {
 public:
  // `count` uninitialised bytes, valid until clear() or destruction. Throws std::bad_alloc.
  char* allocate(size_t count) {
    if (current_ == blocks_.size() || blocks_[current_].capacity - used_ < count) next_block(count);
    char* out = blocks_[current_].bytes.get() + used_;
    used_ += count;
    return out;
  }
  // Gives the unused end of the latest allocation back: the caller kept only `kept` of `count` bytes.
  void shrink_last(size_t count, size_t kept) noexcept { used_ -= count - kept; }
  void clear() noexcept { current_ = 0, used_ = 0; }

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    size_t capacity = 0;
  };
  void next_block(size_t count) {
    if (current_ < blocks_.size()) ++current_;
    used_ = 0;
    while (current_ < blocks_.size() && blocks_[current_].capacity < count) ++current_;
    if (current_ == blocks_.size()) {
      // Powers of two: blocks of the very size asked for would be of no use for the next piece if it is a byte longer,
      // and a Scratch reused for slowly growing ones would keep them all.
      const size_t capacity = std::bit_ceil(count > kBlockBytes ? count : kBlockBytes);
      blocks_.push_back({std::unique_ptr<char[]>(new char[capacity]), capacity});
    }
  }

  static constexpr size_t kBlockBytes = size_t{64} << 10;
  std::vector<Block> blocks_;
  size_t current_ = 0;
  size_t used_ = 0;
};

}  // namespace kvstore::base
