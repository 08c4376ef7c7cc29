#include "tests/support/temp_dir.h"

#include <cstdlib>
#include <system_error>

#include "kvstore/base/assert.h"

namespace kvstore::testing {

TempDir::TempDir() {
  path_ = (std::filesystem::temp_directory_path() / "kvstore-test-XXXXXX").string();
  const char* made = ::mkdtemp(path_.data());
  KV_ASSERT(made != nullptr);
}

TempDir::~TempDir() {
  std::error_code ignored;  // a test that fails to clean up has failed for a better reason
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace kvstore::testing
