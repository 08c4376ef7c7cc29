// Times and durations as people write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvctl {

[[nodiscard]] int64_t now_us() noexcept;  // microseconds since the epoch

// "90s", "1h30m", "250ms"; units us ms s m h d. nullopt: not that, zero, or longer than 200 years of 365 days.
[[nodiscard]] std::optional<std::chrono::microseconds> parse_duration(std::string_view text) noexcept;

// "2025-11-22", "2025-11-22T08:30", "2025-11-22T08:30:00.25+01:00" (UTC without a zone); or a duration, which
// means that long before `now`. Microseconds since the epoch.
[[nodiscard]] std::optional<int64_t> parse_time(std::string_view text, int64_t now) noexcept;

// "2025-11-22T08:30:00.123456Z"
[[nodiscard]] std::string format_time(int64_t time_us);

}  // namespace kvctl
