// Env: the only door to the operating system for everything that touches files. Narrow on purpose, so
// that an in-memory, a crash-simulating and a fault-injecting one are each a page of code.
//
// Paths are plain strings. Every failing Status carries errno and path, and is kNoSpace for ENOSPC and EDQUOT,
// kIoError otherwise. Thread-safe but for what is said below.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/status.h"

namespace kvstore::env {

// One open file. read_at() and sync() may run beside anything; write_at(), truncate(), map() and stores
// into the mapping need to be ordered by the caller.
class File {
 public:
  virtual ~File() = default;  // unmaps and closes; reports nothing: sync first

  // Fills `out` from byte `offset`; fewer bytes only at the end of the file.
  virtual Result<size_t> read_at(uint64_t offset, std::span<char> out) = 0;
  // Writes all of `bytes` at `offset`, extending the file as needed. On failure some leading part may have
  // been written: the caller truncates or overwrites.
  virtual Status write_at(uint64_t offset, std::string_view bytes) = 0;
  // The same, for bytes that will be stored over through the mapping and synced a few at a time; a system call a page.
  // Linux keeps what one write brings as one block of the page cache (a "large folio": ext4 since 6.16, XFS before), and a
  // store through a mapping makes the whole block dirty. So a sync of one line would write as much as the write before it.
  virtual Status write_in_pages(uint64_t offset, std::string_view bytes) { return write_at(offset, bytes); }
  virtual Result<uint64_t> size() = 0;
  virtual Status truncate(uint64_t size) = 0;
  // Returns when the file's content and size survive a power cut (fdatasync), mapped stores included.
  virtual Status sync() = 0;
  // Asks the kernel to begin writing a range out; a hint, never waits, never fails.
  virtual void start_writeback(uint64_t offset, uint64_t count) = 0;
  // Hints about whole pages of the mapping, for a thread that runs ahead of or behind the one that stores into it: get them
  // ready, so that no store has to wait for a page fault; let go of them, so that write-back has no mapping to protect
  // against stores (one interrupt of the storing processor a page). Both keep the content, and either may be followed by
  // stores, which then cost a fault. Need: within the mapping and the file's size.
  virtual void prepare_pages(uint64_t offset, uint64_t count) = 0;
  virtual void let_go_of_pages(uint64_t offset, uint64_t count) = 0;
  // False where somebody has removed the file: it has no name any more, and goes with us.
  virtual bool has_name() { return true; }
  // While it is owned, Env::is_locked() says so of its path to everybody else. False: somebody else owns it. A second line of
  // defence: where the system cannot lock, all is well.
  virtual bool own(bool owned) { return (void)owned, true; }
  // Maps [0, capacity) for reading and writing, shared with the file. Only bytes below the file's size
  // may be touched (beyond: SIGBUS), and size only ever grows while mapped but for the last truncate().
  // At most one mapping a file; it lives until unmap() or destruction.
  virtual Result<char*> map(uint64_t capacity) = 0;
  virtual void unmap() = 0;
};

// An exclusive lock on a file, given back on destruction.
class FileLock {
 public:
  virtual ~FileLock() = default;
  virtual File& file() = 0;  // the locked file, open for reading and writing
  // False where its path leads to no file any more, or to another one: somebody has removed or replaced it.
  virtual bool still_named() = 0;
};

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // must not exist; mode 0600
};

// Files and directories are for their owner alone, 0600 and 0700. What root makes in a directory that it holds (hold_dir()) is
// given to the directory's owner, who could not use his own store any more otherwise.
class Env {
 public:
  virtual ~Env() = default;

  // Does not follow a symbolic link in the last component (ELOOP): nothing outside the directory is touched.
  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;  // replaces `to`, atomically
  virtual Status remove(const std::string& path) = 0;
  // Names (no path) of the entries of a directory, sorted, without "." and "..". errno ENOENT/ENOTDIR tell.
  virtual Result<std::vector<std::string>> list(const std::string& dir) = 0;
  virtual Status create_dir(const std::string& dir) = 0;  // 0700; OK when it is there already
  // Returns when the names in `dir` survive a power cut: after create, rename, remove.
  virtual Status sync_dir(const std::string& dir) = 0;
  // Opens or creates `path` and locks it for this open file, failing at once with kLocked when another has it.
  virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
  // True when some process holds the lock, or owns the file, now. Never blocks it, never creates the file; a hint.
  virtual bool is_locked(const std::string& path) = 0;
  // From now on `dir` and the paths in it mean what they mean now, wherever the directory is moved and whatever comes
  // to its name. For one directory at a time, and before other threads use this environment. Does nothing where that cannot
  // happen, and in the environment that all share.
  virtual Status hold_dir(const std::string& dir) { return (void)dir, Status(); }

  // Who we are, for the LOCK file.
  virtual int64_t pid() = 0;
  virtual std::string host() = 0;
  virtual std::string new_uuid() = 0;  // random, version 4
};

// The operating system's. Lives forever, has no state.
[[nodiscard]] Env& posix_env() noexcept;
// One for a single user, that keeps it for longer: where `path` is relative, all relative paths begin for good at what is the working
// directory now, by a descriptor that it holds.
[[nodiscard]] Result<std::unique_ptr<Env>> posix_env_for(const std::filesystem::path& path);

}  // namespace kvstore::env
