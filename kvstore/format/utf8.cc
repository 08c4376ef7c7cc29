// The vector validator is the lookup algorithm of J. Keiser and D. Lemire, "Validating UTF-8 in less than
// one instruction per byte" (Software: Practice and Experience, 2020), written here from the paper.
//
// Whatever is wrong in UTF-8 shows in two neighbouring bytes, except that a third or fourth byte of a
// character must be a continuation. So every byte is looked at with the one before it: three 16-entry
// tables, asked with the high half of the first byte, its low half and the high half of the second, each
// answer with the set of errors that this half allows. What all three allow has happened.
#include "kvstore/format/utf8.h"

#include <cstdint>

#include "kvstore/format/special.h"
#include "kvstore/format/ssse3.h"

namespace kvstore::format {

// Unicode 15, table 3-7 "Well-Formed UTF-8 Byte Sequences": only the second byte's range depends on the first.
size_t valid_utf8_prefix(std::string_view bytes) noexcept {
  const char* const text = bytes.data();
  const size_t size = bytes.size();
  const auto byte = [text](size_t index) { return static_cast<unsigned char>(text[index]); };
  const auto continues = [&](size_t index) { return index < size && (byte(index) & 0xc0) == 0x80; };
  size_t at = 0;
  while (at < size) {
    if (size - at >= 8 && !any_non_ascii(load<uint64_t>(text + at))) {
      at += 8;
      continue;
    }
    const unsigned char lead = byte(at);
    if (lead < 0x80) {
      at += 1;
    } else if (lead >= 0xc2 && lead <= 0xdf) {
      if (!continues(at + 1)) return at;
      at += 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      if (!continues(at + 1) || !continues(at + 2)) return at;
      if (lead == 0xe0 && byte(at + 1) < 0xa0) return at;   // overlong
      if (lead == 0xed && byte(at + 1) >= 0xa0) return at;  // a surrogate
      at += 3;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      if (!continues(at + 1) || !continues(at + 2) || !continues(at + 3)) return at;
      if (lead == 0xf0 && byte(at + 1) < 0x90) return at;   // overlong
      if (lead == 0xf4 && byte(at + 1) >= 0x90) return at;  // above U+10FFFF
      at += 4;
    } else {
      return at;
    }
  }
  return size;
}

#if KVSTORE_FORMAT_SSSE3

namespace {

// The errors two neighbouring bytes can show; one bit each, so that sets intersect by AND.
enum PairError : uint8_t {
  kTooShort = 1 << 0,          // a lead byte followed by no continuation
  kTooLong = 1 << 1,           // ASCII followed by a continuation
  kOverlong3 = 1 << 2,         // e0 followed by 80..9f
  kTooLarge = 1 << 3,          // f4 followed by 90..bf, or f5..ff by a continuation above 8f
  kSurrogate = 1 << 4,         // ed followed by a0..bf
  kOverlong2 = 1 << 5,         // c0 or c1
  kTooLargeLow = 1 << 6,       // f5..ff followed by 80..8f; shares its bit with kOverlong4,
  kOverlong4 = 1 << 6,         // f0 followed by 80..8f: their first bytes' low halves tell them apart
  kTwoContinuations = 1 << 7,  // right only as third or fourth byte, decided apart
};
constexpr uint8_t kAnyLow = kTooShort | kTooLong | kTwoContinuations;  // errors that ignore the low half

KVSTORE_FORMAT_TARGET_SSSE3 inline __m128i high_halves(__m128i bytes) {
  return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(0x0f));
}

constexpr char set(int bits) { return static_cast<char>(bits); }

// Nonzero bytes where `block`, following `before`, breaks a rule.
KVSTORE_FORMAT_TARGET_SSSE3 inline __m128i pair_errors(__m128i before, __m128i block) {
  const __m128i by_first_high = _mm_setr_epi8(
      kTooLong, kTooLong, kTooLong, kTooLong, kTooLong, kTooLong, kTooLong, kTooLong,                  // ASCII
      set(kTwoContinuations), set(kTwoContinuations), set(kTwoContinuations), set(kTwoContinuations),  // 8_ 9_ a_ b_
      kTooShort | kOverlong2,                                                                          // c_
      kTooShort,                                                                                       // d_
      kTooShort | kOverlong3 | kSurrogate,                                                             // e_
      kTooShort | kTooLarge | kTooLargeLow | kOverlong4);                                              // f_
  constexpr char kBeyond4 = set(kAnyLow | kTooLarge | kTooLargeLow);  // f5 and above stand for nothing
  const __m128i by_first_low =
      _mm_setr_epi8(set(kAnyLow | kOverlong2 | kOverlong3 | kOverlong4),                             // _0
                    set(kAnyLow | kOverlong2),                                                       // _1
                    set(kAnyLow), set(kAnyLow),                                                      // _2 _3
                    set(kAnyLow | kTooLarge),                                                        // _4
                    kBeyond4, kBeyond4, kBeyond4, kBeyond4, kBeyond4, kBeyond4, kBeyond4, kBeyond4,  // _5 .. _c
                    set(kBeyond4 | kSurrogate),                                                      // _d
                    kBeyond4, kBeyond4);                                                             // _e _f
  constexpr int kContinuation = kTooLong | kOverlong2 | kTwoContinuations;  // errors that any second 80..bf shows
  const __m128i by_second_high =
      _mm_setr_epi8(kTooShort, kTooShort, kTooShort, kTooShort, kTooShort, kTooShort, kTooShort, kTooShort,    // ASCII
                    set(kContinuation | kOverlong3 | kTooLargeLow | kOverlong4),                               // 8_
                    set(kContinuation | kOverlong3 | kTooLarge),                                               // 9_
                    set(kContinuation | kSurrogate | kTooLarge), set(kContinuation | kSurrogate | kTooLarge),  // a_ b_
                    kTooShort, kTooShort, kTooShort, kTooShort);                                               // leads

  const __m128i first = _mm_alignr_epi8(block, before, 15);  // byte i holds the byte in front of block[i]
  const __m128i shown =
      _mm_and_si128(_mm_and_si128(_mm_shuffle_epi8(by_first_high, high_halves(first)),
                                  _mm_shuffle_epi8(by_first_low, _mm_and_si128(first, _mm_set1_epi8(0x0f)))),
                    _mm_shuffle_epi8(by_second_high, high_halves(block)));
  // Two bytes behind e0..ff and three behind f0..ff there must be a second continuation in a row, and
  // nowhere else: the subtraction leaves the top bit exactly there, and XOR demands both or neither.
  const __m128i second_before = _mm_alignr_epi8(block, before, 14);
  const __m128i third_before = _mm_alignr_epi8(block, before, 13);
  const __m128i third = _mm_subs_epu8(second_before, _mm_set1_epi8(0xe0 - 0x80));
  const __m128i fourth = _mm_subs_epu8(third_before, _mm_set1_epi8(0xf0 - 0x80));
  const __m128i expected = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8(set(0x80)));
  return _mm_xor_si128(expected, shown);
}

KVSTORE_FORMAT_TARGET_SSSE3 bool is_utf8_ssse3(std::string_view bytes) noexcept {
  const char* text = bytes.data();
  size_t left = bytes.size();
  __m128i before = _mm_setzero_si128();
  __m128i errors = _mm_setzero_si128();
  for (; left >= 16; text += 16, left -= 16) {
    const __m128i block = load_block(text);
    errors = _mm_or_si128(errors, pair_errors(before, block));
    before = block;
  }
  // Zeros behind the end turn a character cut short there into kTooShort.
  const __m128i tail = left == 0 ? _mm_setzero_si128() : load_tail(text, left);
  errors = _mm_or_si128(errors, pair_errors(before, tail));
  return _mm_movemask_epi8(_mm_cmpeq_epi8(errors, _mm_setzero_si128())) == 0xffff;
}

}  // namespace

bool is_utf8(std::string_view bytes) noexcept {
  return has_ssse3() ? is_utf8_ssse3(bytes) : valid_utf8_prefix(bytes) == bytes.size();
}

#else

bool is_utf8(std::string_view bytes) noexcept { return valid_utf8_prefix(bytes) == bytes.size(); }

#endif

}  // namespace kvstore::format
