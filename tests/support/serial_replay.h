// Is what concurrent transactions saw what they would have seen one after the other, in the order of the log?
//
// Each notes what it read, key by key and scan by scan, as text. replay_and_compare() then goes through the log with a
// model of its own, a std::map, and evaluates every read again: those of a transaction that wrote right before its own
// record and by that record's time, those of one that only read after the record it says it stands on. This is exact:
// not "some order explains it" but "the order of the log does".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/kvstore.h"

namespace kvstore::testing {

struct SerialRead {
  bool is_scan = false;
  std::string key{};   // or the prefix
  std::string seen{};  // as spelled by spell()
};

struct SerialTransaction {
  std::string tag{};                  // the `by` of its commit, unique
  std::optional<uint64_t> instant{};  // it only read: the state after this record. Its reads are of keys without expiry
  bool committed = false;             // else: its tag must not be in the log
  std::vector<SerialRead> reads{};
};

// "-", or value and version: "17@3".
[[nodiscard]] std::string spell(const std::optional<Entry>& entry);
// "a=17@3 b=4@9"
[[nodiscard]] std::string spell(const std::vector<Entry>& entries);

// "" when all fits; else what the first misfit saw and should have seen. Needs: the log from its first record on.
[[nodiscard]] std::string replay_and_compare(const std::filesystem::path& dir,
                                             const std::vector<SerialTransaction>& transactions);

}  // namespace kvstore::testing
