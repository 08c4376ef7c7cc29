// The two streams a command talks to: results on stdout, all else on stderr.
#pragma once

#include <string>
#include <string_view>

#include "kvstore/json_writer.h"

namespace kvctl {

// Puts /dev/null where stdin, stdout or stderr was closed by the caller. Otherwise the first file the store
// opens would get that number, and what we print would land in the log.
void hold_standard_descriptors() noexcept;

// Standard output, buffered. Not thread-safe. After the first failure everything is dropped; a reader that went
// away (EPIPE) is no failure, just the end: loops ask stopped().
class Output {
 public:
  Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  [[nodiscard]] bool is_terminal() const noexcept { return is_terminal_; }

  void write(std::string_view bytes);  // as they are
  void line(std::string_view text);    // and a newline
  // JSON comes out of this: to a pipe its very bytes, to a terminal the same without characters that could steer it. The
  // writer must not outlive the Output; what it holds back is written by its finish().
  [[nodiscard]] kvstore::JsonWriter json(kvstore::JsonWriter::Layout layout = kvstore::JsonWriter::Layout::kLines);
  void flush();

  // Nobody will see what is still to come: stop.
  [[nodiscard]] bool stopped() const noexcept { return sys_errno_ != 0; }
  // errno of a failed write, 0 when all went well or the reader went away. EINTR: we were asked to stop while the reader
  // stood still.
  [[nodiscard]] int failure() const noexcept;
  // Waits up to `ms` milliseconds, less when the reader goes away or a signal comes.
  void wait(int ms);

 private:
  static constexpr size_t kBufferBytes = size_t{64} << 10;
  std::string buffer_;
  kvstore::Pools pools_;
  int sys_errno_ = 0;
  bool is_terminal_ = false;
};

// Sentences on stderr: "kvctl: put: <sentence>".
class Messages {
 public:
  Messages();
  void set_command(std::string_view name) { command_ = name; }

  [[nodiscard]] bool is_terminal() const noexcept { return is_terminal_; }
  [[nodiscard]] std::string_view command() const noexcept { return command_; }

  void note(std::string_view sentence) { print(sentence, false); }
  void error(std::string_view sentence) { print(sentence, true); }
  void advise(std::string_view advice);  // "try: <advice>"
  // For progress on a terminal: replaces the line the cursor is on.
  void overwrite_line(std::string_view text);

 private:
  void print(std::string_view sentence, bool is_error);
  std::string command_;
  bool is_terminal_ = false;
  bool colours_ = false;
};

struct Stdio {
  Output out;
  Messages err;
  // "the change is made": what a command has done for good. Said where only printing its result fails, so that nobody does
  // it twice.
  std::string_view done{};
};

}  // namespace kvctl
