// RecentWrites: the keys of the latest commits, in order, while somebody wants to know. A transaction that has scanned
// asks at its commit whether any of the keys written since lies in what it scanned; read_set.h has the whole argument.
//
// A queue of chunks. Those who watch have a place in it, of their own; the queue knows only how many they are. With the
// last of them it is freed. Beyond kBytesMax the oldest chunk goes, and whoever still had to read it learns that it is
// lost. The same happens when memory runs out: add() cannot fail, since it comes after the commit's line is in the log.
//
// Not thread-safe: every call under the commit lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <string_view>

#include "kvstore/base/assert.h"
#include "kvstore/format/record.h"

namespace kvstore::engine {

class RecentWrites {
 public:
  static constexpr size_t kBytesMax = size_t{16} << 20;

  // Between two keys, or behind the last.
  class Place {
   private:
    friend class RecentWrites;
    uint64_t chunk_ = 0;   // chunks are numbered from 0 on, for ever
    size_t offset_ = 0;    // in it
    uint64_t passed_ = 0;  // keys added before it
  };

  // Throws std::bad_alloc, since an empty std::deque has memory already.
  explicit RecentWrites(size_t bytes_max = kBytesMax) : bytes_max_(bytes_max) {}

  // From now on everything is noted. Returns the place behind what was noted before.
  [[nodiscard]] Place watch() noexcept;
  // Once for each watch().
  void unwatch() noexcept;
  [[nodiscard]] bool watched() const noexcept { return watchers_ > 0; }

  // Notes the key of each. Needs: watched().
  void add(std::span<const format::Op> ops) noexcept;

  // How many keys stand behind the place, lost ones included.
  [[nodiscard]] uint64_t behind(const Place& place) const noexcept { return added_ - place.passed_; }
  // Calls fn(std::string_view key) for the keys behind the place, at most `keys_max`, until it returns false; the place
  // moves behind the keys it was called for. False: some key behind the place is lost. `fn` may throw.
  template <typename Fn>
  [[nodiscard]] bool walk(Place& place, uint64_t keys_max, Fn&& fn) const {
    if (place.chunk_ < first_) return false;
    for (bool wanted = true; wanted && keys_max > 0 && behind(place) > 0; --keys_max) {
      if (place.offset_ == chunks_[place.chunk_ - first_].used) {
        ++place.chunk_;
        place.offset_ = 0;
      }
      KV_ASSERT(place.chunk_ - first_ < chunks_.size());
      const char* at = chunks_[place.chunk_ - first_].bytes.get() + place.offset_;
      uint32_t size = 0;
      std::memcpy(&size, at, sizeof size);
      place.offset_ += sizeof size + size;
      KV_ASSERT(place.offset_ <= chunks_[place.chunk_ - first_].used);
      ++place.passed_;
      wanted = fn(std::string_view(at + sizeof size, size));
    }
    return true;
  }
  // Asserts its invariants; for tests, O(chunks).
  void check() const;
  [[nodiscard]] size_t bytes() const noexcept { return bytes_; }  // held

 private:
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
    size_t used = 0;  // by keys, each behind its size in four bytes
  };
  void drop_all() noexcept;

  const size_t bytes_max_;
  size_t bytes_ = 0;
  uint64_t watchers_ = 0;
  uint64_t added_ = 0;
  uint64_t first_ = 0;  // number of chunks_.front(), or of the next to be made
  std::deque<Chunk> chunks_;
};

}  // namespace kvstore::engine
