// Running a part of an exploration in a process of its own, so that its death is a finding and not the end.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>
#include <string>
#include <type_traits>

namespace kvstore::testing {

// A T that a child process and its parent both see. Stays until the program ends.
template <typename T>
requires std::is_trivially_copyable_v<T> T* shared_between_processes() {
  void* memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : new (memory) T{};
}

// Runs `work` in a child. "" once that has returned, or how the child died. Needs: no other threads run here.
template <typename Work>
std::string run_forked(unsigned seconds_max, const Work& work) {
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid < 0) return "fork fails";
  if (pid == 0) {
    ::alarm(seconds_max);
    work();
    std::fflush(stdout);
    ::_exit(0);
  }
  int how = 0;
  if (::waitpid(pid, &how, 0) != pid) return "waitpid fails";
  if (!WIFSIGNALED(how)) return WEXITSTATUS(how) == 0 ? "" : fmt::format("it ended with code {}", WEXITSTATUS(how));
  return WTERMSIG(how) == SIGALRM ? "it hangs" : fmt::format("it died of signal {}", WTERMSIG(how));
}

}  // namespace kvstore::testing
