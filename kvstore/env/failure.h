// Turns an errno into a Status, so that every environment reports in the same words:
//
//     write mydb/wal-1.jsonl at byte 1048576: no space left on device
//
// Private to the environments, and to the test ones among them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kvstore/status.h"

namespace kvstore::env {

// "<step> <path>[ at byte <offset>]: <what sys_errno means>", with path(), offset() and sys_errno() set.
// kNoSpace for ENOSPC and EDQUOT, kIoError otherwise. Needs: sys_errno != 0.
[[nodiscard]] Status failure(int sys_errno, std::string_view step, std::string_view path,
                             std::optional<uint64_t> offset = std::nullopt) noexcept;

// "lock <path>: another open store holds it: ...", kLocked with EAGAIN: the one refusal that is no I/O error.
[[nodiscard]] Status held_by_another(std::string_view path);

}  // namespace kvstore::env
