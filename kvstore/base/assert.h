// KV_ASSERT: a fact our own code guarantees, or one that a header of the API needs of its caller ("needs: index < size()")
// where no Status can tell of it. A false one is a bug, ours or the caller's, so the process stops before it can write
// anything on top of it. Never what a file says, or another process does. Always on; keep the condition cheap. KV_DASSERT
// costs more and is checked in debug and sanitizer builds only.
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
