// An environment, and a file, that hand every call on: for tests that change one or two of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/env/env.h"

namespace kvstore::testing {

class ForwardingFile : public env::File {
 public:
  explicit ForwardingFile(std::unique_ptr<env::File> file) : file_(std::move(file)) {}
  Result<size_t> read_at(uint64_t offset, std::span<char> out) override { return file_->read_at(offset, out); }
  Status write_at(uint64_t offset, std::string_view bytes) override { return file_->write_at(offset, bytes); }
  Status write_in_pages(uint64_t offset, std::string_view bytes) override {
    return file_->write_in_pages(offset, bytes);
  }
  Result<uint64_t> size() override { return file_->size(); }
  Status truncate(uint64_t size) override { return file_->truncate(size); }
  Status sync() override { return file_->sync(); }
  void start_writeback(uint64_t offset, uint64_t count) override { file_->start_writeback(offset, count); }
  void prepare_pages(uint64_t offset, uint64_t count) override { file_->prepare_pages(offset, count); }
  void let_go_of_pages(uint64_t offset, uint64_t count) override { file_->let_go_of_pages(offset, count); }
  bool has_name() override { return file_->has_name(); }
  bool own(bool owned) override { return file_->own(owned); }
  Result<char*> map(uint64_t capacity) override { return file_->map(capacity); }
  void unmap() override { file_->unmap(); }

 private:
  std::unique_ptr<env::File> file_;
};

class ForwardingEnv : public env::Env {
 public:
  explicit ForwardingEnv(env::Env& real) : real_(real) {}  // needs: `real` outlives it
  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    return real_.open(path, mode);
  }
  Status rename(const std::string& from, const std::string& to) override { return real_.rename(from, to); }
  Status remove(const std::string& path) override { return real_.remove(path); }
  Result<std::vector<std::string>> list(const std::string& dir) override { return real_.list(dir); }
  Status create_dir(const std::string& dir) override { return real_.create_dir(dir); }
  Status sync_dir(const std::string& dir) override { return real_.sync_dir(dir); }
  Result<std::unique_ptr<env::FileLock>> lock(const std::string& path) override { return real_.lock(path); }
  bool is_locked(const std::string& path) override { return real_.is_locked(path); }
  Status hold_dir(const std::string& dir) override { return real_.hold_dir(dir); }
  int64_t pid() override { return real_.pid(); }
  std::string host() override { return real_.host(); }
  std::string new_uuid() override { return real_.new_uuid(); }

 private:
  env::Env& real_;
};

}  // namespace kvstore::testing
