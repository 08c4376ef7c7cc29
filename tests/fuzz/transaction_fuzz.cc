// make fuzz runs this; tests/support/transaction_fuzz.h says what it checks.
#include "tests/support/transaction_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvstore::testing::fuzz_transactions(data, size);
  return 0;
}
