// CrashEnv: a file system in memory that knows what is durable, and shows at any moment what a power cut at that
// moment could leave behind.
//
//     CrashEnv env;
//     env.set_hook([&](const CrashEnv::OpInfo& op) {           // around everything that changes the disk
//       auto after = env.crash_clone(CrashChoice::random(seed + op.number, CrashChoice::Names::kOrdered));
//       check(reopen(*after), acknowledged_so_far);            // the original runs on, so one run visits every point
//     });
//     run_workload(env);
//
// What the live environment shows is a MemEnv's, call for call; crash_model.h has the rules of loss. Stores into
// mappings are found by comparing with the durable content, so they need no call.
//
// Thread-safe. Costs a copy of the file for each sync() and of everything for each crash_clone(): keep files small.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/env/env.h"
#include "kvstore/env/mem_env.h"
#include "tests/support/crash_model.h"
#include "tests/support/env_op.h"

namespace kvstore::testing {

struct CrashNode;

class CrashEnv final : public env::Env {
 public:
  // One call that changes, or promises, what is on disk: kCreate, kWrite, kTruncate, kSync, kMap, kRename, kRemove,
  // kCreateDir, kSyncDir, kLock.
  enum class Phase : uint8_t { kBefore, kDuring, kAfter };  // kDuring: half the bytes of a write are in the file
  struct OpInfo {
    EnvOp op = EnvOp::kWrite;
    std::string path{};
    std::string to{};     // of a rename
    uint64_t offset = 0;  // of a write; the new size of a truncate
    uint64_t bytes = 0;   // of a write; the capacity of a map
    uint64_t number = 0;  // from 1, the same in all phases
    Phase phase = Phase::kBefore;
    [[nodiscard]] std::string describe() const;  // "#7 before write db/wal 4096+120"
  };
  using Hook = std::function<void(const OpInfo&)>;

  // A disk that lies, to show that a test would notice.
  struct Weakness {
    bool ignore_sync = false;      // File::sync() says OK and makes nothing durable
    bool ignore_dir_sync = false;  // Env::sync_dir() likewise
  };

  // Begins with what is in `start`, all of it durable; empty without one. To crash again after a crash:
  // CrashEnv second(first.crash_clone(choice)).
  explicit CrashEnv(std::unique_ptr<env::MemEnv> start = nullptr);
  ~CrashEnv() override;  // needs: its files and locks are closed

  // The disk after a crash at this moment, without any locks. Calls of other threads wait meanwhile; their
  // stores into mappings do not, and are copied so that a log that is stored in ascending order shows one instant.
  // `story`, if given, tells what was chosen, for the person who reads a failing test.
  [[nodiscard]] std::unique_ptr<env::MemEnv> crash_clone(const CrashChoice& choice, std::string* story = nullptr);

  // Called before and after each operation of OpInfo and in the middle of each write (where kill -9 may also strike),
  // by the thread that makes it, several at a time if there are several threads. It may call crash_clone(), and
  // nothing else of this environment. Set it before other threads start.
  void set_hook(Hook hook) { hook_ = std::move(hook); }
  [[nodiscard]] uint64_t op_count() const noexcept { return op_count_; }
  void weaken(Weakness weakness) { weakness_ = weakness; }  // before other threads start

  // The next File::sync() fails with EIO, and what it should have written may never reach the disk, whatever later
  // syncs say: FileHistory::sync_failed().
  void fail_next_sync() { fails_next_sync_ = true; }

  // What the running program sees.
  [[nodiscard]] const env::MemEnv& live() const noexcept { return *live_; }

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& dir) override { return live_->list(dir); }
  Status create_dir(const std::string& dir) override;
  Status sync_dir(const std::string& dir) override;
  Result<std::unique_ptr<env::FileLock>> lock(const std::string& path) override;
  bool is_locked(const std::string& path) override { return live_->is_locked(path); }
  int64_t pid() override { return live_->pid(); }
  std::string host() override { return live_->host(); }
  std::string new_uuid() override { return live_->new_uuid(); }

 private:
  friend class CrashFile;
  using Nodes = std::map<NodeId, std::shared_ptr<CrashNode>>;

  void call_hook(OpInfo& info, Phase phase) const;
  template <typename Act>
  auto hooked(OpInfo info, Act act);

  [[nodiscard]] NameKey key_of(const std::string& path) const;  // needs: the directory above it exists
  [[nodiscard]] NodeId find(const std::string& path) const;     // kNoNode when there is none
  NodeId add_node(const std::string& path, bool is_dir);
  void adopt(const std::string& dir);                        // the constructor's walk
  void note(std::string text, std::vector<NameEdit> edits);  // an operation that has happened
  void bury_unreachable();
  void bury(std::string content);
  void build(env::MemEnv& out, const std::string& path, NodeId dir, const NameMap& names,
             const std::map<NodeId, std::string>& contents) const;

  const std::unique_ptr<env::MemEnv> live_;
  Hook hook_;
  Weakness weakness_;
  std::atomic<uint64_t> op_count_ = 0;
  std::atomic<bool> fails_next_sync_ = false;

  std::mutex mutex_;  // held over a call to live_ and the notes about it; never while the hook runs
  Nodes nodes_;       // all that some name, durable, live or pending, still leads to
  NodeId last_node_ = kRootNode;
  NameMap live_names_;
  NameMap durable_names_;
  std::deque<NameOp> pending_;         // what separates the two, in order
  std::deque<std::string> graveyard_;  // content of the last few files deleted for good, or cut off for good
};

}  // namespace kvstore::testing
