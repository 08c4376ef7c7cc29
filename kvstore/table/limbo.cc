#include "kvstore/table/limbo.h"

#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::table {
namespace {

// How many retirements make it worth looking through the readers' slots, which costs about 100 ns.
constexpr uint64_t kAdvanceEvery = 64;
// A large entry counts for several, so that no more than about a mebibyte waits for company.
constexpr uint64_t kCountedBytes = (uint64_t{1} << 20) / kAdvanceEvery;

}  // namespace

Limbo::~Limbo() {
  KV_ASSERT(!epoch_.has_readers());
  KV_ASSERT(settle());
}

Limbo::ArrayNote* Limbo::make_note() noexcept {
  void* memory = arena_.allocate(sizeof(ArrayNote));
  return memory == nullptr ? nullptr : new (memory) ArrayNote;
}

void Limbo::drop_note(ArrayNote* note) noexcept { arena_.free(note, sizeof(ArrayNote)); }

void Limbo::retire(Entry* entry) noexcept {
  KV_ASSERT(!entry->link().is_unlinked());  // not twice
  List& list = retired_[epoch_.current() % 3];
  if (list.first == nullptr) list.last = entry;
  entry->unlink(list.first);
  list.first = entry;
  const uint64_t bytes = entry->footprint();
  bytes_ += bytes;
  retired_since_advance_ += 1 + bytes / kCountedBytes;
}

void Limbo::retire(ArrayNote* note, BucketArray array) noexcept {
  List& list = retired_[epoch_.current() % 3];
  note->array = array;
  note->next = list.notes;
  list.notes = note;
  retired_since_advance_ += kAdvanceEvery;
}

void Limbo::turn(size_t entries_max, size_t arrays_max) noexcept {
  if (retired_since_advance_ >= kAdvanceEvery) advance();
  for (size_t count = 0; count < entries_max && free_.first != nullptr; ++count) free_one_entry();
  for (size_t count = 0; count < arrays_max && free_.notes != nullptr; ++count) free_one_array();
}

bool Limbo::tidy(size_t entries_max, size_t arrays_max) noexcept {
  if (!empty()) retired_since_advance_ = kAdvanceEvery;
  turn(entries_max, arrays_max);
  return !empty();
}

bool Limbo::settle() noexcept {
  advance();
  while (free_.first != nullptr) free_one_entry();
  while (free_.notes != nullptr) free_one_array();
  return empty();
}

bool Limbo::empty() const noexcept {
  for (const List& list : retired_) {
    if (list.first != nullptr || list.notes != nullptr) return false;
  }
  return free_.first == nullptr && free_.notes == nullptr;
}

bool Limbo::has_freed(uint64_t mark) const noexcept {
  KV_ASSERT(mark <= epoch_.current());
  return empty() || (epoch_.current() >= mark + 2 && free_.first == nullptr && free_.notes == nullptr);
}

// What was retired in epoch r is free in r + 2, so with no reader inside, three steps free everything.
void Limbo::advance() noexcept {
  retired_since_advance_ = 0;
  for (int step = 0; step < 3 && epoch_.try_advance(); ++step) {
    List& list = retired_[(epoch_.current() + 1) % 3];  // the phase of two epochs ago
    if (list.first != nullptr) {
      KV_ASSERT(list.last->link().next_retired() == nullptr);
      if (free_.first == nullptr) free_.last = list.last;
      list.last->unlink(free_.first);
      free_.first = list.first;
    }
    while (list.notes != nullptr) {
      ArrayNote* note = list.notes;
      list.notes = note->next;
      note->next = free_.notes;
      free_.notes = note;
    }
    list = List{};
  }
}

void Limbo::free_one_entry() noexcept {
  Entry* entry = free_.first;
  KV_ASSERT(entry->link().is_unlinked());
  free_.first = entry->link().next_retired();
  const uint64_t bytes = entry->footprint();
  KV_ASSERT(bytes_ >= bytes);
  bytes_ -= bytes;
  arena_.free(entry, bytes);
}

void Limbo::free_one_array() noexcept {
  ArrayNote* note = free_.notes;
  free_.notes = note->next;
  free_buckets(arena_, note->array);
  drop_note(note);
}

}  // namespace kvstore::table
