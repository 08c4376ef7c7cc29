#include "tools/kvctl/outcome.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "kvstore/version.h"
#include "tools/kvctl/text.h"

namespace kvctl {

using kvstore::Code;

Exit exit_for(Code code) noexcept {
  switch (code) {
    case Code::kOk:
      return Exit::kOk;
    case Code::kConflict:
    case Code::kCancelled:
      return Exit::kNo;
    case Code::kInvalidArgument:
      return Exit::kUsage;
    case Code::kCorruption:
      return Exit::kCorruption;
    case Code::kLocked:
      return Exit::kLocked;
    case Code::kUnsupported:
      return Exit::kNewerFormat;
    case Code::kCompacted:
      return Exit::kCompacted;
    case Code::kNotAStore:
    case Code::kIoError:
    case Code::kNoSpace:
    case Code::kReadOnly:
    case Code::kClosed:
    case Code::kBroken:
    case Code::kOutOfMemory:
      return Exit::kIo;
  }
  return Exit::kIo;
}

namespace {

// What df can look at: the directory that `path` is, or lies in. It may be gone again, as a failed backup's is.
std::string directory_of(std::filesystem::path path) {
  std::error_code error;
  while (!path.empty() && !std::filesystem::is_directory(path, error)) path = path.parent_path();
  return path.empty() ? "." : path.string();
}

}  // namespace

Outcome::Outcome(const kvstore::Status& status)
    : exit(exit_for(status.code())), code(status.code()), path(status.path()) {
  if (status.ok()) return;
  // The library's sentences end in their advice where it has some: "…: crc mismatch. try: restore it from a copy".
  constexpr std::string_view kAdvice = ". try: ";
  const std::string_view message = status.message();
  const size_t end = message.rfind(kAdvice);
  sentence = message.substr(0, end);
  if (end != std::string_view::npos) advice = message.substr(end + kAdvice.size());
}

std::string advice_for(const Outcome& outcome, std::string_view command, std::string_view dir) {
  if (outcome.sentence.empty()) return {};
  const std::string shell_dir = path_argument(dir);
  if (outcome.code == Code::kLocked) {
    return fmt::format("stop it, or read meanwhile: get, ls, export, log and kvctl info {} need no lock", shell_dir);
  }
  if (!outcome.advice.empty()) return outcome.advice;
  switch (outcome.code) {
    case Code::kCorruption:
      return fmt::format("kvctl verify {}", shell_dir);
    case Code::kUnsupported:
      return fmt::format("a newer kvctl; this is {}.{}.{}, which reads format {}", KVSTORE_VERSION_MAJOR,
                         KVSTORE_VERSION_MINOR, KVSTORE_VERSION_PATCH, kvstore::kFormatVersion);
    case Code::kNoSpace:
      return fmt::format("df {}", path_argument(directory_of(outcome.path.empty() ? dir : outcome.path)));
    default:
      break;
  }
  if (outcome.exit != Exit::kUsage) return {};
  return command.empty() ? "kvctl help" : fmt::format("kvctl help {}", command);
}

}  // namespace kvctl
