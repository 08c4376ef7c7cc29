#include "tests/support/run_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "kvstore/base/assert.h"

namespace kvstore::testing {
namespace {

constexpr std::chrono::seconds kHung{30};

struct Pipe {
  int read_end = -1;
  int write_end = -1;
};

Pipe make_pipe() {
  int ends[2];
  KV_ASSERT(::pipe2(ends, O_CLOEXEC) == 0);
  return {ends[0], ends[1]};
}

// A pseudo terminal that passes bytes on as they are; `read_end` is our side.
Pipe make_terminal() {
  const int ours = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  KV_ASSERT(ours >= 0 && ::grantpt(ours) == 0 && ::unlockpt(ours) == 0);
  const int theirs = ::open(::ptsname(ours), O_RDWR | O_NOCTTY | O_CLOEXEC);
  KV_ASSERT(theirs >= 0);
  termios settings{};
  KV_ASSERT(::tcgetattr(theirs, &settings) == 0);
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  KV_ASSERT(::tcsetattr(theirs, TCSANOW, &settings) == 0);
  return {ours, theirs};
}

void close_end(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

// Appends what is there; false at the end. (A terminal whose other side was closed says EIO.)
bool drain(int fd, std::string& text) {
  std::array<char, 1 << 16> buffer;
  const ssize_t count = ::read(fd, buffer.data(), buffer.size());
  if (count <= 0) return count < 0 && errno == EINTR;
  text.append(buffer.data(), static_cast<size_t>(count));
  return true;
}

}  // namespace

Process::Process(const std::vector<std::string>& command, const ProcessOptions& options)
    : deadline_(std::chrono::steady_clock::now() + kHung) {
  // A child that ends before it has read its input must not end us.
  std::signal(SIGPIPE, SIG_IGN);
  const Pipe in = make_pipe();
  const Pipe out = options.out_is_terminal ? make_terminal() : make_pipe();
  const Pipe err = make_pipe();
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  pid_ = ::fork();  // NOLINT(cppcoreguidelines-prefer-member-initializer): the pipes come first
  KV_ASSERT(pid_ >= 0);
  if (pid_ == 0) {
    ::dup2(in.read_end, STDIN_FILENO);
    ::dup2(out.write_end, STDOUT_FILENO);
    ::dup2(err.write_end, STDERR_FILENO);
    std::signal(SIGPIPE, SIG_DFL);
    for (const std::string& pair : options.environment) ::putenv(const_cast<char*>(pair.c_str()));
    if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(in.read_end);
  ::close(out.write_end);
  ::close(err.write_end);
  in_ = in.write_end;
  out_ = out.read_end;
  err_ = err.read_end;
  KV_ASSERT(::fcntl(in_, F_SETFL, O_NONBLOCK) == 0);
}

Process::~Process() {
  close_end(in_);
  close_end(out_);
  close_end(err_);
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Process::write(std::string_view input) {
  while (!input.empty()) {
    const ssize_t count = ::write(in_, input.data(), input.size());
    if (count >= 0) {
      input.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      // It is busy, perhaps because we have not read what it said.
      pollfd writable{.fd = in_, .events = POLLOUT, .revents = 0};
      if (::poll(&writable, 1, 20) == 0) read_some();
    } else {
      return;  // it does not want to know
    }
  }
}

void Process::close_input() { close_end(in_); }

void Process::close_output() { close_end(out_); }

void Process::signal(int number) { KV_ASSERT(::kill(pid_, number) == 0); }

bool Process::read_some() {
  std::array<pollfd, 2> streams{{{out_, POLLIN, 0}, {err_, POLLIN, 0}}};  // poll() skips what is -1
  if (out_ < 0 && err_ < 0) return false;
  KV_ASSERT(std::chrono::steady_clock::now() < deadline_);
  ::poll(streams.data(), streams.size(), 100);
  if (streams[0].revents != 0 && !drain(out_, out_text_)) close_end(out_);
  if (streams[1].revents != 0 && !drain(err_, err_text_)) close_end(err_);
  return true;
}

std::string Process::read_line() {
  size_t newline = 0;
  while ((newline = out_text_.find('\n')) == std::string::npos) {
    if (out_ < 0 || !read_some()) return std::exchange(out_text_, {});
  }
  std::string line = out_text_.substr(0, newline);
  out_text_.erase(0, newline + 1);
  return line;
}

bool Process::has_said(std::string_view text) {
  read_some();
  return out_text_.find(text) != std::string::npos;
}

ProcessResult Process::finish() {
  close_input();
  while (read_some()) {
  }
  int status = 0;
  KV_ASSERT(::waitpid(pid_, &status, 0) == pid_);
  pid_ = -1;
  return {.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
          .out = std::move(out_text_),
          .err = std::move(err_text_)};
}

ProcessResult run_process(const std::vector<std::string>& command, std::string_view input,
                          const ProcessOptions& options) {
  Process process(command, options);
  process.write(input);
  return process.finish();
}

}  // namespace kvstore::testing
