// copy_forward(): a copy whose stores happen strictly front to back, which memcpy does not promise. A log
// line copied this way into blank filler is, at every instant, a leading part of itself followed by newlines:
// a process killed in the middle leaves one torn line, never two, and a reader beside the writer sees no
// later byte without the earlier ones (x86 keeps stores in order; elsewhere a release fence a step does).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace kvstore::wal {

inline char* copy_forward(char* out, std::string_view bytes) noexcept {
  const char* in = bytes.data();
  const char* const end = in + bytes.size();
#if defined(__SSE2__)
  for (; end - in >= 16; in += 16, out += 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
    std::atomic_signal_fence(std::memory_order_seq_cst);  // or the compiler makes a memcpy of the loop
  }
#endif
  for (; end - in >= 8; in += 8, out += 8) {
    std::memcpy(out, in, 8);
#if defined(__x86_64__) || defined(__i386__)
    std::atomic_signal_fence(std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_release);
#endif
  }
  for (; in != end; ++in, ++out) {
    *out = *in;
#if defined(__x86_64__) || defined(__i386__)
    std::atomic_signal_fence(std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_release);
#endif
  }
  return out;
}

}  // namespace kvstore::wal
