#include "kvstore/status.h"

#include <cstring>

namespace kvstore::inline v1 {
namespace {

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
    case Code::kOk: return "Ok";
    case Code::kInvalidArgument: return "InvalidArgument";
    case Code::kConflict: return "Conflict";
    case Code::kLocked: return "Locked";
    case Code::kNotAStore: return "NotAStore";
    case Code::kIoError: return "IoError";
    case Code::kNoSpace: return "NoSpace";
    case Code::kCorruption: return "Corruption";
    case Code::kUnsupported: return "Unsupported";
    case Code::kReadOnly: return "ReadOnly";
    case Code::kClosed: return "Closed";
    case Code::kBroken: return "Broken";
    case Code::kOutOfMemory: return "OutOfMemory";
  }
  return "Unknown";
}

Status::Status(Code code, std::string message) {
  if (code == Code::kOk) return;
  detail_ = std::make_unique<Detail>();
  detail_->code = code;
  detail_->message = std::move(message);
}

Status::Status(const Status& other) : detail_(other.detail_ ? std::make_unique<Detail>(*other.detail_) : nullptr) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) *this = Status(other);
  return *this;
}

Status Status::with(std::string_view step) && {
  if (detail_) detail_->message.insert(0, ": ").insert(0, step);
  return std::move(*this);
}

Status Status::at(std::string_view path, std::optional<uint64_t> offset) && {
  if (detail_) {
    detail_->path = path;
    detail_->offset = offset;
  }
  return std::move(*this);
}

Status Status::because_of_errno(int sys_errno) && {
  if (detail_) {
    detail_->sys_errno = sys_errno;
    detail_->message.append(": ").append(errno_text(sys_errno));
  }
  return std::move(*this);
}

}  // namespace kvstore::inline v1
