#include "kvstore/base/bump_arena.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

namespace kvstore::base {

BumpArena::Block* BumpArena::make_block(size_t capacity) {
  if (capacity > SIZE_MAX / 4) throw std::bad_alloc();
  capacity = (capacity + kAlignment - 1) / kAlignment * kAlignment;
  return new (::operator new(sizeof(Block) + capacity)) Block{.next = nullptr, .capacity = capacity};
}

BumpArena::BumpArena(size_t capacity, Buffer::OnFree on_free) : first_(make_block(capacity)), on_free_(on_free) {
  capacity_ = first_->capacity;
  enter(*first_);
}

BumpArena::~BumpArena() {
  if (on_free_ == Buffer::OnFree::kWipe) wipe();
  for (Block* block = first_; block != nullptr;) ::operator delete(std::exchange(block, block->next));
}

void BumpArena::enter(Block& block) noexcept {
  current_ = &block;
  at_ = block.bytes();
  end_ = at_ + block.capacity;
}

// A new block is as large as all before it together, so there are few of them, and a document that fits once fits again.
void* BumpArena::allocate_elsewhere(size_t bytes) {
  while (current_->next != nullptr) {
    full_bytes_ += current_->capacity;
    enter(*current_->next);
    if (bytes <= current_->capacity) return allocate(bytes);
  }
  Block* const block = make_block(std::max(bytes, capacity_));
  full_bytes_ += current_->capacity;
  capacity_ += block->capacity;
  current_->next = block;
  enter(*block);
  return allocate(bytes);
}

void BumpArena::clear() noexcept {
  full_bytes_ = 0;
  enter(*first_);
}

void BumpArena::wipe() noexcept {
  for (Block* block = first_;; block = block->next) {
    std::memset(block->bytes(), 0, block == current_ ? static_cast<size_t>(at_ - block->bytes()) : block->capacity);
    asm volatile("" : : "r"(block->bytes()) : "memory");  // the zeros count as read, so they must be written
    if (block == current_) return;
  }
}

}  // namespace kvstore::base
