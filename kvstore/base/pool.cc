#include "kvstore/base/pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/spin_park_lock.h"

#if defined(__SANITIZE_ADDRESS__)  // as GCC says it
#define KV_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)  // as Clang does
#define KV_ADDRESS_SANITIZER
#endif
#endif
#ifdef KV_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

// Where an idle one waits. (The comments say "buffer"; all of it is as true of arenas.) Each thread has a slot for one
// buffer that bears its name; a lease empties it and a
// return fills it, one atomic exchange each, without a lock and without a cache line that another thread writes.
// Hashing the thread says where to begin looking for a slot without a name. Whatever finds no room there, or no
// buffer, goes through lists by size under a lock. The slots are the pool's, not thread_local objects: so a thread that ends
// leaves nothing behind that another could not find, and a pool that ends before its threads leaves nothing in them.
//
// What is counted, and where. All that happens on every lease is written into the buffer's own Item, which one thread
// holds at a time: plain stores, no shared counter. A use in kUsesPerReport carries it to the pool, under the lock.
//
// How retained_bytes_max holds without a count of idle bytes: counted_bytes_ is the capacity of all live buffers
// but giants, leased or idle; it changes only under the lock (a buffer made, grown, freed), and a return keeps its buffer
// only while it is at most the limit. Take the idle buffers at some moment, and of those the one that was made or
// grew last: when it came back after that, all the others were counted already, and the sum was within the limit.
//
// How leases may outlive the pool. The pool and every live buffer count as users of the Impl, and whoever leaves last deletes
// it. When the pool ends, each slot is closed: emptied and filled with a mark in one exchange, so a return either put its
// buffer there before, where it is found, or finds the slot taken and goes on to the lock; there it is told to free its buffer.
namespace kvstore::base {
namespace {

constexpr size_t kCacheLineBytes = 64;

constexpr auto kClassBytes = [] {  // 512 bytes to 1 MiB
  std::array<size_t, 12> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = size_t{512} << i;
  return bytes;
}();
constexpr size_t kClassCount = kClassBytes.size();

// The smallest class with room for `bytes`; kClassCount when there is none.
size_t class_for(size_t bytes) noexcept {
  if (bytes <= kClassBytes.front()) return 0;
  return std::min<size_t>(static_cast<size_t>(std::bit_width(bytes - 1)) - 9, kClassCount);
}

// The largest class that fits into `bytes`, and the smallest one where none does.
size_t class_within(size_t bytes) noexcept {
  if (bytes < kClassBytes.front()) return 0;
  return std::min<size_t>(static_cast<size_t>(std::bit_width(bytes)) - 10, kClassCount - 1);
}

constexpr uint32_t kUsesPerReport = 64;     // of one buffer
constexpr uint64_t kUsesRemembered = 1024;  // the pool's memory is halved each time it holds so many
constexpr size_t kOutgrownFactor = 16;      // a buffer so many times larger than all of its late uses is let go

// How often each class was needed; the last entry stands for what is larger than every class.
using Uses = std::array<uint32_t, kClassCount + 1>;

// Calls fn(begin, bytes) for all the memory of a ware that its user may write to.
template <typename Fn>
void for_each_block(Buffer& buffer, Fn&& fn) {
  fn(buffer.data(), buffer.capacity());
}
template <typename Fn>
void for_each_block(BumpArena& arena, Fn&& fn) {
  arena.for_each_block(fn);
}

template <typename Ware>
struct alignas(kCacheLineBytes) Item : Ware {
  using Ware::Ware;

  std::atomic<uint64_t> hits{0};  // written by the holder only, read by stats()
  std::atomic<bool> idle{false};  // likewise
  uint32_t uses_until_report = kUsesPerReport;
  Uses uses{};                // since the last report
  size_t known_capacity = 0;  // as the pool counts it; written under its lock
  size_t index = 0;           // in items_
  void* home = nullptr;       // the Impl of its pool
  Item* next_idle = nullptr;  // in an idle list

