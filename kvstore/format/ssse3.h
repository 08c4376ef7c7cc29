// SSSE3 (byte shuffles), which most x86-64 processors have but the baseline has not: functions marked with
// KVSTORE_FORMAT_TARGET_SSSE3 may use it and must only be called where has_ssse3() says so.
#pragma once

#include "kvstore/format/special.h"

#if KVSTORE_FORMAT_SSE2 && (defined(__GNUC__) || defined(__clang__))
#include <tmmintrin.h>
#define KVSTORE_FORMAT_SSSE3 1
#define KVSTORE_FORMAT_TARGET_SSSE3 __attribute__((target("ssse3")))

namespace kvstore::format {

[[nodiscard]] inline bool has_ssse3() noexcept {
  static const bool answer = __builtin_cpu_supports("ssse3") != 0;
  return answer;
}

}  // namespace kvstore::format
#endif
