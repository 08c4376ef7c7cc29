// The body of the import fuzzer: any bytes as a file that kvctl imports (JSON lines, TSV, CSV) or takes as a batch. Shared
// by tests/fuzz/import_fuzz.cc and the unit test that replays the committed corpus.
//
// The first byte chooses the kind of file: t, c, b; any other stands for JSON lines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvstore::testing {

// Aborts when a promise does not hold for these bytes.
void fuzz_import(const uint8_t* data, size_t size);

}  // namespace kvstore::testing
