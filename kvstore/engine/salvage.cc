#include "kvstore/engine/salvage.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <thread>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/engine/random_seed.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_header.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk.h"
#include "kvstore/wal/snapshot_reader.h"

namespace kvstore::engine {

using base::error;
using format::LineKind;
using format::Seq;

namespace {

constexpr size_t kStaleSampleMax = 100;
constexpr const char* kBehindTear = "behind a torn line; never promised to be on disk";
constexpr uint64_t kProgressBytes = uint64_t{16} << 20;

std::string without_advice(std::string_view sentence) {
  return std::string(sentence.substr(0, sentence.rfind(". try: ")));
}

// With an empty `store` where the file has no intact header.
Result<wal::FileHeader> header_of(env::Env& env, const std::string& path) {
  Result<std::unique_ptr<env::File>> file = env.open(path, env::OpenMode::kRead);
  if (!file.ok()) return std::move(file).status();
  Result<std::optional<wal::FileHeader>> header = wal::read_header(**file);
  if (!header.ok()) return std::move(header).status();
  return (*std::move(header)).value_or(wal::FileHeader());
}

}  // namespace

struct Salvage::Place {
  bool is_foreign = false;  // behind the header of another store
  uint64_t newlines = 0;    // before `counted`
  uint64_t counted = 0;
};

Salvage::Salvage(env::Env& env, std::string dir, const RepairOptions& options)
    : env_(env),
      dir_(std::move(dir)),
      options_(options),
      threads_(options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency())) {}

Status Salvage::read() {
  KV_ASSERT(table_ == nullptr);  // once
  Result<wal::StoreFiles> files = wal::list_store_files(env_, dir_);
  if (!files.ok()) return std::move(files).status();
  if (Status s = try_opening(); !s.ok()) return s;
  if (Status s = identify(*files); !s.ok()) return s;
  if (Status s = choose_base(); !s.ok()) return s;
  if (plan_.opens && !plan_.damaged_snapshots.empty()) {
    // A key stands twice in it, which an opening notices and try_opening() does not. Now kept history counts.
    plan_.opens = false;
    plan_.refusal = plan_.damaged_snapshots.front().reason;
    plan_.damaged_snapshots.clear();
    cuts_.clear();
    sources_.clear();
    if (Status s = identify(*files); !s.ok()) return s;
    if (Status s = choose_base(); !s.ok()) return s;
  }
  const Visitor noting{
      .on_used = [this](const Source& source, const wal::Chunk&, const wal::LineRef& line) { note(source, line); },
      .on_rejected =
          [this](const RejectedLine& line, std::string_view) {
            ++plan_.rejected_lines;
            plan_.rejected_bytes += line.bytes;
            if (plan_.rejected.size() < kRepairListMax) plan_.rejected.push_back(line);
            return Status();
          }};
  if (Status s = visit_lines("read", noting); !s.ok()) return s;
  find_missing();
  const Visitor applying{.on_used = [this](const Source&, const wal::Chunk& chunk, const wal::LineRef& line) {
    if (line.stamp.seq <= plan_.base_seq) return;
    for (uint32_t i = 0; i < line.op_count; ++i) apply(chunk.ops[line.op_begin + i], line.stamp.seq);
  }};
  if (Status s = visit_lines("apply", applying); !s.ok()) return s;
  deleted_.clear();
  table_->finish_load(plan_.last_seq);
  if (Status s = confirm_entries(); !s.ok()) return s;
  count_entries();
  return plan_.opens ? look_at_history() : Status();
}

Status Salvage::files_changed() const {
  return error(Code::kLocked,
               "{}: its files have changed while they were read. try: again, when no program has the store open", dir_)
      .at(dir_);
}

