// make fuzz runs this; tests/support/store_fuzz.h says what it checks.
#include "tests/support/store_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvstore::testing::fuzz_replay(data, size);
  return 0;
}
