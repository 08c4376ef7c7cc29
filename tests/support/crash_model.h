// What a power cut may leave behind: the rules, apart from the environment that gathers the facts.
//
// Two things are lost and kept independently of each other, the bytes of each file and the names in each directory.
//
// Bytes. A file is a row of blocks (512 or 4096 bytes). Against what the last sync() made durable, each block that
// was written since is on disk as any of
//
//     durable  aaaaaaaaaaaa      written since  bbbbbbbbbbbb
//       old    aaaaaaaaaaaa      it had not been written out yet
//       new    bbbbbbbbbbbb      it had
//       torn   bbbbaaaaaaaa      power failed while it was
//       earlier                  one of the versions it had between the last sync and now
//
// each block for itself, in no order. Where the file grew, the old content of a block is zeros, garbage, or what
// some deleted file, or the cut-off end of one, left in some block. The size is any that the file had since the last sync, and, where it grew, any
// block boundary on the way.
//
// Names. Every create, rename and remove since the last sync_dir() is kept or lost, by one of three rules:
//
//     ordered    what is kept is the beginning of the sequence of all operations, as with a journalling file system
//                such as ext4; syncing one directory keeps all that went before in any
//     reordered  any of the operations are kept, each whole
//     bare       even the two halves of a rename (old name gone, new name there) are kept or lost for themselves:
//                all that POSIX promises is what sync_dir() was called for
//
// Syncing a file says nothing about its name, and a name nothing about the bytes: a file renamed without a sync
// may be there with old, half or no content.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvstore::testing {

// Which of the possible states a crash leaves. Any choice of fields makes sense; the presets are the usual ones.
struct CrashChoice {
  enum class Data : uint8_t { kAll, kSynced, kRandom };
  enum class Names : uint8_t { kAll, kSynced, kOrdered, kReordered, kBare };
  static constexpr std::array kChanceRules = {Names::kOrdered, Names::kReordered, Names::kBare};

  Data data = Data::kAll;
  Names names = Names::kAll;
  uint64_t block_bytes = 512;
  uint64_t seed = 0;  // for what is left to chance

  // kill -9: the process dies, the machine goes on. All that was written or stored into a mapping is there.
  [[nodiscard]] static CrashChoice keep_everything() { return {}; }
  // The least that may be left: exactly what sync() and sync_dir() promised.
  [[nodiscard]] static CrashChoice keep_only_synced() { return {.data = Data::kSynced, .names = Names::kSynced}; }
  // One state out of all that the rule for names allows, always the same one for a seed.
  [[nodiscard]] static CrashChoice random(uint64_t seed, Names rule);

  [[nodiscard]] std::string describe() const;  // "data=random names=ordered block_bytes=512 seed=7"
};

// SplitMix64 (Sebastiano Vigna, https://prng.di.unimi.it/splitmix64.c): a choice must be the same on every platform,
// which the standard library's distributions are not.
class Dice {
 public:
  explicit Dice(uint64_t seed) noexcept : state_(seed) {}
  uint64_t next() noexcept;
  uint64_t below(uint64_t count) noexcept { return next() % count; }  // needs: count > 0; the bias is harmless here
  bool percent(uint64_t chance) noexcept { return below(100) < chance; }

 private:
  uint64_t state_;
};

// ---- bytes ----------------------------------------------------------------------------------------------------

// What has become of one file since its last sync.
class FileHistory {
 public:
  explicit FileHistory(std::string durable = {}) : durable_(std::move(durable)) {}

  using Reader = std::function<std::string(uint64_t begin, uint64_t count)>;  // of the live file; fewer at its end

  // Before bytes from `begin` to `end` are overwritten or cut off, and before the size changes: remembers what may
  // have reached the disk in the meantime. At most kVersionsMax versions of a block, the newest.
  void about_to_change(uint64_t live_size, uint64_t begin, uint64_t end, const Reader& read_live);
  // A sync that succeeded. After one that failed it makes durable only what was written since, see sync_failed().
  void synced(std::string content);
  // A sync that the disk refused. As Linux does, the pages are taken for clean although nobody knows whether they are
  // on disk: a later sync skips them and succeeds, unless they are written anew. (Jonathan Corbet, "PostgreSQL's
  // fsync() surprise", https://lwn.net/Articles/752063/.)
  void sync_failed(const std::string& content);

  [[nodiscard]] const std::string& durable() const noexcept { return durable_; }

  // The content after a crash of a file that was `live`. `graveyard`: contents of deleted files, whose blocks may come
  // to light again. Appends to `story` what was chosen.
  [[nodiscard]] std::string after_crash(std::string_view live, std::span<const std::string> graveyard,
                                        const CrashChoice& choice, Dice dice, std::string& story) const;

 private:
  static constexpr uint64_t kVersionBytes = 4096;  // a page
  static constexpr size_t kVersionsMax = 4;

  [[nodiscard]] uint64_t choose_size(uint64_t live_size, uint64_t block_bytes, Dice& dice) const;
  [[nodiscard]] std::vector<std::string> versions_between(uint64_t begin, uint64_t bytes) const;

  std::string durable_;
  std::vector<uint64_t> sizes_;                            // had since the last sync
  std::map<uint64_t, std::vector<std::string>> versions_;  // by index of a page
  std::map<uint64_t, std::string> forgotten_;              // pages that a failed sync took for clean, by index
};

// ---- names ----------------------------------------------------------------------------------------------------

using NodeId = uint64_t;  // a file or a directory, whatever its name
inline constexpr NodeId kNoNode = 0;
inline constexpr NodeId kRootNode = 1;

struct NameKey {
  NodeId dir = kRootNode;
  std::string name;
  auto operator<=>(const NameKey&) const = default;  // NOLINT(modernize-use-nullptr): sees the generated "< 0"
};
using NameMap = std::map<NameKey, NodeId>;

// One change of one name. A rename makes two.
struct NameEdit {
  NameKey key;
  NodeId node = kNoNode;  // what the name means from now on; kNoNode: nothing
  bool synced = false;    // its directory was synced since
};

struct NameOp {
  std::string text;  // "rename db/tmp to db/snapshot"
  std::vector<NameEdit> edits;
};

// The names after a crash, of those that were durable and the operations since, in their order.
[[nodiscard]] NameMap names_after_crash(NameMap durable, std::span<const NameOp> pending, const CrashChoice& choice,
                                        Dice dice, std::string& story);

void apply(const NameEdit& edit, NameMap& names);

}  // namespace kvstore::testing
