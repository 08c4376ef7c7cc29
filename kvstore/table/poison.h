// Telling AddressSanitizer which of the table's memory is handed out, so that a use after free inside a chunk
// is found like one of malloc's. Nothing without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define KV_TABLE_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KV_TABLE_POISON 1
#endif
#endif
#ifdef KV_TABLE_POISON
#include <sanitizer/asan_interface.h>
#endif

namespace kvstore::table {

inline void poison([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) noexcept {
#ifdef KV_TABLE_POISON
  __asan_poison_memory_region(begin, bytes);
#endif
}

inline void unpoison([[maybe_unused]] const void* begin, [[maybe_unused]] size_t bytes) noexcept {
#ifdef KV_TABLE_POISON
  __asan_unpoison_memory_region(begin, bytes);
#endif
}

}  // namespace kvstore::table
