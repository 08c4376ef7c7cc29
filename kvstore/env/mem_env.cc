// A file's bytes lie in two pieces while it is mapped, so that the mapping stays where it is and the file may grow:
//
//     0                       front_bytes              size
//     |---- front: fixed ------------|---- back: grows ----|
//
// Without a mapping all bytes are in `back`. Bytes of `front` beyond the file's size are always zero, as a file that
// grows reads them.
#include "kvstore/env/mem_env.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/env/failure.h"
#include "kvstore/env/racy_copy.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KVSTORE_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define KVSTORE_ADDRESS_SANITIZER 1
#endif
#if defined(KVSTORE_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace kvstore::env {

struct MemInode {
  struct Free {
    void operator()(char* bytes) const noexcept { std::free(bytes); }
  };

  mutable std::mutex mutex;  // guards all below but for the mapped bytes, whose order is their user's business
  std::unique_ptr<char[], Free> front;
  size_t front_bytes = 0;
  std::string back;
  uint64_t size = 0;
  int mappings = 0;
  bool locked = false;

  size_t read(uint64_t offset, std::span<char> out) const {
    if (offset >= size) return 0;
    const size_t count = std::min<uint64_t>(out.size(), size - offset);
    const size_t in_front = count_in_front(offset, count);
    if (in_front > 0) racy_copy(out.data(), front.get() + offset, in_front);
    if (in_front < count)
      std::memcpy(out.data() + in_front, back.data() + back_index(offset, in_front), count - in_front);
    return count;
  }

  void write(uint64_t offset, std::string_view bytes) {
    if (bytes.empty()) return;
    if (offset + bytes.size() > size) resize(offset + bytes.size());
    const size_t in_front = count_in_front(offset, bytes.size());
    if (in_front > 0) racy_copy(front.get() + offset, bytes.data(), in_front);
    const std::string_view behind = bytes.substr(in_front);
    if (!behind.empty()) std::memcpy(back.data() + back_index(offset, in_front), behind.data(), behind.size());
  }

  // What is added reads as zeros, what is taken away is gone for good.
  void resize(uint64_t new_size) {
    const uint64_t old_end = std::min<uint64_t>(size, front_bytes);
    const uint64_t new_end = std::min<uint64_t>(new_size, front_bytes);
    if (new_end < old_end) std::memset(front.get() + new_end, 0, old_end - new_end);
    forbid_front_from(new_end);
    check_untouched(old_end, new_end);
    back.resize(new_size - new_end);
    size = new_size;
  }

  // 0, or errno.
  int map(uint64_t capacity, char** out) {
    if (capacity == 0) return EINVAL;
    if (mappings == 0) {
      front.reset(static_cast<char*>(std::calloc(capacity, 1)));  // pages that nobody touches cost nothing
      if (front == nullptr) return ENOMEM;
      front_bytes = capacity;
      const size_t moved = std::min<uint64_t>(size, capacity);
      back.copy(front.get(), moved);
      back.erase(0, moved);
      forbid_front_from(moved);
    }
    if (capacity > front_bytes) return ENOMEM;  // growing would move the other handle's mapping
    ++mappings;
    *out = front.get();
    return 0;
  }

  void unmap() {
    KV_ASSERT(mappings > 0);
    if (--mappings > 0) return;
    forbid_front_from(front_bytes);
    check_untouched(std::min<uint64_t>(size, front_bytes), front_bytes);
    back.insert(0, front.get(), std::min<uint64_t>(size, front_bytes));
    front.reset();
    front_bytes = 0;
  }

 private:
  size_t count_in_front(uint64_t offset, size_t count) const {
    return offset < front_bytes ? std::min<uint64_t>(count, front_bytes - offset) : 0;
  }
  // Where in `back` the first byte behind the ones in front stands.
  size_t back_index(uint64_t offset, size_t in_front) const { return offset + in_front - front_bytes; }

