// "kvctl: put: replay 45 % of 260.0 MiB", rewritten in place on stderr: on a terminal only, and only for work
// that takes over a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

#include "kvstore/options.h"
#include "tools/kvctl/stdio.h"

namespace kvctl {

class ProgressLine {
 public:
  explicit ProgressLine(Messages& err) : err_(err) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { clear(); }

  // `total_bytes` 0: unknown, then only what is done is shown.
  void update(std::string_view step, uint64_t done_bytes, uint64_t total_bytes);
  // Wipes the line, before anything else is printed.
  void clear();
  // update() for a library call. Valid as long as this object.
  [[nodiscard]] std::function<void(const kvstore::Progress&)> callback();

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kQuiet{1000};
  static constexpr std::chrono::milliseconds kInterval{100};
  Messages& err_;
  Clock::time_point next_ = Clock::now() + kQuiet;
  bool is_shown_ = false;
};

}  // namespace kvctl