// An opening does not read it, so what opens may be damaged there all the same.
Status Salvage::look_at_history() {
  Result<std::vector<Finding>> damage = verify_history(env_, dir_, uuid_);
  if (damage.status().code() == Code::kCompacted) return {};  // what is no longer there is not damaged
  if (!damage.ok()) return std::move(damage).status();
  for (Finding& finding : *damage) {
    plan_.damaged_history.push_back({.file = std::move(finding.file), .reason = std::move(finding.message)});
  }
  return {};
}

// Whether there is anything to repair; and where an opening would cut.
Status Salvage::try_opening() {
  Result<wal::LogWalk> walk = wal::LogWalk::open(env_, dir_, threads_);
  Status refusal = walk.status();
  while (refusal.ok()) {
    Result<std::optional<wal::Records>> records = walk->next();
    refusal = records.status();
    if (!records.ok() || !records->has_value()) break;
  }
  if (refusal.ok()) {
    plan_.opens = true;
    uuid_ = walk->store_uuid();
    cuts_ = walk->end().cuts;
    if (const auto& unsettled = walk->end().unsettled) {  // the next opening cuts it there, and keeps nothing
      cuts_.push_back({.file = wal::join_path(dir_, unsettled->segment), .offset = unsettled->offset});
    }
    return {};
  }
  if (refusal.code() != Code::kCorruption) return refusal;
  plan_.refusal = without_advice(refusal.message());
  return {};
}

// Which store this is, and which files are of another. Where it opens, the opening knows. Else LOCK and every header have a
// vote: one file that strayed in, be it LOCK, must not make strangers of all the others.
Status Salvage::identify(const wal::StoreFiles& files) {
  Result<std::optional<wal::Owner>> owner = wal::read_owner(env_, dir_);
  if (!owner.ok()) return std::move(owner).status();
  if (owner->has_value()) owner_ = **owner;
  for (const wal::SnapshotFile& file : files.snapshots) {
    sources_.push_back({.path = wal::join_path(dir_, file.name), .number = file.last_seq, .is_snapshot = true});
  }
  for (const wal::Segment& file : plan_.opens ? files.live_segments() : files.segments) {
    sources_.push_back({.path = wal::join_path(dir_, file.name), .number = file.first_seq});
  }
  if (files.has_next) sources_.push_back({.path = wal::join_path(dir_, wal::kNextSegmentName), .is_next = true});
  std::map<std::string, size_t> votes;
  std::vector<wal::FileHeader> headers;
  const bool is_known = plan_.opens && !uuid_.empty();
  if (!is_known && !owner_.store.empty()) votes[uuid_ = owner_.store] = 1;
  for (const Source& source : sources_) {
    Result<wal::FileHeader> header = header_of(env_, source.path);
    const bool is_history = plan_.opens && source.is_snapshot && source.number < files.base_seq();
    if (!header.ok() && is_history) header = wal::FileHeader();  // an opening does not care: see look_at_history()
    if (!header.ok()) return std::move(header).status();
    const size_t has = header->store.empty() ? 0 : ++votes[header->store];
    if (!is_known && has > votes[uuid_]) uuid_ = header->store;
    headers.push_back(*std::move(header));
  }
  KV_ASSERT(headers.size() == sources_.size());
  for (size_t i = 0; i < sources_.size(); ++i) {
    Source& source = sources_[i];
    if (headers[i].store.empty()) continue;
    source.is_foreign = headers[i].store != uuid_;
    source.number = headers[i].number;
    if (!source.is_foreign && source.is_snapshot) taken_us_ = std::max(taken_us_, headers[i].created_us);
  }
  // A power cut in the middle of a rename has left the last segment both its names.
  if (plan_.opens && sources_.size() > 1 && sources_.back().is_next) {
    const Source& next = sources_.back();
    const Source& last = sources_[sources_.size() - 2];
    if (!next.is_foreign && !last.is_foreign && !last.is_snapshot && next.number == last.number) sources_.pop_back();
  }
  if (owner_.store == uuid_ || uuid_.empty()) promised_ = owner_.closed_seq;
  for (const Source& source : sources_) {
    if (!source.is_foreign && !source.is_next)
      promised_ = std::max(promised_, source.is_snapshot ? source.number : source.number - 1);
  }
  return {};
}