  // Touching a mapping beyond the file's size is SIGBUS on a real one. Here a store there is found when the file
  // grows over it or is unmapped, and under AddressSanitizer any access at once. Near the end, where a mistake would be: a
  // mapping may be a thousand times as large as its file.
  static constexpr uint64_t kWatchedBytes = uint64_t{1} << 20;
  void check_untouched(uint64_t begin, uint64_t end) const {
    end = std::min(end, begin + kWatchedBytes);
    const bool stored_beyond_the_files_size =
        begin < end && std::any_of(front.get() + begin, front.get() + end, [](char byte) { return byte != 0; });
    KV_ASSERT(!stored_beyond_the_files_size);
  }
  void forbid_front_from([[maybe_unused]] uint64_t offset) const {
#if defined(KVSTORE_ADDRESS_SANITIZER)
    ASAN_UNPOISON_MEMORY_REGION(front.get(), std::min(front_bytes, offset + kWatchedBytes));
    ASAN_POISON_MEMORY_REGION(front.get() + offset, std::min(front_bytes - offset, kWatchedBytes));
#endif
  }
};

namespace {

class MemFile final : public File {
 public:
  MemFile(std::shared_ptr<MemInode> inode, std::string path, bool writable)
      : inode_(std::move(inode)), path_(std::move(path)), writable_(writable) {}
  ~MemFile() override { unmap(); }

  Result<size_t> read_at(uint64_t offset, std::span<char> out) override {
    const std::lock_guard guard(inode_->mutex);
    return inode_->read(offset, out);
  }
  Status write_at(uint64_t offset, std::string_view bytes) override {
    if (!writable_) return failure(EBADF, "write", path_, offset);
    const std::lock_guard guard(inode_->mutex);
    inode_->write(offset, bytes);
    return {};
  }
  Result<uint64_t> size() override {
    const std::lock_guard guard(inode_->mutex);
    return inode_->size;
  }
  Status truncate(uint64_t size) override {
    if (!writable_) return failure(EINVAL, "truncate", path_, size);
    const std::lock_guard guard(inode_->mutex);
    inode_->resize(size);
    return {};
  }
  Status sync() override { return {}; }
  void start_writeback(uint64_t, uint64_t) override {}
  void prepare_pages(uint64_t, uint64_t) override {}
  void let_go_of_pages(uint64_t, uint64_t) override {}

  Result<char*> map(uint64_t capacity) override {
    KV_ASSERT(!mapped_);
    if (!writable_) return failure(EACCES, "map", path_);
    const std::lock_guard guard(inode_->mutex);
    char* address = nullptr;
    if (const int error = inode_->map(capacity, &address); error != 0) return failure(error, "map", path_);
    mapped_ = true;
    return address;
  }
  void unmap() override {
    if (!std::exchange(mapped_, false)) return;
    const std::lock_guard guard(inode_->mutex);
    inode_->unmap();
  }

 private:
  std::shared_ptr<MemInode> inode_;
  std::string path_;
  bool writable_;
  bool mapped_ = false;
};

class MemLock final : public FileLock {
 public:
  MemLock(const std::shared_ptr<MemInode>& inode, std::string path)
      : inode_(inode), file_(inode, std::move(path), true) {}
  ~MemLock() override {
    const std::lock_guard guard(inode_->mutex);
    inode_->locked = false;
  }
  File& file() override { return file_; }
  bool still_named() override { return true; }

 private:
  std::shared_ptr<MemInode> inode_;
  MemFile file_;
};

std::string parent_of(const std::string& normal_path) {
  const size_t slash = normal_path.rfind('/');
  return slash == std::string::npos ? std::string() : normal_path.substr(0, slash);
}

}  // namespace

// ---- names ----------------------------------------------------------------------------------------------------

std::string MemEnv::normal(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      out = parent_of(out);
      continue;
    }
    if (!out.empty()) out += '/';
    out += name;
  }
  return out;
}

