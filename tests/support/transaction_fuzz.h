// The body of the transaction fuzzer: bytes are a script for four transactions at once and for writes beside them, on one
// thread. A model keeps the state after every commit, and knows which reads a commit must and may refuse. Shared by
// tests/fuzz/transaction_fuzz.cc and the unit test that replays the committed corpus.
//
// A script is a row of three-byte steps: what to do (letter), which transaction and key, which value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvstore::testing {

// Aborts when a promise does not hold for this script.
void fuzz_transactions(const uint8_t* data, size_t size);

}  // namespace kvstore::testing
