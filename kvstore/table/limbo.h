// Limbo: what the writer has unlinked but readers may still be looking at, until the Epoch says that none is.
// For the writer only. Retiring an entry needs no memory: the entry's own link strings it into a list.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kvstore/table/arena.h"
#include "kvstore/table/bucket.h"
#include "kvstore/table/entry.h"
#include "kvstore/table/epoch.h"

namespace kvstore::table {

class Limbo {
 public:
  Limbo(Arena& arena, Epoch& epoch) noexcept : arena_(arena), epoch_(epoch) {}
  ~Limbo();  // frees everything; needs: no reader inside
  Limbo(const Limbo&) = delete;
  Limbo& operator=(const Limbo&) = delete;

  // A place to note one retired array, taken before the array is replaced so that retiring it cannot fail.
  struct ArrayNote {
    BucketArray array;
    ArrayNote* next = nullptr;
  };
  [[nodiscard]] ArrayNote* make_note() noexcept;  // nullptr: memory has run out
  void drop_note(ArrayNote* note) noexcept;

  // Needs: `entry` can no longer be reached by a reader that enters now.
  void retire(Entry* entry) noexcept;
  void retire(ArrayNote* note, BucketArray array) noexcept;

  // Asks the epoch from time to time, and frees some of what is safe to free, no more than this many entries and
  // arrays, so that no call takes long even after a reader held everything back for minutes.
  void turn(size_t entries_max, size_t arrays_max) noexcept;
  // The same without waiting for enough to have come together. Returns whether more is left.
  bool tidy(size_t entries_max, size_t arrays_max) noexcept;
  // Frees all it can, at any length. Returns whether nothing is left.
  bool settle() noexcept;
  [[nodiscard]] bool empty() const noexcept;
  [[nodiscard]] uint64_t bytes() const noexcept { return bytes_; }  // of the entries that are not free yet
  // Whether all is free that was retired before the mark was taken.
  [[nodiscard]] uint64_t mark() const noexcept { return epoch_.current(); }
  [[nodiscard]] bool has_freed(uint64_t mark) const noexcept;

 private:
  struct List {
    Entry* first = nullptr;
    Entry* last = nullptr;
    ArrayNote* notes = nullptr;
  };
  void advance() noexcept;
  void free_one_entry() noexcept;
  void free_one_array() noexcept;

  Arena& arena_;
  Epoch& epoch_;
  std::array<List, 3> retired_{};  // by phase of the epoch in which it was retired
  List free_;                      // nobody can be looking any more
  uint64_t retired_since_advance_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace kvstore::table