bool MemEnv::is_dir_at(const std::string& normal_path) const {
  if (normal_path.empty()) return true;
  const auto it = entries_.find(normal_path);
  return it != entries_.end() && it->second == nullptr;
}

int MemEnv::blocked_above(const std::string& normal_path) const {
  const std::string dir = parent_of(normal_path);
  if (dir.empty()) return 0;
  if (const auto it = entries_.find(dir); it != entries_.end()) return it->second == nullptr ? 0 : ENOTDIR;
  const int error = blocked_above(dir);  // a file further up says more than that something is missing
  return error != 0 ? error : ENOENT;
}

std::vector<std::string> MemEnv::children_of(const std::string& normal_dir) const {
  const std::string prefix = normal_dir.empty() ? std::string() : normal_dir + '/';
  std::vector<std::string> names;
  for (auto it = entries_.lower_bound(prefix); it != entries_.end() && it->first.starts_with(prefix); ++it) {
    std::string name = it->first.substr(prefix.size());
    if (name.find('/') == std::string::npos) names.push_back(std::move(name));
  }
  return names;
}

// ---- for tests ------------------------------------------------------------------------------------------------

void MemEnv::put_file(const std::string& path, std::string_view content) {
  const std::string name = normal(path);
  const std::lock_guard guard(mutex_);
  for (std::string dir = parent_of(name); !dir.empty(); dir = parent_of(dir)) {
    KV_ASSERT(!entries_.contains(dir) || is_dir_at(dir));
    entries_.emplace(dir, nullptr);
  }
  KV_ASSERT(!is_dir_at(name));
  auto inode = std::make_shared<MemInode>();
  inode->write(0, content);
  entries_[name] = std::move(inode);
}

std::optional<std::string> MemEnv::get_file(const std::string& path) const {
  const std::lock_guard guard(mutex_);
  const auto it = entries_.find(normal(path));
  if (it == entries_.end() || it->second == nullptr) return std::nullopt;
  const MemInode& inode = *it->second;
  const std::lock_guard inode_guard(inode.mutex);
  std::string content(inode.size, '\0');
  inode.read(0, content);
  return content;
}

bool MemEnv::is_dir(const std::string& path) const {
  const std::lock_guard guard(mutex_);
  return is_dir_at(normal(path));
}

std::vector<std::string> MemEnv::files() const {
  const std::lock_guard guard(mutex_);
  std::vector<std::string> paths;
  for (const auto& [path, entry] : entries_) {
    if (entry != nullptr) paths.push_back(path);
  }
  return paths;
}

// ---- Env ------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<File>> MemEnv::open(const std::string& path, OpenMode mode) {
  const bool create = mode == OpenMode::kCreate;
  const std::string_view step = create                         ? "create"
                                : mode == OpenMode::kReadWrite ? "open for writing"
                                                               : "open for reading";
  const std::string name = normal(path);
  const std::lock_guard guard(mutex_);
  if (const int error = blocked_above(name); error != 0) return failure(error, step, path);
  if (create) {
    if (is_dir_at(name) || entries_.contains(name)) return failure(EEXIST, step, path);
    entries_[name] = std::make_shared<MemInode>();
  }
  if (is_dir_at(name)) return failure(EISDIR, step, path);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return failure(ENOENT, step, path);
  return std::unique_ptr<File>(std::make_unique<MemFile>(it->second, path, mode != OpenMode::kRead));
}

