#include "kvstore/base/crc32c.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

// The arithmetic. A checksum is a polynomial over GF(2), taken modulo P = 0x1EDC6F41, its bits reflected: bit 31 of
// a 32-bit word is the coefficient of x^0. Feeding n bytes to a checksum state multiplies it by x^(8n) and adds
// what the bytes themselves give from state 0. Hence three tricks:
//
//   Join.     The checksum of a+b is crc(a) * x^(8*|b|) + crc(b): no byte of b is needed.
//   Lanes.    The checksum instruction takes 3 cycles, but one may start in every cycle. So a long run is cut into
//             three equal lanes, summed side by side and joined at the end.
//   One step. Multiplying two reflected 32-bit words without carry gives a 64-bit word that means a*b*x, and one
//             checksum step over such a word from state 0 multiplies by x^32 modulo P. Together: a*b*x^33. So every
//             factor is kept divided by x^33 (that is "a shift"), and a product costs two instructions.
//
// Lanes and their join: V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction" (Intel,
// 2011). Here lanes have any length, since one table holds the shift for each.
namespace kvstore::base {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;
constexpr uint32_t kOne = uint32_t{1} << 31;  // x^0

constexpr uint32_t times_x(uint32_t a) { return (a >> 1) ^ ((a & 1) != 0 ? kPolynomial : 0); }
// P has the term x^0, so x has an inverse: undo times_x(), whose wrapped case is the one that set bit 31.
constexpr uint32_t divided_by_x(uint32_t a) { return (a & kOne) != 0 ? ((a ^ kPolynomial) << 1) | 1 : a << 1; }

constexpr uint64_t multiply_without_carry(uint32_t a, uint32_t b) {
  uint64_t product = 0;
  for (int bit = 0; bit < 32; ++bit) product ^= (uint64_t{b} << bit) & (0 - uint64_t{(a >> bit) & 1});
  return product;
}

// ---- Tables ---------------------------------------------------------------------------------------

// kSlices[i][byte]: what `byte` adds to the state, i more bytes of zeros later (slicing-by-8: M. Kounavis and F. Berry,
// "A Systematic Approach to Building High Performance, Software-based, CRC Generators", 2005).
using ByteTable = std::array<uint32_t, 256>;
constexpr std::array<ByteTable, 8> kSlices = [] {
  std::array<ByteTable, 8> slices{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t state = byte;
    for (int bit = 0; bit < 8; ++bit) state = times_x(state);
    slices[0][byte] = state;
  }
  for (size_t i = 1; i < 8; ++i) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = slices[i - 1][byte];
      slices[i][byte] = (before >> 8) ^ slices[0][before & 0xFF];
    }
  }
  return slices;
}();

// One checksum step over 8 bytes.
constexpr uint32_t step_portable(uint32_t state, uint64_t word) {
  word ^= state;
  uint32_t next = 0;
  for (size_t i = 0; i < 8; ++i) next ^= kSlices[7 - i][(word >> (8 * i)) & 0xFF];
  return next;
}

// Shifts multiply among themselves: (a/x^33) * (b/x^33) * x^33 == ab/x^33.
constexpr uint32_t shift_product(uint32_t a, uint32_t b) { return step_portable(0, multiply_without_carry(a, b)); }

constexpr uint32_t kShiftNone = [] {  // the shift by 0 bytes: x^0 / x^33
  uint32_t shift = kOne;
  for (int i = 0; i < 33; ++i) shift = divided_by_x(shift);
  return shift;
}();

template <size_t kCount>
constexpr std::array<uint32_t, kCount> powers_of(uint32_t shift) {
  std::array<uint32_t, kCount> powers{};
  powers[0] = kShiftNone;
  for (size_t i = 1; i < kCount; ++i) powers[i] = shift_product(powers[i - 1], shift);
  return powers;
}

constexpr uint32_t kShiftOneByte = [] {
  uint32_t shift = kShiftNone;
  for (int bit = 0; bit < 8; ++bit) shift = times_x(shift);
  return shift;
}();

// kShifts[i][n]: the shift by n * 256^i bytes.
constexpr std::array<ByteTable, 4> kShifts = [] {
  std::array<ByteTable, 4> shifts{};
  uint32_t unit = kShiftOneByte;
  for (ByteTable& table : shifts) {
    table = powers_of<256>(unit);
    unit = shift_product(table[255], unit);
  }
  return shifts;
}();

