// Random records for the tests of format/: every kind of operation, keys and values from every corner of
// what bytes can be, sizes gathered around the block and chunk boundaries of the code under test.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/format/record.h"

namespace kvstore::testing {

using Rng = std::mt19937_64;

// Uniform in 0 .. count - 1. Needs: count > 0.
[[nodiscard]] uint64_t below(Rng& rng, uint64_t count);

// One character, from all ranges of code points alike (a surrogate never).
void append_code_point(std::string& out, uint32_t code_point);
[[nodiscard]] uint32_t random_code_point(Rng& rng);

enum class Texture : uint8_t { kAscii, kEscapes, kControls, kUnicode, kMixed, kBytes, kAlmostUtf8, kCount };
// `size` bytes (a few more for kUnicode and kMixed, whose characters are not cut).
[[nodiscard]] std::string random_bytes(Rng& rng, Texture texture, size_t size);
// 0 .. about 5000, mostly small, often next to a multiple of 16.
[[nodiscard]] size_t random_size(Rng& rng);
// A JSON document on one line, nested up to `depth`, with odd white space, number spellings and duplicates.
[[nodiscard]] std::string random_json(Rng& rng, int depth);

// A record that owns its bytes.
struct RandomRecord {
  format::Stamp stamp;
  bool is_batch = false;
  std::string by;
  std::vector<format::Op> ops;    // views into `bytes`
  std::deque<std::string> bytes;  // addresses stay
};
[[nodiscard]] RandomRecord random_record(Rng& rng);

}  // namespace kvstore::testing
