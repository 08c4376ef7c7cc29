// Files of a store written by hand, line by line, and a plain reading of them to compare with.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "kvstore/format/record.h"

namespace kvstore::testing {

inline constexpr std::string_view kStoreUuid = "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20";
inline constexpr std::string_view kOtherUuid = "00000000-0000-4000-8000-000000000000";

// Lines, newline included. `ts` is some microsecond of 2025 that grows with seq.
std::string header_line(format::Seq first_seq, std::string_view store = kStoreUuid);
std::string put_line(format::Seq seq, std::string_view key, std::string_view value, format::Seq synced = 0);
std::string del_line(format::Seq seq, std::string_view key, format::Seq synced = 0);
std::string end_line(format::Seq last_seq);
std::string lock_line(format::Seq closed_seq, std::string_view store = kStoreUuid);
std::string entry_line(format::Seq seq, std::string_view key, std::string_view value);
std::string snapshot_header_line(format::Seq last_seq, std::string_view store = kStoreUuid);
// A snapshot that holds `entries`, lines of entry_line(), with header and footer.
std::string snapshot_of(format::Seq last_seq, std::string_view entries, std::string_view store = kStoreUuid);

using Files = std::map<std::string, std::string>;  // name in the store's directory -> bytes

struct Value {
  std::string bytes{};
  format::Seq version = 0;
  int64_t expires_us = 0;
  bool operator==(const Value&) const = default;
};
using State = std::map<std::string, Value>;

// What a repair of these files must keep, by the rule in engine/salvage.h, worked out the slow way: every intact line
// into one list, sorted by number. Expired entries are in it. Needs: no file of another store.
State salvaged(const Files& files);
// What a store of these files holds after record `last_seq`, if it opens.
State replayed(const Files& files, format::Seq last_seq);

}  // namespace kvstore::testing
