// The operating system's Env. Each call is one system call in a loop that an interruption (EINTR) or a short
// transfer cannot break, and a sentence when it fails.
//
// Locks are open-file-description locks (F_OFD_SETLK, Linux 3.15, POSIX.1-2024), not flock, for two reasons:
//   - they belong to the open file and not to the process, as flock's do and those of F_SETLK do not: two stores
//     in one process exclude each other, and closing some other descriptor of the same file gives nothing back;
//   - F_OFD_GETLK asks who holds the lock *without taking it*. A tool that wonders whether a store is in
//     use can thus never be the reason why an owner that starts at that moment finds the store locked.
// A forked child shares the open file and so keeps the lock for as long as it lives without exec (O_CLOEXEC).
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <new>
#include <string>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/env/env.h"
#include "kvstore/env/failure.h"

namespace kvstore::env {
namespace {

// Repeats a system call for as long as a signal interrupts it.
template <typename Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// A file descriptor, closed on destruction. close() is not repeated on EINTR: Linux has closed it by then.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept { return std::swap(fd_, other.fd_), *this; }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// O_NONBLOCK means nothing to a regular file, and keeps a FIFO that somebody has put there from blocking us for ever.
constexpr int kOpenFile = O_NOFOLLOW | O_NONBLOCK;

// A directory that paths begin at.
#if defined(O_PATH)
constexpr int kOpenBase = O_PATH | O_DIRECTORY;  // needs no right to read it
#else
constexpr int kOpenBase = O_RDONLY | O_DIRECTORY;
#endif

// Linux moves at most 2^31 - 4096 bytes a call and macOS refuses more, so ask for less.
constexpr size_t kTransferBytesMax = size_t{1} << 30;

// A path as the system calls take it: a directory's descriptor, or AT_FDCWD, and the way from there.
struct Place {
  int base;
  const char* rest;  // of the path it was made of
};

// open(), but never as descriptor 0, 1 or 2; invalid, with errno, on failure. In a program that has closed one of its
// standard streams the system hands out that number next, and a stray printf would then write into the log.
Descriptor open_above_stdio(Place place, int flags) {
  Descriptor fd(uninterrupted([&] { return ::openat(place.base, place.rest, flags | O_CLOEXEC, S_IRUSR | S_IWUSR); }));
  if (!fd.valid() || fd.get() > STDERR_FILENO) return fd;
  Descriptor higher(::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!higher.valid() && (flags & O_EXCL) != 0) {  // nobody learns of the file that was made
    const int why = errno;
    ::unlinkat(place.base, place.rest, 0);
    errno = why;
  }
  return higher;
}

uint64_t page_bytes() noexcept {
  static const auto bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Status sync_content(int fd, const std::string& path) {
#if defined(__APPLE__)
  // fsync() there leaves the bytes in the drive's cache. Where F_FULLFSYNC is unknown (network file
  // systems) fsync() is all there is.
  if (uninterrupted([&] { return ::fcntl(fd, F_FULLFSYNC); }) == 0) return {};
  if (uninterrupted([&] { return ::fsync(fd); }) == 0) return {};
#else
  if (uninterrupted([&] { return ::fdatasync(fd); }) == 0) return {};
#endif
  return failure(errno, "sync", path);
}

// ---- locks: see the top of the file ---------------------------------------------------------------------------

// Takes the exclusive lock or gives it back: 0, or errno; EAGAIN or EACCES when another open file has it.
int set_lock(int fd, bool take) {
#if defined(F_OFD_SETLK)
  struct flock whole_file {};  // l_start = l_len = 0: all of it, however long it grows; l_pid must be 0
  whole_file.l_type = take ? F_WRLCK : F_UNLCK;
  whole_file.l_whence = SEEK_SET;
  return uninterrupted([&] { return ::fcntl(fd, F_OFD_SETLK, &whole_file); }) == 0 ? 0 : errno;
#else
  return uninterrupted([&] { return ::flock(fd, take ? LOCK_EX | LOCK_NB : LOCK_UN); }) == 0 ? 0 : errno;
#endif
}

// Whether some other open file has the lock. Takes nothing. The BSD kernels keep flock's locks in the list that
// F_GETLK searches, so the same question works where set_lock() had to use flock.
bool lock_is_taken(int fd) {
#if defined(F_OFD_GETLK)
  constexpr int kAsk = F_OFD_GETLK;
#else
  constexpr int kAsk = F_GETLK;
#endif
  struct flock would_be {};
  would_be.l_type = F_RDLCK;  // the lock a descriptor open for reading could take; an exclusive one is in its way
  would_be.l_whence = SEEK_SET;
  return uninterrupted([&] { return ::fcntl(fd, kAsk, &would_be); }) == 0 && would_be.l_type != F_UNLCK;
}

class PosixFile final : public File {
 public:
  explicit PosixFile(std::string path) : path_(std::move(path)) {}
  void adopt(Descriptor fd) noexcept { fd_ = std::move(fd); }  // once, before all else
  [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }
  ~PosixFile() override {
    if (is_owned_) (void)set_lock(fd_.get(), false);  // closing is not enough where a child has the file, too
    unmap();
  }

  Result<size_t> read_at(uint64_t offset, std::span<char> out) override {
    size_t done = 0;
    while (done < out.size()) {
      const size_t wanted = std::min(out.size() - done, kTransferBytesMax);
      const auto at = static_cast<off_t>(offset + done);
      const ssize_t got = uninterrupted([&] { return ::pread(fd_.get(), out.data() + done, wanted, at); });
      if (got < 0) return failure(errno, "read", path_, offset + done);
      if (got == 0) break;  // the end of the file
      done += static_cast<size_t>(got);
    }
    return done;
  }

  Status write_at(uint64_t offset, std::string_view bytes) override {
    size_t done = 0;
    while (done < bytes.size()) {
      const size_t wanted = std::min(bytes.size() - done, kTransferBytesMax);
      const auto at = static_cast<off_t>(offset + done);
      const ssize_t put = uninterrupted([&] { return ::pwrite(fd_.get(), bytes.data() + done, wanted, at); });
      if (put < 0) return failure(errno, "write", path_, offset + done);
      if (put == 0) return failure(EIO, "write", path_, offset + done);  // no progress: asking again may never end
      done += static_cast<size_t>(put);
    }
    return {};
  }

  Status write_in_pages(uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const size_t count = std::min<uint64_t>(bytes.size(), page_bytes() - offset % page_bytes());
      if (Status s = write_at(offset, bytes.substr(0, count)); !s.ok()) return s;
      bytes.remove_prefix(count);
      offset += count;
    }
    return {};
  }

  Result<uint64_t> size() override {
    struct stat facts {};
    if (::fstat(fd_.get(), &facts) != 0) return failure(errno, "read the size of", path_);
    return static_cast<uint64_t>(facts.st_size);
  }

  Status truncate(uint64_t size) override {
    if (uninterrupted([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(size)); }) == 0) return {};
    return failure(errno, "truncate", path_, size);
  }

