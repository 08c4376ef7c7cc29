#include "kvstore/env/failure.h"

#include <cerrno>

#include "kvstore/base/assert.h"

namespace kvstore::env {

Status failure(int sys_errno, std::string_view step, std::string_view path, std::optional<uint64_t> offset) {
  KV_ASSERT(sys_errno != 0);
  std::string sentence(step);
  sentence.append(" ").append(path);
  if (offset) sentence.append(" at byte ").append(std::to_string(*offset));
  const bool disk_is_full = sys_errno == ENOSPC || sys_errno == EDQUOT;
  return Status(disk_is_full ? Code::kNoSpace : Code::kIoError, std::move(sentence))
      .at(path, offset)
      .because_of_errno(sys_errno);
}

Status held_by_another(std::string_view path) {
  return Status(Code::kLocked, std::string("lock ").append(path).append(": another open store holds it"))
      .at(path)
      .because_of_errno(EAGAIN);
}

}  // namespace kvstore::env
