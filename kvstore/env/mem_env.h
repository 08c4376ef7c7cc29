// MemEnv: a file system in memory, for tests and for looking at what code does to files.
//
//     MemEnv env;
//     env.put_file("db/wal.jsonl", "{}\n");       // directories on the way come by themselves
//     ...
//     EXPECT_EQ(env.get_file("db/wal.jsonl"), "{}\n{}\n");
//
// It keeps env.h's contract, including what is easily forgotten: a removed or replaced file lives on for those
// who have it open, a mapping and the file show the same bytes, errno is the one Linux would give. Everything
// is durable at once, so sync() and sync_dir() do nothing. "a", "/a" and "./a" are the same path.
//
// Thread-safe. Files are as fast as memcpy; listing a directory costs its whole subtree.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/env/env.h"

namespace kvstore::env {

struct MemInode;

class MemEnv : public Env {
 public:
  // Different seeds give different uuids, so that stores made in two environments can be told apart.
  explicit MemEnv(uint64_t seed = 1) : seed_(seed) {}

  // ---- for tests --------------------------------------------------------------------------------
  // Makes or replaces a file, and the directories above it. Needs: no file stands where a directory is wanted.
  void put_file(const std::string& path, std::string_view content);
  // The whole content, nullopt when there is no such file.
  [[nodiscard]] std::optional<std::string> get_file(const std::string& path) const;
  [[nodiscard]] bool is_dir(const std::string& path) const;
  // The paths of all files, sorted, in the short spelling: "db/LOCK", "db/wal.jsonl".
  [[nodiscard]] std::vector<std::string> files() const;

  // ---- Env --------------------------------------------------------------------------------------
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& dir) override;
  Status create_dir(const std::string& dir) override;
  Status sync_dir(const std::string& dir) override;
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;
  bool is_locked(const std::string& path) override;
  int64_t pid() override { return 4711; }
  std::string host() override { return "memory"; }
  std::string new_uuid() override;  // the same ones in the same order for the same seed

  // The short spelling of a path: no leading slash, no empty or "." component; "" is the root.
  [[nodiscard]] static std::string normal(std::string_view path);

 private:
  // Null is a directory. The root has no entry: it is always there.
  using Entry = std::shared_ptr<MemInode>;

  // 0, or the errno with which everything that would stand at `normal_path` fails: a directory above it is missing
  // (ENOENT) or is a file (ENOTDIR).
  [[nodiscard]] int blocked_above(const std::string& normal_path) const;
  [[nodiscard]] bool is_dir_at(const std::string& normal_path) const;
  [[nodiscard]] std::vector<std::string> children_of(const std::string& normal_dir) const;

  mutable std::mutex mutex_;              // guards the names; each inode has its own for its bytes
  std::map<std::string, Entry> entries_;  // by normal path
  uint64_t seed_;
  uint64_t uuid_count_ = 0;
};

}  // namespace kvstore::env
