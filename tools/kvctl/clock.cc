#include "tools/kvctl/clock.h"

#include <fmt/format.h>

#include <charconv>

namespace kvctl {
namespace {

constexpr int64_t kSecondUs = 1'000'000;
constexpr int64_t kMinuteUs = 60 * kSecondUs;
constexpr int64_t kHourUs = 60 * kMinuteUs;
constexpr int64_t kDayUs = 24 * kHourUs;
constexpr int64_t kDurationMaxUs = int64_t{200} * 365 * kDayUs;  // from now until 2055, that ends before 2^53

struct Unit {
  std::string_view name;
  int64_t us;
};
constexpr Unit kUnits[] = {
    {"us", 1}, {"ms", 1000}, {"s", kSecondUs}, {"m", kMinuteUs}, {"h", kHourUs}, {"d", kDayUs},
};

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes exactly `digits` decimal digits off the front.
std::optional<int> take_digits(std::string_view& text, size_t digits) noexcept {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (char c : text.substr(0, digits)) {
    if (!is_digit(c)) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char c) noexcept {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

// The digits behind the point; finer than a microsecond is dropped.
std::optional<int64_t> take_fraction_us(std::string_view& text) noexcept {
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  int64_t us = 0;
  for (int64_t weight = kSecondUs / 10; !text.empty() && is_digit(text.front()); weight /= 10) {
    us += weight * (text.front() - '0');
    text.remove_prefix(1);
  }
  return us;
}

// "Z", "+01:00", "-0530" or nothing: how far that clock is ahead of UTC.
std::optional<int64_t> take_zone_us(std::string_view& text) noexcept {
  if (text.empty() || take(text, 'Z')) return 0;
  const bool ahead = text.front() == '+';
  if (!take(text, '+') && !take(text, '-')) return std::nullopt;
  const auto hours = take_digits(text, 2);
  take(text, ':');
  const auto minutes = take_digits(text, 2);
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  const int64_t us = *hours * kHourUs + *minutes * kMinuteUs;
  return ahead ? us : -us;
}

std::optional<int64_t> parse_iso_time(std::string_view text) noexcept {
  const auto year = take_digits(text, 4);
  if (!year || !take(text, '-')) return std::nullopt;
  const auto month = take_digits(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  const auto day = take_digits(text, 2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  const int64_t midnight = std::chrono::sys_days(date).time_since_epoch().count() * kDayUs;
  if (text.empty()) return midnight;

  if (!take(text, 'T') && !take(text, ' ')) return std::nullopt;
  const auto hour = take_digits(text, 2);
  if (!hour || *hour > 23 || !take(text, ':')) return std::nullopt;
  const auto minute = take_digits(text, 2);
  if (!minute || *minute > 59) return std::nullopt;
  int second = 0;
  int64_t fraction = 0;
  if (take(text, ':')) {
    const auto seconds = take_digits(text, 2);
    if (!seconds || *seconds > 60) return std::nullopt;
    second = *seconds;
    if (take(text, '.')) {
      const auto us = take_fraction_us(text);
      if (!us) return std::nullopt;
      fraction = *us;
    }
  }
  const auto zone = take_zone_us(text);
  if (!zone || !text.empty()) return std::nullopt;
  return midnight + *hour * kHourUs + *minute * kMinuteUs + second * kSecondUs + fraction - *zone;
}

}  // namespace

int64_t now_us() noexcept {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

std::optional<std::chrono::microseconds> parse_duration(std::string_view text) noexcept {
  int64_t total = 0;
  while (!text.empty()) {
    int64_t count = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || count < 0 || !is_digit(text.front())) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(stop - text.data()));
    const std::string_view name = text.substr(0, text.find_first_of("0123456789"));
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits) unit = candidate.name == name ? &candidate : unit;
    if (unit == nullptr || count > kDurationMaxUs / unit->us) return std::nullopt;
    total += count * unit->us;
    if (total > kDurationMaxUs) return std::nullopt;
    text.remove_prefix(name.size());
  }
  if (total == 0) return std::nullopt;
  return std::chrono::microseconds(total);
}

std::optional<int64_t> parse_time(std::string_view text, int64_t now) noexcept {
  if (const auto ago = parse_duration(text)) return now - ago->count();
  return parse_iso_time(text);
}

std::string format_time(int64_t time_us) {
  using std::chrono::floor, std::chrono::days, std::chrono::microseconds;
  const std::chrono::sys_time<microseconds> time{microseconds(time_us)};
  const auto midnight = floor<days>(time);
  const std::chrono::year_month_day date(midnight);
  const int64_t us = (time - midnight).count();
  const int64_t seconds = us / kSecondUs;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), seconds / 3600,
                     seconds / 60 % 60, seconds % 60, us % kSecondUs);
}

}  // namespace kvctl
