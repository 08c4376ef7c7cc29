// Redis 7 as a child process, over a Unix socket, with an append-only file:
// https://redis.io/docs/management/persistence/ (below: "persistence").
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>

#include "bench/compare/peer.h"

namespace bench {
namespace {

// One reply of the protocol, https://redis.io/docs/reference/protocol-spec/. `text` is that of a simple string, an error, a
// number or a bulk string; of an array it is empty and `elements` counts the replies that follow.
struct Reply {
  char kind = 0;  // + - : $ *
  bool null = false;
  int64_t elements = 0;
  std::string_view text{};  // until the next read
};

class Connection {
 public:
  explicit Connection(const std::string& path) {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) fail("Redis: the socket's name is too long: {}", path);
    path.copy(address.sun_path, path.size());
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Connection() { ::close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  [[nodiscard]] bool connected() const { return connected_; }

  void command(std::initializer_list<std::string_view> words) { command(std::span(words.begin(), words.size())); }
  void command(std::span<const std::string_view> words) {
    fmt::format_to(std::back_inserter(out_), "*{}\r\n", words.size());
    for (const std::string_view word : words) {
      fmt::format_to(std::back_inserter(out_), "${}\r\n", word.size());
      out_.append(word);
      out_.append("\r\n");
    }
  }
  void send() {
    std::string_view rest = out_;
    while (!rest.empty()) {
      const ssize_t n = ::send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail("Redis: send: {}", std::strerror(errno));
      rest.remove_prefix(static_cast<size_t>(n));
    }
    out_.clear();
  }
  Reply read() {
    const std::string_view head = line();
    Reply reply{.kind = head.front(), .text = head.substr(1)};
    if (reply.kind != '$' && reply.kind != '*') return reply;
    int64_t size = 0;
    std::from_chars(reply.text.data(), reply.text.data() + reply.text.size(), size);
    reply.null = size < 0;
    reply.text = {};
    if (reply.kind == '*') reply.elements = size;
    if (reply.kind == '$' && size >= 0) reply.text = bytes(static_cast<size_t>(size));
    return reply;
  }
  Reply ask(std::initializer_list<std::string_view> words) {
    command(words);
    send();
    return read();
  }

 private:
  void more() {
    if (begin_ == end_) begin_ = end_ = 0;
    if (end_ == in_.size() && begin_ > 0) {
      std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (end_ == in_.size()) in_.resize(2 * in_.size());
    const ssize_t n = ::recv(fd_, in_.data() + end_, in_.size() - end_, 0);
    if (n <= 0 && errno != EINTR) fail("Redis: the server closed the connection");
    end_ += n > 0 ? static_cast<size_t>(n) : 0;
  }
  std::string_view line() {
    size_t at = begin_;
    while (true) {
      const size_t found = std::string_view(in_.data(), end_).find("\r\n", at);
      if (found != std::string_view::npos) {
        const std::string_view text(in_.data() + begin_, found - begin_);
        begin_ = found + 2;
        return text;
      }
      more();
      at = begin_;
    }
  }
  std::string_view bytes(size_t size) {
    while (end_ - begin_ < size + 2) more();
    const std::string_view text(in_.data() + begin_, size);
    begin_ += size + 2;
    return text;
  }

  int fd_ = -1;
  bool connected_ = false;
  std::string out_;
  std::string in_ = std::string(size_t{1} << 16, '\0');
  size_t begin_ = 0;
  size_t end_ = 0;
};

void require(const Reply& reply, char kind, std::string_view step) {
  if (reply.kind != kind) fail("Redis: {}: {}{}", step, reply.kind, reply.text);
}

// With `depth` over 1, so many puts are sent at a time and their replies awaited together.
class RedisSession : public Session {
 public:
  RedisSession(const std::string& path, unsigned depth) : connection_(path), depth_(depth) {
    if (!connection_.connected()) fail("Redis: connect: {}", std::strerror(errno));
  }

  void put(std::string_view key, std::string_view value) override {
    connection_.command({"SET", key, value});
    if (++pending_ == depth_) flush();
  }
  void flush() override {
    if (pending_ > 0) connection_.send();
    for (; pending_ > 0; --pending_) require(connection_.read(), '+', "SET");
  }
  bool get(std::string_view key, std::string& value) override {
    flush();
    const Reply reply = connection_.ask({"GET", key});
    require(reply, '$', "GET");
    if (!reply.null) value.assign(reply.text);
    return !reply.null;
  }
  void put_batch(std::span<const Item> items) override {  // MSET is atomic
    words_ = {"MSET"};
    for (const Item& item : items) words_.insert(words_.end(), {item.key, item.value});
    connection_.command(words_);
    connection_.send();
    require(connection_.read(), '+', "MSET");
  }
  size_t multi_get(std::span<const std::string_view> keys) override {
    words_ = {"MGET"};
    words_.insert(words_.end(), keys.begin(), keys.end());
    connection_.command(words_);
    connection_.send();
    const Reply reply = connection_.read();
    require(reply, '*', "MGET");
    size_t bytes = 0;
    for (int64_t i = 0; i < reply.elements; ++i) bytes += connection_.read().text.size();
    return bytes;
  }

 private:
  Connection connection_;
  unsigned depth_;
  unsigned pending_ = 0;
  std::vector<std::string_view> words_;
};

class RedisDatabase : public Database {
 public:
  RedisDatabase(const OpenOptions& options, std::string_view appendfsync, unsigned depth)
      : socket_((options.dir / "redis.sock").string()), depth_(depth) {
    ::unlink(socket_.c_str());
    start(options.dir, appendfsync);
    // PING is answered with an error until the file is loaded.
    while (true) {
      Connection probe(socket_);
      if (probe.connected() && probe.ask({"PING"}).kind == '+') break;
      int status = 0;
      if (::waitpid(server_, &status, WNOHANG) == server_)
        fail("Redis: the server ended; see {}/redis.log", options.dir.string());
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  ~RedisDatabase() override {
    Connection connection(socket_);
    connection.command({"SHUTDOWN", "NOSAVE"});  // the append-only file is written and synced all the same
    connection.send();
    ::waitpid(server_, nullptr, 0);
  }
  RedisDatabase(const RedisDatabase&) = delete;
  RedisDatabase& operator=(const RedisDatabase&) = delete;

  std::unique_ptr<Session> session() override { return std::make_unique<RedisSession>(socket_, depth_); }
  std::optional<uint64_t> count() override {
    Connection connection(socket_);
    const Reply reply = connection.ask({"DBSIZE"});
    require(reply, ':', "DBSIZE");
    return std::stoull(std::string(reply.text));
  }
  std::optional<pid_t> server() const override { return server_; }
  void compact() override {
    Connection connection(socket_);
    require(connection.ask({"BGREWRITEAOF"}), '+', "BGREWRITEAOF");
    while (true) {
      const Reply reply = connection.ask({"INFO", "persistence"});
      require(reply, '$', "INFO");
      if (reply.text.find("aof_rewrite_in_progress:0") != std::string_view::npos &&
          reply.text.find("aof_rewrite_scheduled:0") != std::string_view::npos) {
        if (reply.text.find("aof_last_bgrewrite_status:ok") == std::string_view::npos)
          fail("Redis: the rewrite failed");
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

 private:
  void start(const std::filesystem::path& dir, std::string_view appendfsync) {
    server_ = ::fork();
    if (server_ < 0) fail("fork: {}", std::strerror(errno));
    if (server_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // kill -9 of the process that started it is one of the server, too
    const std::string fsync(appendfsync);
    const std::string log = (dir / "redis.log").string();
    const std::array<const char*, 20> arguments = {
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        socket_.c_str(),
        "--dir",
        dir.c_str(),
        "--logfile",
        log.c_str(),
        "--daemonize",
        "no",
        "--appendonly",
        "yes",
        "--appendfsync",
        fsync.c_str(),
        "--save",
        "",  // persistence: the append-only file alone
        "--auto-aof-rewrite-percentage",
        "0",  // no rewrite in the middle of a row, which is in Redis's favour
        nullptr};
    ::execvp(arguments[0], const_cast<char* const*>(arguments.data()));  // NOLINT: execvp changes nothing
    fail("redis-server: {}", std::strerror(errno));
  }

  std::string socket_;
  unsigned depth_;
  pid_t server_ = -1;
};

Peer peer(std::string name, Survives survives, std::string_view appendfsync, unsigned depth, int rank) {
  return {
      .name = std::move(name),
      .survives = survives,
      .rank = rank,
      .can_batch = true,
      .can_multi_get = true,
      .can_compact = true,
      .pipelined = depth > 1,
      .slow_put = depth == 1,
      .open = [=](const OpenOptions& options) { return std::make_unique<RedisDatabase>(options, appendfsync, depth); }};
}

// persistence: with "no" the system decides when to sync; each command is written before it is answered. "always" syncs
// before answering, once for all the clients that wait.
const Registration kKill(peer("Redis", Survives::kKill, "no", 1, 50));
const Registration kPipelined(peer("Redis pipelined", Survives::kKill, "no", 64, 51));
const Registration kPowerCut(peer("Redis", Survives::kPowerCut, "always", 1, 50));

}  // namespace
}  // namespace bench
