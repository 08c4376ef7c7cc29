// LOCK: one line of JSON that names the store's owner and keeps two vouchers beyond the log itself: the
// store's uuid, and the last sequence number known to be on disk at the last clean close. It is written in
// place, padded with blank lines, and never truncated, so a reader sees the old line or the new one.
#pragma once

#include <optional>
#include <string>

#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/status.h"

namespace kvstore::wal {

struct Owner {
  std::string store{};  // uuid; empty: LOCK is new or unreadable
  int64_t pid = 0;      // 0: closed cleanly
  std::string host{};
  int64_t started_us = 0;
  format::Seq closed_seq = 0;
};

// What LOCK says; an Owner without uuid when the file is empty or its line is damaged (a power cut may tear it:
// it only ever adds certainty). kUnsupported when a newer version wrote it. kIoError.
Result<Owner> read_owner(env::File& file);
// nullopt when there is no LOCK.
Result<std::optional<Owner>> read_owner(env::Env& env, const std::string& dir);
// Writes and syncs.
Status write_owner(env::File& file, const Owner& owner);

// "pid 4711 on host db1 since 2026-11-22T10:00:00Z", for the sentence that refuses a second owner.
[[nodiscard]] std::string describe(const Owner& owner);

}  // namespace kvstore::wal
