// Decimal digits, eight at a time inside one 64-bit register: numbers are most of a line's fixed cost.
// Writing follows P. Khuong, "How to print integers really fast" (2017); reading is the usual pairwise
// widening (digits -> pairs -> fours -> eight), as described by D. Lemire and W. Mula. Pure.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kvstore/base/assert.h"
#include "kvstore/format/record.h"

namespace kvstore::format {

inline constexpr size_t kDigitsMax = 16;   // of kIntegerMax
inline constexpr size_t kDigitsRoom = 24;  // what write_digits() may touch

// Eight bytes of text as a number whose lowest byte is the first character, on any machine.
[[nodiscard]] inline uint64_t load_text(const char* text) noexcept {
  uint64_t word = 0;
  std::memcpy(&word, text, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}
inline void store_text(char* out, uint64_t word) noexcept {
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  std::memcpy(out, &word, sizeof word);
}

// The eight digits of `value` as byte values 0..9, the most significant in the lowest byte.
// Needs: value < 10^8.
[[nodiscard]] inline uint64_t split_digits(uint32_t value) noexcept {
  const uint64_t fours = (value / 10000) | uint64_t{value % 10000} << 32;
  const uint64_t high_pairs = ((fours * 10486) >> 20) & 0x0000007f0000007f;  // x/100 == x*10486>>20 below 10^4
  const uint64_t pairs = high_pairs | (fours - 100 * high_pairs) << 16;
  const uint64_t tens = ((pairs * 103) >> 10) & 0x000f000f000f000f;  // x/10 == x*103>>10 below 100
  return tens | (pairs - 10 * tens) << 8;
}

// Writes `value` in decimal and returns the end of the digits. Bytes behind them, up to kDigitsRoom from
// `out`, may be overwritten. Needs: value <= kIntegerMax, room for kDigitsRoom bytes.
[[nodiscard]] inline char* write_digits(char* out, uint64_t value) noexcept {
  constexpr uint64_t kZeros = 0x3030303030303030;
  constexpr uint64_t kEightDigits = 100'000'000;
  KV_DASSERT(value <= kIntegerMax);
  const uint64_t head = value < kEightDigits ? value : value / kEightDigits;
  const uint64_t digits = split_digits(static_cast<uint32_t>(head));
  const unsigned leading = static_cast<unsigned>(std::countr_zero(digits | uint64_t{1} << 56)) / 8;
  store_text(out, (digits | kZeros) >> 8 * leading);
  out += 8 - leading;
  if (value < kEightDigits) return out;
  store_text(out, split_digits(static_cast<uint32_t>(value % kEightDigits)) | kZeros);
  return out + 8;
}

// The eight lower-case hexadecimal digits of `value`, as store_text() wants them.
[[nodiscard]] inline uint64_t hex_digits(uint32_t value) noexcept {
  uint64_t nibbles = value;  // spread by halves, the most significant first: 2 x 4 digits, 4 x 2, 8 x 1
  nibbles = (nibbles >> 16 & 0x0000ffff) | (nibbles & 0x0000ffff) << 32;
  nibbles = (nibbles >> 8 & 0x000000ff000000ff) | (nibbles & 0x000000ff000000ff) << 16;
  nibbles = (nibbles >> 4 & 0x000f000f000f000f) | (nibbles & 0x000f000f000f000f) << 8;
  const uint64_t letters = (nibbles + 0x0606060606060606) >> 4 & 0x0101010101010101;  // 1 where the digit is a..f
  return nibbles + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

// The number that eight digit values (as split_digits() gives them) stand for.
[[nodiscard]] inline uint64_t join_digits(uint64_t digits) noexcept {
  constexpr uint64_t kEvenFours = 0x000000ff000000ff;
  digits = digits * 10 + (digits >> 8);  // pairs, in the even bytes
  return ((digits & kEvenFours) * (100 + (uint64_t{1'000'000} << 32)) +
          ((digits >> 16) & kEvenFours) * (1 + (uint64_t{10'000} << 32))) >>
         32;
}

// Reads a whole number 0..kIntegerMax in its only legal spelling: plain digits, no leading zero. Returns
// the end of its digits, or nullptr when there is no such number. Reads 8 bytes a time but never at or
// behind `limit`; a number too close to `limit` to be followed by anything may be refused, which a caller
// with text behind the number (a seal) never meets. Needs: text <= limit.
[[nodiscard]] inline const char* read_digits(const char* text, const char* limit, uint64_t* value) noexcept {
  if (limit - text < 17) return nullptr;
  const auto leading_digits = [](uint64_t word) {  // how many of the eight bytes are digit values, from the first
    // A carry out of a byte can only disturb the bytes behind it, and the first hit is all we look at.
    const uint64_t others = ((word + 0x7676767676767676) | word) & 0x8080808080808080;
    return others == 0 ? 8u : static_cast<unsigned>(std::countr_zero(others)) / 8;
  };
  constexpr uint64_t kZeros = 0x3030303030303030;
  const uint64_t first = load_text(text) ^ kZeros;
  const unsigned head = leading_digits(first);
  if (head == 0) return nullptr;
  if (*text == '0' && head > 1) return nullptr;
  *value = join_digits(first << (64 - 8 * head));
  if (head < 8) return text + head;
  const uint64_t second = load_text(text + 8) ^ kZeros;
  const unsigned tail = leading_digits(second);
  if (tail == 0) return text + 8;
  if (tail == 8 && text[16] >= '0' && text[16] <= '9') return nullptr;
  constexpr uint64_t kPowers[] = {1, 10, 100, 1000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000};
  *value = *value * kPowers[tail] + join_digits(second << (64 - 8 * tail));
  return *value <= kIntegerMax ? text + 8 + tail : nullptr;
}

}  // namespace kvstore::format
