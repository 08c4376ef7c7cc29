#include "tests/support/fault_env.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/env/failure.h"

namespace kvstore::testing {

using env::failure;
using env::File;
using env::FileLock;
using env::OpenMode;

namespace {

Status injected(const FaultEnv::Fault& fault, EnvOp op, const std::string& path,
                std::optional<uint64_t> offset = std::nullopt) {
  return failure(fault.sys_errno, name_of(op), path, offset).with("injected");
}

}  // namespace

template <typename Call>
auto FaultEnv::perform(EnvOp op, const std::string& path, Call call) -> decltype(call()) {
  const std::optional<Fault> fault = next_call(op, path);
  if (!fault) return call();
  if (fault->takes_effect) (void)call();
  return injected(*fault, op, path);
}

class FaultFile final : public File {
 public:
  FaultFile(FaultEnv& env, std::string path, std::unique_ptr<File> file, std::unique_ptr<FileLock> lock)
      : env_(env), path_(std::move(path)), lock_(std::move(lock)), file_(std::move(file)) {}

  Result<size_t> read_at(uint64_t offset, std::span<char> out) override {
    return env_.perform(EnvOp::kRead, path_, [&] { return real().read_at(offset, out); });
  }
  Status write_at(uint64_t offset, std::string_view bytes) override {
    const std::optional<FaultEnv::Fault> fault = env_.next_call(EnvOp::kWrite, path_);
    if (!fault) return write(offset, bytes);
    const size_t written = fault->takes_effect ? bytes.size() : std::min<uint64_t>(fault->bytes_written, bytes.size());
    (void)write(offset, bytes.substr(0, written));
    return injected(*fault, EnvOp::kWrite, path_, offset + written);
  }
  Result<uint64_t> size() override {
    return env_.perform(EnvOp::kSize, path_, [&] { return real().size(); });
  }
  Status truncate(uint64_t size) override {
    return env_.perform(EnvOp::kTruncate, path_, [&] {
      return env_.disk_is_limited() ? env_.cut_on_limited_disk(real(), size) : real().truncate(size);
    });
  }
  Status sync() override {
    return env_.perform(EnvOp::kSync, path_, [&] { return real().sync(); });
  }
  bool has_name() override { return real().has_name(); }
  bool own(bool owned) override { return real().own(owned); }
  void start_writeback(uint64_t offset, uint64_t count) override { real().start_writeback(offset, count); }
  void prepare_pages(uint64_t offset, uint64_t count) override { real().prepare_pages(offset, count); }
  void let_go_of_pages(uint64_t offset, uint64_t count) override { real().let_go_of_pages(offset, count); }
  Result<char*> map(uint64_t capacity) override {
    // A mapping that was made and then not handed out would stay for ever, so here a fault never takes effect.
    const std::optional<FaultEnv::Fault> fault = env_.next_call(EnvOp::kMap, path_);
    if (fault) return injected(*fault, EnvOp::kMap, path_);
    return real().map(capacity);
  }
  void unmap() override { real().unmap(); }

 private:
  File& real() { return lock_ != nullptr ? lock_->file() : *file_; }
  Status write(uint64_t offset, std::string_view bytes) {
    return env_.disk_is_limited() ? env_.write_to_limited_disk(real(), path_, offset, bytes)
                                  : real().write_at(offset, bytes);
  }

  FaultEnv& env_;
  const std::string path_;
  const std::unique_ptr<FileLock> lock_;  // given back on destruction; null for a file opened without
  const std::unique_ptr<File> file_;      // null with a lock
};

namespace {

class FaultLock final : public FileLock {
 public:
  explicit FaultLock(std::unique_ptr<FaultFile> file) : file_(std::move(file)) {}
  File& file() override { return *file_; }
  bool still_named() override { return true; }

