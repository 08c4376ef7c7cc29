// Checks of what callers pass in, the same for every kind of write.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kvstore/base/scratch.h"
#include "kvstore/status.h"

namespace kvstore::engine {

Status check_key(std::string_view key);
Status check_value(std::string_view value);
// When the key expires, 0 for never. A ttl counts from `now_us`.
Result<int64_t> expiry_of(std::chrono::microseconds ttl, std::optional<int64_t> expires_us, int64_t now_us);
// A document as it is stored: see json_on_one_line(). Points into `document` or `scratch`. Throws std::bad_alloc.
Result<std::string_view> normal_json(std::string_view document, base::Scratch& scratch);

}  // namespace kvstore::engine