  void count_hit() noexcept {
    hits.store(hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    idle.store(false, std::memory_order_relaxed);
    allow_access();
  }

  void count_use() noexcept {
    ++uses[class_for(this->size())];
    --uses_until_report;
  }

  // To AddressSanitizer an idle buffer's bytes are as good as freed.
  void forbid_access() noexcept {
#ifdef KV_ADDRESS_SANITIZER
    for_each_block(*this, [](char* begin, size_t bytes) { ASAN_POISON_MEMORY_REGION(begin, bytes); });
#endif
  }
  void allow_access() noexcept {
#ifdef KV_ADDRESS_SANITIZER
    for_each_block(*this, [](char* begin, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(begin, bytes); });
#endif
  }
};

constexpr size_t kSlotCount = 64;  // a power of 2, above the number of threads that write at once

// How often this thread has moved to another slot, in any pool. Each thread has its own, so its address names the thread.
constinit thread_local size_t slot_moves = 0;
const void* this_thread() noexcept { return &slot_moves; }

}  // namespace

template <typename Ware>
struct Pool<Ware>::Impl {
  using Item = base::Item<Ware>;
  using IdleLists = std::array<Item*, kClassCount>;  // by the class within their capacity

  explicit Impl(const Options& options)
      : wipe_(options.wipe),
        retained_bytes_max_(options.retained_bytes_max),
        giant_bytes_(std::min(options.giant_bytes, options.retained_bytes_max)),
        start_class_max_(class_within(giant_bytes_)),
        start_class_(std::min(class_for(options.start_bytes), start_class_max_)) {}

  struct alignas(kCacheLineBytes) Slot {
    std::atomic<Item*> item{nullptr};
    std::atomic<const void*> owner{nullptr};  // a thread's name

    bool put_if_empty(Item& returned) noexcept {
      Item* occupant = nullptr;
      return item.compare_exchange_strong(occupant, &returned, std::memory_order_release, std::memory_order_relaxed);
    }
  };

