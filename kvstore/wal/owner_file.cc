#include "kvstore/wal/owner_file.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/base/scratch.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "kvstore/version.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::wal {

Result<Owner> read_owner(env::File& file) {
  std::array<char, 4096> bytes;  // a host name has at most 255 bytes; the rest of the line is shorter
  Result<size_t> got = file.read_at(0, bytes);
  if (!got.ok()) return std::move(got).status();
  const std::string_view text(bytes.data(), *got);

  std::vector<format::Op> ops;
  base::Scratch scratch;
  const format::Line line = format::decode(text.substr(0, text.find('\n')), ops, scratch);
  if (line.kind == format::LineKind::kUnknownOp) {
    return Status(Code::kUnsupported, "LOCK was written by a newer version. try: a newer version of this program");
  }
  if (line.kind != format::LineKind::kOwner) return Owner{};
  return Owner{.store = std::string(line.owner.store),
               .pid = line.owner.pid,
               .host = std::string(line.owner.host),
               .started_us = line.owner.started_us,
               .closed_seq = line.owner.closed_seq};
}

Result<std::optional<Owner>> read_owner(env::Env& env, const std::string& dir) {
  Result<std::unique_ptr<env::File>> file = env.open(join_path(dir, kLockName), env::OpenMode::kRead);
  if (!file.ok()) {
    if (file.status().sys_errno() == ENOENT) return std::optional<Owner>();
    return std::move(file).status();
  }
  Result<Owner> owner = read_owner(**file);
  if (!owner.ok()) return std::move(owner).status().with(dir).at(join_path(dir, kLockName));
  return std::optional<Owner>(*std::move(owner));
}

Status write_owner(env::File& file, const Owner& owner) {
  KV_ASSERT(owner.closed_seq <= format::kIntegerMax);
  Result<uint64_t> old_size = file.size();
  if (!old_size.ok()) return std::move(old_size).status();
  std::string text = format::encode_owner({.format = kFormatVersion,
                                           .store = owner.store,
                                           .pid = owner.pid,
                                           .host = owner.host,
                                           .started_us = owner.started_us,
                                           .closed_seq = owner.closed_seq});
  KV_ASSERT(text.ends_with('\n'));
  text.resize(std::max<size_t>(text.size(), std::min<uint64_t>(*old_size, 4096)), '\n');
  if (Status s = file.write_at(0, text); !s.ok()) return std::move(s).with("note the owner");
  if (Status s = file.sync(); !s.ok()) return std::move(s).with("note the owner");
  return {};
}

std::string describe(const Owner& owner) {
  if (owner.pid == 0) return "a process that has not noted its name yet";
  return fmt::format("pid {} on host {} since {:%Y-%m-%dT%H:%M:%SZ}", owner.pid, owner.host,
                     fmt::gmtime(static_cast<std::time_t>(owner.started_us / 1'000'000)));
}

}  // namespace kvstore::wal
