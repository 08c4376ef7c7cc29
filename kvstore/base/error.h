// error(): a Status whose sentence is formatted with fmt. Kept out of status.h, which is public.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "kvstore/status.h"

namespace kvstore::base {

template <typename... Args>
[[nodiscard]] Status error(Code code, fmt::format_string<Args...> sentence, Args&&... args) {
  return {code, fmt::format(sentence, std::forward<Args>(args)...)};
}

}  // namespace kvstore::base
