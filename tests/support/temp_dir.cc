#include "tests/support/temp_dir.h"

#include <stdlib.h>

#include <cstdio>
#include <system_error>

namespace kvstore::testing {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "kvstore-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace kvstore::testing
