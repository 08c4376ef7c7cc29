#include "kvstore/wal/segment_name.h"

#include <fmt/format.h>

#include <charconv>

namespace kvstore::wal {

namespace {
constexpr std::string_view kPrefix = "wal-";
constexpr std::string_view kSuffix = ".jsonl";
constexpr size_t kDigits = 20;
}  // namespace

std::string segment_name(format::Seq first_seq) { return fmt::format("{}{:020}{}", kPrefix, first_seq, kSuffix); }

std::optional<format::Seq> parse_segment_name(std::string_view name) noexcept {
  if (name.size() != kPrefix.size() + kDigits + kSuffix.size()) return std::nullopt;
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const char* first = name.data() + kPrefix.size();
  const char* last = first + kDigits;
  format::Seq seq = 0;
  const auto [end, error] = std::from_chars(first, last, seq);
  if (error != std::errc() || end != last || seq == 0 || seq > format::kIntegerMax) return std::nullopt;
  return seq;
}

std::string join_path(std::string_view dir, std::string_view name) { return fmt::format("{}/{}", dir, name); }

}  // namespace kvstore::wal
