// Entry: one version of one key, in one allocation: a 16-byte header, then what the header's flags
// announce (a link to the older version, an expiry), then the key, then the value.
#pragma once

#include <cstdint>
#include <string_view>

#include "kvstore/format/record.h"

namespace kvstore::table {

class Entry {
 public:
  [[nodiscard]] std::string_view key() const noexcept;
  [[nodiscard]] std::string_view value() const noexcept;
  [[nodiscard]] format::Seq seq() const noexcept;
  [[nodiscard]] int64_t expires_us() const noexcept;    // 0: never
  [[nodiscard]] bool is_json() const noexcept;
  [[nodiscard]] bool is_tombstone() const noexcept;
  // Expired entries are absent: the one place that says so.
  [[nodiscard]] bool is_expired(int64_t now_us) const noexcept { return expires_us() != 0 && expires_us() <= now_us; }
};

}  // namespace kvstore::table
