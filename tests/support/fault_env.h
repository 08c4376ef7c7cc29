// FaultEnv: any environment, with trouble on order.
//
//     FaultEnv env(mem);
//     env.fail({.op = EnvOp::kSync, .nth = 2, .sys_errno = EIO});          // the second sync from now
//     env.fail({.op = EnvOp::kWrite, .sys_errno = ENOSPC, .bytes_written = 7});  // the next write, seven bytes in
//     env.disk_full_after(1 << 20);
//
// Without an order it passes every call on. It counts all calls, so that a test can run a workload once to see how
// many there are and then once for each of them, failing it:
//
//     for (uint64_t nth = 1; nth <= calls_of_a_good_run; ++nth) { ... env.fail({.nth = nth}); ... }
//
// Thread-safe.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kvstore/env/env.h"
#include "tests/support/env_op.h"

namespace kvstore::testing {

class FaultEnv final : public env::Env {
 public:
  struct Fault {
    std::optional<EnvOp> op{};  // unset: any of them
    uint64_t nth = 1;           // of the calls it fits, counted from now; 1 is the very next
    int sys_errno = EIO;
    bool from_then_on = false;   // the nth and all after it, until heal()
    bool takes_effect = false;   // the call does its work and only then says it failed
    uint64_t bytes_written = 0;  // of a write: so many bytes still reach the file
    std::string path_part{};     // fits only calls on paths that contain this (of a rename: the old one)
  };

  explicit FaultEnv(env::Env& real) : real_(real) {}  // needs: `real` outlives it

  // Orders one more; several may wait at once. A call that more than one hits fails as the earliest order says.
  void fail(Fault fault);
  void heal();  // forgets all orders, not the size of the disk

  // Room for so many bytes by which write_at() makes files longer; what does not fit fails with ENOSPC after the part
  // that does. Cutting, removing or replacing a file gives its bytes back at once. Holes, names and directories are
  // free. An unset room is endless, and so it begins.
  void disk_full_after(uint64_t bytes);
  void give_room(uint64_t bytes);  // nothing, when room is endless
  void disk_never_full();
  [[nodiscard]] std::optional<uint64_t> room() const;

  [[nodiscard]] uint64_t calls() const;  // of all kinds, failed ones too
  [[nodiscard]] uint64_t calls(EnvOp op) const;
  [[nodiscard]] uint64_t failures() const;  // orders carried out, and writes that found the disk full

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& dir) override;
  Status create_dir(const std::string& dir) override;
  Status sync_dir(const std::string& dir) override;
  Result<std::unique_ptr<env::FileLock>> lock(const std::string& path) override;
  bool is_locked(const std::string& path) override { return real_.is_locked(path); }
  Status hold_dir(const std::string& dir) override;  // counts as an open
  int64_t pid() override { return real_.pid(); }
  std::string host() override { return real_.host(); }
  std::string new_uuid() override { return real_.new_uuid(); }

 private:
  friend class FaultFile;

  // Counts the call, and gives the order that it falls under.
  std::optional<Fault> next_call(EnvOp op, const std::string& path);
  template <typename Call>
  auto perform(EnvOp op, const std::string& path, Call call) -> decltype(call());

  [[nodiscard]] bool disk_is_limited() const;
  Status write_to_limited_disk(env::File& file, const std::string& path, uint64_t offset, std::string_view bytes);
  Status cut_on_limited_disk(env::File& file, uint64_t size);
  [[nodiscard]] uint64_t size_of(const std::string& path);  // 0 when there is no such file

  env::Env& real_;
  mutable std::mutex mutex_;  // guards all below; held over a call of real_ only when the disk is limited
  std::vector<Fault> faults_;
  std::array<uint64_t, kEnvOpCount> calls_{};
  uint64_t failures_ = 0;
  std::optional<uint64_t> room_;
};

}  // namespace kvstore::testing
