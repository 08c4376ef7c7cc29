#include "kvstore/env/failure.h"

#include <cerrno>
#include <new>
#include <utility>

#include "kvstore/base/assert.h"

namespace kvstore::env {

Status failure(int sys_errno, std::string_view step, std::string_view path, std::optional<uint64_t> offset) noexcept {
  KV_ASSERT(sys_errno != 0);
  const bool disk_is_full = sys_errno == ENOSPC || sys_errno == EDQUOT;
  std::string sentence;
  try {
    sentence.append(step).append(" ").append(path);
    if (offset) sentence.append(" at byte ").append(std::to_string(*offset));
  } catch (const std::bad_alloc&) {
    sentence.clear();  // the code and errno still get through, and they decide what happens next
  }
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
