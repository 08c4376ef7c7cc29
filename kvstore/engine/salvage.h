// Salvage: the reading half of a repair. It goes through every line of a store that refuses to open, decides which can
// be used, and puts the state together in memory. It never writes.
//
// The rule, in order:
//   1. Lines that are no intact line of this store are out: no seal, a wrong checksum, a malformed text, a kind that does not
//      belong into its file, a file whose header names another store, a second line with the same number.
//      An intact line of a newer version ends the attempt.
//   2. The newest snapshot that is right from end to end is the base. It stands for every record up to its number, so
//      older evidence counts for nothing.
//   3. All other intact lines (entries of newer, damaged snapshots; records behind the base) are applied to it. Of two
//      that write a key the one with the higher sequence number wins, in whatever order they were read.
//   4. Every number between the base and the highest one seen or promised that no intact record has is missing. A key is
//      *stale*, or may be, when the last that is known of it is older than the last missing record.
// A store that opens is treated just as an opening would: what stands behind its torn tail is out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "kvstore/engine/seq_ranges.h"
#include "kvstore/env/env.h"
#include "kvstore/format/record.h"
#include "kvstore/repair.h"
#include "kvstore/table/table.h"
#include "kvstore/wal/chunk.h"
#include "kvstore/wal/owner_file.h"
#include "kvstore/wal/store_files.h"

namespace kvstore::engine {

class Salvage {
 public:
  // Receives a rejected line with its bytes.
  using OnRejected = std::function<Status(const RejectedLine&, std::string_view bytes)>;

  // `dir` without a slash at its end. The options must outlive this.
  Salvage(env::Env& env, std::string dir, const RepairOptions& options);
  // Once. Fails as plan_repair() does. It asks for no lock: kLocked is where a later pass over the files does not meet what
  // the first has met, since somebody writes to them. Throws std::bad_alloc, as the others do.
  Status read();

  // All below need: read() returned OK.
  [[nodiscard]] const RepairPlan& plan() const noexcept { return plan_; }
  [[nodiscard]] const table::Table& table() const noexcept { return *table_; }
  // The time of the new snapshot: the latest that any line used names. What had expired by then is left out; the clock
  // of this machine has no say.
  [[nodiscard]] int64_t taken_us() const noexcept { return taken_us_; }
  // The live entries that a missing record may have changed or deleted, sorted by key.
  [[nodiscard]] const std::vector<const table::Entry*>& stale() const noexcept { return stale_; }
  // Goes through the files once more. kLocked as above, when all have been handed out.
  Status for_each_rejected(const OnRejected& on_rejected);

 private:
  static constexpr size_t kNone = SIZE_MAX;
  // A file to read. Its identity is its intact header's, where it has one, and its name's otherwise.
  struct Source {
    std::string path{};
    format::Seq number = 0;  // a segment's first record, a snapshot's last
    bool is_snapshot = false;
    bool is_next = false;     // wal-next.jsonl: of records before its header is known that they were there
    bool is_foreign = false;  // of another store
    size_t damaged = kNone;   // a snapshot's place in plan_.damaged_snapshots
  };
  // What to do with the lines of one pass; either may be empty.
  struct Visitor {
    std::function<void(const Source&, const wal::Chunk&, const wal::LineRef&)> on_used{};
    OnRejected on_rejected{};
  };
  // What a pass over all files has met.
  struct Tally {
    uint64_t used_lines = 0;
    uint64_t rejected_lines = 0;
    uint64_t rejected_bytes = 0;
    format::Seq highest_used = 0;
    bool operator==(const Tally&) const = default;
  };
  struct Place;  // where a pass stands in a file

  Status try_opening();
  Status identify(const wal::StoreFiles& files);
  Status choose_base();
  Status load_base(const Source& snapshot);
  Status visit_lines(std::string_view step, const Visitor& visitor);
  Status visit_file(const Source& source, const Visitor& visitor, Tally& tally,
                    const std::function<void(uint64_t)>& on_bytes);
  [[nodiscard]] Status files_changed() const;
  Result<bool> use(const Source& source, const wal::Chunk& chunk, const wal::LineRef& line, Place& place,
                   std::string* reason);
  [[nodiscard]] bool is_behind_tear(const Source& source, uint64_t at) const;
  void note(const Source& source, const wal::LineRef& line);
  void apply(const format::Op& op, format::Seq seq);
  void find_missing();
  Status confirm_entries();
  void count_entries();
  Status look_at_history();

  env::Env& env_;
  const std::string dir_;
  const RepairOptions& options_;
  unsigned threads_;

  RepairPlan plan_;
  std::unique_ptr<table::Table> table_;
  int64_t taken_us_ = 0;

  std::string uuid_;  // the store's; empty: no header is left
  wal::Owner owner_;
  std::vector<Source> sources_;  // snapshots, then segments, in the order of their names; later what is read of them
  std::vector<CutReport> cuts_;  // a store that opens: what the opening cuts
  SeqRanges seen_;               // numbers of intact records, the pass at hand
  std::optional<Tally> first_tally_;  // of the first pass, which the plan is made of
  format::Seq promised_ = 0;          // the highest voucher
  format::Seq highest_entry_ = 0;     // of the intact entries of snapshots that are no base
  format::Seq last_missing_ = 0;
  bool out_of_order_ = false;                             // some record stands behind one with a higher number
  std::unordered_map<std::string, format::Seq> deleted_;  // only where out_of_order_: when a key was deleted
  std::unordered_set<const table::Entry*> confirmed_;     // alive in a damaged snapshot behind the last missing record
  std::vector<const table::Entry*> stale_;
};

}  // namespace kvstore::engine
