// Entry: one version of one key, in one allocation:
//
//     byte 0      8        16      20         28
//          +------+--------+-------+----------+-----+-------+
//          | seq, | older, | value | expires  | key | value |
//          | flags| key    | size  | (only if |     |       |
//          |      | size   |       |  it does)|     |       |
//          +------+--------+-------+----------+-----+-------+
//
// Why 20 bytes and not 16 plus an optional link: a 64-bit pointer leaves 16 bits free, which is the size of a
// key's size. So every entry can carry its link to the older version, staging need not know what it
// will replace, and 16 + 100 bytes still fit in 136.
//
// Once linked an entry never changes, but for the `older` word. Only the writer stores to it; readers may set one bit
// of it, the mark that says "read since the eviction's hand came by" (sieve.h). They do so by fetch_or, which puts the bit on
// top of whatever the writer has stored last, so no store of the writer's can be undone by it. The writer loads and
// stores: a mark that is set in between is lost, as if the read had come a moment earlier.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

#include "kvstore/base/assert.h"
#include "kvstore/format/record.h"

namespace kvstore::table {

class Entry {
 public:
  [[nodiscard]] std::string_view key() const noexcept { return {payload() + expires_size(), key_size()}; }
  [[nodiscard]] std::string_view value() const noexcept {
    return {payload() + expires_size() + key_size(), value_size_};
  }
  [[nodiscard]] format::Seq seq() const noexcept { return seq_flags_ >> kFlagBits; }
  [[nodiscard]] int64_t expires_us() const noexcept {  // 0: never
    int64_t expires = 0;
    if ((seq_flags_ & kExpires) != 0) std::memcpy(&expires, payload(), sizeof expires);
    return expires;
  }
  [[nodiscard]] bool is_json() const noexcept { return (seq_flags_ & kJson) != 0; }
  [[nodiscard]] bool is_tombstone() const noexcept { return (seq_flags_ & kTombstone) != 0; }
  // Expired entries are absent: the one place that says so.
  [[nodiscard]] bool is_expired(int64_t now_us) const noexcept { return expires_us() != 0 && expires_us() <= now_us; }

  // ---- for the table itself -----------------------------------------------------------------------
  static constexpr size_t kHeaderBytes = 20;

  [[nodiscard]] static size_t footprint(const format::Op& op) noexcept {
    return kHeaderBytes + (op.expires_us != 0 ? sizeof(int64_t) : 0) + op.key.size() + op.value.size();
  }
  // Needs: footprint(op) bytes at `memory`, aligned to 8.
  [[nodiscard]] static Entry* make(void* memory, const format::Op& op) noexcept {
    KV_ASSERT(!op.key.empty());  // its size minus one is kept
    KV_ASSERT(op.key.size() <= format::kKeyBytesMax);
    KV_ASSERT(op.value.size() <= format::kValueBytesMax);
    return new (memory) Entry(op);
  }
  [[nodiscard]] size_t footprint() const noexcept { return kHeaderBytes + expires_size() + key_size() + value_size_; }
  // Needs: not linked yet.
  void set_seq(format::Seq seq) noexcept {
    KV_DASSERT(seq <= format::kIntegerMax);
    seq_flags_ = (seq << kFlagBits) | (seq_flags_ & kFlagMask);
  }

