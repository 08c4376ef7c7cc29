// Gates: stops a chosen I/O call of a CrashEnv where it stands, until the test has seen enough. So a test says in which
// order things happen, and needs no luck:
//
//     CrashEnv env;
//     Gates gates(env);
//     const auto sync = gates.shut({.op = EnvOp::kSync, .path_part = "wal-0"});
//     std::thread writer([&] { store.put(...); });       // arrives at its sync and stands there
//     sync->wait_for_arrival();
//     ...                                                // other threads go on; env.crash_clone() shows what is on disk
//     sync->open();
//     writer.join();
//
// Thread-safe. A gate catches one call; others that would fit pass by it. Whatever stands at a gate goes on when the gate
// is destroyed, so a test that fails does not hang.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "tests/support/crash_env.h"

namespace kvstore::testing {

class Gates {
 public:
  struct Place {
    EnvOp op = EnvOp::kSync;
    std::string path_part{};  // of a rename: of the old name
    CrashEnv::Phase phase = CrashEnv::Phase::kBefore;
  };

  class Gate {
   public:
    ~Gate() { open(); }
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;
    // Returns once a call stands there; false when none has come for ten seconds.
    [[nodiscard]] bool wait_for_arrival();
    void open();  // idempotent; also for a call still to come

   private:
    friend class Gates;
    Gate(Gates& gates, Place place) : gates_(gates), place_(std::move(place)) {}
    Gates& gates_;
    const Place place_;
    bool arrived_ = false;
    bool is_open_ = false;
  };

  // Takes the hook of `env`. Needs: env's other threads have not started; the Gates outlive their work.
  explicit Gates(CrashEnv& env);
  // The next call that fits stops there.
  [[nodiscard]] std::unique_ptr<Gate> shut(Place place);

 private:
  void pass(const CrashEnv::OpInfo& op);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Gate*> gates_;  // those that wait for their call
};

}  // namespace kvstore::testing
