// The list of all commands, in the order of the overview.
#include "tools/kvctl/commands.h"

namespace kvctl {
namespace {

constexpr const Command* kDataCommands[] = {&kGet, &kPut, &kPatch, &kDel, &kIncr, &kLs, &kBatch, &kImport, &kExport};
constexpr const Command* kInspectCommands[] = {&kLog, &kInfo, &kStats, &kVerify};
constexpr const Command* kUpkeepCommands[] = {&kCompact, &kBackup, &kRepair};
constexpr const Command* kOtherCommands[] = {&kHelp, &kVersion};
constexpr CommandGroup kGroups[] = {
    {"data", kDataCommands},
    {"looking inside (no lock taken, nothing changed, works beside the owner)", kInspectCommands},
    {"upkeep", kUpkeepCommands},
    {"kvctl itself", kOtherCommands},
};

}  // namespace

std::span<const CommandGroup> command_groups() noexcept { return kGroups; }

const Command* find_command(std::string_view name) noexcept {
  for (const CommandGroup& group : kGroups) {
    for (const Command* command : group.commands) {
      if (command->name == name) return command;
    }
  }
  return nullptr;
}

}  // namespace kvctl
