#include "tools/kvctl/progress.h"

#include <fmt/format.h>

#include "tools/kvctl/text.h"

namespace kvctl {

void ProgressLine::update(std::string_view step, uint64_t done_bytes, uint64_t total_bytes) {
  if (!err_.is_terminal() || Clock::now() < next_) return;
  next_ = Clock::now() + kInterval;
  is_shown_ = true;
  const std::string amount = total_bytes == 0
                                 ? human_bytes(done_bytes)
                                 : fmt::format("{} % of {}", done_bytes * 100 / total_bytes, human_bytes(total_bytes));
  err_.overwrite_line(fmt::format("kvctl: {}: {} {}", err_.command(), step, amount));
}

void ProgressLine::clear() {
  if (is_shown_) err_.overwrite_line({});
  is_shown_ = false;
}

std::function<void(const kvstore::Progress&)> ProgressLine::callback() {
  return
      [this](const kvstore::Progress& progress) { update(progress.step, progress.done_bytes, progress.total_bytes); };
}

}  // namespace kvctl