  Status sync() override { return sync_content(fd_.get(), path_); }

  bool has_name() override {
#if defined(STATX_NLINK)
    // fstat() tells the times, too, and then the next store dirties the inode (Linux 6.13): a synced put took a third longer.
    struct statx links {};
    if (::statx(fd_.get(), "", AT_EMPTY_PATH, STATX_NLINK, &links) == 0) return links.stx_nlink != 0;
#endif  // Some containers allow only the older call.
    struct stat facts {};
    return ::fstat(fd_.get(), &facts) != 0 || facts.st_nlink != 0;
  }

  bool own(bool owned) override {
    const int error = set_lock(fd_.get(), owned);
    is_owned_ = owned && error == 0;
    return error != EAGAIN && error != EACCES && error != EWOULDBLOCK;
  }

  void start_writeback([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t count) override {
#if defined(__linux__)
    if (count == 0) return;  // which would mean: up to the end of the file
    (void)::sync_file_range(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(count), SYNC_FILE_RANGE_WRITE);
#endif
  }

  Result<char*> map(uint64_t capacity) override {
    KV_ASSERT(mapping_ == nullptr);
    void* address = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (address == MAP_FAILED) return failure(errno, "map", path_);
    mapping_ = static_cast<char*>(address);
    mapping_bytes_ = capacity;
#if defined(MADV_DONTFORK)
    (void)::madvise(address, capacity, MADV_DONTFORK);  // it would keep the file open in a child that closes all it has
#endif
    return mapping_;
  }

  void unmap() override {
    if (mapping_ == nullptr) return;
    ::munmap(mapping_, mapping_bytes_);
    mapping_ = nullptr;
  }

  // Linux 5.14 has MADV_POPULATE_WRITE; on an older one each page is got ready by its first store.
  void prepare_pages([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t count) override {
#if defined(MADV_POPULATE_WRITE)
    advise(offset, count, MADV_POPULATE_WRITE);
#endif
  }
  // The mapping is shared, so what a page holds and that it is dirty goes over to the page cache.
  void let_go_of_pages([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t count) override {
#if defined(__linux__)
    advise(offset, count, MADV_DONTNEED);
#endif
  }

 private:
  // To the whole pages within the range.
  void advise([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t count, [[maybe_unused]] int advice) noexcept {
    KV_ASSERT(mapping_ != nullptr && offset + count <= mapping_bytes_);
    const uint64_t begin = (offset + page_bytes() - 1) / page_bytes() * page_bytes();
    const uint64_t end = (offset + count) / page_bytes() * page_bytes();
    if (begin < end) (void)::madvise(mapping_ + begin, end - begin, advice);
  }

  Descriptor fd_;
  std::string path_;
  bool is_owned_ = false;
  char* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
};

Status open_failure(int sys_errno, std::string_view step, const std::string& path) {
  if (sys_errno != ELOOP) return failure(sys_errno, step, path);
  // The system's own words, "too many levels of symbolic links", would send the reader looking for a loop.
  return Status(Code::kIoError, std::string(step).append(" ").append(path).append(
                                    ": it is a symbolic link, and those are not followed"))
      .at(path)
      .because_of_errno(sys_errno);
}

Result<Descriptor> open_regular(Place place, const std::string& path, int flags, std::string_view step) {
  Descriptor fd = open_above_stdio(place, flags | kOpenFile);
  if (!fd.valid()) return open_failure(errno, step, path);
  struct stat facts {};
  if (::fstat(fd.get(), &facts) != 0) return failure(errno, step, path);
  // A directory opens for reading, and a FIFO or a device both ways; none of them is a file of ours.
  if (S_ISDIR(facts.st_mode)) return failure(EISDIR, step, path);
  if (!S_ISREG(facts.st_mode)) return failure(EINVAL, step, path);
  return fd;
}

// Closing the file gives the lock back.
class PosixLock final : public FileLock {
 public:
  PosixLock(std::unique_ptr<PosixFile> file, Place place)
      : file_(std::move(file)), base_(place.base), rest_(place.rest) {}
  File& file() override { return *file_; }
  bool still_named() override { return still_named(file_->descriptor(), {base_, rest_.c_str()}); }
  static bool still_named(int fd, Place place) {
    struct stat opened {};
    struct stat named {};
    if (::fstat(fd, &opened) != 0) return true;  // which says nothing of the name
    if (::fstatat(place.base, place.rest, &named, AT_SYMLINK_NOFOLLOW) != 0) return errno != ENOENT && errno != ENOTDIR;
    return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
  }

 private:
  std::unique_ptr<PosixFile> file_;
  int base_;  // the environment's, which outlives us
  std::string rest_;
};

constexpr int kLockAttemptsMax = 10;  // no bystander replaces the file so often; what does is trouble to report

// ---- the environment ------------------------------------------------------------------------------------------

class PosixEnv final : public Env {
 public:
  PosixEnv() noexcept = default;  // the one that all share
  explicit PosixEnv(Descriptor base) noexcept : base_(std::move(base)), is_shared_(false) {}

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    int flags = O_RDONLY;
    std::string_view step = "open for reading";
    if (mode == OpenMode::kReadWrite) flags = O_RDWR, step = "open for writing";
    if (mode == OpenMode::kCreate) flags = O_RDWR | O_CREAT | O_EXCL, step = "create";
    auto file = std::make_unique<PosixFile>(path);  // first: without memory for it no file must have been made
    Result<Descriptor> fd = open_regular(place_of(path), path, flags, step);
    if (!fd.ok()) return std::move(fd).status();
    if (mode == OpenMode::kCreate) give_to_owner(fd->get());
    file->adopt(std::move(*fd));
    return std::unique_ptr<File>(std::move(file));
  }

  Status rename(const std::string& from, const std::string& to) override {
    const Place old_place = place_of(from);
    const Place new_place = place_of(to);
    if (::renameat(old_place.base, old_place.rest, new_place.base, new_place.rest) == 0) return {};
    return failure(errno, "rename " + from + " to", to);
  }

  Status remove(const std::string& path) override {
    const Place place = place_of(path);
    return ::unlinkat(place.base, place.rest, 0) == 0 ? Status() : failure(errno, "remove", path);
  }

  Result<std::vector<std::string>> list(const std::string& dir) override {
    Descriptor fd = open_above_stdio(place_of(dir), O_RDONLY | O_DIRECTORY);
    if (!fd.valid()) return failure(errno, "list", dir);
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(fd.get()), ::closedir);
    if (entries == nullptr) return failure(errno, "list", dir);
    (void)fd.release();  // closedir() closes it
    std::vector<std::string> names;
    while (true) {
      errno = 0;                                       // the only way to tell the end from a failure
      const dirent* entry = ::readdir(entries.get());  // NOLINT(concurrency-mt-unsafe): the stream is ours alone
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return failure(errno, "list", dir);
    std::sort(names.begin(), names.end());
    // Some file systems tell of a name twice while the directory changes.
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
  }

  Status create_dir(const std::string& dir) override {
    const Place place = place_of(dir);
    if (::mkdirat(place.base, place.rest, S_IRWXU) == 0) {
      if (place.base != held_.get()) return {};
      const Descriptor made = open_above_stdio(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (made.valid()) give_to_owner(made.get());
      return {};
    }
    const int error = errno;
    struct stat facts {};
    if (error == EEXIST && ::fstatat(place.base, place.rest, &facts, 0) == 0 && S_ISDIR(facts.st_mode)) return {};
    return failure(error, "create directory", dir);
  }

  Status sync_dir(const std::string& dir) override {
    const Descriptor fd = open_above_stdio(place_of(dir), O_RDONLY | O_DIRECTORY);
    if (!fd.valid()) return failure(errno, "open for syncing", dir);
    if (uninterrupted([&] { return ::fsync(fd.get()); }) == 0) return {};
    // EINVAL: this file system (some network ones) has no such operation, and keeps names durable in its own way
    // or not at all. Nothing more can be done there, and refusing would make the store unusable on it.
    if (errno == EINVAL) return {};
    return failure(errno, "sync directory", dir);
  }

  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    const Place place = place_of(path);
    for (int attempt = 0; attempt < kLockAttemptsMax; ++attempt) {
      Result<Descriptor> fd = open_regular(place, path, O_RDWR | O_CREAT | O_EXCL, "lock");
      if (fd.ok()) {
        give_to_owner(fd->get());
      } else if (fd.status().sys_errno() == EEXIST) {
        fd = open_regular(place, path, O_RDWR, "lock");
        if (fd.status().sys_errno() == ENOENT) continue;  // removed since
        // Somebody like us died before he could give it away.
        struct stat facts {};
        if (fd.ok() && ::fstat(fd->get(), &facts) == 0 && facts.st_size == 0 && facts.st_nlink == 1)
          give_to_owner(fd->get());
      }
      if (!fd.ok()) return std::move(fd).status();
      if (const int error = set_lock(fd->get(), true); error != 0) {
        if (error == EAGAIN || error == EACCES || error == EWOULDBLOCK) return held_by_another(path);
        return failure(error, "lock", path);
      }
      // Between open and lock it may have been removed, alone or with its directory: then we hold a file that nobody else
      // will ever find, and must try for the one that the path means now.
      if (!PosixLock::still_named(fd->get(), place)) continue;
      auto file = std::make_unique<PosixFile>(path);
      file->adopt(std::move(*fd));
      return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(file), place));
    }
    return failure(ESTALE, "lock", path);
  }

  bool is_locked(const std::string& path) override {
    const Descriptor fd = open_above_stdio(place_of(path), O_RDONLY | kOpenFile);
    return fd.valid() && lock_is_taken(fd.get());
  }

  Status hold_dir(const std::string& dir) override {
    if (is_shared_) return {};
    held_ = Descriptor();
    Descriptor fd = open_above_stdio({base(), dir.c_str()}, kOpenBase);
    if (!fd.valid()) return failure(errno, "open", dir);
    held_dir_ = dir;
    held_ = std::move(fd);
    return {};
  }

  int64_t pid() override { return ::getpid(); }

  std::string host() override {
    std::array<char, 256> name{};  // POSIX allows 255 and leaves open whether a cut name ends in a NUL
    if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
    return name.data();
  }

  // RFC 9562, section 5.4: 122 random bits, the version in byte 6 and the variant in byte 8.
  std::string new_uuid() override {
    std::array<unsigned char, 16> bytes{};
    // Fails only for a bad address or more than 256 bytes: there is nothing the world can do wrong here.
    const int failed = ::getentropy(bytes.data(), bytes.size());
    KV_ASSERT(failed == 0);
    bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
    bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string text;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
      text += kHex[bytes[i] >> 4];
      text += kHex[bytes[i] & 0x0f];
    }
    return text;
  }