  // No item: the mark of a closed slot.
  static Item* closed() noexcept { return reinterpret_cast<Item*>(kCacheLineBytes); }
  void close() noexcept;
  // Without lock_. Nothing of this may be touched afterwards.
  void leave() noexcept {
    if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // Multiplying by 2^64 / golden ratio spreads addresses that are far apart and alike in their low bits.
  Slot& slot_of_this_thread() noexcept {
    const uint64_t hash = reinterpret_cast<uintptr_t>(this_thread()) * uint64_t{0x9E3779B97F4A7C15};
    return slots_[((hash >> 32) + slot_moves) % kSlotCount];
  }
  Slot& claim_slot() noexcept;

  // A return that needs no lock: nothing to report, nothing to count, nothing to free.
  [[nodiscard]] bool is_routine(const Item& item) const noexcept {
    return item.uses_until_report != 0 && item.capacity() == item.known_capacity && item.capacity() <= giant_bytes_ &&
           counted_bytes_.load(std::memory_order_relaxed) <= retained_bytes_max_;
  }
  // Every other return: reports and counts. Returns false when it freed the buffer; then leave() is to follow.
  bool settle(Item& item) noexcept;

  // The way around the slots. `too_small` comes from the slot and is null when that was empty.
  Item& find_or_make(Item* too_small, size_t size_hint);
  [[nodiscard]] size_t capacity_for(size_t size_hint) const noexcept;

  // Under lock_:
  void push_idle(Item& item) noexcept;
  void empty_slots() noexcept;  // into the lists
  [[nodiscard]] bool has_room_for(size_t capacity) const noexcept {
    return counted_bytes_.load(std::memory_order_relaxed) + counted(capacity) <= retained_bytes_max_;
  }
  void make_room_for(size_t capacity) noexcept;
  void free_idle(Item& item) noexcept;  // needs: the pool has not ended
  [[nodiscard]] Item* pop_idle(size_t size_hint) noexcept;
  [[nodiscard]] static Item* pop(IdleLists& lists, size_t size_class, size_t size_hint) noexcept;
  void learn(Item& item) noexcept;
  [[nodiscard]] bool has_outgrown_its_use(const Item& item) const noexcept;
  [[nodiscard]] std::unique_ptr<Item> take_out(Item& item) noexcept;
  // Giants are left out: they are never retained, and one that is out must not push all others out of the pool.
  [[nodiscard]] size_t counted(size_t capacity) const noexcept { return capacity <= giant_bytes_ ? capacity : 0; }

  // Read by every lease and return, written rarely or never.
  const bool wipe_;
  const size_t retained_bytes_max_;
  const size_t giant_bytes_;
  const size_t start_class_max_;
  std::atomic<size_t> start_class_;
  std::atomic<size_t> counted_bytes_{0};

  std::array<Slot, kSlotCount> slots_;

  alignas(kCacheLineBytes) mutable SpinParkLock lock_;
  bool is_closed_ = false;
  std::atomic<size_t> users_{1};              // the pool, and every live buffer
  std::vector<std::unique_ptr<Item>> items_;  // every live buffer, leased or idle
  IdleLists young_{};                         // what came back, or was found in a slot, since the last age()
  IdleLists old_{};                           // ... before it
  std::array<uint64_t, kClassCount + 1> remembered_uses_{};
  uint64_t retired_hits_ = 0;  // of buffers that have been freed
  uint64_t misses_ = 0;
  uint64_t grown_ = 0;
  uint64_t dropped_ = 0;
};

// ---- The way of a lease ---------------------------------------------------------------------------

template <typename Ware>
typename Pool<Ware>::Lease Pool<Ware>::lease(size_t size_hint) {
  auto* slot = &impl_->slot_of_this_thread();
  if (slot->owner.load(std::memory_order_relaxed) != this_thread()) slot = &impl_->claim_slot();
  Item<Ware>* const waiting = slot->item.exchange(nullptr, std::memory_order_acquire);
  if (waiting == nullptr || waiting->capacity() < size_hint) {
    return Lease(impl_->find_or_make(waiting, size_hint));
  }
  waiting->count_hit();
  return Lease(*waiting);
}

template <typename Ware>
void Pool<Ware>::give_back(Ware& ware) noexcept {
  auto& item = static_cast<Item<Ware>&>(ware);
  Impl& impl = *static_cast<Impl*>(item.home);
  item.count_use();
  if (!impl.is_routine(item) && !impl.settle(item)) return impl.leave();

  if (impl.wipe_) item.wipe();
  item.clear();
  item.forbid_access();
  item.idle.store(true, std::memory_order_relaxed);
  // Once the slot has it, another thread may take it, or the pool end: nothing is touched after that.
  if (impl.slot_of_this_thread().put_if_empty(item)) return;
  // In the list it is no user of ours any more: without one more, the pool could end while this thread still unlocks.
  impl.users_.fetch_add(1, std::memory_order_relaxed);
  std::unique_ptr<Item<Ware>> freed;
  {
    const std::lock_guard guard(impl.lock_);
    if (impl.is_closed_) {
      freed = impl.take_out(item);
    } else {
      impl.push_idle(item);
    }
  }
  if (freed != nullptr) impl.leave();
  impl.leave();
}

// The first slot from here on that has no name yet. Where none is near, another thread's: it may have ended, and if it
// has not, it claims its next one when it comes back, at the cost of a few reads.
template <typename Ware>
typename Pool<Ware>::Impl::Slot& Pool<Ware>::Impl::claim_slot() noexcept {
  constexpr int kTries = 8;
  for (int i = 0; i < kTries; ++i, ++slot_moves) {
    Slot& slot = slot_of_this_thread();
    const void* owner = nullptr;
    if (slot.owner.compare_exchange_strong(owner, this_thread(), std::memory_order_relaxed)) return slot;
    if (owner == this_thread()) return slot;
  }
  Slot& slot = slot_of_this_thread();
  slot.owner.store(this_thread(), std::memory_order_relaxed);
  return slot;
}

template <typename Ware>
Item<Ware>& Pool<Ware>::Impl::find_or_make(Item* too_small, size_t size_hint) {
  const size_t capacity = capacity_for(size_hint);
  {
    const std::lock_guard guard(lock_);
    if (too_small != nullptr) push_idle(*too_small);
    Item* item = pop_idle(size_hint);
    if (item == nullptr && !has_room_for(capacity)) {
      // The slots of other threads, some long gone, may hold what is missing here, or what must give way.
      empty_slots();
      item = pop_idle(size_hint);
      if (item == nullptr) make_room_for(capacity);
    }
    if (item != nullptr) {
      item->count_hit();
      return *item;
    }
  }
  auto made = std::make_unique<Item>(capacity, wipe_ ? Buffer::OnFree::kWipe : Buffer::OnFree::kLeave);
  made->known_capacity = made->capacity();
  made->home = this;

  const std::lock_guard guard(lock_);
  made->index = items_.size();
  items_.push_back(std::move(made));
  Item& item = *items_.back();
  users_.fetch_add(1, std::memory_order_relaxed);
  counted_bytes_.fetch_add(counted(item.known_capacity), std::memory_order_relaxed);
  ++misses_;
  return item;
}

// At least the starting size, whatever was asked for: the next lease is likely to need that.
template <typename Ware>
size_t Pool<Ware>::Impl::capacity_for(size_t size_hint) const noexcept {
  const size_t size_class = std::max(class_for(size_hint), start_class_.load(std::memory_order_relaxed));
  const bool too_large = size_class == kClassCount || kClassBytes[size_class] > giant_bytes_;
  // Rounding up must not make a giant of it.
  return too_large && size_hint != 0 ? size_hint : kClassBytes[size_class];
}

template <typename Ware>
bool Pool<Ware>::Impl::settle(Item& item) noexcept {
  std::unique_ptr<Item> dropped;  // before the lock, so that a giant is freed after it
  const std::lock_guard guard(lock_);
  if (item.capacity() != item.known_capacity) {
    ++grown_;
    counted_bytes_.fetch_add(counted(item.capacity()) - counted(item.known_capacity), std::memory_order_relaxed);
    item.known_capacity = item.capacity();
  }
  const bool full_report = item.uses_until_report == 0;
  const bool drop = item.capacity() > giant_bytes_ ||
                    counted_bytes_.load(std::memory_order_relaxed) > retained_bytes_max_ ||
                    (full_report && has_outgrown_its_use(item));
  if (drop) {
    ++dropped_;
    dropped = take_out(item);
    return false;
  }
  if (full_report) learn(item);
  return true;
}

// ---- Under the lock -------------------------------------------------------------------------------

template <typename Ware>
void Pool<Ware>::Impl::push_idle(Item& item) noexcept {
  Item*& list = young_[class_within(item.capacity())];
  item.next_idle = list;
  list = &item;
}

template <typename Ware>
void Pool<Ware>::Impl::empty_slots() noexcept {
  for (Slot& slot : slots_) {
    if (slot.item.load(std::memory_order_relaxed) == nullptr) continue;
    if (Item* const item = slot.item.exchange(nullptr, std::memory_order_acquire)) push_idle(*item);
  }
}

template <typename Ware>
Item<Ware>* Pool<Ware>::Impl::pop(IdleLists& lists, size_t size_class, size_t size_hint) noexcept {
  Item* const top = lists[size_class];
  if (top == nullptr || top->capacity() < size_hint) return nullptr;
  lists[size_class] = top->next_idle;
  return top;
}

// The smallest class that has one large enough on top. Sizes within a class differ by a factor of 2 at most, so looking
// deeper into a list gains little.
template <typename Ware>
Item<Ware>* Pool<Ware>::Impl::pop_idle(size_t size_hint) noexcept {
  for (size_t i = class_within(size_hint); i < kClassCount; ++i) {
    if (Item* const item = pop(young_, i, size_hint)) return item;
    if (Item* const item = pop(old_, i, size_hint)) return item;
  }
  return nullptr;
}

// Takes over what one buffer has seen, and chooses the starting size anew: the smallest class that was enough for
// 95 % of the remembered uses. Halving makes older ones count less and less.
template <typename Ware>
void Pool<Ware>::Impl::learn(Item& item) noexcept {
  uint64_t total = 0;
  for (size_t i = 0; i <= kClassCount; ++i) total += remembered_uses_[i] += item.uses[i];
  item.uses = {};
  item.uses_until_report = kUsesPerReport;
  if (total < kUsesPerReport) return;  // a few uses prove nothing

  size_t start_class = 0;
  for (uint64_t covered = remembered_uses_[0]; covered * 100 < total * 95; covered += remembered_uses_[start_class]) {
    ++start_class;
  }
  start_class_.store(std::min(start_class, start_class_max_), std::memory_order_relaxed);
  if (total >= kUsesRemembered) {
    for (uint64_t& uses : remembered_uses_) uses /= 2;
  }
}

// Without this, a pool full of small buffers would drop every larger one that comes back, for ever.
template <typename Ware>
void Pool<Ware>::Impl::make_room_for(size_t capacity) noexcept {
  while (!has_room_for(capacity)) {
    Item* const item = pop_idle(0);
    if (item == nullptr) return;  // all are out: one of them will be dropped on return
    free_idle(*item);
    ++dropped_;
  }
}

template <typename Ware>
void Pool<Ware>::Impl::free_idle(Item& item) noexcept {
  take_out(item).reset();
  users_.fetch_sub(1, std::memory_order_relaxed);  // never the last: the pool is still there
}

template <typename Ware>
bool Pool<Ware>::Impl::has_outgrown_its_use(const Item& item) const noexcept {
  size_t class_used = kClassCount;
  while (class_used > 0 && item.uses[class_used] == 0) --class_used;
  return class_used < kClassCount && item.capacity() >= kOutgrownFactor * kClassBytes[class_used] &&
         item.capacity() > kClassBytes[start_class_.load(std::memory_order_relaxed)];
}

template <typename Ware>
std::unique_ptr<Item<Ware>> Pool<Ware>::Impl::take_out(Item& item) noexcept {
  learn(item);
  retired_hits_ += item.hits.load(std::memory_order_relaxed);
  counted_bytes_.fetch_sub(counted(item.known_capacity), std::memory_order_relaxed);
  item.allow_access();  // its end may be to be wiped
  items_.back()->index = item.index;
  std::swap(items_[item.index], items_.back());
  std::unique_ptr<Item> taken = std::move(items_.back());
  items_.pop_back();
  return taken;
}

// ---- Looking after the whole ----------------------------------------------------------------------

template <typename Ware>
Pool<Ware>::Pool(Options options) : impl_(new Impl(options)) {}

template <typename Ware>
Pool<Ware>::~Pool() {
  impl_->close();
  impl_->leave();
}

template <typename Ware>
void Pool<Ware>::Impl::close() noexcept {
  const std::lock_guard guard(lock_);
  is_closed_ = true;
  for (Slot& slot : slots_) {
    if (Item* const item = slot.item.exchange(closed(), std::memory_order_acquire)) push_idle(*item);
  }
  while (Item* const item = pop_idle(0)) free_idle(*item);
}

template <typename Ware>
size_t Pool<Ware>::release_idle() noexcept {
  const std::lock_guard guard(impl_->lock_);
  impl_->empty_slots();
  size_t bytes = 0;
  while (Item<Ware>* const item = impl_->pop_idle(0)) {
    bytes += item->capacity();
    impl_->free_idle(*item);
  }
  return bytes;
}

template <typename Ware>
void Pool<Ware>::age() noexcept {
  const std::lock_guard guard(impl_->lock_);
  for (size_t i = 0; i < kClassCount; ++i) {
    while (Item<Ware>* const item = Impl::pop(impl_->old_, i, 0)) {
      impl_->free_idle(*item);
      ++impl_->dropped_;
    }
  }
  impl_->empty_slots();  // a thread in need takes its own back from the lists
  std::swap(impl_->young_, impl_->old_);
}

template <typename Ware>
PoolStats Pool<Ware>::stats() const noexcept {
  const std::lock_guard guard(impl_->lock_);
  PoolStats stats;
  stats.hits = impl_->retired_hits_;
  for (const auto& item : impl_->items_) {
    stats.hits += item->hits.load(std::memory_order_relaxed);
    if (item->idle.load(std::memory_order_relaxed)) stats.retained_bytes += item->known_capacity;
  }
  stats.misses = impl_->misses_;
  stats.leases = stats.hits + stats.misses;
  stats.grown = impl_->grown_;
  stats.dropped = impl_->dropped_;
  stats.start_bytes = kClassBytes[impl_->start_class_.load(std::memory_order_relaxed)];
  return stats;
}

template class Pool<Buffer>;
template class Pool<BumpArena>;

}  // namespace kvstore::base
