#include "tests/support/crash_env.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/env/failure.h"
#include "kvstore/env/racy_copy.h"

namespace kvstore::testing {

using env::File;
using env::FileLock;
using env::MemEnv;
using env::OpenMode;

namespace {
constexpr size_t kGraveyardFiles = 4;
}  // namespace

// A file or directory, whatever its names. Guarded by CrashEnv::mutex_.
struct CrashNode {
  std::unique_ptr<File> file;  // a way to the bytes that outlives every name; null for a directory
  FileHistory history;
  std::vector<std::string> cut_off;  // by truncations since the last sync
  const char* mapping = nullptr;     // of whoever mapped it last
  uint64_t mapping_bytes = 0;

  [[nodiscard]] uint64_t size() const { return file->size().value(); }
  [[nodiscard]] std::string read(uint64_t begin, uint64_t count) const {
    std::string bytes(count, '\0');
    bytes.resize(file->read_at(begin, bytes).value());
    return bytes;
  }
  // Mapped bytes are stored without a call that we could wait for, so the order of copying matters: see racy_copy.h.
  [[nodiscard]] std::string content() const {
    const uint64_t bytes = size();
    const uint64_t mapped = std::min(bytes, mapping_bytes);
    const std::string behind = read(mapped, bytes - mapped);
    std::string all(mapped, '\0');
    env::racy_copy_descending(all.data(), mapping, mapped);
    return all + behind;
  }
};

void CrashEnv::call_hook(OpInfo& info, Phase phase) const {
  info.phase = phase;
  if (hook_) hook_(info);
}

// Runs the hook, the call under mutex_, and the hook again. Needs: mutex_ not held.
template <typename Act>
auto CrashEnv::hooked(OpInfo info, Act act) {
  info.number = ++op_count_;
  call_hook(info, Phase::kBefore);
  auto result = [&] {
    const std::lock_guard guard(mutex_);
    return act();
  }();
  call_hook(info, Phase::kAfter);
  return result;
}

class CrashFile final : public File {
 public:
  CrashFile(CrashEnv& env, std::string path, std::shared_ptr<CrashNode> node, std::unique_ptr<File> file,
            std::unique_ptr<FileLock> lock)
      : env_(env), path_(std::move(path)), node_(std::move(node)), lock_(std::move(lock)), file_(std::move(file)) {}
  ~CrashFile() override { unmap(); }

  Result<size_t> read_at(uint64_t offset, std::span<char> out) override { return real().read_at(offset, out); }
  Result<uint64_t> size() override { return real().size(); }
  void start_writeback(uint64_t, uint64_t) override {}  // any block may have been written out at any time anyway
  void prepare_pages(uint64_t, uint64_t) override {}
  void let_go_of_pages(uint64_t, uint64_t) override {}

  Status write_at(uint64_t offset, std::string_view bytes) override {
    CrashEnv::OpInfo info{.op = EnvOp::kWrite, .path = path_, .offset = offset, .bytes = bytes.size()};
    info.number = ++env_.op_count_;
    env_.call_hook(info, CrashEnv::Phase::kBefore);
    const size_t half = bytes.size() / 2;
    Status status = write_part(offset, bytes.substr(0, half));
    if (status.ok() && half > 0) env_.call_hook(info, CrashEnv::Phase::kDuring);
    if (status.ok()) status = write_part(offset + half, bytes.substr(half));
    env_.call_hook(info, CrashEnv::Phase::kAfter);
    return status;
  }
  Status truncate(uint64_t size) override {
    return env_.hooked({.op = EnvOp::kTruncate, .path = path_, .offset = size}, [&] {
      remember(size, node_->size());
      if (std::string cut = node_->content();
          cut.find_first_not_of('\n', size) != std::string::npos && size < cut.size()) {
        std::fill_n(cut.begin(), size, '\0');  // so that the rest keeps its place
        node_->cut_off.push_back(std::move(cut));
      }
      return real().truncate(size);
    });
  }
  Status sync() override {
    return env_.hooked({.op = EnvOp::kSync, .path = path_}, [&] {
      if (env_.fails_next_sync_.exchange(false)) {
        node_->history.sync_failed(node_->content());
        return env::failure(EIO, "sync", path_);
      }
      if (!env_.weakness_.ignore_sync) {
        node_->history.synced(node_->content());
        // The blocks that were cut off are free now, also for this very file.
        for (std::string& cut : node_->cut_off) env_.bury(std::move(cut));
        node_->cut_off.clear();
      }
      return real().sync();
    });
  }
  Result<char*> map(uint64_t capacity) override {
    return env_.hooked({.op = EnvOp::kMap, .path = path_, .bytes = capacity}, [&] {
      Result<char*> address = real().map(capacity);
      if (address.ok()) node_->mapping = mapping_ = *address, node_->mapping_bytes = capacity;
      return address;
    });
  }
  void unmap() override {
    if (mapping_ == nullptr) return;
    const std::lock_guard guard(env_.mutex_);
    node_->mapping = mapping_ = nullptr, node_->mapping_bytes = 0;
    real().unmap();
  }