// Fills the table with the newest snapshot that is whole. What is older leaves the list of files to read.
Status Salvage::choose_base() {
  table_ = std::make_unique<table::Table>(random_seed());
  const auto snapshots_end =
      std::find_if(sources_.begin(), sources_.end(), [](const Source& s) { return !s.is_snapshot; });
  for (auto snapshot = snapshots_end; snapshot != sources_.begin();) {
    --snapshot;
    if (snapshot->is_foreign) continue;
    Status refusal = load_base(*snapshot);
    if (refusal.ok()) {
      // The reader has found that name and header agree; identify() had seen another header.
      if (snapshot->number != *wal::parse_snapshot_name(snapshot->path.substr(dir_.size() + 1))) return files_changed();
      plan_.base = snapshot->path;
      plan_.base_seq = snapshot->number;
      plan_.base_entries = table_->stats().entries;
      sources_.erase(sources_.begin(), snapshot + 1);
      break;
    }
    if (refusal.code() != Code::kCorruption) return refusal;
    table_ = std::make_unique<table::Table>(random_seed());
    snapshot->damaged = plan_.damaged_snapshots.size();
    plan_.damaged_snapshots.push_back(
        {.file = snapshot->path, .last_seq = snapshot->number, .reason = without_advice(refusal.message())});
  }
  KV_ASSERT(plan_.base_seq == 0 || !plan_.base.empty());
  return {};
}

Status Salvage::load_base(const Source& snapshot) {
  const std::string name = snapshot.path.substr(dir_.size() + 1);
  Result<wal::SnapshotReader> reader =
      wal::SnapshotReader::open(env_, dir_, {.name = name, .last_seq = *wal::parse_snapshot_name(name)}, threads_);
  if (!reader.ok()) return std::move(reader).status();
  for (;;) {
    Result<std::optional<wal::Records>> entries = reader->next();
    if (!entries.ok()) return std::move(entries).status();
    if (!entries->has_value()) break;
    const wal::Chunk& chunk = *(*entries)->chunk;
    for (const wal::LineRef& line : (*entries)->lines) {
      const format::Op& op = chunk.ops[line.op_begin];
      table_->load(op, table_->hash(op.key), line.stamp.seq);
    }
  }
  const uint64_t keys = table_->stats().entries;
  if (keys == reader->summary().entries) return {};
  return error(Code::kCorruption, "{}: its {} entries are for only {} keys: some stand there twice", snapshot.path,
               reader->summary().entries, keys);
}

// ---- lines ---------------------------------------------------------------------------------------

// Of a store that opens: what an opening cuts.
bool Salvage::is_behind_tear(const Source& source, uint64_t at) const {
  return std::any_of(cuts_.begin(), cuts_.end(),
                     [&](const CutReport& cut) { return source.path == cut.file && at >= cut.offset; });
}

