#include "tests/support/rot_damage.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "kvstore/base/assert.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::testing {

using env::MemEnv;

// ---- disks ------------------------------------------------------------------------------------------

std::unique_ptr<MemEnv> copy_of(const MemEnv& disk, std::string_view only_below) {
  auto copy = std::make_unique<MemEnv>(7);
  for (const std::string& path : disk.files()) {
    if (path.starts_with(only_below)) copy->put_file(path, *disk.get_file(path));
  }
  return copy;
}

uint64_t fingerprint_of(const MemEnv& disk) {
  const std::hash<std::string> hash;
  uint64_t print = 0;
  for (const std::string& path : disk.files())
    print = Dice(print ^ hash(path) ^ Dice(hash(*disk.get_file(path))).next()).next();
  return print;
}

size_t end_of_content(std::string_view text) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  return last == std::string_view::npos ? 0 : std::min(text.find('\n', last), text.size());
}

std::vector<StoreFile> files_of_store(const MemEnv& disk) {
  std::unique_ptr<MemEnv> copy = copy_of(disk);
  const Result<wal::StoreFiles> listed = wal::list_store_files(*copy, "db");
  KV_ASSERT(listed.ok());
  std::vector<StoreFile> files;
  if (disk.get_file("db/LOCK").has_value()) files.push_back({"db/LOCK", FileKind::kLock});
  for (const wal::SnapshotFile& snapshot : listed->snapshots) {
    const bool is_newest = snapshot.last_seq == listed->base_seq();
    files.push_back({"db/" + snapshot.name, is_newest ? FileKind::kSnapshot : FileKind::kHistory});
  }
  for (const wal::Segment& segment : listed->segments) {
    const bool is_last = segment.first_seq == listed->segments.back().first_seq;
    const bool counts = segment.first_seq > listed->base_seq();
    files.push_back({"db/" + segment.name, is_last  ? FileKind::kActive
                                           : counts ? FileKind::kSealed
                                                    : FileKind::kHistory});
  }
  const std::string next = "db/" + std::string(wal::kNextSegmentName);
  if (end_of_content(disk.get_file(next).value_or("")) > 0) files.push_back({next, FileKind::kNext});
  return files;
}

// ---- damages ----------------------------------------------------------------------------------------

std::string Damage::describe() const {
  std::string text = fmt::format("{} of {}", kDamageNames[static_cast<size_t>(kind)], file);
  if (!other.empty()) text += " and " + other;
  if (kind == DamageKind::kFlip) return fmt::format("{}, bit {} of byte {}", text, count, at);
  if (kind == DamageKind::kZeroed) return fmt::format("{}, {} bytes from {}", text, count, at);
  if (kind == DamageKind::kCutAtLine || kind == DamageKind::kCutAnywhere) return fmt::format("{} at byte {}", text, at);
  return text;
}

