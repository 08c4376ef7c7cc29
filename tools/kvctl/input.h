// Reading a file or standard input: whole, or line by line as it arrives.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kvstore/status.h"
#include "tools/kvctl/stdio.h"

namespace kvctl {

// An open file. Not thread-safe.
class Input {
 public:
  // "-" is standard input; on a terminal it says so on stderr, since kvctl would seem to hang.
  static kvstore::Result<Input> open(const std::string& path, Messages& err);
  Input(Input&& other) noexcept;
  Input& operator=(Input&&) = delete;
  ~Input();

  // How messages call it: the path, or "stdin".
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] uint64_t size() const noexcept { return size_; }  // 0: unknown

  // Up to `count` bytes, 0 at the end, fewer when fewer are there yet. A signal that asks us to stop
  // counts as the end: see interrupt.h.
  kvstore::Result<size_t> read(char* out, size_t count);
  // All of it. kInvalidArgument when there are more than `bytes_max`.
  kvstore::Result<std::string> read_all(size_t bytes_max);

 private:
  Input(int fd, std::string name, uint64_t size) : fd_(fd), name_(std::move(name)), size_(size) {}
  int fd_ = -1;  // -1: moved from
  std::string name_;
  uint64_t size_ = 0;
};

// What an argument says that may be '-' for standard input. Fails as open() and read_all() do.
[[nodiscard]] kvstore::Result<std::string> text_of_argument(const std::string& argument, size_t bytes_max,
                                                            Messages& err);

// Splits an input at '\n'. The last line need not end in one. A byte order mark before the first line, as spreadsheets and
// editors write it, is passed over.
class LineReader {
 public:
  // Lines over `line_bytes_max` are refused.
  LineReader(Input& input, size_t line_bytes_max) : input_(input), line_bytes_max_(line_bytes_max) {}

  // The next line without its '\n', nullopt at the end. The view lives until the next call.
  // kInvalidArgument: the line, which the sentence names, is too long.
  kvstore::Result<std::optional<std::string_view>> next();
  [[nodiscard]] uint64_t line_number() const noexcept { return line_number_; }  // of the latest line, 1-based
  [[nodiscard]] uint64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  static constexpr size_t kReadBytes = size_t{256} << 10;
  Input& input_;
  size_t line_bytes_max_;
  std::string buffer_;
  size_t begin_ = 0;  // of what has not been handed out yet, in buffer_
  bool at_end_ = false;
  uint64_t line_number_ = 0;
  uint64_t bytes_read_ = 0;
};

}  // namespace kvctl