// True for a record or an entry to be used. False with a reason for a line to be rejected, without one for a line that
// only holds the others together.
Result<bool> Salvage::use(const Source& source, const wal::Chunk& chunk, const wal::LineRef& line, Place& place,
                          std::string* reason) {
  const std::string_view text = chunk.text(line);
  const uint64_t at = chunk.offset_of(line);
  std::vector<format::Op> ops;
  base::Scratch scratch;
  switch (line.kind) {
    case LineKind::kRecord:
    case LineKind::kEntry: {
      const bool is_entry = line.kind == LineKind::kEntry;
      if (place.is_foreign) {
        *reason = "of another store, as the header before it says";
      } else if (is_entry != source.is_snapshot) {
        *reason = is_entry ? "an entry of a snapshot, in a segment" : "a record of a segment, in a snapshot";
      } else if (is_entry && line.stamp.seq > source.number) {
        *reason = fmt::format("version {} in the snapshot of record {}", line.stamp.seq, source.number);
      } else if (is_behind_tear(source, at)) {
        *reason = kBehindTear;
      } else if (!is_entry && line.stamp.seq > plan_.base_seq && !seen_.add(line.stamp.seq)) {
        *reason = fmt::format("record {} stands here once more", line.stamp.seq);
      } else {
        return true;
      }
      return false;
    }
    case LineKind::kSegmentHeader:
    case LineKind::kSnapshotHeader: {
      const format::Line decoded = format::decode(text, ops, scratch);
      const bool is_snapshot = line.kind == LineKind::kSnapshotHeader;
      if (uuid_.empty()) uuid_ = is_snapshot ? decoded.snapshot.store : decoded.header.store;
      place.is_foreign = (is_snapshot ? decoded.snapshot.store : decoded.header.store) != uuid_;
      if (place.is_foreign || is_snapshot != source.is_snapshot) *reason = "the header of another file";
      // Behind a tear a header is the next segment's, which has not got its name: it promised nothing.
      if (reason->empty() && !is_behind_tear(source, at))
        promised_ = std::max(promised_, is_snapshot ? decoded.snapshot.last_seq : decoded.header.first_seq - 1);
      return false;
    }
    case LineKind::kSegmentEnd:
    case LineKind::kSnapshotEnd: {
      const bool is_snapshot = line.kind == LineKind::kSnapshotEnd;
      if (place.is_foreign || is_snapshot != source.is_snapshot) {
        *reason = "the last line of another file";
        return false;
      }
      if (is_behind_tear(source, at)) {
        *reason = kBehindTear;
        return false;
      }
      const format::Line decoded = format::decode(text, ops, scratch);
      promised_ = std::max(promised_, is_snapshot ? decoded.snapshot_end.last_seq : decoded.end.last_seq);
      if (source.damaged != kNone)
        plan_.damaged_snapshots[source.damaged].entries_expected = decoded.snapshot_end.entries;
      return false;
    }
    case LineKind::kUnknownOp:
      if (place.is_foreign || is_behind_tear(source, at)) break;
      return error(Code::kUnsupported,
                   "{} (byte {}): written in a newer format, so nothing may be left out here that a newer version can "
                   "read. "
                   "try: a newer version of this program",
                   source.path, at)
          .at(source.path, at);
    default:
      break;
  }
  *reason = format::explain(text, format::decode(text, ops, scratch));
  return false;
}

Status Salvage::visit_file(const Source& source, const Visitor& visitor, Tally& tally,
                           const std::function<void(uint64_t)>& on_bytes) {
  Result<std::unique_ptr<env::File>> file = env_.open(source.path, env::OpenMode::kRead);
  if (!file.ok()) return std::move(file).status();
  wal::ChunkPipeline pipeline(**file, 0, threads_);
  Place place{.is_foreign = source.is_foreign};
  for (;;) {
    Result<const wal::Chunk*> read = pipeline.next();
    if (!read.ok()) return std::move(read).status();
    if (*read == nullptr) return {};
    const wal::Chunk& chunk = **read;
    const std::string_view bytes = chunk.bytes.view();
    const auto count_to = [&](uint64_t end) {  // end: an offset in the file, inside this chunk
      KV_ASSERT(place.counted >= chunk.offset);
      KV_ASSERT(place.counted <= end);
      KV_ASSERT(end <= chunk.offset + bytes.size());
      const auto from = bytes.begin() + static_cast<ptrdiff_t>(place.counted - chunk.offset);
      place.newlines +=
          static_cast<uint64_t>(std::count(from, bytes.begin() + static_cast<ptrdiff_t>(end - chunk.offset), '\n'));
      place.counted = end;
    };
    for (const wal::LineRef& line : chunk.lines) {
      std::string reason;
      Result<bool> used = use(source, chunk, line, place, &reason);
      if (!used.ok()) return std::move(used).status();
      if (*used) {
        ++tally.used_lines;
        tally.highest_used = std::max(tally.highest_used, line.stamp.seq);
        if (visitor.on_used) visitor.on_used(source, chunk, line);
        continue;
      }
      if (reason.empty()) continue;
      ++tally.rejected_lines;
      tally.rejected_bytes += line.size;
      if (!visitor.on_rejected) continue;
      const uint64_t at = chunk.offset_of(line);
      count_to(at);
      const RejectedLine rejected{.file = source.path,
                                  .line = place.newlines + 1,
                                  .offset = at,
                                  .bytes = line.size,
                                  .reason = std::move(reason)};
      if (Status s = visitor.on_rejected(rejected, chunk.text(line)); !s.ok()) return s;
    }
    count_to(chunk.offset + bytes.size());
    on_bytes(bytes.size());
  }
}

