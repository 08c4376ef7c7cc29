// name_this_thread(): the name under which top -H, gdb and /proc show the calling thread. At most 15 characters.
#pragma once

#if defined(__linux__)
#include <pthread.h>
#endif

namespace kvstore::base {

inline void name_this_thread([[maybe_unused]] const char* name) noexcept {
#if defined(__linux__)
  ::pthread_setname_np(::pthread_self(), name);
#endif
}

}  // namespace kvstore::base
