// What the first line of a segment or a snapshot says of its file, for whoever wants to know that and no more.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/status.h"

namespace kvstore::wal {

struct FileHeader {
  bool is_snapshot = false;
  std::string store{};     // uuid
  format::Seq number = 0;  // first_seq of a segment, last_seq of a snapshot
  uint32_t format = 0;
  int64_t created_us = 0;
  uint64_t offset = 0;   // of the line: 0, unless blank ones stand before it
  bool newline = false;  // the line ends in one
};

// nullopt: the first line that is not blank is no intact header of a known format. Looks at the first kilobyte alone.
Result<std::optional<FileHeader>> read_header(env::File& file);

}  // namespace kvstore::wal