Status MemEnv::rename(const std::string& from, const std::string& to) {
  const std::string step = "rename " + from + " to";
  const std::string source = normal(from);
  const std::string target = normal(to);
  const std::lock_guard guard(mutex_);
  for (const std::string& name : {source, target}) {
    if (const int error = blocked_above(name); error != 0) return failure(error, step, to);
  }
  const auto it = entries_.find(source);
  if (it == entries_.end()) return failure(ENOENT, step, to);
  if (source == target) return {};
  const bool moves_dir = it->second == nullptr;
  if (moves_dir && target.starts_with(source + '/')) return failure(EINVAL, step, to);  // into itself
  if (const auto old = entries_.find(target); old != entries_.end() || target.empty()) {
    const bool replaces_dir = is_dir_at(target);
    if (replaces_dir && !moves_dir) return failure(EISDIR, step, to);
    if (!replaces_dir && moves_dir) return failure(ENOTDIR, step, to);
    if (replaces_dir && !children_of(target).empty()) return failure(ENOTEMPTY, step, to);
  }
  entries_[target] = it->second;
  entries_.erase(source);
  if (!moves_dir) return {};
  // Everything below moves along. Extracted nodes keep their inode; only the front of the name changes.
  const std::string below = source + '/';
  for (auto child = entries_.lower_bound(below); child != entries_.end() && child->first.starts_with(below);
       child = entries_.lower_bound(below)) {
    auto node = entries_.extract(child);
    node.key() = target + node.key().substr(source.size());
    entries_.insert(std::move(node));
  }
  return {};
}

Status MemEnv::remove(const std::string& path) {
  const std::string name = normal(path);
  const std::lock_guard guard(mutex_);
  if (const int error = blocked_above(name); error != 0) return failure(error, "remove", path);
  if (is_dir_at(name)) return failure(EISDIR, "remove", path);
  return entries_.erase(name) == 1 ? Status() : failure(ENOENT, "remove", path);
}

Result<std::vector<std::string>> MemEnv::list(const std::string& dir) {
  const std::string name = normal(dir);
  const std::lock_guard guard(mutex_);
  if (const int error = blocked_above(name); error != 0) return failure(error, "list", dir);
  if (!is_dir_at(name)) return failure(entries_.contains(name) ? ENOTDIR : ENOENT, "list", dir);
  return children_of(name);
}

Status MemEnv::create_dir(const std::string& dir) {
  const std::string name = normal(dir);
  const std::lock_guard guard(mutex_);
  if (const int error = blocked_above(name); error != 0) return failure(error, "create directory", dir);
  if (is_dir_at(name)) return {};
  if (entries_.contains(name)) return failure(EEXIST, "create directory", dir);
  entries_.emplace(name, nullptr);
  return {};
}

Status MemEnv::sync_dir(const std::string& dir) {
  const std::string name = normal(dir);
  const std::lock_guard guard(mutex_);
  if (const int error = blocked_above(name); error != 0) return failure(error, "open for syncing", dir);
  if (!is_dir_at(name)) return failure(entries_.contains(name) ? ENOTDIR : ENOENT, "open for syncing", dir);
  return {};
}

Result<std::unique_ptr<FileLock>> MemEnv::lock(const std::string& path) {
  const std::string name = normal(path);
  const std::lock_guard guard(mutex_);
  if (const int error = blocked_above(name); error != 0) return failure(error, "lock", path);
  if (is_dir_at(name)) return failure(EISDIR, "lock", path);
  Entry& entry = entries_[name];
  if (entry == nullptr) entry = std::make_shared<MemInode>();
  const std::lock_guard inode_guard(entry->mutex);
  if (std::exchange(entry->locked, true)) return held_by_another(path);
  return std::unique_ptr<FileLock>(std::make_unique<MemLock>(entry, path));
}

bool MemEnv::is_locked(const std::string& path) {
  const std::lock_guard guard(mutex_);
  const auto it = entries_.find(normal(path));
  if (it == entries_.end() || it->second == nullptr) return false;
  const std::lock_guard inode_guard(it->second->mutex);
  return it->second->locked;
}

std::string MemEnv::new_uuid() {
  const std::lock_guard guard(mutex_);
  const std::string seed = std::to_string(seed_ % 100'000'000);
  const std::string count = std::to_string(++uuid_count_);
  return std::string(8 - seed.size(), '0') + seed + "-0000-4000-8000-" + std::string(12 - count.size(), '0') + count;
}

}  // namespace kvstore::env