// Shifts repeat after 2^31 - 1 bytes, so that four tables are enough for every size.
constexpr size_t kPeriod = (size_t{1} << 31) - 1;
static_assert([] {
  uint32_t shift = kShiftOneByte;  // squared 31 times: by 2^31 bytes, the same as by 1
  for (int i = 0; i < 31; ++i) shift = shift_product(shift, shift);
  return shift == kShiftOneByte;
}());

// The bytes at `data` as one word, the first in memory being the lowest.
template <typename Word>
Word load(const char* data) noexcept {
  static_assert(std::endian::native == std::endian::little, "swap the bytes here");
  Word word;
  std::memcpy(&word, data, sizeof(word));
  return word;
}

// ---- The instructions -----------------------------------------------------------------------------
// Per processor: step(), one checksum step over 8 bytes; multiply(), without carry; has_instructions().

#if defined(__x86_64__)

#define KV_HARDWARE __attribute__((target("sse4.2,pclmul")))

KV_HARDWARE inline uint64_t step(uint64_t state, uint64_t word) noexcept { return _mm_crc32_u64(state, word); }

KV_HARDWARE inline uint64_t multiply(uint64_t a, uint64_t b) noexcept {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(a)),
                                               _mm_cvtsi64_si128(static_cast<long long>(b)), 0);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
}

// The answer that the compiler's own start-up code found: a load and a test, cheap enough for every call. Asked
// earlier than that, by a static constructor, it is "no", and the portable version gives the same result.
bool has_instructions() noexcept { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"); }

// Clang offers these intrinsics only to code that is compiled for such processors altogether.
#elif defined(__aarch64__) && \
    ((defined(__ARM_FEATURE_CRC32) && defined(__ARM_FEATURE_CRYPTO)) || (defined(__linux__) && !defined(__clang__)))

#define KV_HARDWARE __attribute__((target("+crc+crypto")))

KV_HARDWARE inline uint64_t step(uint64_t state, uint64_t word) noexcept {
  return __crc32cd(static_cast<uint32_t>(state), word);
}

KV_HARDWARE inline uint64_t multiply(uint64_t a, uint64_t b) noexcept {
  return static_cast<uint64_t>(vmull_p64(a, b));  // the upper half is 0: both factors have 32 bits
}

#if defined(__ARM_FEATURE_CRC32) && defined(__ARM_FEATURE_CRYPTO)
bool has_instructions() noexcept { return true; }
#else
const bool kHasInstructions = (~getauxval(AT_HWCAP) & (HWCAP_CRC32 | HWCAP_PMULL)) == 0;
bool has_instructions() noexcept { return kHasInstructions; }
#endif

#endif

// ---- The checksum by instructions -----------------------------------------------------------------

#if defined(KV_HARDWARE)

constexpr size_t kLanesFromBytes = 144;  // measured on Zen 5: below, joining costs more than the lanes save
constexpr size_t kLaneWordsMax = 128;    // three lanes of 1 KiB a round: joining no longer counts
constexpr std::array<uint32_t, 2 * kLaneWordsMax + 1> kWordShifts = powers_of<2 * kLaneWordsMax + 1>(kShifts[0][8]);

// Fewer than 8 bytes, without reading beside them.
inline uint64_t load_short(const char* data, size_t size) noexcept {
  if (size >= 4) return load<uint32_t>(data) | uint64_t{load<uint32_t>(data + size - 4)} << (8 * (size - 4));
  const auto byte = [data](size_t i) { return uint64_t{static_cast<uint8_t>(data[i])} << (8 * i); };
  return byte(0) | byte(size / 2) | byte(size - 1);
}

// The last 1 to 8 bytes, which stand in the upper end of `word` above zeros: one step and no branch, since the lengths
// of keys and values are anybody's guess. Zeros do nothing to state 0, so the step begins from 0 and the
// state is added where the bytes begin; what of it reaches beyond fewer than 4 bytes is added afterwards.
KV_HARDWARE inline uint64_t step_tail(uint64_t state, uint64_t word, size_t count) noexcept {
  const uint64_t beyond = state >> (4 * count) >> (4 * count);  // by halves: shifting by 64 is undefined
  return step(0, word ^ (state << (64 - 8 * count))) ^ beyond;
}

KV_HARDWARE uint32_t crc32c_hardware(const char* data, size_t size, uint32_t crc) noexcept {
  if (size == 0) return crc;
  uint64_t state = ~crc;
  if (size < 8) return ~static_cast<uint32_t>(step_tail(state, load_short(data, size) << (64 - 8 * size), size));

  while (size >= kLanesFromBytes) {
    const size_t words = std::min((size - 1) / 24, kLaneWordsMax);  // leaves at least a byte for the tail
    const size_t lane_bytes = 8 * words;
    uint64_t second = 0, third = 0;
    const char* const last = data + lane_bytes - 8;
    for (; data != last; data += 8) {
      state = step(state, load<uint64_t>(data));
      second = step(second, load<uint64_t>(data + lane_bytes));
      third = step(third, load<uint64_t>(data + 2 * lane_bytes));
    }
    state = step(state, load<uint64_t>(data));
    second = step(second, load<uint64_t>(data + lane_bytes));
    // The join is added to the third lane's last word, whose step then divides for all three.
    state = step(third, load<uint64_t>(data + 2 * lane_bytes) ^ multiply(state, kWordShifts[2 * words]) ^
                            multiply(second, kWordShifts[words]));
    data += 8 + 2 * lane_bytes;
    size -= 3 * lane_bytes;
  }
  for (; size > 8; data += 8, size -= 8) state = step(state, load<uint64_t>(data));
  // This load may reach back over bytes already taken, which the mask takes out again.
  const uint64_t word = load<uint64_t>(data + size - 8) & (~uint64_t{0} << (64 - 8 * size));
  return ~static_cast<uint32_t>(step_tail(state, word, size));
}

KV_HARDWARE uint32_t join_hardware(uint32_t crc_a, uint32_t crc_b, uint32_t shift) noexcept {
  return static_cast<uint32_t>(step(0, multiply(crc_a, shift))) ^ crc_b;
}

#endif  // KV_HARDWARE

}  // namespace

