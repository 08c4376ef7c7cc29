// The body of the replay fuzzer: a whole directory of any bytes is opened, verified and repaired. Shared by
// tests/fuzz/replay_fuzz.cc, which libFuzzer drives, and by the unit test that replays the committed corpus.
//
// An input is text, so that a person can write one:
//
//     == wal-00000000000000000001.jsonl
//     {"kvstore":"wal","format":1,"store":"…","first_seq":1,"created":1,"crc":"~"}
//     {"seq":1,"ts":1,"op":"put","key":"a","value":"1","crc":"~"}
//     == LOCK
//     …
//
// "crc":"~" at the end of a line stands for the right checksum, "whole":"~" in a snapshot's footer likewise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvstore::testing {

// Aborts when a promise does not hold for these bytes.
void fuzz_replay(const uint8_t* data, size_t size);

}  // namespace kvstore::testing
