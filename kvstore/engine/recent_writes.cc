#include "kvstore/engine/recent_writes.h"

#include <algorithm>
#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::engine {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;

}  // namespace

RecentWrites::Place RecentWrites::watch() noexcept {
  ++watchers_;
  Place place;
  place.passed_ = added_;
  place.chunk_ = first_;
  if (!chunks_.empty()) {
    place.chunk_ += chunks_.size() - 1;
    place.offset_ = chunks_.back().used;
  }
  return place;
}

void RecentWrites::unwatch() noexcept {
  KV_ASSERT(watchers_ > 0);
  if (--watchers_ == 0) drop_all();
}

void RecentWrites::check() const {
  size_t bytes = 0;
  for (const Chunk& chunk : chunks_) {
    KV_ASSERT(chunk.used > 0);
    KV_ASSERT(chunk.used <= chunk.size);
    bytes += chunk.size;
  }
  KV_ASSERT(bytes == bytes_);
  KV_ASSERT(bytes <= bytes_max_ || chunks_.size() == 1);
  KV_ASSERT(watched() || chunks_.empty());  // nobody wants to know
}

// Every place there is stands before what comes next, so numbers are never used again.
void RecentWrites::drop_all() noexcept {
  first_ += chunks_.size() + 1;
  chunks_.clear();
  bytes_ = 0;
}

void RecentWrites::add(std::span<const format::Op> ops) noexcept {
  KV_ASSERT(watched());
  for (const format::Op& op : ops) {
    const auto size = static_cast<uint32_t>(op.key.size());
    const size_t needed = sizeof size + op.key.size();
    ++added_;
    if (chunks_.empty() || chunks_.back().size - chunks_.back().used < needed) {
      const size_t chunk_bytes = std::max(kChunkBytes, needed);
      try {
        chunks_.push_back({.bytes = std::unique_ptr<char[]>(new char[chunk_bytes]), .size = chunk_bytes, .used = 0});
      } catch (const std::bad_alloc&) {
        drop_all();
        continue;
      }
      bytes_ += chunk_bytes;
    }
    Chunk& chunk = chunks_.back();
    std::memcpy(chunk.bytes.get() + chunk.used, &size, sizeof size);
    std::memcpy(chunk.bytes.get() + chunk.used + sizeof size, op.key.data(), op.key.size());
    chunk.used += needed;
    KV_ASSERT(chunk.used <= chunk.size);
    while (bytes_ > bytes_max_ && chunks_.size() > 1) {
      bytes_ -= chunks_.front().size;
      chunks_.pop_front();
      ++first_;
    }
  }
}

}  // namespace kvstore::engine
