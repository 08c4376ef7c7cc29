#include "kvstore/format/base64.h"

#include <array>
#include <cstdint>

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

}  // namespace

char* write_base64(char* out, std::string_view bytes) noexcept {
  size_t i = 0;
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
  for (size_t i = 0; i < whole; i += 4, out += 3) {
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