#if defined(KV_HARDWARE)

bool crc32c_is_hardware() noexcept { return has_instructions(); }

uint32_t crc32c(std::string_view bytes, uint32_t crc) noexcept {
  return has_instructions() ? crc32c_hardware(bytes.data(), bytes.size(), crc) : crc32c_portable(bytes, crc);
}

uint32_t crc32c_join(uint32_t crc_a, uint32_t crc_b, uint32_t shift_of_b) noexcept {
  return has_instructions() ? join_hardware(crc_a, crc_b, shift_of_b) : crc32c_join_portable(crc_a, crc_b, shift_of_b);
}

#else

bool crc32c_is_hardware() noexcept { return false; }

uint32_t crc32c(std::string_view bytes, uint32_t crc) noexcept { return crc32c_portable(bytes, crc); }

uint32_t crc32c_join(uint32_t crc_a, uint32_t crc_b, uint32_t shift_of_b) noexcept {
  return crc32c_join_portable(crc_a, crc_b, shift_of_b);
}

#endif

uint32_t crc32c_portable(std::string_view bytes, uint32_t crc) noexcept {
  const char* data = bytes.data();
  size_t size = bytes.size();
  uint32_t state = ~crc;
  for (; size >= 8; data += 8, size -= 8) state = step_portable(state, load<uint64_t>(data));
  for (; size > 0; ++data, --size) state = (state >> 8) ^ kSlices[0][(state ^ static_cast<uint8_t>(*data)) & 0xFF];
  return ~state;
}

uint32_t crc32c_join_portable(uint32_t crc_a, uint32_t crc_b, uint32_t shift_of_b) noexcept {
  return shift_product(crc_a, shift_of_b) ^ crc_b;
}

uint32_t crc32c_shift(size_t size) noexcept {
  size %= kPeriod;
  uint32_t shift = kShifts[0][size & 0xFF];
  for (size_t i = 1; (size >>= 8) != 0; ++i) {
    if ((size & 0xFF) != 0) shift = crc32c_join(shift, 0, kShifts[i][size & 0xFF]);
  }
  return shift;
}

}  // namespace kvstore::base
