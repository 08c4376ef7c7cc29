// Making a Status: error() formats its sentence with fmt, guarded() makes one of memory that ran out. Kept out of
// status.h, which is public.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "kvstore/status.h"

namespace kvstore::base {

// Where no memory is left for the sentence it is the code's name.
template <typename... Args>
[[nodiscard]] Status error(Code code, fmt::format_string<Args...> sentence, Args&&... args) {
  try {
    return {code, fmt::format(sentence, std::forward<Args>(args)...)};
  } catch (const std::bad_alloc&) {
    return {code, std::string(code_name(code))};  // short enough for the room inside a string
  }
}

// What `call` returns, a Status or a Result; kOutOfMemory where it throws std::bad_alloc, kIoError with its text where it
// throws another exception: a thread that cannot be started, or what a callback of the user's throws. Where `step` is given,
// what was thrown is told as "step: text"; a Status that `call` returns names its own.
template <typename Call>
[[nodiscard]] auto guarded(std::string_view step, Call call) -> decltype(call()) {
  const auto thrown = [step](Status s) { return step.empty() ? std::move(s) : std::move(s).with(step); };
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return thrown(Status(Code::kOutOfMemory, "out of memory"));
  } catch (const std::exception& e) {
    return thrown(error(Code::kIoError, "{}", e.what()));
  } catch (...) {
    return thrown(Status(Code::kIoError, "something was thrown that is no std::exception"));
  }
}
template <typename Call>
[[nodiscard]] auto guarded(Call call) -> decltype(call()) {
  return guarded({}, std::move(call));
}

}  // namespace kvstore::base
