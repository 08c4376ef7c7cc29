// Ways in which the files of a store go bad while nobody looks: the disk, the copy, or the person.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/env/mem_env.h"
#include "tests/support/crash_model.h"

namespace kvstore::testing {

enum class DamageKind : uint8_t {
  kFlip,       // one bit
  kZeroed,     // 512 or 4096 bytes, on a block boundary or anywhere
  kCutAtLine,  // truncated behind a newline
  kCutAnywhere,
  kAppended,  // garbage, zeros, or the last line once more behind the end
  kDeleted,
  kEmptied,
  kSwapped,     // two files have changed places
  kDuplicated,  // a copy under another legal name
  kForeign,     // replaced by a file of another store
  kOlder,       // replaced by what the file held some time ago
};
inline constexpr std::array<std::string_view, 11> kDamageNames = {
    "bit flip", "zeroed block", "cut at a line", "cut anywhere",    "appended",   "deleted",
    "emptied",  "swapped",      "duplicated",    "another store's", "older copy",
};
inline constexpr size_t kDamageCount = kDamageNames.size();

enum class FileKind : uint8_t { kLock, kSnapshot, kSealed, kActive, kNext, kHistory };
inline constexpr std::array<std::string_view, 6> kFileNames = {"LOCK",           "snapshot",     "sealed segment",
                                                               "active segment", "next segment", "history"};
inline constexpr size_t kFileCount = kFileNames.size();

struct Damage {
  DamageKind kind = DamageKind::kFlip;
  FileKind file_kind = FileKind::kLock;
  std::string file{};   // path
  std::string other{};  // kSwapped, kDuplicated: the other path
  uint64_t at = 0;      // byte
  uint64_t count = 0;   // of bytes; kFlip: which bit
  std::string bytes{};  // kAppended: these; kForeign, kOlder: the new content
  [[nodiscard]] std::string describe() const;
};

// The files of the store in db/, by what they are to it. What is behind none of the names that count is left out.
struct StoreFile {
  std::string path;
  FileKind kind;
};
[[nodiscard]] std::vector<StoreFile> files_of_store(const env::MemEnv& disk);

// Every damage to every file that is worth trying, with up to `samples` random places for each file and kind.
// `foreign` is another store, `older` this one some time before.
[[nodiscard]] std::vector<Damage> damages_for(const env::MemEnv& disk, const env::MemEnv& foreign,
                                              const env::MemEnv& older, uint64_t samples, Dice& dice);
void apply(const Damage& damage, env::MemEnv& disk);

// A copy of all files.
[[nodiscard]] std::unique_ptr<env::MemEnv> copy_of(const env::MemEnv& disk, std::string_view only_below = "");
[[nodiscard]] uint64_t fingerprint_of(const env::MemEnv& disk);
// Behind the last line that is not blank, its newline not counted: what a log holds, without its filler, or what chance has
// put in its place.
[[nodiscard]] size_t end_of_content(std::string_view text);

}  // namespace kvstore::testing
