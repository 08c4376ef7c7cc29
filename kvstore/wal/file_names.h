// The names of the files in a store's directory. A segment is named by the sequence number of its first
// record, a snapshot by that of the last record it holds the state after; both in 20 digits, so that names sort as
// numbers do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kvstore/format/record.h"

namespace kvstore::wal {

inline constexpr std::string_view kLockName = "LOCK";
inline constexpr std::string_view kLostAndFoundName = "lost+found";
inline constexpr std::string_view kOwnLostAndFoundName = "lost+found.kvstore";  // where that is another user's
inline constexpr std::string_view kTemporarySuffix = ".tmp";
// The segment behind the newest, made ahead; it gets its number once all before it is on disk.
inline constexpr std::string_view kNextSegmentName = "wal-next.jsonl";

// "wal-00000000000000000001.jsonl" for 1.
[[nodiscard]] std::string segment_name(format::Seq first_seq);
// "snapshot-00000000000000094210.jsonl" for 94210.
[[nodiscard]] std::string snapshot_name(format::Seq last_seq);
// The number in a segment's or a snapshot's name; nullopt for every other name.
[[nodiscard]] std::optional<format::Seq> parse_segment_name(std::string_view name) noexcept;
[[nodiscard]] std::optional<format::Seq> parse_snapshot_name(std::string_view name) noexcept;
// A segment or snapshot that never got its name: one of ours that may be removed.
[[nodiscard]] bool is_temporary_name(std::string_view name) noexcept;

[[nodiscard]] std::string join_path(std::string_view dir, std::string_view name);
// The directory that has `dir` as an entry, however it is spelled; of a symbolic link, that of what it leads to.
[[nodiscard]] std::string directory_above(const std::string& dir);

}  // namespace kvstore::wal
