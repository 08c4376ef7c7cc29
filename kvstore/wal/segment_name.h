// The names of the files in a store's directory. A segment is named by the sequence number of its first
// record, in 20 digits, so that names sort as numbers do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kvstore/format/record.h"

namespace kvstore::wal {

inline constexpr std::string_view kLockName = "LOCK";
inline constexpr std::string_view kLostAndFoundName = "lost+found";
inline constexpr std::string_view kTemporarySuffix = ".tmp";

// "wal-00000000000000000001.jsonl" for 1.
[[nodiscard]] std::string segment_name(format::Seq first_seq);
// The number in a segment's name; nullopt for every other name.
[[nodiscard]] std::optional<format::Seq> parse_segment_name(std::string_view name) noexcept;

[[nodiscard]] std::string join_path(std::string_view dir, std::string_view name);

}  // namespace kvstore::wal
