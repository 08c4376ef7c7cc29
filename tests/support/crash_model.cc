#include "tests/support/crash_model.h"

#include <algorithm>
#include <array>
#include <utility>

namespace kvstore::testing {

CrashChoice CrashChoice::random(uint64_t seed, Names rule) {
  return {.data = Data::kRandom,
          .names = rule,
          .block_bytes = Dice(seed).percent(50) ? uint64_t{512} : uint64_t{4096},
          .seed = seed};
}

std::string CrashChoice::describe() const {
  constexpr std::array<std::string_view, 3> kData = {"all", "synced", "random"};
  constexpr std::array<std::string_view, 5> kNames = {"all", "synced", "ordered", "reordered", "bare"};
  return std::string("data=").append(kData[static_cast<size_t>(data)]) +
         " names=" + std::string(kNames[static_cast<size_t>(names)]) + " block_bytes=" + std::to_string(block_bytes) +
         " seed=" + std::to_string(seed);
}

uint64_t Dice::next() noexcept {
  uint64_t mixed = (state_ += 0x9e3779b97f4a7c15);
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

// ---- bytes ----------------------------------------------------------------------------------------------------

namespace {

// Bytes [begin, begin + count) of a file with this content; zeros behind its end.
std::string block_of(std::string_view content, uint64_t begin, uint64_t count) {
  std::string block(content.substr(std::min<uint64_t>(begin, content.size()), count));
  block.resize(count, '\0');
  return block;
}

// How one file fares in one crash. Drawn for each file anew, so that some crashes keep nearly everything, some
// nearly nothing, and some leave a patchwork.
struct Fortune {
  explicit Fortune(Dice& dice) {
    constexpr std::array<uint64_t, 5> kWritten = {0, 10, 50, 90, 100};
    constexpr std::array<uint64_t, 3> kTorn = {0, 10, 60};
    written_percent = kWritten[dice.below(kWritten.size())];
    torn_percent = kTorn[dice.below(kTorn.size())];
    junk_percent = kWritten[dice.below(kWritten.size())];
  }
  uint64_t written_percent;
  uint64_t torn_percent;
  uint64_t junk_percent;  // of blocks that were added and not written, those that hold no zeros
};

// What lies in a block of the disk that a file was given but has not written: now and then what stood in the same
// place of another file, or in any other block of it; and now and then nothing but blanks, which mean nothing in a log.
std::string junk(uint64_t begin, uint64_t count, std::span<const std::string> graveyard, Dice& dice) {
  constexpr uint64_t kSectorBytes = 512;
  if (!graveyard.empty() && dice.percent(50)) {
    const std::string& dead = graveyard[dice.below(graveyard.size())];
    const uint64_t sectors = dead.size() / kSectorBytes + 1;
    const uint64_t moved_by = dice.percent(50) ? 0 : dice.below(sectors) * kSectorBytes;
    return block_of(dead, (begin + moved_by) % (sectors * kSectorBytes), count);
  }
  std::string bytes(count, '\0');
  const bool is_blank = dice.percent(10);
  for (char& byte : bytes) byte = is_blank ? " \t\r\n"[dice.below(4)] : static_cast<char>(dice.next());
  return bytes;
}

}  // namespace

void FileHistory::about_to_change(uint64_t live_size, uint64_t begin, uint64_t end, const Reader& read_live) {
  if (sizes_.empty() || sizes_.back() != live_size) sizes_.push_back(live_size);
  end = std::min(end, live_size);
  for (uint64_t index = begin / kVersionBytes; index * kVersionBytes < end; ++index) {
    forgotten_.erase(index);
    std::string version = read_live(index * kVersionBytes, kVersionBytes);
    version.resize(kVersionBytes, '\0');
    if (version == block_of(durable_, index * kVersionBytes, kVersionBytes)) continue;
    std::vector<std::string>& versions = versions_[index];
    if (!versions.empty() && versions.back() == version) continue;
    if (versions.size() == kVersionsMax) versions.erase(versions.begin());
    versions.push_back(std::move(version));
  }
}

void FileHistory::synced(std::string content) {
  for (auto it = forgotten_.begin(); it != forgotten_.end();) {
    const uint64_t begin = it->first * kVersionBytes;
    if (begin >= content.size() || block_of(content, begin, kVersionBytes) != it->second) {
      it = forgotten_.erase(it);  // cut off, or stored into since and so dirty again
      continue;
    }
    const uint64_t count = std::min(kVersionBytes, content.size() - begin);
    content.replace(begin, count, block_of(durable_, begin, count));
    ++it;
  }
  durable_ = std::move(content);
  sizes_.clear();
  versions_.clear();
}

void FileHistory::sync_failed(const std::string& content) {
  for (uint64_t begin = 0; begin < content.size(); begin += kVersionBytes) {
    std::string page = block_of(content, begin, kVersionBytes);
    if (page != block_of(durable_, begin, kVersionBytes)) forgotten_[begin / kVersionBytes] = std::move(page);
  }
}

uint64_t FileHistory::choose_size(uint64_t live_size, uint64_t block_bytes, Dice& dice) const {
  std::vector<uint64_t> sizes = sizes_;
  sizes.push_back(durable_.size());
  sizes.push_back(live_size);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  const size_t chosen = dice.below(sizes.size());
  if (chosen == 0 || dice.percent(60)) return sizes[chosen];
  const uint64_t smaller = sizes[chosen - 1];
  const uint64_t on_the_way = smaller + dice.below(sizes[chosen] - smaller);
  return std::max(smaller, on_the_way / block_bytes * block_bytes);
}

std::vector<std::string> FileHistory::versions_between(uint64_t begin, uint64_t bytes) const {
  const auto it = versions_.find(begin / kVersionBytes);
  if (it == versions_.end()) return {};
  std::vector<std::string> blocks;
  for (const std::string& version : it->second) blocks.push_back(block_of(version, begin % kVersionBytes, bytes));
  return blocks;
}

std::string FileHistory::after_crash(std::string_view live, std::span<const std::string> graveyard,
                                     const CrashChoice& choice, Dice dice, std::string& story) const {
  if (choice.data == CrashChoice::Data::kAll) return std::string(live);
  if (choice.data == CrashChoice::Data::kSynced) return durable_;
  const uint64_t size = choose_size(live.size(), choice.block_bytes, dice);
  const Fortune fortune(dice);
  std::string out;
  out.reserve(size);
  std::string fates;  // a letter for each block that was written: old, new, torn, junk; '-' for the others
  for (uint64_t begin = 0; begin < size; begin += choice.block_bytes) {
    const uint64_t count = std::min(choice.block_bytes, size - begin);
    std::string block = block_of(durable_, begin, count);
    const bool is_added = begin + count > durable_.size();
    std::vector<std::string> writings = versions_between(begin, count);
    writings.push_back(block_of(live, begin, count));
    std::erase(writings, block);
    if (writings.empty() && !is_added) {
      out += block;
      fates += '-';
      continue;
    }
    char fate = 'o';
    if (is_added && dice.percent(fortune.junk_percent)) {
      const uint64_t kept = durable_.size() > begin ? durable_.size() - begin : 0;
      block.replace(kept, count - kept, junk(begin + kept, count - kept, graveyard, dice));
      fate = 'j';
    }
    if (writings.empty()) writings.push_back(block_of(live, begin, count));  // zeros, as a hole reads
    if (dice.percent(fortune.written_percent)) {
      // Mostly the newest, sometimes one from before.
      const std::string& written = dice.percent(80) ? writings.back() : writings[dice.below(writings.size())];
      const bool is_torn = count > 1 && dice.percent(fortune.torn_percent);
      const uint64_t written_bytes = is_torn ? 1 + dice.below(count - 1) : count;
      block.replace(0, written_bytes, written, 0, written_bytes);
      fate = is_torn ? 't' : 'n';
    }
    out += block;
    fates += fate;
  }
  if (out != live) {
    constexpr size_t kFatesMax = 64;
    if (fates.size() > kFatesMax) fates.resize(kFatesMax), fates += "...";
    story += " size " + std::to_string(size) + " (durable " + std::to_string(durable_.size()) + ", live " +
             std::to_string(live.size()) + ") blocks " + fates;
  }
  return out;
}

// ---- names ----------------------------------------------------------------------------------------------------

void apply(const NameEdit& edit, NameMap& names) {
  if (edit.node == kNoNode) {
    names.erase(edit.key);
  } else {
    names[edit.key] = edit.node;
  }
}

namespace {

bool any_synced(const NameOp& op) {
  return std::any_of(op.edits.begin(), op.edits.end(), [](const NameEdit& edit) { return edit.synced; });
}

// One way of keeping, losing, or keeping half of every operation, within what was promised.
class NameChooser {
 public:
  NameChooser(std::span<const NameOp> pending, const CrashChoice& choice, Dice dice)
      : names_(choice.names), dice_(dice) {
    constexpr std::array<uint64_t, 5> kKept = {0, 20, 50, 80, 100};
    kept_percent_ = kKept[dice_.below(kKept.size())];
    size_t promised = 0;
    for (size_t i = 0; i < pending.size(); ++i) promised = any_synced(pending[i]) ? i + 1 : promised;
    kept_prefix_ = promised + dice_.below(pending.size() - promised + 1);
  }
  // Once for each edit of each operation, in order.
  bool keeps(size_t op_index, const NameOp& op, size_t edit_index) {
    const NameEdit& edit = op.edits[edit_index];
    switch (names_) {
      case CrashChoice::Names::kAll:
        return true;
      case CrashChoice::Names::kSynced:
        return edit.synced;
      case CrashChoice::Names::kOrdered:
        return op_index < kept_prefix_;
      case CrashChoice::Names::kReordered:
        if (edit_index == 0) keeps_op_ = any_synced(op) || dice_.percent(kept_percent_);
        return keeps_op_;
      case CrashChoice::Names::kBare:
        return edit.synced || dice_.percent(kept_percent_);
    }
    return true;
  }

 private:
  CrashChoice::Names names_;
  Dice dice_;
  uint64_t kept_percent_ = 0;
  size_t kept_prefix_ = 0;
  bool keeps_op_ = false;
};

}  // namespace

NameMap names_after_crash(NameMap durable, std::span<const NameOp> pending, const CrashChoice& choice, Dice dice,
                          std::string& story) {
  NameChooser chooser(pending, choice, dice);
  for (size_t i = 0; i < pending.size(); ++i) {
    size_t kept = 0;
    for (size_t e = 0; e < pending[i].edits.size(); ++e) {
      if (!chooser.keeps(i, pending[i], e)) continue;
      apply(pending[i].edits[e], durable);
      ++kept;
    }
    if (kept == pending[i].edits.size()) continue;
    story += (kept == 0 ? "  lost: " : "  half lost: ") + pending[i].text + "\n";
  }
  return durable;
}

}  // namespace kvstore::testing
