// The bytes that a JSON string cannot hold as they are: '"', '\\' and the controls below 0x20 (RFC 8259
// section 7). Encoder, decoder and JSON scanner all look for these same bytes, sixteen at a time where the
// processor has SSE2 (every x86-64), eight at a time elsewhere. Pure.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#define KVSTORE_FORMAT_SSE2 1
#endif

namespace kvstore::format {

[[nodiscard]] constexpr bool is_special(char byte) noexcept {
  return static_cast<unsigned char>(byte) < 0x20 || byte == '"' || byte == '\\';
}

// A machine word of text.
template <typename Word>
[[nodiscard]] inline Word load(const char* text) noexcept {
  Word word = 0;
  std::memcpy(&word, text, sizeof word);
  return word;
}

// Where a run of plain string bytes stops, and whether any of them is beyond ASCII.
struct PlainRun {
  const char* end = nullptr;  // the first special byte, or the end of the text
  bool non_ascii = false;
};

// Portable: exact tests on eight bytes in a register, after A. Mycroft's zero-byte test (1987).
[[nodiscard]] inline bool any_special(uint64_t word) noexcept {
  constexpr uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  const auto zero_bytes = [](uint64_t w) { return (w - kOnes) & ~w; };  // may also flag bytes behind a true hit
  const uint64_t controls = (word - kOnes * 0x20) & ~word;
  return ((zero_bytes(word ^ kOnes * '"') | zero_bytes(word ^ kOnes * '\\') | controls) & kHighs) != 0;
}
[[nodiscard]] inline bool any_non_ascii(uint64_t word) noexcept { return (word & 0x8080808080808080) != 0; }

[[nodiscard]] inline PlainRun scan_plain_portable(const char* text, const char* end) noexcept {
  bool non_ascii = false;
  for (; end - text >= 8; text += 8) {
    const auto word = load<uint64_t>(text);
    if (any_special(word)) break;
    non_ascii |= any_non_ascii(word);
  }
  for (; text != end && !is_special(*text); ++text) non_ascii |= static_cast<unsigned char>(*text) >= 0x80;
  return {text, non_ascii};
}

#if KVSTORE_FORMAT_SSE2

// Bit i is set when byte i is special.
[[nodiscard]] inline unsigned special_mask(__m128i block) noexcept {
  const __m128i quotes = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
  const __m128i backslashes = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
  const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls)));
}

[[nodiscard]] inline __m128i load_block(const char* text) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(text));
}
inline void store_block(char* out, __m128i block) noexcept { _mm_storeu_si128(reinterpret_cast<__m128i*>(out), block); }

// The last `size` bytes of a text as a block, zeros behind them, never reading outside: two overlapping
// loads, moved into place by shifts. Needs: 0 < size < 16.
[[nodiscard]] inline __m128i load_tail(const char* text, size_t size) noexcept {
  uint64_t low = 0, high = 0;
  if (size >= 8) {
    low = load<uint64_t>(text);
    if (size > 8) high = load<uint64_t>(text + size - 8) >> (8 * (16 - size));
  } else if (size >= 4) {
    low = load<uint32_t>(text) | uint64_t{load<uint32_t>(text + size - 4)} << (8 * (size - 4));
  } else {
    const auto byte = [text](size_t index) { return uint64_t{static_cast<unsigned char>(text[index])} << (8 * index); };
    low = byte(0) | byte(size / 2) | byte(size - 1);
  }
  return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
}

[[nodiscard]] inline PlainRun scan_plain(const char* text, const char* end) noexcept {
  unsigned non_ascii = 0;
  for (; end - text >= 16; text += 16) {
    const __m128i block = load_block(text);
    const unsigned mask = special_mask(block);
    const auto high_bits = static_cast<unsigned>(_mm_movemask_epi8(block));
    if (mask != 0) return {text + std::countr_zero(mask), (non_ascii | (high_bits & (mask - 1) & ~mask)) != 0};
    non_ascii |= high_bits;
  }
  const PlainRun tail = scan_plain_portable(text, end);
  return {tail.end, tail.non_ascii || non_ascii != 0};
}

#else

[[nodiscard]] inline PlainRun scan_plain(const char* text, const char* end) noexcept {
  return scan_plain_portable(text, end);
}

#endif

}  // namespace kvstore::format