 private:
  const std::unique_ptr<FaultFile> file_;
};

}  // namespace

// ---- orders and counts ----------------------------------------------------------------------------------------

void FaultEnv::fail(Fault fault) {
  KV_ASSERT(fault.nth > 0);
  const std::lock_guard guard(mutex_);
  faults_.push_back(std::move(fault));
}

void FaultEnv::heal() {
  const std::lock_guard guard(mutex_);
  faults_.clear();
}

std::optional<FaultEnv::Fault> FaultEnv::next_call(EnvOp op, const std::string& path) {
  const std::lock_guard guard(mutex_);
  ++calls_[static_cast<size_t>(op)];
  std::optional<Fault> hit;
  for (auto it = faults_.begin(); it != faults_.end();) {
    const bool fits = it->op.value_or(op) == op && path.find(it->path_part) != std::string::npos;
    if (fits && it->nth > 1) {
      --it->nth;
    } else if (fits) {
      if (!hit) hit = *it, ++failures_;
      if (!it->from_then_on) {
        it = faults_.erase(it);
        continue;
      }
    }
    ++it;
  }
  return hit;
}

uint64_t FaultEnv::calls() const {
  const std::lock_guard guard(mutex_);
  return std::accumulate(calls_.begin(), calls_.end(), uint64_t{0});
}

uint64_t FaultEnv::calls(EnvOp op) const {
  const std::lock_guard guard(mutex_);
  return calls_[static_cast<size_t>(op)];
}

uint64_t FaultEnv::failures() const {
  const std::lock_guard guard(mutex_);
  return failures_;
}

// ---- the size of the disk -------------------------------------------------------------------------------------

void FaultEnv::disk_full_after(uint64_t bytes) {
  const std::lock_guard guard(mutex_);
  room_ = bytes;
}

void FaultEnv::give_room(uint64_t bytes) {
  const std::lock_guard guard(mutex_);
  if (room_) *room_ += bytes;
}

void FaultEnv::disk_never_full() {
  const std::lock_guard guard(mutex_);
  room_.reset();
}

std::optional<uint64_t> FaultEnv::room() const {
  const std::lock_guard guard(mutex_);
  return room_;
}

bool FaultEnv::disk_is_limited() const { return room().has_value(); }

Status FaultEnv::write_to_limited_disk(File& file, const std::string& path, uint64_t offset, std::string_view bytes) {
  const std::lock_guard guard(mutex_);
  const Result<uint64_t> size = file.size();
  if (!size.ok()) return size.status();
  const uint64_t end = offset + bytes.size();
  const uint64_t added = end > *size ? std::min<uint64_t>(bytes.size(), end - *size) : 0;
  const uint64_t granted = std::min(added, room_.value_or(added));
  const size_t fitting = bytes.size() - static_cast<size_t>(added - granted);
  Status status = file.write_at(offset, bytes.substr(0, fitting));
  if (!status.ok()) return status;
  if (room_) *room_ -= granted;
  if (fitting == bytes.size()) return {};
  ++failures_;
  return failure(ENOSPC, "write", path, offset + fitting);
}

Status FaultEnv::cut_on_limited_disk(File& file, uint64_t size) {
  const std::lock_guard guard(mutex_);
  const Result<uint64_t> old_size = file.size();
  Status status = file.truncate(size);
  if (status.ok() && old_size.ok() && *old_size > size && room_) *room_ += *old_size - size;
  return status;
}

uint64_t FaultEnv::size_of(const std::string& path) {
  const auto file = real_.open(path, OpenMode::kRead);
  if (!file.ok()) return 0;
  const Result<uint64_t> size = (*file)->size();
  return size.ok() ? *size : 0;
}

// ---- Env ------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<File>> FaultEnv::open(const std::string& path, OpenMode mode) {
  const EnvOp op = mode == OpenMode::kCreate ? EnvOp::kCreate : EnvOp::kOpen;
  return perform(op, path, [&]() -> Result<std::unique_ptr<File>> {
    Result<std::unique_ptr<File>> file = real_.open(path, mode);
    if (!file.ok()) return file;
    return std::unique_ptr<File>(std::make_unique<FaultFile>(*this, path, std::move(*file), nullptr));
  });
}

Result<std::unique_ptr<FileLock>> FaultEnv::lock(const std::string& path) {
  return perform(EnvOp::kLock, path, [&]() -> Result<std::unique_ptr<FileLock>> {
    Result<std::unique_ptr<FileLock>> lock = real_.lock(path);
    if (!lock.ok()) return lock;
    auto file = std::make_unique<FaultFile>(*this, path, nullptr, std::move(*lock));
    return std::unique_ptr<FileLock>(std::make_unique<FaultLock>(std::move(file)));
  });
}

Status FaultEnv::rename(const std::string& from, const std::string& to) {
  return perform(EnvOp::kRename, from, [&] {
    const uint64_t replaced = disk_is_limited() && from != to ? size_of(to) : 0;
    Status status = real_.rename(from, to);
    if (status.ok() && replaced > 0) give_room(replaced);
    return status;
  });
}

Status FaultEnv::remove(const std::string& path) {
  return perform(EnvOp::kRemove, path, [&] {
    const uint64_t removed = disk_is_limited() ? size_of(path) : 0;
    Status status = real_.remove(path);
    if (status.ok() && removed > 0) give_room(removed);
    return status;
  });
}

Result<std::vector<std::string>> FaultEnv::list(const std::string& dir) {
  return perform(EnvOp::kList, dir, [&] { return real_.list(dir); });
}

Status FaultEnv::create_dir(const std::string& dir) {
  return perform(EnvOp::kCreateDir, dir, [&] { return real_.create_dir(dir); });
}

Status FaultEnv::hold_dir(const std::string& dir) {
  return perform(EnvOp::kOpen, dir, [&] { return real_.hold_dir(dir); });
}

Status FaultEnv::sync_dir(const std::string& dir) {
  return perform(EnvOp::kSyncDir, dir, [&] { return real_.sync_dir(dir); });
}

}  // namespace kvstore::testing
