// Epoch: tells the writer when no reader can be looking any more at what it has unlinked. Readers neither wait
// nor register; nothing global, no thread-local state. K. Fraser, "Practical lock-freedom" (2004), section 5.2.3,
// has the idea of three epochs; counting readers in slots instead of per thread is ours.
//
// Protocol. There is a current epoch g, advanced by the writer alone, and a count of readers for each of three
// phases (an epoch's number modulo 3), spread over slots so that threads rarely share a cache line.
//
//   enter:    e = g;  count[e % 3] += 1;  if g != e: count[e % 3] -= 1 and try again.   "stands in e"
//   leave:    count[e % 3] -= 1
//   advance:  g = e may become e + 1 only when count[(e - 1) % 3] is zero in every slot
//   retire:   what has been unlinked while g = r may be freed once g = r + 2
//
// Why that is safe. All of the above are seq_cst, so they have one order.
// (1) While a reader stands in e, g <= e + 1. Its increment came before its second look at g, which still saw e,
//     which came before the store of e + 1, which comes before the scan that would lead to e + 2; that
//     scan looks at count[e % 3] and finds the reader.
// (2) A reader that stands in r + 1 or later cannot come across what was unlinked in r: it read g >= r + 1,
//     which the writer stored after unlinking, so it sees the links as they are afterwards.
// (3) So only readers that stand in r or earlier can hold it. Those in r keep g below r + 2 by (1), those
//     before r kept g below r + 1. When g = r + 2 all have left, and the scan that read their zero has
//     synchronised with their leaving: what they read happened before the memory is reused.
// A reader that loses the race in enter() counts in a phase for a moment without standing in it. That delays an
// advance and does nothing else.
//
// A reader that stays inside holds back the freeing of memory, and never the writer.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kvstore/base/assert.h"

namespace kvstore::table {

class Epoch {
 public:
  struct Ticket {
    uint32_t slot = 0;
    uint32_t phase = 0;
  };

  // Any thread, may be nested. Each pair costs two atomic additions on a line that is rarely shared.
  [[nodiscard]] Ticket enter() noexcept {
    const uint32_t slot = slot_of_this_thread();
    for (;;) {
      const uint64_t epoch = current_.load(std::memory_order_seq_cst);
      const auto phase = static_cast<uint32_t>(epoch % 3);
      slots_[slot].readers[phase].fetch_add(1, std::memory_order_seq_cst);
      if (current_.load(std::memory_order_seq_cst) == epoch) return {slot, phase};
      slots_[slot].readers[phase].fetch_sub(1, std::memory_order_seq_cst);
    }
  }
  void leave(Ticket ticket) noexcept {
    [[maybe_unused]] const uint32_t before =
        slots_[ticket.slot].readers[ticket.phase].fetch_sub(1, std::memory_order_seq_cst);
    KV_DASSERT(before > 0);  // nobody leaves who has not entered
  }

  // For the writer.
  [[nodiscard]] uint64_t current() const noexcept { return current_.load(std::memory_order_relaxed); }
  // False: a reader still stands in the epoch before this one.
  bool try_advance() noexcept {
    const uint64_t epoch = current();
    const auto phase_before = static_cast<uint32_t>((epoch + 2) % 3);
    for (const Slot& slot : slots_) {
      if (slot.readers[phase_before].load(std::memory_order_seq_cst) != 0) return false;
    }
    current_.store(epoch + 1, std::memory_order_seq_cst);
    return true;
  }
  // Is anybody inside? For assertions when nobody should be.
  [[nodiscard]] bool has_readers() const noexcept {
    for (const Slot& slot : slots_) {
      for (const auto& readers : slot.readers) {
        if (readers.load(std::memory_order_seq_cst) != 0) return true;
      }
    }
    return false;
  }

 private:
  static constexpr uint32_t kSlotBits = 6;

  // Any choice is correct; a good one gives two threads different cache lines. The address of a thread-local
  // variable differs by thread; multiplying by 2^64 / golden ratio spreads the regular gaps between stacks (D. Knuth,
  // TAOCP vol. 3, section 6.4).
  static uint32_t slot_of_this_thread() noexcept {
    static thread_local const char anchor = 0;
    return static_cast<uint32_t>((reinterpret_cast<uintptr_t>(&anchor) * uint64_t{0x9e3779b97f4a7c15}) >>
                                 (64 - kSlotBits));
  }

  // 128 bytes: processors that fetch cache lines in pairs would make neighbours share.
  struct alignas(128) Slot {
    std::array<std::atomic<uint32_t>, 3> readers{};
  };
  alignas(128) std::atomic<uint64_t> current_{2};  // any start will do that leaves room for "the epoch before"
  std::array<Slot, size_t{1} << kSlotBits> slots_{};
};

}  // namespace kvstore::table