// Whoever only plans holds no lock, and where there is no LOCK a repair holds none either: an owner may begin to append
// between two passes. What a later pass meets then is not what the plan was made of.
Status Salvage::visit_lines(std::string_view step, const Visitor& visitor) {
  uint64_t total_bytes = 0;
  uint64_t done_bytes = 0;
  uint64_t next_progress = kProgressBytes;
  if (options_.on_progress) {
    for (const Source& source : sources_) {
      Result<std::unique_ptr<env::File>> file = env_.open(source.path, env::OpenMode::kRead);
      if (!file.ok()) return std::move(file).status();
      Result<uint64_t> size = (*file)->size();
      if (!size.ok()) return std::move(size).status();
      total_bytes += *size;
    }
  }
  seen_ = {};
  Tally tally;
  for (const Source& source : sources_) {
    Status visited = visit_file(source, visitor, tally, [&](uint64_t bytes) {
      done_bytes += bytes;
      if (!options_.on_progress || done_bytes < next_progress) return;
      options_.on_progress({.step = step, .done_bytes = done_bytes, .total_bytes = std::max(total_bytes, done_bytes)});
      next_progress = done_bytes + kProgressBytes;
    });
    if (!visited.ok()) return visited;
  }
  if (!first_tally_.has_value()) first_tally_ = tally;
  return tally == *first_tally_ ? Status() : files_changed();
}

Status Salvage::for_each_rejected(const OnRejected& on_rejected) {
  return visit_lines("save", {.on_rejected = on_rejected});
}

// ---- what they amount to -------------------------------------------------------------------------

void Salvage::note(const Source& source, const wal::LineRef& line) {
  if (source.is_snapshot) {
    highest_entry_ = std::max(highest_entry_, line.stamp.seq);
    if (source.damaged != kNone) ++plan_.damaged_snapshots[source.damaged].entries;
    return;
  }
  taken_us_ = std::max(taken_us_, line.stamp.ts_us);
  promised_ = std::max(promised_, line.stamp.synced);
  if (line.stamp.seq <= plan_.base_seq) {
    ++plan_.covered_records;
    return;
  }
  KV_ASSERT(line.stamp.seq <= seen_.highest());  // use() has added it
  ++plan_.records;
  out_of_order_ = out_of_order_ || line.stamp.seq < seen_.highest();
}

