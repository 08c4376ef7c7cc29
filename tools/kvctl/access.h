// Opening a store the way every command does.
#pragma once

#include <string>

#include "kvstore/store.h"
#include "tools/kvctl/command.h"
#include "tools/kvctl/outcome.h"
#include "tools/kvctl/stdio.h"

namespace kvctl {

// Takes no lock and changes nothing: works beside the owner. kNotAStore when there is none.
[[nodiscard]] kvstore::Result<kvstore::Store> open_for_reading(const std::string& dir, Stdio& io);

enum class IfMissing : bool { kFail, kCreate };
// Takes the lock or fails at once. Says on stderr when it created the store, and what recovery cut (P5). From here
// on Ctrl-C only sets a flag: see interrupt.h.
[[nodiscard]] kvstore::Result<kvstore::Store> open_for_writing(const std::string& dir, IfMissing if_missing, Stdio& io);

// Ends a command that has set one key: tells its version under Format::kJson, and closes the store.
[[nodiscard]] Outcome finish_write(kvstore::Store& store, Format format, Stdio& io);
// The command that shows what a key holds, as advice.
[[nodiscard]] std::string look_at(const std::string& dir, const std::string& key);

}  // namespace kvctl
