#include "kvstore/wal/file_names.h"

#include <fmt/format.h>

#include <charconv>

namespace kvstore::wal {

using format::Seq;

namespace {

constexpr std::string_view kSegmentPrefix = "wal-";
constexpr std::string_view kSnapshotPrefix = "snapshot-";
constexpr std::string_view kSuffix = ".jsonl";
constexpr size_t kDigits = 20;

std::string name_of(std::string_view prefix, Seq seq) { return fmt::format("{}{:020}{}", prefix, seq, kSuffix); }

std::optional<Seq> parse(std::string_view name, std::string_view prefix) noexcept {
  if (name.size() != prefix.size() + kDigits + kSuffix.size()) return std::nullopt;
  if (!name.starts_with(prefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const char* first = name.data() + prefix.size();
  const char* last = first + kDigits;
  Seq seq = 0;
  const auto [end, error] = std::from_chars(first, last, seq);
  if (error != std::errc() || end != last || seq == 0 || seq > format::kIntegerMax) return std::nullopt;
  return seq;
}

}  // namespace

std::string segment_name(Seq first_seq) { return name_of(kSegmentPrefix, first_seq); }
std::string snapshot_name(Seq last_seq) { return name_of(kSnapshotPrefix, last_seq); }

std::optional<Seq> parse_segment_name(std::string_view name) noexcept { return parse(name, kSegmentPrefix); }
std::optional<Seq> parse_snapshot_name(std::string_view name) noexcept { return parse(name, kSnapshotPrefix); }

bool is_temporary_name(std::string_view name) noexcept {
  if (!name.ends_with(kTemporarySuffix)) return false;
  name.remove_suffix(kTemporarySuffix.size());
  return parse_segment_name(name).has_value() || parse_snapshot_name(name).has_value();
}

std::string directory_above(const std::string& dir) { return join_path(dir, ".."); }

std::string join_path(std::string_view dir, std::string_view name) { return fmt::format("{}/{}", dir, name); }

}  // namespace kvstore::wal
