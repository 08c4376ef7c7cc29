#include "kvstore/engine/store_copy.h"

#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_writer.h"

namespace kvstore::engine {

Status check_is_directory(env::Env& env, const std::string& path) {
  const Status s = env.open(path, env::OpenMode::kRead).status();  // follows no link, and opens no directory
  if (s.sys_errno() == EISDIR) return {};
  return s.ok() ? base::error(Code::kIoError, "{}: it is no directory", path).at(path) : s;
}

Status check_directory_is_free(env::Env& env, const std::string& dir) {
  if (dir.empty()) return {Code::kInvalidArgument, "the directory has no name"};
  if (dir.find('\0') != std::string::npos) return {Code::kInvalidArgument, "there is a NUL in the directory's name"};
  Result<std::vector<std::string>> names = env.list(dir);
  if (!names.ok()) return names.status().sys_errno() == ENOENT ? Status() : std::move(names).status();
  if (names->size() == 1 && names->front() == wal::kLostAndFoundName) {
    const std::string lost_and_found = wal::join_path(dir, wal::kLostAndFoundName);
    if (Status s = check_is_directory(env, lost_and_found); !s.ok()) return s;
    Result<std::vector<std::string>> lost = env.list(lost_and_found);
    if (lost.ok() && lost->empty()) return {};
  }
  if (names->empty()) return {};
  return base::error(Code::kInvalidArgument, "{}: the directory is not empty. try: another one", dir).at(dir);
}

Result<bool> claim_directory(env::Env& env, const std::string& dir) {
  if (Status s = check_directory_is_free(env, dir); !s.ok()) return s;
  const bool is_new = env.list(dir).status().sys_errno() == ENOENT;
  if (Status s = env.create_dir(dir); !s.ok()) return s;
  return is_new;
}

Status write_segment(env::Env& env, const std::string& dir, const std::string& uuid, format::Seq last_seq,
                     int64_t created_us) {
  if (last_seq >= format::kIntegerMax) {
    return {Code::kNoSpace, "there is no sequence number left for the segment behind the state. try: kvctl export"};
  }
  KV_ASSERT(!uuid.empty());
  KV_ASSERT(!dir.empty());
  wal::LogWriter::Settings settings{.dir = dir,
                                    .store = uuid,
                                    .io = LogIo::kWrite,
                                    .segment_bytes = Options().segment_bytes,
                                    .now_us = [=] { return created_us; },
                                    .on_low_room = [] {},
                                    .on_rotation = [] {}};
  const auto write = [&]() -> Status {
    Result<std::unique_ptr<wal::LogWriter>> log =
        wal::LogWriter::open(env, std::move(settings), {.last_seq = last_seq});
    return log.ok() ? (*log)->close() : std::move(log).status();
  };
  Status written = base::guarded(write);
  const bool is_anothers = written.sys_errno() == EEXIST;
  if (!written.ok() && !is_anothers) (void)env.remove(wal::join_path(dir, wal::segment_name(last_seq + 1))).ok();
  return written;
}

void remove_copy(env::Env& env, const std::string& dir, format::Seq last_seq) {
  KV_ASSERT(!dir.empty());  // names without one would be those of the working directory
  if (last_seq != 0) (void)env.remove(wal::join_path(dir, wal::snapshot_name(last_seq))).ok();
  (void)env.remove(wal::join_path(dir, wal::segment_name(last_seq + 1))).ok();
}

}  // namespace kvstore::engine
