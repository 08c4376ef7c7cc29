// SwappingEnv: a MemEnv whose disk takes one file and gives back another. For those who read back what they have written.
#pragma once

#include <memory>
#include <string>

#include "kvstore/env/mem_env.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {

class SwappingEnv final : public env::MemEnv {
 public:
  // A file whose path contains `path_part` holds `bytes` once it is opened to be read.
  std::string path_part;
  std::string bytes;

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    if (mode == env::OpenMode::kRead && !path_part.empty() && path.find(path_part) != std::string::npos)
      put_file(path, bytes);
    return MemEnv::open(path, mode);
  }
  std::string new_uuid() override { return std::string(kStoreUuid); }  // so that a file written by hand fits in
};

}  // namespace kvstore::testing
