// What an exploration of crashes has seen, by what was assumed to survive. A plain aggregate, so that it can lie in
// memory shared with a process that may die.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tests/support/crash_model.h"
#include "tests/support/ledger.h"

namespace kvstore::testing {

// What survives a crash: crash_model.h has the rules.
enum class CrashModel : uint8_t {
  kKill,       // kill -9: all that was written, and of the line that was being copied any part
  kOrdered,    // a power cut; names as an ext4-like journal keeps them
  kReordered,  // ... any of the operations on names, each whole
  kBare,       // ... what POSIX promises and nothing more: also exactly that
};
inline constexpr std::array kCrashModels = {CrashModel::kKill, CrashModel::kOrdered, CrashModel::kReordered,
                                            CrashModel::kBare};
inline constexpr std::array<std::string_view, 4> kCrashModelNames = {"kill", "ext4", "reordered", "bare"};
[[nodiscard]] constexpr std::string_view name_of(CrashModel model) noexcept {
  return kCrashModelNames[static_cast<size_t>(model)];
}
[[nodiscard]] std::optional<CrashModel> crash_model_named(std::string_view name) noexcept;

struct CrashTally {
  struct Row {
    uint64_t states = 0;      // crashed disks
    uint64_t distinct = 0;    // ... that were opened: not those that looked like one before
    uint64_t intact = 0;      // ... of these, without anything to cut
    uint64_t cut = 0;         // ... with a torn end, reported and kept
    uint64_t recovering = 0;  // crashes of a recovery, and of the recovery from that
    uint64_t repairing = 0;   // crashes of a repair
    std::array<uint64_t, kViolationCount> violations{};
  };
  std::array<Row, kCrashModels.size()> rows{};

  [[nodiscard]] Row& row(CrashModel model) noexcept { return rows[static_cast<size_t>(model)]; }
  [[nodiscard]] uint64_t violations() const noexcept;
  [[nodiscard]] uint64_t states() const noexcept;
  void add(const CrashTally& other) noexcept;
  [[nodiscard]] std::string table() const;  // for people
};

}  // namespace kvstore::testing
