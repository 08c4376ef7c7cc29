// Running a program from a test: what it was given, what it said on which stream, how it ended.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace kvstore::testing {

struct ProcessResult {
  int exit_code = 0;  // 128 + N when signal N ended it
  std::string out;
  std::string err;
};

struct ProcessOptions {
  std::string directory{};                 // where it runs; empty: here
  std::vector<std::string> environment{};  // "NAME=value", on top of ours
  bool out_is_terminal = false;            // stdout is a terminal instead of a pipe
};

// A running program with pipes to its three streams. Ends it by force on destruction. Not thread-safe.
// Waits are bounded: what takes over half a minute counts as hung, and fails an assertion.
class Process {
 public:
  explicit Process(const std::vector<std::string>& command, const ProcessOptions& options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void write(std::string_view input);
  void close_input();
  void close_output();  // as a reader that goes away
  void signal(int number);
  // The next line of its stdout, without the newline; what is left when it ends earlier.
  [[nodiscard]] std::string read_line();
  // Whether `text` is in what it has printed on stdout so far; waits a little for more.
  [[nodiscard]] bool has_said(std::string_view text);
  // Closes its stdin, reads all that is left, and waits for its end.
  [[nodiscard]] ProcessResult finish();

 private:
  bool read_some();  // false: both streams ended
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::string out_text_;
  std::string err_text_;
  std::chrono::steady_clock::time_point deadline_;
};

// From start to end.
[[nodiscard]] ProcessResult run_process(const std::vector<std::string>& command, std::string_view input = {},
                                        const ProcessOptions& options = {});

}  // namespace kvstore::testing