void Salvage::find_missing() {
  plan_.segments = static_cast<uint64_t>(
      std::count_if(sources_.begin(), sources_.end(), [](const Source& s) { return !s.is_snapshot; }));
  Seq damaged_seq = 0;                                                         // the newest damaged snapshot's
  Seq evidence = std::max({plan_.base_seq, seen_.highest(), highest_entry_});  // the newest that is known of any key
  for (const DamagedSnapshot& snapshot : plan_.damaged_snapshots) {
    damaged_seq = std::max(damaged_seq, snapshot.last_seq);
    if (snapshot.entries != 0) evidence = std::max(evidence, snapshot.last_seq);
  }
  plan_.last_seq = std::max(evidence, promised_);
  plan_.is_prefix = true;
  const auto add = [&](Seq first, Seq last, bool in_snapshot) {
    KV_ASSERT(first <= last);
    KV_ASSERT(first > last_missing_);  // in order, and none twice
    KV_ASSERT(last <= plan_.last_seq);
    ++plan_.missing_ranges;
    plan_.missing_records += last - first + 1;
    if (plan_.missing.size() < kRepairListMax)
      plan_.missing.push_back({.first_seq = first, .last_seq = last, .in_snapshot = in_snapshot});
    plan_.is_prefix = plan_.is_prefix && first > evidence;
    last_missing_ = last;
  };
  seen_.for_each_gap(plan_.base_seq + 1, plan_.last_seq, [&](Seq first, Seq last) {
    const Seq split = std::min(last, damaged_seq);
    if (first <= split) add(first, split, true);
    if (split < last) add(std::max(first, split + 1), last, false);
  });
  KV_ASSERT(plan_.missing_records + plan_.records == plan_.last_seq - plan_.base_seq);
  KV_ASSERT(plan_.missing_ranges >= plan_.missing.size());
}

void Salvage::apply(const format::Op& op, Seq seq) {
  KV_ASSERT(seq > plan_.base_seq);
  if (seq > plan_.last_seq) return;  // appended since the first pass; visit_lines() is going to notice
  const uint64_t hash = table_->hash(op.key);
  const table::Entry* known = table_->newest(op.key, hash);
  if (known != nullptr && known->seq() > seq) return;
  if (out_of_order_) {
    const auto deleted = deleted_.find(std::string(op.key));
    if (deleted != deleted_.end() && deleted->second > seq) return;
    if (op.removes()) deleted_[std::string(op.key)] = seq;
  }
  table_->load(op, hash, seq);
}

// The intact entries of a damaged snapshot are true as of its number, whatever is missing before it.
Status Salvage::confirm_entries() {
  for (const Source& source : sources_) {
    if (source.damaged == kNone || last_missing_ == 0 || source.number < last_missing_) continue;
    KV_ASSERT(source.is_snapshot);
    KV_ASSERT(source.damaged < plan_.damaged_snapshots.size());
    const Visitor confirming{.on_used = [this](const Source&, const wal::Chunk& chunk, const wal::LineRef& line) {
      const std::string_view key = chunk.ops[line.op_begin].key;
      const table::Entry* entry = table_->newest(key, table_->hash(key));
      if (entry != nullptr && entry->seq() == line.stamp.seq) confirmed_.insert(entry);
    }};
    Tally tally;
    if (Status s = visit_file(source, confirming, tally, [](uint64_t) {}); !s.ok()) return s;
  }
  return {};
}

void Salvage::count_entries() {
  const table::Table::Pin pin(*table_);
  std::vector<const table::Entry*> entries;
  for (size_t shard = 0; shard < table::Table::kShards; ++shard) {
    entries.clear();
    table_->collect_shard(pin, shard, taken_us_, entries);
    plan_.entries += entries.size();
    std::copy_if(entries.begin(), entries.end(), std::back_inserter(stale_), [this](const table::Entry* entry) {
      return entry->seq() < last_missing_ && !confirmed_.contains(entry);
    });
  }
  std::sort(stale_.begin(), stale_.end(), [](const auto* a, const auto* b) { return a->key() < b->key(); });
  KV_ASSERT(stale_.size() <= plan_.entries);
  plan_.stale_keys = stale_.size();
  plan_.has_anything = plan_.opens || !plan_.base.empty() || plan_.records != 0 ||
                       std::any_of(plan_.damaged_snapshots.begin(), plan_.damaged_snapshots.end(),
                                   [](const DamagedSnapshot& snapshot) { return snapshot.entries != 0; });
  for (size_t i = 0; i < std::min(stale_.size(), kStaleSampleMax); ++i)
    plan_.stale_sample.emplace_back(stale_[i]->key());
}

}  // namespace kvstore::engine