namespace {

void add_bytes(const StoreFile& file, const std::string& text, uint64_t samples, Dice& dice, std::vector<Damage>& out) {
  const auto add = [&](DamageKind kind, uint64_t at, uint64_t count) {
    out.push_back(
        {.kind = kind, .file_kind = file.kind, .file = file.path, .other = {}, .at = at, .count = count, .bytes = {}});
  };
  if (text.empty()) return;
  const size_t content = std::max<size_t>(end_of_content(text), 1);
  for (uint64_t i = 0; i < samples; ++i) {
    // Filler is most of a killed store, and the least interesting part of it.
    const uint64_t within = dice.percent(90) ? content : text.size();
    add(DamageKind::kFlip, dice.below(within), dice.below(8));
    add(DamageKind::kCutAnywhere, dice.below(within), 0);
    const uint64_t bytes = dice.percent(70) ? 512 : 4096;
    add(DamageKind::kZeroed, dice.percent(50) ? dice.below(within) / bytes * bytes : dice.below(within), bytes);
  }
  for (size_t at = text.find('\n'); at < content; at = text.find('\n', at + 1)) {  // npos ends it
    if (at + 1 < text.size()) add(DamageKind::kCutAtLine, at + 1, 0);
  }
  const size_t last_line = text.rfind('\n', content - 1) + 1;
  std::string garbage(1 + dice.below(600), '\0');
  for (char& byte : garbage) byte = static_cast<char>(dice.next());
  for (const std::string& bytes :
       {garbage, std::string(700, '\0'), text.substr(last_line, content - last_line) + "\n"}) {
    out.push_back({.kind = DamageKind::kAppended,
                   .file_kind = file.kind,
                   .file = file.path,
                   .other = {},
                   .at = content,
                   .count = bytes.size(),
                   .bytes = bytes});
  }
}

void add_names(const StoreFile& file, const MemEnv& disk, Dice& dice, std::vector<Damage>& out) {
  if (file.kind == FileKind::kLock || file.kind == FileKind::kNext) return;
  const std::string name = file.path.substr(3);
  const uint64_t number = wal::parse_segment_name(name).value_or(wal::parse_snapshot_name(name).value_or(0));
  for (const uint64_t other :
       {number + 1, number + 2 + dice.below(50), number > 1 ? number - 1 : number + 77, uint64_t{1}}) {
    for (const std::string& copy : {wal::segment_name(other), wal::snapshot_name(other)}) {
      if (disk.get_file("db/" + copy).has_value()) continue;
      out.push_back({.kind = DamageKind::kDuplicated,
                     .file_kind = file.kind,
                     .file = file.path,
                     .other = "db/" + copy,
                     .at = 0,
                     .count = 0,
                     .bytes = {}});
    }
  }
}

void add_replacements(const StoreFile& file, const MemEnv& disk, const MemEnv& from, DamageKind kind,
                      std::vector<Damage>& out) {
  const auto add = [&](std::string bytes) {
    if (bytes == *disk.get_file(file.path)) return;
    out.push_back({.kind = kind,
                   .file_kind = file.kind,
                   .file = file.path,
                   .other = {},
                   .at = 0,
                   .count = 0,
                   .bytes = std::move(bytes)});
  };
  if (std::optional<std::string> same_name = from.get_file(file.path)) return add(*std::move(same_name));
  if (kind != DamageKind::kForeign) return;
  for (const StoreFile& other : files_of_store(from)) {
    if (other.kind == file.kind) return add(*from.get_file(other.path));
  }
}

}  // namespace

std::vector<Damage> damages_for(const MemEnv& disk, const MemEnv& foreign, const MemEnv& older, uint64_t samples,
                                Dice& dice) {
  std::vector<Damage> out;
  const std::vector<StoreFile> files = files_of_store(disk);
  for (const StoreFile& file : files) {
    add_bytes(file, *disk.get_file(file.path), samples, dice, out);
    add_names(file, disk, dice, out);
    add_replacements(file, disk, foreign, DamageKind::kForeign, out);
    add_replacements(file, disk, older, DamageKind::kOlder, out);
    for (const DamageKind kind : {DamageKind::kDeleted, DamageKind::kEmptied}) {
      out.push_back(
          {.kind = kind, .file_kind = file.kind, .file = file.path, .other = {}, .at = 0, .count = 0, .bytes = {}});
    }
    for (const StoreFile& other : files) {
      if (other.path <= file.path) continue;
      out.push_back({.kind = DamageKind::kSwapped,
                     .file_kind = std::min(file.kind, other.kind),
                     .file = file.path,
                     .other = other.path,
                     .at = 0,
                     .count = 0,
                     .bytes = {}});
    }
  }
  return out;
}

void apply(const Damage& damage, MemEnv& disk) {
  std::string text = *disk.get_file(damage.file);
  switch (damage.kind) {
    case DamageKind::kFlip:
      text[damage.at] = static_cast<char>(text[damage.at] ^ (1 << damage.count));
      break;
    case DamageKind::kZeroed:
      text.replace(damage.at, std::min<uint64_t>(damage.count, text.size() - damage.at),
                   std::min<uint64_t>(damage.count, text.size() - damage.at), '\0');
      break;
    case DamageKind::kCutAtLine:
    case DamageKind::kCutAnywhere:
      text.resize(damage.at);
      break;
    case DamageKind::kAppended: {  // into the filler, if there is any
      const size_t at = std::min(damage.at + 1, text.size());
      text.replace(at, std::min(damage.bytes.size(), text.size() - at), damage.bytes);
      break;
    }
    case DamageKind::kDeleted: {
      const Status removed = disk.remove(damage.file);
      KV_ASSERT(removed.ok());
      return;
    }
    case DamageKind::kEmptied:
      text.clear();
      break;
    case DamageKind::kSwapped:
      disk.put_file(damage.file, *disk.get_file(damage.other));
      disk.put_file(damage.other, text);
      return;
    case DamageKind::kDuplicated:
      disk.put_file(damage.other, text);
      return;
    case DamageKind::kForeign:
    case DamageKind::kOlder:
      text = damage.bytes;
      break;
  }
  disk.put_file(damage.file, text);
}

}  // namespace kvstore::testing
