#include "kvstore/engine/replay.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::engine {

namespace {

constexpr uint64_t kEntryBytesMin = 40;  // {"seq":1,"json":1,"key":"a","crc":"12345678"} and '\n' have 45

// Operations are applied in windows: hash all and prefetch their buckets, prefetch their entries, then apply.
// By the time an operation is applied its cache misses have long been under way.
class WindowedLoader {
 public:
  explicit WindowedLoader(table::Table& table) : table_(table) {}

  void add(const format::Op& op, format::Seq seq) {
    KV_ASSERT(count_ < window_.size());
    KV_ASSERT(seq > 0);
    Slot& slot = window_[count_++];
    slot = {&op, seq, table_.hash(op.key)};
    table_.prefetch_bucket(slot.hash);
    if (count_ == window_.size()) flush();
  }
  void flush() {
    for (size_t i = 0; i < count_; ++i) table_.prefetch_entry(window_[i].op->key, window_[i].hash);
    for (size_t i = 0; i < count_; ++i) table_.load(*window_[i].op, window_[i].hash, window_[i].seq);
    count_ = 0;
  }

 private:
  struct Slot {
    const format::Op* op;
    format::Seq seq;
    uint64_t hash;
  };
  table::Table& table_;
  std::array<Slot, 32> window_{};
  size_t count_ = 0;
};

// About so many: what cannot be opened here, reading will meet, and know whether it is an error.
uint64_t bytes_to_read(env::Env& env, const std::string& dir, const wal::LogWalk& walk) {
  uint64_t total = walk.base().has_value() ? walk.base()->bytes : 0;
  for (const wal::Segment& segment : walk.segments()) {
    const Result<uint64_t> size = wal::size_of_file(env, wal::join_path(dir, segment.name));
    if (size.ok()) total += *size;
  }
  return total;
}

}  // namespace

Status replay_log(env::Env& env, const std::string& dir, wal::LogWalk& walk, table::Table& table,
                  const std::function<void(const Progress&)>& on_progress, RecoveryReport& report) {
  using SteadyClock = std::chrono::steady_clock;
  constexpr auto kProgressInterval = std::chrono::milliseconds(100);
  const uint64_t total_bytes = on_progress ? bytes_to_read(env, dir, walk) : 0;
  SteadyClock::time_point next_progress = SteadyClock::now() + kProgressInterval;

  if (walk.base().has_value()) {
    report.snapshot_seq = walk.base()->last_seq;
    report.snapshot_entries = walk.base()->entries;
  }
  // The footer may promise anything, and a file may have holes: room is made for what has come so far, many times over.
  constexpr uint64_t kExpectTimes = 16;
  const uint64_t promised =
      walk.base().has_value() ? std::min(walk.base()->entries, walk.base()->bytes / kEntryBytesMin) : 0;
  uint64_t expected = 0;
  WindowedLoader loader(table);
  bool in_snapshot = walk.base().has_value();
  for (;;) {
    Result<std::optional<wal::Records>> records = walk.next();
    if (!records.ok()) return std::move(records).status();
    KV_ASSERT(!records->has_value() || !(*records)->lines.empty());
    const bool is_entry = records->has_value() && (*records)->lines.front().kind == format::LineKind::kEntry;
    if (in_snapshot && !is_entry) {
      if (table.stats().entries != walk.base()->entries) {
        const std::string path = wal::join_path(dir, wal::snapshot_name(walk.base()->last_seq));
        return base::
            error(Code::kCorruption,
                  "{}: its {} entries are for only {} keys: some stand there twice. try: restore this file from a copy",
                  path, walk.base()->entries, table.stats().entries)
                .at(path);
      }
      in_snapshot = false;
    }
    if (!records->has_value()) break;
    KV_ASSERT(is_entry == in_snapshot);  // the entries come first, and no record between them
    const wal::Chunk& chunk = *(*records)->chunk;
    if (const uint64_t come = table.stats().entries + (*records)->lines.size(); is_entry && come > expected) {
      expected = std::min(std::max(promised, come), come * kExpectTimes);
      table.expect(expected);
    }
    for (const wal::LineRef& line : (*records)->lines) {
      for (uint32_t i = 0; i < line.op_count; ++i) loader.add(chunk.ops[line.op_begin + i], line.stamp.seq);
      if (!is_entry) report.operations += line.op_count;
    }
    loader.flush();  // the views die with the chunk
    if (!is_entry) report.records += (*records)->lines.size();
    if (on_progress && SteadyClock::now() >= next_progress) {
      on_progress({.step = "replay", .done_bytes = walk.bytes_read(), .total_bytes = total_bytes});
      next_progress = SteadyClock::now() + kProgressInterval;
    }
  }
  if (on_progress) on_progress({.step = "replay", .done_bytes = total_bytes, .total_bytes = total_bytes});
  KV_ASSERT(!in_snapshot);
  KV_ASSERT(table.stats().versions_held == 0);  // nobody has a pin yet
  table.finish_load(walk.last_seq());
  report.bytes = walk.bytes_accepted();
  report.segments = walk.segments().size();
  report.last_seq = walk.last_seq();
  report.synced_seq = walk.synced_seq();
  return {};
}

}  // namespace kvstore::engine
