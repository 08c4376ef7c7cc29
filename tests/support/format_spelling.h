// Lines as somebody else would write them: legal JSON, sealed, but not our spelling.
#pragma once

#include <string>
#include <string_view>

#include "tests/support/format_random.h"

namespace kvstore::testing {

// `text` is a JSON object without its closing brace; adds the seal over exactly these bytes, no newline.
[[nodiscard]] std::string sealed(std::string_view text);

// The same record with its members in any order, white space, \u escapes, needless base64, and members
// nobody knows. Sealed, no newline.
[[nodiscard]] std::string respell(Rng& rng, const RandomRecord& record);

}  // namespace kvstore::testing
