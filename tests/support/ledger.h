// Ledger: what a workload has committed and what it was told about it. Whoever opens what a crash has left asks it
// whether that is the state after some prefix of the commits, and whether the prefix is long enough (P1, P2).
//
//     ledger.intend(next_state);                         // before the commit: from now on a crash may show it
//     store.put(...);
//     ledger.committed(store.last_seq(), contents, durable);
//
// Thread-safe: the crash may come on any thread of the store. One thread at a time commits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/engine/engine.h"

namespace kvstore::testing {

// How a state can be wrong.
enum class Violation : uint8_t {
  kNone,
  kHole,              // commits are missing in the middle
  kLostAcknowledged,  // a prefix, but too short
  kWrongValue,        // a value that was never written
  kTornBatch,         // a part of the last commit
  kStale,             // the state after another commit than the store says
  kRefused,           // it does not open
  kSilentLoss,        // bytes are gone that no report names, or that were not kept
  kDisagrees,         // verify(), a read-only opening, or the store after the opening says otherwise
  kCrashOrHang,
};
inline constexpr std::array<std::string_view, 10> kViolationNames = {
    "none",  "hole",    "lost acknowledged", "wrong value", "torn batch",
    "stale", "refused", "silent loss",       "disagrees",   "crash/hang",
};
inline constexpr size_t kViolationCount = kViolationNames.size();
[[nodiscard]] constexpr std::string_view name_of(Violation violation) noexcept {
  return kViolationNames[static_cast<size_t>(violation)];
}

struct Judgement {
  Violation violation = Violation::kNone;
  std::string sentence{};
};

// One key, as the store shows it.
struct Value {
  std::string bytes{};
  bool is_json = false;
  int64_t expires_us = 0;  // 0: never
  uint64_t version = 0;    // 0: not known yet
  bool operator==(const Value& other) const noexcept {
    return bytes == other.bytes && is_json == other.is_json && expires_us == other.expires_us &&
           (version == other.version || version == 0 || other.version == 0);
  }
};
using State = std::map<std::string, Value>;

// All that lives in `engine` by its own clock.
[[nodiscard]] State contents_of(const engine::Engine& engine);
// What of `state` has not expired.
[[nodiscard]] State alive_at(const State& state, int64_t now_us);

class Ledger {
 public:
  // About to commit: `next` is the state after it. With `may_evict` keys of the state before may go first, in commits
  // of their own; those to be written have version 0 then.
  void intend(State next, bool may_evict = false);
  // The commit was acknowledged. Which keys were evicted is learned from `live`, and must have been allowed: "" or
  // what is wrong.
  [[nodiscard]] std::string committed(uint64_t last_seq, const State& live, int64_t now_us, bool durable);
  // The commit was refused and has changed nothing.
  void refused();
  // Everything committed is durable now.
  void synced();

  // After a crash that left `live`, the state after so many commits: goes on from there. Later commits never happened.
  // Needs: no commit under way.
  void rewind(uint64_t last_seq, State live);
  // What kill -9 may not take from now on, while it is recovered.
  void survived(uint64_t last_seq);

  // How many commits must be there after a crash now. Ask before the crash, judge after.
  [[nodiscard]] uint64_t promised(bool power_cut) const;
  // The newest state, that under way not counted.
  [[nodiscard]] State current() const;
  [[nodiscard]] uint64_t last_seq() const;

  // `found` is what a store that ends with commit `last_seq` holds at `now_us`.
  [[nodiscard]] Judgement judge(uint64_t last_seq, const State& found, uint64_t promised, int64_t now_us) const;

  // What a repair has found: every entry of it was written at some time, as it is. "" or what is wrong.
  [[nodiscard]] std::string judge_salvage(const State& found) const;

 private:
  // The state after one commit. With `loose` any key of `may_miss` may be gone from it.
  struct Commit {
    State state;
    State may_miss;
  };
  [[nodiscard]] bool fits(const Commit& commit, const State& found, int64_t now_us) const;
  [[nodiscard]] bool fits_what_is_under_way(const State& found, int64_t now_us) const;
  [[nodiscard]] std::string never_written(const State& found) const;
  [[nodiscard]] Judgement classify(uint64_t last_seq, const State& found, int64_t now_us) const;

  mutable std::mutex mutex_;
  std::vector<Commit> commits_{1};  // by sequence number
  bool under_way_ = false;
  bool may_evict_ = false;
  State next_;
  uint64_t acknowledged_ = 0;
  uint64_t durable_ = 0;
};

}  // namespace kvstore::testing
