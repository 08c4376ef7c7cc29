// The table's hash of keys: seeded, 64 bits, all of them good. Pure.
//
// The idea is the multiply-fold of the wyhash family (Wang Yi, "wyhash", github.com/wangyi-fudan/wyhash):
// the 128-bit product of two words, its halves joined by xor, mixes both words into every bit of the result.
// Not cryptographic. The secrets come from the seed, so whoever does not know the seed cannot choose keys
// that collide. The value is never stored: it may differ between versions and machines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace kvstore::table {

class KeyHash {
 public:
  explicit KeyHash(uint64_t seed) noexcept
      : secret_a_(fold(seed ^ kA, kB)), secret_b_(fold(seed ^ kC, kD)), secret_c_(fold(seed ^ kB, kC)) {}

  [[nodiscard]] uint64_t operator()(std::string_view key) const noexcept {
    const char* bytes = key.data();
    const size_t size = key.size();
    uint64_t mixed = secret_b_;
    if (size > 16) {
      // Whole blocks first; the last block may overlap what came before, so there is no odd rest.
      for (size_t at = 0; at + 16 < size; at += 16) {
        mixed = fold(word64(bytes + at) ^ secret_a_, word64(bytes + at + 8) ^ mixed);
      }
      mixed = fold(word64(bytes + size - 16) ^ secret_a_, word64(bytes + size - 8) ^ mixed);
    } else if (size >= 8) {
      mixed = fold(word64(bytes) ^ secret_a_, word64(bytes + size - 8) ^ mixed);
    } else if (size >= 4) {
      mixed = fold(word32(bytes) ^ secret_a_, word32(bytes + size - 4) ^ mixed);
    } else if (size > 0) {
      const uint64_t all = byte(bytes) | byte(bytes + size / 2) << 8 | byte(bytes + size - 1) << 16;
      mixed = fold(all ^ secret_a_, mixed);
    }
    return fold(mixed ^ secret_c_, size ^ kD);  // the size tells apart what overlapping words cannot
  }

 private:
  // Nothing up the sleeve: the first 256 bits of the fraction of pi, each word made odd.
  static constexpr uint64_t kA = 0x243f6a8885a308d3, kB = 0x13198a2e03707345;
  static constexpr uint64_t kC = 0xa4093822299f31d1, kD = 0x082efa98ec4e6c89;

  static uint64_t fold(uint64_t a, uint64_t b) noexcept {
    __extension__ using Product = unsigned __int128;
    const Product product = static_cast<Product>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  static uint64_t word64(const char* bytes) noexcept {
    uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    return word;
  }
  static uint64_t word32(const char* bytes) noexcept {
    uint32_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    return word;
  }
  static uint64_t byte(const char* bytes) noexcept { return static_cast<unsigned char>(*bytes); }

  uint64_t secret_a_, secret_b_, secret_c_;
};

}  // namespace kvstore::table
