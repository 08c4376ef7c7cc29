#include "bench/compare/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "bench/compare/peer.h"

namespace bench {
namespace {

constexpr std::string_view kReady = "ready to be killed";
constexpr std::string_view kReadyLine = "ready to be killed\t0\t\n";  // as Reporter writes it

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("the pipe to the parent: {}", std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

// Reads until the other end closes, or a line says kReady; false when the time is over.
bool read_report(int fd, unsigned seconds_max, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds_max);
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&poll, 1, static_cast<int>(left)) <= 0) continue;
    std::array<char, 4096> buffer;
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    text.append(buffer.data(), static_cast<size_t>(n));
    if (text.ends_with(kReadyLine)) return true;
  }
}

// Descendants of a child that ended become ours (main() is their subreaper): a server that is being killed must be gone
// before its files are measured or opened again.
void reap_orphans() {
  for (int tries = 0; tries < 10'000; ++tries) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid == 0) ::usleep(1000);
  }
  fail("a process that a measurement started is still alive after 10 s");
}

}  // namespace

void Reporter::operator()(std::string_view row, double value, std::string_view unit) const {
  write_all(fd_, fmt::format("{}\t{}\t{}\n", row, value, unit));
}

void wait_for_kill(const Reporter& report) {
  report(kReady, 0, "");
  while (true) ::pause();
}

Outcome run_child(const std::function<void(const Reporter&)>& body, End end, unsigned seconds_max) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) fail("pipe: {}", std::strerror(errno));
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail("fork: {}", std::strerror(errno));
  if (pid == 0) {
    ::close(pipe[0]);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no orphans when the run is interrupted
    if (::getppid() != parent) std::_Exit(1);
    body(Reporter(pipe[1]));
    std::_Exit(0);
  }
  ::close(pipe[1]);
  Outcome outcome;
  std::string text;
  const bool in_time = read_report(pipe[0], seconds_max, text);
  const bool kill_it = !in_time || (end == End::kIsKilled && text.find(kReady) != std::string::npos);
  if (kill_it) ::kill(pid, SIGKILL);
  ::close(pipe[0]);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  reap_orphans();
  const bool right = end == End::kIsKilled ? kill_it && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                           : WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!in_time) {
    outcome.error = fmt::format("took more than {} s and was killed", seconds_max);
  } else if (!right) {
    outcome.error = WIFSIGNALED(status) ? fmt::format("died of signal {}", WTERMSIG(status))
                                        : fmt::format("ended with exit code {}", WEXITSTATUS(status));
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t line_end = text.find('\n', begin);
    const std::string line = text.substr(begin, line_end - begin);
    begin = line_end + 1;
    const size_t tab = line.find('\t');
    const size_t second = line.find('\t', tab + 1);
    if (line.substr(0, tab) == kReady) continue;
    outcome.measures.push_back(
        {line.substr(0, tab), std::stod(line.substr(tab + 1, second - tab - 1)), line.substr(second + 1)});
  }
  return outcome;
}

Memory memory_of(pid_t pid) {
  std::FILE* file = std::fopen(fmt::format("/proc/{}/status", pid).c_str(), "re");
  if (file == nullptr) fail("no /proc/{}/status", pid);
  Memory memory;
  std::array<char, 256> line;
  while (std::fgets(line.data(), line.size(), file) != nullptr) {
    long long kib = 0;
    if (std::sscanf(line.data(), "RssAnon: %lld kB", &kib) == 1) memory.anonymous = int64_t{kib} * 1024;
    if (std::sscanf(line.data(), "RssFile: %lld kB", &kib) == 1) memory.file += int64_t{kib} * 1024;
    if (std::sscanf(line.data(), "RssShmem: %lld kB", &kib) == 1) memory.file += int64_t{kib} * 1024;
  }
  std::fclose(file);
  return memory;
}

void warm_memory(uint64_t bytes) {
  const Outcome outcome = run_child([bytes](const Reporter&) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap: {}", std::strerror(errno));
    // In huge pages first: what a virtual machine gives back to its host are free blocks of that size, so those are the cold ones,
    // and small pages would be taken from between them.
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    std::memset(memory, 1, bytes);
  });
  if (!outcome.error.empty()) fail("warming memory up: {}", outcome.error);
}

}  // namespace bench
