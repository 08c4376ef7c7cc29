// Copies bytes that another thread may be storing into at this moment, as a kernel does that reads a page which a
// program has mapped: every byte comes out old or new, and nobody calls it a data race.
//
// For the environments that play the kernel's part in memory; nothing else has an excuse for it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvstore::env {

// Volatile, so that the compiler keeps the order of the loads and does not make a call to memcpy out of them, which
// ThreadSanitizer would watch although it is told to look away here.
struct __attribute__((packed, may_alias)) RacyWord {  // eight bytes at any address
  uint64_t bits;
};

using AlignedRacyWord __attribute__((may_alias)) = uint64_t;

// From the first byte to the last, as read(2) does. It is no picture of one instant: bytes stored one after the other
// may come out as a hole followed by something newer, for the hole was read before it was filled.
__attribute__((no_sanitize("thread"), noinline)) inline void racy_copy(char* to, const char* from,
                                                                       size_t count) noexcept {
  size_t i = 0;
  for (; count - i >= sizeof(RacyWord); i += sizeof(RacyWord)) {
    const uint64_t bits = reinterpret_cast<const volatile RacyWord*>(from + i)->bits;
    reinterpret_cast<volatile RacyWord*>(to + i)->bits = bits;
  }
  for (; i < count; ++i) to[i] = static_cast<const volatile char*>(from)[i];
}

// From the last byte to the first. When bytes are stored in ascending order, as a log's are, and the copy shows one
// of them, it shows all those stored before it: the copy is what the file was at *some* instant.
__attribute__((no_sanitize("thread"), noinline)) inline void racy_copy_descending(char* to, const char* from,
                                                                                  size_t count) noexcept {
  const auto* source = static_cast<const volatile char*>(from);
  const auto is_aligned = [](const char* at) { return reinterpret_cast<uintptr_t>(at) % sizeof(RacyWord) == 0; };
  for (; count > 0 && !is_aligned(from + count); --count) to[count - 1] = source[count - 1];
  // An aligned word is loaded at once; one across two cache lines might come out newer in its second half.
  for (; count >= sizeof(RacyWord); count -= sizeof(RacyWord)) {
    const size_t at = count - sizeof(RacyWord);
    const uint64_t bits = *reinterpret_cast<const volatile AlignedRacyWord*>(from + at);
    reinterpret_cast<volatile RacyWord*>(to + at)->bits = bits;
  }
  for (; count > 0; --count) to[count - 1] = source[count - 1];
}

}  // namespace kvstore::env
