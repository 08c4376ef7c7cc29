#include "kvstore/wal/file_header.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/base/scratch.h"
#include "kvstore/format/decode.h"

namespace kvstore::wal {

Result<std::optional<FileHeader>> read_header(env::File& file) {
  std::array<char, 1024> bytes;  // a header is shorter
  Result<size_t> got = file.read_at(0, bytes);
  if (!got.ok()) return std::move(got).status();
  std::string_view text(bytes.data(), *got);
  const size_t offset = std::min(text.find_first_not_of(format::kBlankBytes), text.size());
  text.remove_prefix(offset);
  std::vector<format::Op> ops;
  base::Scratch scratch;
  const size_t newline = text.find('\n');
  const format::Line line = format::decode(text.substr(0, newline), ops, scratch);
  if (line.kind == format::LineKind::kSegmentHeader) {
    const format::SegmentHeader& header = line.header;
    return std::optional(FileHeader{.is_snapshot = false,
                                    .store = std::string(header.store),
                                    .number = header.first_seq,
                                    .format = header.format,
                                    .created_us = header.created_us,
                                    .offset = offset,
                                    .newline = newline != std::string_view::npos});
  }
  if (line.kind == format::LineKind::kSnapshotHeader) {
    const format::SnapshotHeader& header = line.snapshot;
    return std::optional(FileHeader{.is_snapshot = true,
                                    .store = std::string(header.store),
                                    .number = header.last_seq,
                                    .format = header.format,
                                    .created_us = header.created_us,
                                    .offset = offset,
                                    .newline = newline != std::string_view::npos});
  }
  return std::optional<FileHeader>();
}

}  // namespace kvstore::wal
