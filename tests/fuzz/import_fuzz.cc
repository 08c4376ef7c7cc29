// make fuzz runs this; tests/support/kvctl_import_fuzz.h says what it checks.
#include "tests/support/kvctl_import_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvstore::testing::fuzz_import(data, size);
  return 0;
}
