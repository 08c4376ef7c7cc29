// The inside of LogWalk. log_walk.cc goes forward through what is well, log_walk_stop.cc decides what a line means
// that is not, and what the end of a file does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/wal/log_walk.h"

namespace kvstore::wal {

struct LogWalk::Impl {
  env::Env& env;
  std::string dir;
  unsigned threads;

  std::vector<Segment> segments;
  Owner owner;
  std::string uuid;
  std::optional<SnapshotReader> snapshot;       // being read, before the first segment
  std::optional<SnapshotReader::Summary> base;  // what it says
  format::Seq covered = 0;                      // the newest snapshot holds all records up to here

  // The place: segments[index], behind everything accepted.
  size_t index = 0;
  uint64_t offset = 0;
  bool newline = true;
  bool in_segment = false;  // its header has been accepted
  bool sealed = false;      // its closing line has been accepted
  std::unique_ptr<env::File> file;
  std::unique_ptr<env::File> next_file;     // of the segment after this one, once it had to be opened
  bool has_stray_next = false;              // wal-next.jsonl is there, but does not go on where the newest segment ends
  std::unique_ptr<ChunkPipeline> pipeline;  // null: to be opened at `offset`
  std::unique_ptr<ChunkPipeline> lent;      // keeps the handed-out chunk alive when `pipeline` is done with
  std::string path;

  // kInstant: all that the store had at one instant, held open so that removing takes nothing away.
  struct Held {
    std::vector<std::unique_ptr<env::File>> segments{};  // the first of `segments`; each null once its turn has come
    std::unique_ptr<env::File> next{};                   // what was wal-next.jsonl then; null: there was none
  };
  std::optional<Held> held;  // nullopt: not held

  // The second look (log_walk.h): the place where reading has already been done twice.
  std::optional<std::pair<size_t, uint64_t>> looked_twice;

  // The place that was read once more after a promise for it had been seen.
  std::optional<std::pair<size_t, uint64_t>> looked_after_promise;

  format::Seq expected = 1;
  int64_t last_ts_us = 0;
  format::Seq synced = 0;
  uint64_t bytes_accepted = 0;
  uint64_t snapshot_bytes = 0;  // read so far
  Status failure;               // once set, every next() repeats it
  WalkEnd end;

  Impl(env::Env& e, std::string d, unsigned t) : env(e), dir(std::move(d)), threads(t) {}

  [[nodiscard]] bool is_last() const { return index + 1 == segments.size(); }

  // log_walk.cc
  Status begin(const StoreFiles& files, Start start);
  Status begin_with_snapshot(const SnapshotFile& newest);
  Result<bool> hold(const StoreFiles& files);
  Result<std::optional<Records>> next();
  Result<std::optional<Records>> next_entries();
  Result<std::unique_ptr<env::File>> take(size_t i);
  Status open_segment();
  Status open_following();
  bool accept(const Chunk& chunk, const LineRef& line);
  bool accept_header(std::string_view text);

  // log_walk_stop.cc
  bool second_look();
  bool look_after_promise();
  Result<bool> finish_segment();
  Result<bool> finish_bad_line(const Chunk& chunk, const LineRef& line);
  // wal-next.jsonl, as it is now.
  struct Next {
    std::unique_ptr<env::File> file{};  // null: it is not there
    format::Seq first_seq = 0;          // as its header says; 0: it does not begin with a header of this store
  };
  Result<Next> open_next();
  Result<format::Seq> number_of_next(env::File& next);
  Status place_held_next(size_t known);
  Result<bool> find_more_segments();
  Result<bool> rotation_was_under_way();
  void move_on();
  void leave_unsettled();
  Result<format::Seq> highest_voucher_behind(uint64_t from);
  Result<format::Seq> highest_voucher_in_next();
  void note_place();
  Status end_here();
  Status damage(Code code, uint64_t at, std::string_view what);
  Status unless_compacted(Status status);
  Status refuse(Status status);
  Result<bool> was_compacted();
  Status compacted();
  // Behind the closing line of the last file that is held.
  [[nodiscard]] bool has_read_all_held() const {
    return held.has_value() && index + 1 >= held->segments.size() && sealed;
  }
  void end_at_instant();
};

}  // namespace kvstore::wal
