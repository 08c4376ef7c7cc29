// TempDir: a directory of the real file system that is gone when the test is over.
#pragma once

#include <filesystem>
#include <string>

namespace kvstore::testing {

class TempDir {
 public:
  TempDir();   // under $TMPDIR, or /tmp
  ~TempDir();  // with all that is in it
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace kvstore::testing
