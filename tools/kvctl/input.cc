#include "tools/kvctl/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/text.h"

namespace kvctl {

using kvstore::Code;
using kvstore::Result;
using kvstore::Status;

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

Status io_error(std::string_view step, const std::string& name, int sys_errno) {
  return Status(Code::kIoError, fmt::format("{} {}", step, name)).at(name).because_of_errno(sys_errno);
}

}  // namespace

Result<Input> Input::open(const std::string& path, Messages& err) {
  if (path == "-") {
    if (::isatty(STDIN_FILENO) == 1) err.note("reading from the terminal; Ctrl-D on a line of its own ends it");
    struct stat info = {};
    if (::fstat(STDIN_FILENO, &info) == 0 && S_ISDIR(info.st_mode)) return io_error("read", "stdin", EISDIR);
    return Input(STDIN_FILENO, "stdin", 0);
  }
  if (path.empty()) return Status(Code::kInvalidArgument, "FILE is empty");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return io_error("open", path, errno);
  struct stat info = {};
  const bool is_known = ::fstat(fd, &info) == 0;
  Input input(fd, path, is_known && S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0);
  if (is_known && S_ISDIR(info.st_mode)) return io_error("open", path, EISDIR);
  return input;
}

Input::Input(Input&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)), size_(other.size_) {}

Input::~Input() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
}

Result<size_t> Input::read(char* out, size_t count) {
  for (;;) {
    if (interrupted()) return size_t{0};
    const ssize_t got = ::read(fd_, out, count);
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) return io_error("read", name_, errno);
  }
}

Result<std::string> Input::read_all(size_t bytes_max) {
  constexpr size_t kStepBytes = size_t{64} << 10;
  std::string bytes;
  for (;;) {
    const size_t before = bytes.size();
    bytes.resize(before + kStepBytes);
    const Result<size_t> got = read(bytes.data() + before, kStepBytes);
    if (!got.ok()) return got.status();
    bytes.resize(before + *got);
    if (bytes.size() > bytes_max) {
      return Status(Code::kInvalidArgument,
                    fmt::format("{} has more than {}, which is the most allowed", name_, human_bytes(bytes_max)));
    }
    if (*got == 0) return bytes;
  }
}

kvstore::Result<std::string> text_of_argument(const std::string& argument, size_t bytes_max, Messages& err) {
  if (argument != "-") return argument;
  kvstore::Result<Input> input = Input::open(argument, err);
  if (!input.ok()) return input.status();
  return input->read_all(bytes_max);
}

Result<std::optional<std::string_view>> LineReader::next() {
  size_t searched = begin_;
  for (;;) {
    const size_t newline = buffer_.find('\n', searched);
    const bool is_last = newline == std::string::npos && at_end_;
    const size_t end = newline == std::string::npos ? buffer_.size() : newline;
    if (end - begin_ > line_bytes_max_) {
      ++line_number_;
      return Status(Code::kInvalidArgument, fmt::format("{}:{}: the line has more than {}, which is the most allowed",
                                                        input_.name(), line_number_, human_bytes(line_bytes_max_)));
    }
    if (newline != std::string::npos || is_last) {
      std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
      // An interrupt may have cut the last line short: half a line is never handed out.
      if (is_last && (line.empty() || interrupted())) return std::optional<std::string_view>();
      begin_ = is_last ? end : newline + 1;
      if (line_number_ == 0 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
      ++line_number_;
      return std::optional(line);
    }

    buffer_.erase(0, begin_);
    begin_ = 0;
    searched = buffer_.size();
    buffer_.resize(searched + kReadBytes);
    const Result<size_t> got = input_.read(buffer_.data() + searched, kReadBytes);
    if (!got.ok()) return got.status();
    buffer_.resize(searched + *got);
    bytes_read_ += *got;
    at_end_ = *got == 0;
  }
}

}  // namespace kvctl
