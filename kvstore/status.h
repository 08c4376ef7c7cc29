// Status and Result<T>: how every call reports.
//
// A failure carries a code to branch on and a sentence for the person who must act: which step,
// which file, which byte, why, what to do next. Success is one null pointer: it allocates nothing
// and costs one comparison. Neither type throws; both are safe to move between threads. Should memory run
// out for a sentence, the code survives and its name stands in for the sentence.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kvstore::inline v1 {

enum class Code : uint8_t {
  kOk = 0,
  kInvalidArgument,  // the caller's slip: empty or over-long key, over-long value, malformed JSON
  kConflict,         // a condition (if_version, if_absent) did not hold, or what a transaction had read has changed
  kLocked,           // another process, or another handle in this one, owns the store
  kNotAStore,        // there is no store at this path
  kIoError,          // the operating system said no; see sys_errno() and path()
  kNoSpace,          // the disk is full; nothing was written, and writing resumes once there is room
  kCorruption,       // bytes that were promised are damaged or missing; see path() and offset()
  kUnsupported,      // written by a newer version: an unknown format number or operation
  kReadOnly,         // a write on a store opened read-only
  kClosed,           // a write after close()
  kBroken,           // an earlier sync failed: writes are refused until the store is reopened (P8)
  kOutOfMemory,      // memory ran out, the machine's or the store's own limit; nothing was written
  kCompacted,        // the part of the log that was asked for has been compacted away
  kCancelled,        // the caller, or closing the store, ended it early; nothing has changed
};

// The code's name as it stands in the enum without the k: "InvalidArgument". Lives forever.
[[nodiscard]] std::string_view code_name(Code code) noexcept;

class [[nodiscard]] Status {
 public:
  Status() noexcept = default;                      // OK
  Status(Code code, std::string message) noexcept;  // kOk: OK, the message is dropped
  Status(Code code, const char* message) noexcept;  // the same; where no memory is left the sentence is the code's name
  Status(const Status& other) noexcept;             // a deep copy
  Status& operator=(const Status& other) noexcept;
  Status(Status&&) noexcept = default;  // leaves OK behind
  Status& operator=(Status&&) noexcept = default;
  ~Status() = default;

  [[nodiscard]] bool ok() const noexcept { return detail_ == nullptr; }
  [[nodiscard]] Code code() const noexcept { return detail_ ? detail_->code : Code::kOk; }

  // The whole sentence, "OK" for success. The view lives as long as this object is unchanged.
  [[nodiscard]] std::string_view message() const noexcept {
    return detail_ ? std::string_view(detail_->message) : std::string_view("OK");
  }
  // The file concerned, empty when there is none.
  [[nodiscard]] std::string_view path() const noexcept {
    return detail_ ? std::string_view(detail_->path) : std::string_view();
  }
  // errno of the failed system call, 0 when there was none.
  [[nodiscard]] int sys_errno() const noexcept { return detail_ ? detail_->sys_errno : 0; }
  // Byte offset in path(), when one byte is to blame.
  [[nodiscard]] std::optional<uint64_t> offset() const noexcept { return detail_ ? detail_->offset : std::nullopt; }

  // Builders, for the place where the failure happens. They do nothing to OK.
  // with("append record 7") prefixes the sentence: "append record 7: <old message>".
  Status with(std::string_view step) && noexcept;
  // Sets code(), for a step that means something else to whoever asked for more. Needs: not kOk.
  Status as(Code code) && noexcept;
  // Sets path() and offset(). The sentence is left alone: it has its own way of naming the place.
  Status at(std::string_view path, std::optional<uint64_t> offset = std::nullopt) && noexcept;
  // Sets sys_errno() and ends the sentence with the system's words: "<old message>: no space left on device".
  Status because_of_errno(int sys_errno) && noexcept;

 private:
  struct Detail {
    Code code = Code::kOk;
    int sys_errno = 0;
    std::optional<uint64_t> offset;
    std::string path;
    std::string message;
  };
  // Frees a Detail, unless it is one of the few that stand ready for when memory has run out.
  struct Free {
    void operator()(Detail* detail) const noexcept;
  };
  static Detail* spare(Code code) noexcept;
  Detail* own_detail() noexcept;  // null for OK, and for a spare, which nobody may change

  std::unique_ptr<Detail, Free> detail_;  // null: OK
};

// A T, or the Status that tells why there is none. Check ok() before value().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                   // NOLINT: conversion is the purpose
  Result(Status status) noexcept : status_(std::move(status)) {}  // NOLINT; needs: !status.ok()

  [[nodiscard]] bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const Status& status() const& noexcept { return status_; }
  [[nodiscard]] Status status() && noexcept { return std::move(status_); }

  // Needs: ok(). Undefined otherwise, as for std::optional.
  [[nodiscard]] T& value() & noexcept { return *value_; }
  [[nodiscard]] const T& value() const& noexcept { return *value_; }
  // Of a temporary by value, not by reference: so `for (auto e : *store.scan())` keeps what it walks over alive.
  [[nodiscard]] T value() && { return std::move(*value_); }
  T& operator*() & noexcept { return *value_; }
  const T& operator*() const& noexcept { return *value_; }
  T operator*() && { return std::move(*value_); }
  T* operator->() noexcept { return &*value_; }
  const T* operator->() const noexcept { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace kvstore::inline v1
