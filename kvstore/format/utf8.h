// Is this valid UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF)? Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace kvstore::format {

// Uses the processor's byte shuffles where it has them.
[[nodiscard]] bool is_utf8(std::string_view bytes) noexcept;

// How many leading bytes are whole, valid characters: bytes.size() when all are. Byte by byte, on any
// machine: names the culprit in error reports, and holds is_utf8() to the truth in tests.
[[nodiscard]] size_t valid_utf8_prefix(std::string_view bytes) noexcept;

}  // namespace kvstore::format
