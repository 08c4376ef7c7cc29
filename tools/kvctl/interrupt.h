// Ctrl-C, SIGTERM and SIGHUP end a writing command between two writes, a compaction, and `kvctl log --follow`.
#pragma once

namespace kvctl {

// From here on they only set a flag. A second one of the same kind kills at once, which the store survives.
void catch_interrupts() noexcept;
[[nodiscard]] bool interrupted() noexcept;

}  // namespace kvctl