 private:
  File& real() { return lock_ != nullptr ? lock_->file() : *file_; }
  Status write_part(uint64_t offset, std::string_view bytes) {
    const std::lock_guard guard(env_.mutex_);
    remember(offset, offset + bytes.size());
    return real().write_at(offset, bytes);
  }
  void remember(uint64_t begin, uint64_t end) {
    node_->history.about_to_change(node_->size(), begin, end,
                                   [&](uint64_t at, uint64_t count) { return node_->read(at, count); });
  }

  CrashEnv& env_;
  const std::string path_;
  const std::shared_ptr<CrashNode> node_;
  const std::unique_ptr<FileLock> lock_;  // given back on destruction; null for a file opened without
  const std::unique_ptr<File> file_;      // null with a lock
  char* mapping_ = nullptr;
};

namespace {

class CrashLock final : public FileLock {
 public:
  explicit CrashLock(std::unique_ptr<CrashFile> file) : file_(std::move(file)) {}
  File& file() override { return *file_; }
  bool still_named() override { return true; }

 private:
  const std::unique_ptr<CrashFile> file_;
};

std::string join(const std::string& dir, const std::string& name) { return dir.empty() ? name : dir + "/" + name; }

}  // namespace

std::string CrashEnv::OpInfo::describe() const {
  constexpr std::array<std::string_view, 3> kPhases = {" before ", " during ", " after "};
  std::string text = "#" + std::to_string(number);
  text.append(kPhases[static_cast<size_t>(phase)]).append(name_of(op)).append(" ").append(path);
  if (!to.empty()) text += " to " + to;
  if (op == EnvOp::kWrite) text += " " + std::to_string(offset) + "+" + std::to_string(bytes);
  if (op == EnvOp::kTruncate) text += " " + std::to_string(offset);
  return text;
}

CrashEnv::CrashEnv(std::unique_ptr<MemEnv> start)
    : live_(start != nullptr ? std::move(start) : std::make_unique<MemEnv>()) {
  nodes_[kRootNode] = std::make_shared<CrashNode>();
  adopt("");
  durable_names_ = live_names_;  // NOLINT(cppcoreguidelines-prefer-member-initializer): adopt() fills live_names_
}

CrashEnv::~CrashEnv() = default;

void CrashEnv::adopt(const std::string& dir) {
  const std::vector<std::string> names = live_->list(dir).value();
  for (const std::string& name : names) {
    const std::string path = join(dir, name);
    const bool is_dir = live_->is_dir(path);
    const NodeId id = add_node(path, is_dir);
    live_names_[key_of(path)] = id;
    if (is_dir) {
      adopt(path);
    } else {
      nodes_[id]->history.synced(nodes_[id]->content());
    }
  }
}

NodeId CrashEnv::add_node(const std::string& path, bool is_dir) {
  auto node = std::make_shared<CrashNode>();
  if (!is_dir) node->file = live_->open(path, OpenMode::kReadWrite).value();
  nodes_[++last_node_] = std::move(node);
  return last_node_;
}

NameKey CrashEnv::key_of(const std::string& path) const {
  const std::string normal = MemEnv::normal(path);
  const size_t slash = normal.rfind('/');
  if (slash == std::string::npos) return {kRootNode, normal};
  return {find(normal.substr(0, slash)), normal.substr(slash + 1)};
}

NodeId CrashEnv::find(const std::string& path) const {
  if (MemEnv::normal(path).empty()) return kRootNode;
  const auto it = live_names_.find(key_of(path));
  return it == live_names_.end() ? kNoNode : it->second;
}

void CrashEnv::note(std::string text, std::vector<NameEdit> edits) {
  for (const NameEdit& edit : edits) apply(edit, live_names_);
  pending_.push_back({std::move(text), std::move(edits)});
}

// ---- Env ------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<File>> CrashEnv::open(const std::string& path, OpenMode mode) {
  const auto open_live = [&]() -> Result<std::unique_ptr<File>> {
    Result<std::unique_ptr<File>> file = live_->open(path, mode);
    if (!file.ok()) return file;
    if (mode == OpenMode::kCreate) note("create " + path, {{key_of(path), add_node(path, false)}});
    return std::unique_ptr<File>(
        std::make_unique<CrashFile>(*this, path, nodes_.at(find(path)), std::move(*file), nullptr));
  };
  if (mode == OpenMode::kCreate) return hooked({.op = EnvOp::kCreate, .path = path}, open_live);
  const std::lock_guard guard(mutex_);
  return open_live();
}

Result<std::unique_ptr<FileLock>> CrashEnv::lock(const std::string& path) {
  return hooked({.op = EnvOp::kLock, .path = path}, [&]() -> Result<std::unique_ptr<FileLock>> {
    Result<std::unique_ptr<FileLock>> lock = live_->lock(path);
    if (!lock.ok()) return lock;
    if (find(path) == kNoNode) note("create " + path, {{key_of(path), add_node(path, false)}});
    auto file = std::make_unique<CrashFile>(*this, path, nodes_.at(find(path)), nullptr, std::move(*lock));
    return std::unique_ptr<FileLock>(std::make_unique<CrashLock>(std::move(file)));
  });
}