 private:
  // Where relative paths begin.
  [[nodiscard]] int base() const noexcept { return base_.valid() ? base_.get() : AT_FDCWD; }

  // Of a file or directory that we have just made: see env.h. As SQLite does it for the files beside a database.
  void give_to_owner(int fd) const noexcept {
    if (!held_.valid() || ::geteuid() != 0) return;
    struct stat dir {};
    struct stat made {};
    if (::fstat(held_.get(), &dir) != 0 || ::fstat(fd, &made) != 0 || made.st_uid != 0 || dir.st_uid == 0) return;
    (void)(::fchown(fd, dir.st_uid, dir.st_gid) == 0);  // where root may not, nobody may
  }

  [[nodiscard]] Place place_of(const std::string& path) const noexcept {
    const size_t prefix = held_dir_.size();
    const bool is_held = held_.valid() && path.starts_with(held_dir_) && (path.size() == prefix || path[prefix] == '/');
    if (!is_held) return {base(), path.c_str()};
    const size_t rest = path.find_first_not_of('/', prefix);
    return {held_.get(), rest == std::string::npos ? "." : path.c_str() + rest};
  }

  Descriptor base_;
  bool is_shared_ = true;
  std::string held_dir_;
  Descriptor held_;
};

}  // namespace

Result<std::unique_ptr<Env>> posix_env_for(const std::filesystem::path& path) {
  if (path.is_absolute()) return std::unique_ptr<Env>(std::make_unique<PosixEnv>(Descriptor()));
  Descriptor here = open_above_stdio({AT_FDCWD, "."}, kOpenBase);
  if (!here.valid()) return failure(errno, "open", "the working directory");
  return std::unique_ptr<Env>(std::make_unique<PosixEnv>(std::move(here)));
}

Env& posix_env() noexcept {
  // Never destroyed: a store in some static object of the program may be closed later than any object of ours.
  alignas(PosixEnv) static std::byte storage[sizeof(PosixEnv)];
  static Env* const env = new (storage) PosixEnv;
  return *env;
}

}  // namespace kvstore::env
