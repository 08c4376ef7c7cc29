// Is this valid UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF)? Pure.
#pragma once

#include <string_view>

namespace kvstore::format {

[[nodiscard]] bool is_utf8(std::string_view bytes) noexcept;

}  // namespace kvstore::format
