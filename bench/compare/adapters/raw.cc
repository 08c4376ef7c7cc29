// References to the limits of the machine, no stores: none of them could be opened again.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "bench/compare/peer.h"

namespace bench {
namespace {

// What a put may do besides: takes the line that a plain log would hold.
class Log {
 public:
  virtual ~Log() = default;
  virtual void append(std::string_view line) = 0;
};

class NoLog : public Log {
 public:
  void append(std::string_view /*line*/) override {}
};

int create_file(const std::filesystem::path& path, int flags) {
  const int fd = ::open(path.c_str(), O_CREAT | O_CLOEXEC | O_RDWR | flags, 0600);
  if (fd < 0) fail("{}: {}", path.string(), std::strerror(errno));
  return fd;
}

// One write(2) a put: the least that survives kill -9 without a mapping.
class WriteLog : public Log {
 public:
  explicit WriteLog(const std::filesystem::path& path) : fd_(create_file(path, O_APPEND)) {}
  ~WriteLog() override { ::close(fd_); }
  WriteLog(const WriteLog&) = delete;
  WriteLog& operator=(const WriteLog&) = delete;
  void append(std::string_view line) override {
    if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
      fail("write: {}", std::strerror(errno));
  }

 private:
  int fd_;
};

// Overwrites blocks that are on disk already and syncs each time: the least that survives a power cut.
class SyncedOverwrite : public Log {
 public:
  explicit SyncedOverwrite(const std::filesystem::path& path) : fd_(create_file(path, 0)) {
    const std::string blanks(kBytes, '\n');
    if (::pwrite(fd_, blanks.data(), blanks.size(), 0) != static_cast<ssize_t>(blanks.size()) || ::fsync(fd_) != 0) {
      fail("filling {}: {}", path.string(), std::strerror(errno));
    }
  }
  ~SyncedOverwrite() override { ::close(fd_); }
  SyncedOverwrite(const SyncedOverwrite&) = delete;
  SyncedOverwrite& operator=(const SyncedOverwrite&) = delete;
  void append(std::string_view line) override {
    if (offset_ + line.size() > kBytes) offset_ = 0;
    if (::pwrite(fd_, line.data(), line.size(), static_cast<off_t>(offset_)) != static_cast<ssize_t>(line.size()) ||
        ::fdatasync(fd_) != 0) {
      fail("pwrite and fdatasync: {}", std::strerror(errno));
    }
    offset_ += line.size();
  }

 private:
  static constexpr size_t kBytes = size_t{16} << 20;
  int fd_;
  size_t offset_ = 0;
};

struct Hash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

// std::unordered_map in 64 shards, each with a mutex, and a log in front.
class RawDatabase : public Database {
 public:
  RawDatabase(std::unique_ptr<Log> log, uint64_t entries) : log_(std::move(log)) {
    for (Shard& shard : shards_) shard.map.reserve(entries / kShards);
  }
  std::unique_ptr<Session> session() override;
  std::optional<uint64_t> count() override {
    uint64_t found = 0;
    for (Shard& shard : shards_) found += shard.map.size();
    return found;
  }

  void put(std::string_view key, std::string_view value, std::string& line) {
    line.assign(key).append(" ").append(value).append("\n");
    Shard& shard = shard_of(key);
    const std::lock_guard lock(shard.mutex);
    log_->append(line);
    const auto found = shard.map.find(key);
    if (found != shard.map.end()) {
      found->second.assign(value);
    } else {
      shard.map.emplace(key, value);
    }
  }
  bool get(std::string_view key, std::string& value) {
    Shard& shard = shard_of(key);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.map.find(key);
    if (found == shard.map.end()) return false;
    value.assign(found->second);
    return true;
  }

 private:
  static constexpr size_t kShards = 64;
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::string, Hash, std::equal_to<>> map;
  };
  Shard& shard_of(std::string_view key) { return shards_[Hash{}(key) >> 58]; }

  std::unique_ptr<Log> log_;
  std::array<Shard, kShards> shards_;
};

class RawSession : public Session {
 public:
  explicit RawSession(RawDatabase& db) : db_(db) {}
  void put(std::string_view key, std::string_view value) override { db_.put(key, value, line_); }
  bool get(std::string_view key, std::string& value) override { return db_.get(key, value); }

 private:
  RawDatabase& db_;
  std::string line_;
};

std::unique_ptr<Session> RawDatabase::session() { return std::make_unique<RawSession>(*this); }

template <typename LogType>
Peer peer(std::string name, Survives survives, int rank) {
  return {
      .name = std::move(name), .survives = survives, .rank = rank, .raw = true, .open = [](const OpenOptions& options) {
        std::unique_ptr<Log> log;
        if constexpr (std::is_constructible_v<LogType, std::filesystem::path>) {
          log = std::make_unique<LogType>(options.dir / "log");
        } else {
          log = std::make_unique<LogType>();
        }
        return std::make_unique<RawDatabase>(std::move(log), options.entries);
      }};
}

const Registration kTable(peer<NoLog>("hash table", Survives::kMemoryOnly, 90));
const Registration kWrite(peer<WriteLog>("hash table + write", Survives::kKill, 91));
const Registration kSync(peer<SyncedOverwrite>("overwrite + fdatasync", Survives::kPowerCut, 92));

}  // namespace
}  // namespace bench
