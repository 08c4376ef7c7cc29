// Runs one measurement in a process of its own, so that memory can be measured, a crash can be caused, and no contestant
// finds another's heap.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

struct Measure {
  std::string row;  // "put, 1 thread"
  double value = 0;
  std::string unit;  // "op/s", "ns", "B", "s", "ms", "x"
};

// The child's way to tell. Not thread-safe.
class Reporter {
 public:
  explicit Reporter(int fd) : fd_(fd) {}
  void operator()(std::string_view row, double value, std::string_view unit) const;

 private:
  int fd_;
};

enum class End { kExits, kIsKilled };

// Forks; the child calls `body` and exits with 0. With End::kIsKilled it is killed (SIGKILL) as soon as body has returned
// from its last write, without running a destructor: `body` must not return but call wait_for_kill().
// Returns what it reported. A child that ends in any other way, or takes longer than `seconds_max`, makes `error` say so.
struct Outcome {
  std::vector<Measure> measures;
  std::string error;  // empty: all went well
};
Outcome run_child(const std::function<void(const Reporter&)>& body, End end = End::kExits, unsigned seconds_max = 300);

// Tells the parent that everything is acknowledged, and waits to be killed.
[[noreturn]] void wait_for_kill(const Reporter& report);

// What a process holds of the system's memory, in bytes: /proc/<pid>/status.
struct Memory {
  int64_t anonymous = 0;  // RssAnon: heap, arenas, stacks
  int64_t file = 0;       // RssFile and RssShmem: mappings of files, which are the page cache's
};
Memory memory_of(pid_t pid);

// Writes to so much fresh memory and gives it back, so that the host has handed its pages out before a clock runs.
void warm_memory(uint64_t bytes);

}  // namespace bench