Status CrashEnv::rename(const std::string& from, const std::string& to) {
  return hooked({.op = EnvOp::kRename, .path = from, .to = to}, [&] {
    Status status = live_->rename(from, to);
    if (!status.ok() || MemEnv::normal(from) == MemEnv::normal(to)) return status;
    note("rename " + from + " to " + to, {{key_of(from), kNoNode}, {key_of(to), find(from)}});
    return status;
  });
}

Status CrashEnv::remove(const std::string& path) {
  return hooked({.op = EnvOp::kRemove, .path = path}, [&] {
    Status status = live_->remove(path);
    if (status.ok()) note("remove " + path, {{key_of(path), kNoNode}});
    return status;
  });
}

Status CrashEnv::create_dir(const std::string& dir) {
  return hooked({.op = EnvOp::kCreateDir, .path = dir}, [&] {
    Status status = live_->create_dir(dir);
    if (status.ok() && find(dir) == kNoNode) note("create_dir " + dir, {{key_of(dir), add_node(dir, true)}});
    return status;
  });
}

Status CrashEnv::sync_dir(const std::string& dir) {
  return hooked({.op = EnvOp::kSyncDir, .path = dir}, [&] {
    Status status = live_->sync_dir(dir);
    if (!status.ok() || weakness_.ignore_dir_sync) return status;
    const NodeId id = find(dir);
    for (NameOp& op : pending_) {
      for (NameEdit& edit : op.edits) edit.synced = edit.synced || edit.key.dir == id;
    }
    const auto all_synced = [](const NameOp& op) {
      return std::all_of(op.edits.begin(), op.edits.end(), [](const NameEdit& edit) { return edit.synced; });
    };
    for (; !pending_.empty() && all_synced(pending_.front()); pending_.pop_front()) {
      for (const NameEdit& edit : pending_.front().edits) apply(edit, durable_names_);
    }
    bury_unreachable();
    return status;
  });
}

// A file is gone for good when no crash can bring its name back; then its blocks are free for others.
void CrashEnv::bury_unreachable() {
  std::set<NodeId> reachable = {kRootNode};
  for (const auto& [key, id] : live_names_) reachable.insert(id);
  for (const auto& [key, id] : durable_names_) reachable.insert(id);
  for (const NameOp& op : pending_) {
    for (const NameEdit& edit : op.edits) reachable.insert(edit.node);
  }
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    if (reachable.contains(it->first)) {
      ++it;
      continue;
    }
    if (it->second->file != nullptr) bury(it->second->content());
    it = nodes_.erase(it);
  }
}

// Filler tells nobody anything, and would drive out what does.
void CrashEnv::bury(std::string content) {
  if (content.find_first_not_of('\n') == std::string::npos) return;
  graveyard_.push_back(std::move(content));
  if (graveyard_.size() > kGraveyardFiles) graveyard_.pop_front();
}

// ---- the crash ------------------------------------------------------------------------------------------------

std::unique_ptr<MemEnv> CrashEnv::crash_clone(const CrashChoice& choice, std::string* story) {
  std::string told = "crash " + choice.describe() + "\n";
  const std::lock_guard guard(mutex_);

  // The newest file first: when its first line is seen, so is the last one of the file before it.
  std::map<NodeId, std::string> live;
  // clang 14 cannot read std::views::reverse of this library. NOLINTNEXTLINE(modernize-loop-convert)
  for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
    if (it->second->file != nullptr) live[it->first] = it->second->content();
  }

  const std::vector<NameOp> pending(pending_.begin(), pending_.end());
  const std::vector<std::string> graveyard(graveyard_.begin(), graveyard_.end());
  const NameMap names = names_after_crash(durable_names_, pending, choice, Dice(choice.seed + kRootNode), told);
  std::map<NodeId, std::string> contents;
  for (const auto& [key, id] : names) {
    const auto it = live.find(id);
    if (it == live.end() || contents.contains(id)) continue;  // a directory; a second name of the same file
    std::string fate;
    // Each file has dice of its own: what happens to one does not hang on which others there are.
    const Dice dice(choice.seed + id * 0x100000001);
    contents[id] = nodes_.at(id)->history.after_crash(it->second, graveyard, choice, dice, fate);
    if (!fate.empty()) told += "  " + key.name + ":" + fate + "\n";
  }

  auto after = std::make_unique<MemEnv>(Dice(choice.seed + op_count_).next());
  build(*after, "", kRootNode, names, contents);
  if (story != nullptr) *story = std::move(told);
  return after;
}

void CrashEnv::build(MemEnv& out, const std::string& path, NodeId dir, const NameMap& names,
                     const std::map<NodeId, std::string>& contents) const {
  for (auto it = names.lower_bound({dir, ""}); it != names.end() && it->first.dir == dir; ++it) {
    const std::string child = join(path, it->first.name);
    if (nodes_.at(it->second)->file != nullptr) {
      out.put_file(child, contents.at(it->second));
    } else {
      const Status made = out.create_dir(child);
      KV_ASSERT(made.ok());
      build(out, child, it->second, names, contents);
    }
  }
}

}  // namespace kvstore::testing
