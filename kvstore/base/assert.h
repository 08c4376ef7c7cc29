// KV_ASSERT: a fact our own code guarantees. A false one is our bug, so the process stops before it
// can write anything on top of it. Always on; keep the condition cheap. KV_DASSERT costs more and is
// checked in debug and sanitizer builds only.
#pragma once

namespace kvstore::base {

// Writes nothing to stdout; the text reaches stderr only because the process is about to die.
[[noreturn]] void assert_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace kvstore::base

#define KV_ASSERT(condition)                                                \
  (__builtin_expect(static_cast<bool>(condition), 1) ? static_cast<void>(0) \
                                                     : ::kvstore::base::assert_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define KV_DASSERT(condition) static_cast<void>(0)
#else
#define KV_DASSERT(condition) KV_ASSERT(condition)
#endif
