#include "kvstore/status.h"

#include <cstddef>
#include <cstring>
#include <new>

#include "kvstore/base/assert.h"

namespace kvstore::inline v1 {
namespace {

constexpr size_t kCodeCount = static_cast<size_t>(Code::kCancelled) + 1;

// strerror_r has two signatures; overloading on what it returned takes whichever this C library has.
[[maybe_unused]] const char* text_from(const char* result, const char*) noexcept { return result; }  // GNU
[[maybe_unused]] const char* text_from(int result, const char* buffer) noexcept {                    // POSIX
  return result == 0 ? buffer : "unknown error";
}

// What the C library says about an errno, begun in lower case to stand inside a sentence; a word in
// capitals ("RFS specific error") stays.
std::string errno_text(int sys_errno) {
  char buffer[128] = "";
  std::string text = text_from(strerror_r(sys_errno, buffer, sizeof(buffer)), buffer);
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  const auto is_word = [](char c) { return c == ' ' || (c >= 'a' && c <= 'z'); };
  if (text.size() >= 2 && is_upper(text[0]) && is_word(text[1])) text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace

std::string_view code_name(Code code) noexcept {
  switch (code) {
    case Code::kOk:
      return "Ok";
    case Code::kInvalidArgument:
      return "InvalidArgument";
    case Code::kConflict:
      return "Conflict";
    case Code::kLocked:
      return "Locked";
    case Code::kNotAStore:
      return "NotAStore";
    case Code::kIoError:
      return "IoError";
    case Code::kNoSpace:
      return "NoSpace";
    case Code::kCorruption:
      return "Corruption";
    case Code::kUnsupported:
      return "Unsupported";
    case Code::kReadOnly:
      return "ReadOnly";
    case Code::kClosed:
      return "Closed";
    case Code::kBroken:
      return "Broken";
    case Code::kOutOfMemory:
      return "OutOfMemory";
    case Code::kCompacted:
      return "Compacted";
    case Code::kCancelled:
      return "Cancelled";
  }
  return "Unknown";
}

// The details of a failure whose sentence found no memory: one a code, never changed, never freed. Needs no memory
// itself, since a code's name is short enough for std::string's own room.
Status::Detail* Status::spare(Code code) noexcept {
  struct Spares {
    Spares() noexcept {
      for (size_t i = 0; i < kCodeCount; ++i) {
        details[i].code = static_cast<Code>(i);
        details[i].message = code_name(details[i].code);
      }
    }
    Detail details[kCodeCount];
  };
  // Built in place and never destroyed: a Status may outlive every static object.
  alignas(Spares) static std::byte storage[sizeof(Spares)];
  static Spares* const spares = new (storage) Spares;
  const auto index = static_cast<size_t>(code);
  KV_ASSERT(index < kCodeCount);
  return &spares->details[index];
}

void Status::Free::operator()(Detail* detail) const noexcept {
  if (detail != spare(detail->code)) delete detail;
}

Status::Detail* Status::own_detail() noexcept {
  return ok() || detail_.get() == spare(code()) ? nullptr : detail_.get();
}

Status::Status(Code code, std::string message) noexcept {
  if (code == Code::kOk) return;
  detail_.reset(new (std::nothrow) Detail);
  if (detail_ == nullptr) {
    detail_.reset(spare(code));
    return;
  }
  detail_->code = code;
  detail_->message = std::move(message);
}

Status::Status(Code code, const char* message) noexcept : Status(code, std::string()) {
  if (Detail* const detail = own_detail()) {
    try {
      detail->message = message;
    } catch (const std::bad_alloc&) {
      detail->message = code_name(code);  // short enough for the room inside a string
    }
  }
}

Status::Status(const Status& other) noexcept {
  if (other.ok()) return;
  try {
    detail_.reset(new Detail(*other.detail_));
  } catch (const std::bad_alloc&) {
    detail_.reset(spare(other.code()));
  }
}

Status& Status::operator=(const Status& other) noexcept {
  if (this != &other) *this = Status(other);
  return *this;
}

// The builders prepare what may throw first, so that without memory the sentence stays as it is.

Status Status::with(std::string_view step) && noexcept {
  if (Detail* const detail = own_detail()) {
    try {
      std::string message;
      message.reserve(step.size() + 2 + detail->message.size());
      message.append(step).append(": ").append(detail->message);
      detail->message = std::move(message);
    } catch (const std::bad_alloc&) {
    }
  }
  return std::move(*this);
}

Status Status::as(Code code) && noexcept {
  KV_ASSERT(code != Code::kOk);
  if (Detail* const detail = own_detail()) {
    detail->code = code;
  } else if (!ok()) {
    detail_.reset(spare(code));
  }
  return std::move(*this);
}

Status Status::at(std::string_view path, std::optional<uint64_t> offset) && noexcept {
  if (Detail* const detail = own_detail()) {
    try {
      detail->path = path;
      detail->offset = offset;
    } catch (const std::bad_alloc&) {
    }
  }
  return std::move(*this);
}

Status Status::because_of_errno(int sys_errno) && noexcept {
  if (Detail* const detail = own_detail()) {
    detail->sys_errno = sys_errno;
    try {
      detail->message.append(": " + errno_text(sys_errno));
    } catch (const std::bad_alloc&) {
    }
  }
  return std::move(*this);
}

}  // namespace kvstore::inline v1
