// StoreStress: many threads do all that a store can do, at once, on one store, and whoever looks sees a state that the
// writers' rules allow. Made for the thread sanitizer. It reaches into the engine, for Engine::check().
//
// The rules, which hold for every snapshot, every read-only opening beside the writer, every backup and every reopening:
//   own/T/K    only thread T writes it, with rising numbers; the newest is what T wrote last
//   account/K  transactions move money between them: the sum never changes
//   pair/T/a,b one batch writes both: they have one value and one version
//   sum        increments: the final value counts the successful ones
//   race/K     compare-and-set: the value counts the successful ones
//   ttl/K      never seen past its time
// and a follower of the log sees every sequence number once, in order, with the accounts' sum right after every record.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvstore::testing {

struct StressPlan {
  uint64_t seed = 1;
  std::chrono::milliseconds duration{1000};  // of each life
  unsigned lives = 2;                        // the store is closed and reopened in between, with the other LogIo
  unsigned writers = 4;
};

struct StressTally {
  uint64_t records = 0;
  uint64_t snapshots = 0;
  uint64_t openings = 0;  // read-only, beside the writers
  uint64_t followed = 0;  // records that a follower saw
  uint64_t compactions = 0;
  uint64_t backups = 0;
  uint64_t rotations = 0;
  uint64_t transactions = 0;
  uint64_t conflicts = 0;
  uint64_t evicted = 0;
};

// Runs in `dir`, which must not exist, and below `dir` + ".backup". The seed decides on the options, eviction and kept
// history among them, and on what each thread does; the threads' timing is left to chance. Returns "" or the first
// sentence about a rule that was broken. Adds to `tally`.
std::string run_stress(const StressPlan& plan, const std::string& dir, StressTally& tally);

}  // namespace kvstore::testing
