#include "tools/kvctl/stdio.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

// no-color.org: any value but the empty one turns colours off.
bool wants_colours() {
  // Nothing in this program changes the environment, so reading it is safe beside threads.
  const char* no_color = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe)
  const char* term = std::getenv("TERM");          // NOLINT(concurrency-mt-unsafe)
  return (no_color == nullptr || *no_color == '\0') && term != nullptr && std::string_view(term) != "dumb";
}

// 0, or the errno that stopped it. Once we are asked to stop, a reader has a second to take more: EINTR when it does not.
int write_all(int fd, std::string_view bytes) noexcept {
  constexpr int kGraceMs = 1000;
  while (!bytes.empty()) {
    pollfd reader{.fd = fd, .events = POLLOUT, .revents = 0};
    const bool is_asked_to_stop = interrupted();
    if (const int ready = is_asked_to_stop ? ::poll(&reader, 1, kGraceMs) : 1; ready <= 0) {
      if (ready == 0) return EINTR;
      if (errno != EINTR) return errno;
      continue;  // asked again
    }
    // So much a pipe takes without waiting, when poll() says that it takes any.
    const size_t step = is_asked_to_stop ? std::min<size_t>(bytes.size(), PIPE_BUF) : bytes.size();
    const ssize_t count = ::write(fd, bytes.data(), step);
    if (count < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return 0;
}

}  // namespace

void hold_standard_descriptors() noexcept {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // open() takes the lowest free number, which is `fd`. The wrong direction on purpose: using it fails as before.
    [[maybe_unused]] const int opened = ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

Output::Output() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

void Output::write(std::string_view bytes) {
  if (stopped()) return;
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() > kBufferBytes) {
    if (!stopped()) sys_errno_ = write_all(STDOUT_FILENO, bytes);
    return;
  }
  buffer_ += bytes;
}

void Output::line(std::string_view text) {
  write(text);
  write("\n");
  if (is_terminal_) flush();
}

kvstore::JsonWriter Output::json(kvstore::JsonWriter::Layout layout) {
  const auto sink = [this](std::string_view rows) {
    is_terminal_ ? write(escape_json_text(rows)) : write(rows);
    if (is_terminal_) flush();
  };
  return kvstore::JsonWriter(pools_, sink, layout);
}

void Output::flush() {
  if (!stopped()) sys_errno_ = write_all(STDOUT_FILENO, buffer_);
  buffer_.clear();
}

int Output::failure() const noexcept { return sys_errno_ == EPIPE ? 0 : sys_errno_; }

void Output::wait(int ms) {
  // With no events asked for, poll() still reports that the other end of a pipe was closed.
  pollfd watched{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  if (::poll(&watched, 1, ms) > 0 && (watched.revents & (POLLERR | POLLHUP)) != 0) sys_errno_ = EPIPE;
}

Messages::Messages() : is_terminal_(::isatty(STDERR_FILENO) == 1), colours_(is_terminal_ && wants_colours()) {}

void Messages::print(std::string_view sentence, bool is_error) {
  std::string text = command_.empty() ? "kvctl: " : fmt::format("kvctl: {}: ", command_);
  if (colours_ && is_error) text = "\x1b[1;31m" + text + "\x1b[0m";
  text += escape_message(sentence) + '\n';
  write_all(STDERR_FILENO, text);
}

void Messages::advise(std::string_view advice) {
  const std::string_view label = colours_ ? "\x1b[1mtry:\x1b[0m " : "try: ";
  write_all(STDERR_FILENO, fmt::format("{}{}\n", label, escape_message(advice)));
}

void Messages::overwrite_line(std::string_view text) {
  write_all(STDERR_FILENO, fmt::format("\r\x1b[K{}", escape_message(text)));  // ECMA-48 EL: erase to the line's end
}

}  // namespace kvctl
