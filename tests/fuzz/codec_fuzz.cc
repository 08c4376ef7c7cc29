// make fuzz runs this; tests/support/format_fuzz.h says what it checks.
#include "tests/support/format_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvstore::testing::fuzz_codec(data, size);
  return 0;
}
