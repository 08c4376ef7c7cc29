// Every command of kvctl. Each is defined in cmd_<name>.cc.
#pragma once

#include "tools/kvctl/command.h"

namespace kvctl {

extern const Command kBackup;
extern const Command kBatch;
extern const Command kCompact;
extern const Command kDel;
extern const Command kExport;
extern const Command kGet;
extern const Command kHelp;
extern const Command kImport;
extern const Command kIncr;
extern const Command kInfo;
extern const Command kLog;
extern const Command kLs;
extern const Command kPatch;
extern const Command kPut;
extern const Command kRepair;
extern const Command kStats;
extern const Command kVerify;
extern const Command kVersion;

}  // namespace kvctl
