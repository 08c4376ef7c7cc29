// The body of the codec fuzzer: any bytes at all, as a log line, as a sealed log line, as a JSON document and
// as a value. Shared by tests/fuzz/codec_fuzz.cc, which libFuzzer drives, and by the unit test that replays
// the committed corpus.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvstore::testing {

// Aborts when a promise of the codec does not hold for these bytes.
void fuzz_codec(const uint8_t* data, size_t size);

}  // namespace kvstore::testing
