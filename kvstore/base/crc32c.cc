#include "kvstore/base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvstore::base {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // reflected: bit 31 is the coefficient of x^0

using Table = std::array<uint32_t, 256>;

constexpr Table make_byte_table() {
  Table table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}
constexpr Table kByteTable = make_byte_table();

// a * b modulo the polynomial.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = uint32_t{1} << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ ((b & 1) ? kPolynomial : 0);
  }
  return product;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(const char* data, size_t size, uint32_t crc) noexcept {
  uint64_t state = ~crc;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    state = _mm_crc32_u64(state, word);
  }
  for (; size > 0; ++data, --size) {
    state = _mm_crc32_u8(static_cast<uint32_t>(state), static_cast<uint8_t>(*data));
  }
  return ~static_cast<uint32_t>(state);
}
#endif

}  // namespace

bool crc32c_is_hardware() noexcept {
#if defined(__x86_64__)
  static const bool supported = __builtin_cpu_supports("sse4.2") != 0;
  return supported;
#else
  return false;
#endif
}

uint32_t crc32c_portable(std::string_view bytes, uint32_t crc) noexcept {
  uint32_t state = ~crc;
  for (const char c : bytes) state = (state >> 8) ^ kByteTable[(state ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~state;
}

uint32_t crc32c(std::string_view bytes, uint32_t crc) noexcept {
#if defined(__x86_64__)
  if (crc32c_is_hardware()) return crc32c_sse42(bytes.data(), bytes.size(), crc);
#endif
  return crc32c_portable(bytes, crc);
}

uint32_t crc32c_shift(size_t size) noexcept {
  uint32_t shift = uint32_t{1} << 31;       // x^0
  uint32_t square = uint32_t{1} << (31 - 8);  // x^8
  for (; size != 0; size >>= 1, square = multiply(square, square)) {
    if (size & 1) shift = multiply(shift, square);
  }
  return shift;
}

uint32_t crc32c_join(uint32_t crc_a, uint32_t crc_b, uint32_t shift_of_b) noexcept {
  return multiply(crc_a, shift_of_b) ^ crc_b;
}

}  // namespace kvstore::base
