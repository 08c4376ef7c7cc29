// Reading a log file in chunks of whole lines, and decoding chunks on several cores while the caller
// consumes them in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/buffer.h"
#include "kvstore/base/scratch.h"
#include "kvstore/env/env.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/record.h"
#include "kvstore/options.h"
#include "kvstore/status.h"

namespace kvstore::wal {

// One non-blank line of a chunk, reduced to what replay needs; the rest is decoded again on demand.
struct LineRef {
  format::LineKind kind = format::LineKind::kBlank;
  bool newline = false;  // ends in '\n'
  bool is_batch = false;
  uint32_t begin = 0;     // in Chunk::bytes
  uint32_t size = 0;      // without the newline
  uint32_t op_begin = 0;  // in Chunk::ops
  uint32_t op_count = 0;
  format::Stamp stamp{};
};

// Some whole lines of a file. Only the last chunk of a file may end in a line without a newline, and a
// line longer than kLineBytesMax arrives in pieces, each of which decodes as unsealed.
struct Chunk {
  base::Buffer bytes{};
  uint64_t offset = 0;            // of bytes[0] in the file
  std::vector<LineRef> lines{};   // blank lines left out
  std::vector<format::Op> ops{};  // point into bytes and scratch
  base::Scratch scratch{};

  [[nodiscard]] std::string_view text(const LineRef& line) const noexcept {
    KV_DASSERT(size_t{line.begin} + line.size <= bytes.size());
    return bytes.view().substr(line.begin, line.size);
  }
  [[nodiscard]] uint64_t offset_of(const LineRef& line) const noexcept { return offset + line.begin; }
  // Just behind the line and its newline.
  [[nodiscard]] uint64_t end_of(const LineRef& line) const noexcept {
    return offset_of(line) + line.size + (line.newline ? 1 : 0);
  }
};

// Accepted lines of one chunk, all of one kind: records of a segment, or entries of a snapshot. Good until the
// next call of the reader that handed them out.
struct Records {
  const Chunk* chunk = nullptr;
  std::span<const LineRef> lines{};
  std::string_view path{};    // of the file they stand in
  format::Seq first_seq = 0;  // of that file, if it is a segment: its path may change
};

// Fills `lines` and `ops` from `bytes`. Throws std::bad_alloc.
void decode_chunk(Chunk& chunk);

// Reads a file from a given offset to its end as it is when the end is reached. Not thread-safe.
class ChunkReader {
 public:
  // Needs: a line starts at `offset`.
  ChunkReader(env::File& file, uint64_t offset, size_t line_bytes_max = kLineBytesMax) noexcept
      : file_(file), offset_(offset), line_bytes_max_(line_bytes_max) {}
  // Fills chunk.bytes and chunk.offset; false at the end of the file. Throws std::bad_alloc.
  Result<bool> next(Chunk& chunk);

 private:
  env::File& file_;
  uint64_t offset_;     // of the next byte to hand out; carry_ holds the bytes from here on
  base::Buffer carry_;  // the head of a line whose end has not been read yet
  size_t line_bytes_max_;
  bool at_end_ = false;
};

// A ChunkReader whose chunks arrive decoded, in file order, by `threads` - 1 helper threads (0 and 1: by the
// caller itself). Used from one thread. Whatever the file holds, it takes no more memory than for the longest line that is
// allowed, twice, for that line's operations, and some megabytes a thread (a chunk of 256 KiB holds up to 131,072 lines).
class ChunkPipeline {
 public:
  ChunkPipeline(env::File& file, uint64_t offset, unsigned threads, size_t line_bytes_max = kLineBytesMax);
  ~ChunkPipeline();  // stops early if need be
  ChunkPipeline(const ChunkPipeline&) = delete;
  ChunkPipeline& operator=(const ChunkPipeline&) = delete;

  // The next chunk, nullptr at the end; good until the next call. kIoError, kOutOfMemory.
  Result<const Chunk*> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvstore::wal
