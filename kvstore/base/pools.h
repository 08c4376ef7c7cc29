// The three pools of a store: one mechanism, three kinds of use. kvstore/pools.h shows them to the outside.
#pragma once

#include <cstddef>

#include "kvstore/base/pool.h"
#include "kvstore/stats.h"

namespace kvstore::base {

// Where a pool starts until it has seen what is needed.
inline constexpr size_t kSliceBytes = 512;      // one JSON text of a few fields
inline constexpr size_t kBufferBytes = 1024;    // one log line, or some rows of output
inline constexpr size_t kDocumentBytes = 2048;  // a document of 16 fields with short names and values

struct Pools {
  // Each pool keeps to these limits; start_bytes is the pools' own affair.
  explicit Pools(const PoolOptions& options)
      : slices(starting(options, kSliceBytes)),
        buffers(starting(options, kBufferBytes)),
        documents(starting(options, kDocumentBytes)) {}

  size_t release_idle() noexcept { return slices.release_idle() + buffers.release_idle() + documents.release_idle(); }
  void age() noexcept { slices.age(), buffers.age(), documents.age(); }
  [[nodiscard]] PoolsStats stats() const noexcept {
    return {.slices = slices.stats(), .buffers = buffers.stats(), .documents = documents.stats()};
  }

  BufferPool slices;
  BufferPool buffers;
  ArenaPool documents;

 private:
  static PoolOptions starting(PoolOptions options, size_t start_bytes) {
    options.start_bytes = start_bytes;
    return options;
  }
};

}  // namespace kvstore::base
