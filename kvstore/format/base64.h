// Base64 with padding (RFC 4648 section 4), strict when reading: one spelling per byte string. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace kvstore::format {

[[nodiscard]] constexpr size_t base64_size(size_t bytes) noexcept { return (bytes + 2) / 3 * 4; }

// Writes base64_size(bytes.size()) characters and returns the end of them.
[[nodiscard]] char* write_base64(char* out, std::string_view bytes) noexcept;

// The number of bytes that `text` stands for, by its length and padding alone; nullopt when its length is
// no multiple of four.
[[nodiscard]] std::optional<size_t> base64_decoded_size(std::string_view text) noexcept;

// Writes the bytes. False: a character outside the alphabet, padding elsewhere than at the end, or spare
// bits that are not zero. Needs: room for base64_decoded_size(text) bytes, which was not nullopt.
[[nodiscard]] bool read_base64(char* out, std::string_view text) noexcept;

}  // namespace kvstore::format