  // ---- eviction (sieve.h) ----------------------------------------------------------------------------
  void mark_visited() const noexcept {  // any reader, inside an epoch; writes once, not with every read
    if ((link_.load(std::memory_order_relaxed) & kVisited) == 0) link_.fetch_or(kVisited, std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_visited() const noexcept { return (link_.load(std::memory_order_relaxed) & kVisited) != 0; }
  void clear_visited() noexcept {  // W
    link_.store(link_.load(std::memory_order_relaxed) & ~kVisited, std::memory_order_release);
  }
  [[nodiscard]] uint8_t generation() const noexcept { return static_cast<uint8_t>(seq_flags_ >> kGenerationShift); }
  // Needs: not linked yet.
  void set_generation(uint8_t generation) noexcept {
    seq_flags_ = (seq_flags_ & ~(uint64_t{0xff} << kGenerationShift)) | uint64_t{generation} << kGenerationShift;
  }

  // The link to the version this one replaced. An entry that the writer has unlinked is marked, so that a
  // reader still standing on it knows to start over, and the same word then strings it into the writer's
  // list of what is to be freed: retiring an entry needs no memory.
  class Link {
   public:
    [[nodiscard]] bool is_unlinked() const noexcept { return (bits_ & kUnlinked) != 0; }
    [[nodiscard]] Entry* older() const noexcept { return KV_DASSERT(!is_unlinked()), pointer(); }
    [[nodiscard]] Entry* next_retired() const noexcept { return KV_DASSERT(is_unlinked()), pointer(); }

   private:
    friend class Entry;
    explicit Link(uint64_t bits) noexcept : bits_(bits) {}
    [[nodiscard]] Entry* pointer() const noexcept {
      return reinterpret_cast<Entry*>(bits_ & kPointerMask & ~(kUnlinked | kVisited));
    }
    uint64_t bits_;
  };
  [[nodiscard]] Link link() const noexcept { return Link(link_.load(std::memory_order_acquire)); }
  [[nodiscard]] Entry* older() const noexcept { return link().older(); }              // W
  void set_older(Entry* older) noexcept { store_link(older, 0); }                     // W
  void unlink(Entry* next_retired) noexcept { store_link(next_retired, kUnlinked); }  // W

 private:
  static constexpr unsigned kFlagBits = 11;  // 64 - 53, kIntegerMax
  static constexpr uint64_t kFlagMask = (uint64_t{1} << kFlagBits) - 1;
  static constexpr uint64_t kJson = 1, kTombstone = 2, kExpires = 4;
  static constexpr unsigned kGenerationShift = 3;  // the 8 bits that are left
  static_assert(kGenerationShift + 8 == kFlagBits);
  static_assert((kJson | kTombstone | kExpires) < uint64_t{1} << kGenerationShift);
  static_assert(format::kIntegerMax <= UINT64_MAX >> kFlagBits);
  static constexpr unsigned kPointerBits = 48;
  static constexpr uint64_t kPointerMask = (uint64_t{1} << kPointerBits) - 1;
  static constexpr uint64_t kUnlinked = 1, kVisited = 2;  // entries are aligned to 8: a pointer's low bits are free

  explicit Entry(const format::Op& op) noexcept
      : seq_flags_((op.is_json ? kJson : 0) | (op.removes() ? kTombstone : 0) | (op.expires_us != 0 ? kExpires : 0)),
        link_((op.key.size() - 1) << kPointerBits),
        value_size_(static_cast<uint32_t>(op.value.size())) {
    char* out = reinterpret_cast<char*>(this) + kHeaderBytes;
    if (op.expires_us != 0) {
      std::memcpy(out, &op.expires_us, sizeof op.expires_us);
      out += sizeof op.expires_us;
    }
    std::memcpy(out, op.key.data(), op.key.size());
    if (!op.value.empty()) std::memcpy(out + op.key.size(), op.value.data(), op.value.size());
  }

  [[nodiscard]] const char* payload() const noexcept { return reinterpret_cast<const char*>(this) + kHeaderBytes; }
  [[nodiscard]] size_t expires_size() const noexcept { return (seq_flags_ & kExpires) != 0 ? sizeof(int64_t) : 0; }
  [[nodiscard]] size_t key_size() const noexcept {
    return static_cast<size_t>(link_.load(std::memory_order_relaxed) >> kPointerBits) + 1;
  }
  void store_link(const Entry* entry, uint64_t mark) noexcept {
    KV_DASSERT((reinterpret_cast<uint64_t>(entry) & ~kPointerMask) == 0);
    KV_DASSERT((reinterpret_cast<uint64_t>(entry) & (kUnlinked | kVisited)) == 0);
    const uint64_t kept_bits = link_.load(std::memory_order_relaxed) & (~kPointerMask | kVisited);
    link_.store(kept_bits | reinterpret_cast<uint64_t>(entry) | mark, std::memory_order_release);
  }

  uint64_t seq_flags_;                  // sequence number above kFlagBits of flags
  mutable std::atomic<uint64_t> link_;  // size of the key minus 1 above kPointerBits of Link
  uint32_t value_size_;
  // The payload begins here, at byte 20: before the end of what sizeof calls an Entry.
};
static_assert(alignof(Entry) == 8 && sizeof(Entry) == 24);
static_assert(format::kKeyBytesMax - 1 <= UINT16_MAX && format::kValueBytesMax <= UINT32_MAX);

}  // namespace kvstore::table
