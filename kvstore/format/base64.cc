// The vector code follows W. Mula and D. Lemire, "Faster Base64 Encoding and Decoding Using AVX2 Instructions"
// (2018) in how it moves six-bit groups into bytes and back; characters are told apart by plain comparisons.
#include "kvstore/format/base64.h"

#include <array>
#include <cstdint>

#include "kvstore/format/ssse3.h"

namespace kvstore::format {
namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kNoDigit = 0x80;  // has a bit that no digit has, so one OR over all lookups finds it

constexpr auto kDigitOf = [] {
  std::array<uint8_t, 256> table{};
  table.fill(kNoDigit);
  for (uint8_t digit = 0; digit < 64; ++digit) table[static_cast<unsigned char>(kAlphabet[digit])] = digit;
  return table;
}();

uint32_t byte_at(std::string_view bytes, size_t index) noexcept { return static_cast<unsigned char>(bytes[index]); }

#if KVSTORE_FORMAT_SSSE3

constexpr size_t kBlockChars = 16, kBlockBytes = 12;

KVSTORE_FORMAT_TARGET_SSSE3 inline __m128i where_above(__m128i bytes, char limit, int value) {
  return _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8(limit)), _mm_set1_epi8(static_cast<char>(value)));
}

// Writes as many whole blocks as can be read without looking behind the text; returns how many bytes it took.
KVSTORE_FORMAT_TARGET_SSSE3 size_t write_blocks(char* out, std::string_view bytes) noexcept {
  size_t done = 0;
  for (; bytes.size() - done >= sizeof(__m128i); done += kBlockBytes, out += kBlockChars) {
    // Bytes a b c become the 32-bit lane b a c b, from which two multiplications shift out four groups of six bits.
    const __m128i lanes = _mm_shuffle_epi8(load_block(bytes.data() + done),
                                           _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
    const __m128i odd = _mm_mulhi_epu16(_mm_and_si128(lanes, _mm_set1_epi32(0x0fc0fc00)), _mm_set1_epi32(0x04000040));
    const __m128i even = _mm_mullo_epi16(_mm_and_si128(lanes, _mm_set1_epi32(0x003f03f0)), _mm_set1_epi32(0x01000010));
    const __m128i digits = _mm_or_si128(odd, even);
    // A digit's character is digit + 'A', but for a correction at each border of the alphabet.
    __m128i text = _mm_add_epi8(digits, _mm_set1_epi8('A'));
    text = _mm_add_epi8(text, where_above(digits, 25, ('a' - 26) - 'A'));
    text = _mm_add_epi8(text, where_above(digits, 51, ('0' - 52) - ('a' - 26)));
    text = _mm_add_epi8(text, where_above(digits, 61, ('+' - 62) - ('0' - 52)));
    text = _mm_add_epi8(text, where_above(digits, 62, ('/' - 63) - ('+' - 62)));
    store_block(out, text);
  }
  return done;
}

// Reads as many blocks as leave room for a whole vector at `out`; returns how many characters it took. *valid
// turns false when one of them is outside the alphabet.
KVSTORE_FORMAT_TARGET_SSSE3 size_t read_blocks(char* out, std::string_view text, bool* valid) noexcept {
  constexpr size_t kRest = 8;  // so many characters stand for at least the 4 bytes that a store is too long
  __m128i all_valid = _mm_set1_epi8(-1);
  size_t done = 0;
  for (; text.size() - done >= kBlockChars + kRest; done += kBlockChars, out += kBlockBytes) {
    const __m128i chars = load_block(text.data() + done);
    __m128i digits = chars, known = _mm_setzero_si128();
    const auto take_range = [&](char first, char last, int first_digit) KVSTORE_FORMAT_TARGET_SSSE3 {
      const __m128i inside = _mm_and_si128(_mm_cmpgt_epi8(chars, _mm_set1_epi8(static_cast<char>(first - 1))),
                                           _mm_cmplt_epi8(chars, _mm_set1_epi8(static_cast<char>(last + 1))));
      known = _mm_or_si128(known, inside);
      digits = _mm_add_epi8(digits, _mm_and_si128(inside, _mm_set1_epi8(static_cast<char>(first_digit - first))));
    };
    take_range('A', 'Z', 0);
    take_range('a', 'z', 26);
    take_range('0', '9', 52);
    take_range('+', '+', 62);
    take_range('/', '/', 63);
    all_valid = _mm_and_si128(all_valid, known);
    // Two digits make 12 bits, two of those 24, in the low three bytes of each lane.
    const __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi32(0x01400140));
    const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00011000));
    store_block(out, _mm_shuffle_epi8(fours, _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1)));
  }
  *valid = _mm_movemask_epi8(all_valid) == 0xffff;
  return done;
}

#endif

}  // namespace

char* write_base64(char* out, std::string_view bytes) noexcept {
  size_t i = 0;
#if KVSTORE_FORMAT_SSSE3
  if (has_ssse3()) i = write_blocks(out, bytes);
  out += i / 3 * 4;
#endif
  for (; i + 3 <= bytes.size(); i += 3, out += 4) {
    const uint32_t group = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8 | byte_at(bytes, i + 2);
    out[0] = kAlphabet[group >> 18];
    out[1] = kAlphabet[group >> 12 & 63];
    out[2] = kAlphabet[group >> 6 & 63];
    out[3] = kAlphabet[group & 63];
  }
  if (i == bytes.size()) return out;
  const bool two = i + 2 == bytes.size();
  const uint32_t group = byte_at(bytes, i) << 16 | (two ? byte_at(bytes, i + 1) << 8 : 0);
  out[0] = kAlphabet[group >> 18];
  out[1] = kAlphabet[group >> 12 & 63];
  out[2] = two ? kAlphabet[group >> 6 & 63] : '=';
  out[3] = '=';
  return out + 4;
}

std::optional<size_t> base64_decoded_size(std::string_view text) noexcept {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  return text.size() / 4 * 3 - padding;
}

bool read_base64(char* out, std::string_view text) noexcept {
  const auto digit = [text](size_t index) -> uint32_t { return kDigitOf[static_cast<unsigned char>(text[index])]; };
  const size_t whole = text.ends_with('=') ? text.size() - 4 : text.size();
  uint32_t seen = 0;
  size_t i = 0;
#if KVSTORE_FORMAT_SSSE3
  bool valid = true;
  if (has_ssse3()) i = read_blocks(out, text, &valid);
  if (!valid) return false;
  out += i / 4 * 3;
#endif
  for (; i < whole; i += 4, out += 3) {
    const uint32_t a = digit(i), b = digit(i + 1), c = digit(i + 2), d = digit(i + 3);
    seen |= a | b | c | d;
    out[0] = static_cast<char>(a << 2 | b >> 4);
    out[1] = static_cast<char>(b << 4 | c >> 2);
    out[2] = static_cast<char>(c << 6 | d);
  }
  if (whole != text.size()) {
    const bool two = text[whole + 2] != '=';
    const uint32_t a = digit(whole), b = digit(whole + 1), c = two ? digit(whole + 2) : 0;
    const uint32_t spare = two ? c & 3 : b & 15;
    seen |= a | b | c | (spare != 0 ? kNoDigit : 0u);
    out[0] = static_cast<char>(a << 2 | b >> 4);
    if (two) out[1] = static_cast<char>(b << 4 | c >> 2);
  }
  return (seen & kNoDigit) == 0;
}

}  // namespace kvstore::format
