#include "tools/kvctl/interrupt.h"

#include <atomic>
#include <csignal>

namespace kvctl {
namespace {

std::atomic<bool> interrupt_seen{false};
static_assert(decltype(interrupt_seen)::is_always_lock_free);  // a signal handler may not wait

extern "C" void note_interrupt(int) { interrupt_seen = true; }

}  // namespace

void catch_interrupts() noexcept {
  struct sigaction action = {};
  action.sa_handler = note_interrupt;
  // No SA_RESTART: a read that waits for input, or a write for its reader, must return.
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  struct sigaction before = {};
  const bool is_nohup = ::sigaction(SIGHUP, nullptr, &before) == 0 && before.sa_handler == SIG_IGN;  // see nohup(1)
  if (!is_nohup) ::sigaction(SIGHUP, &action, nullptr);
}

bool interrupted() noexcept { return interrupt_seen; }

}  // namespace kvctl
