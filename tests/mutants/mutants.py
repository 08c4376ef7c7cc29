"""Deliberately broken variants of kvstore, each of which some test notices: run.py proves it.

A mutant: its name says what is broken; the promise is the one of kvstore/DESIGN.md that it breaks, "-" where it is none of
these; an edit is (file, old text, new text), the old text exactly once in the file; the tests are asked in this order until
one notices. A test is the name of a program in tests/, with arguments if need be.
"""
from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    promise: str
    edits: list
    tests: list


CRASH = "crash_explorer --seconds 10"
ROT = "rot_explorer --seconds 5"

COMMIT = "kvstore/engine/commit.cc"
WRITER = "kvstore/wal/log_writer.cc"
ROTATION = "kvstore/wal/log_rotation.cc"
WALK = "kvstore/wal/log_walk.cc"
STOP = "kvstore/wal/log_walk_stop.cc"
RECOVER = "kvstore/engine/recover.cc"
OPEN = "kvstore/engine/open.cc"
COMPACTION = "kvstore/engine/compaction.cc"
SNAPSHOT_OUT = "kvstore/wal/snapshot_writer.cc"
SNAPSHOT_IN = "kvstore/wal/snapshot_reader.cc"
TABLE = "kvstore/table/table.cc"
SWEEP = "kvstore/table/table_sweep.cc"
VERSIONS = "kvstore/table/versions.cc"
READ_SET = "kvstore/engine/read_set.cc"
SALVAGE = "kvstore/engine/salvage.cc"
REPAIR = "kvstore/engine/repair.cc"
POSIX = "kvstore/env/posix_env.cc"

MUTANTS = []


def mutant(name, promise, file, old, new, *tests, more=()):
    MUTANTS.append(Mutant(name, promise, [(file, old, new), *more], list(tests)))


# ---- committing ------------------------------------------------------------------------------------

mutant("kSync is acknowledged without a sync", "P2", COMMIT,
       "const bool waits = request.durability == Durability::kSync;", "const bool waits = false;",
       "store_fault_test", "store_power_cut_test")
mutant("kSync waits for the record before its own", "P2", COMMIT,
       "group_->wait_for(seq); !s.ok()) {", "group_->wait_for(seq - 1); !s.ok()) {",
       "store_fault_test", "store_power_cut_test", CRASH,
       more=[(COMMIT, "    KV_ASSERT(writer_->synced_seq() >= seq);  // P2\n", "")])
mutant("voucher one too high", "P5", COMMIT, ".synced = synced > vouched_ ? synced : 0}", ".synced = synced > vouched_ ? synced + 1 : 0}",
       "store_test", "store_power_cut_test", CRASH)
mutant("vouchers are not written", "P5", COMMIT, ".synced = synced > vouched_ ? synced : 0}", ".synced = 0}",
       "store_test")
mutant("time runs backwards with the clock", "-", COMMIT, "    ts = std::max(request.now_us, last_ts_us_);", "    ts = request.now_us;",
       "store_test")
mutant("conditions are not checked", "-", COMMIT, "if (Status s = check_condition(request, prepared, ts); !s.ok()) return s;", "",
       "store_test")
mutant("what does not hold, or conflicts, costs a key its place", "-", COMMIT,
       "    if (Status s = check(); !s.ok()) return s;\n    if (has_limits_) {\n",
       "    if (!has_limits_) {\n      if (Status s = check(); !s.ok()) return s;\n    } else {\n", "store_memory_test",
       more=[(COMMIT, "    } else {\n      stage(request, prepared);\n    }\n", "    }\n    if (!has_limits_) stage(request, prepared);\n")])
mutant("a condition is not looked at again when room was made", "-", COMMIT,
       "      if (Status s = check(); !s.ok()) return s;  // of what", "      // of what", "store_memory_test", "store_model_test")
mutant("a key that a commit found expired may be found alive", "-", COMMIT,
       "      clock_floor_us_ = std::max(clock_floor_us_.load(), ts);\n", "", "store_test")
mutant("conditions are judged by the time of the call", "-", COMMIT, "    ts = std::max(ts, now_us());\n", "", "store_test")
mutant("erase_prefix keeps all that it erases", "-", COMMIT,
       "      std::vector<const table::Entry*> doomed;\n      {\n",
       "      std::vector<const table::Entry*> doomed;\n      const table::Table::Pin another(table_);\n      {\n",
       "store_memory_test", "store_test")
mutant("a refused write shows in memory all the same", "P8", COMMIT,
       "  if (!appended.ok()) {\n    prepared.discard();\n",
       "  if (!appended.ok()) {\n"
       "    if (Prepared::Slot& slot = *prepared.slots.begin(); slot.staged != nullptr && table_.published() < seq) {\n"
       "      table_.link(std::exchange(slot.staged, nullptr), slot.hash, seq);\n"
       "      table_.publish(seq);\n"
       "    }\n"
       "    prepared.discard();\n",
       "store_fault_test")
mutant("a batch shows operation by operation", "P3", COMMIT,
       "    table_.link(std::exchange(slot.staged, nullptr), slot.hash, seq);\n",
       "    table_.link(std::exchange(slot.staged, nullptr), slot.hash, seq);\n    table_.publish(seq);\n",
       "store_threads_test", "store_test")
mutant("published before it is linked", "P3", COMMIT,
       "  for (Prepared::Slot& slot : prepared.slots) {\n    KV_ASSERT",
       "  table_.publish(seq);\n  for (Prepared::Slot& slot : prepared.slots) {\n    KV_ASSERT",
       "store_test")

# ---- syncing ---------------------------------------------------------------------------------------

mutant("a sync does nothing", "P2", WRITER, "base::guarded([&] { return segment.file->sync(); });", "((void)segment, Status());",
       "store_power_cut_test", CRASH)
mutant("a failed sync is forgotten", "P8", WRITER, "    is_broken_.store(true, std::memory_order_release);\n", "",
       "store_fault_test")
mutant("a sync counts what came while it ran", "P2", WRITER,
       "if (s.ok() && synced_seq() < covers) synced_seq_.store(covers, std::memory_order_release);",
       "(void)covers;\n  if (s.ok()) synced_seq_.store(last_seq(), std::memory_order_release);",
       "wal_test")
mutant("a follower of a group sync wakes with the wrong sync", "P2", "kvstore/wal/group_sync.cc",
       "      synced_.wait(lock);\n", "      synced_.wait(lock);\n      break;\n",
       "wal_test")
mutant("a follower of a group sync is told nothing of its failure", "P8", "kvstore/wal/group_sync.cc",
       "      failed = log_.broken();\n", "      break;\n",
       "wal_test")
mutant("full disk: part of a line stays (kWrite)", "P8", WRITER,
       "  if (Status cut = segment.file->truncate(segment.tail); !cut.ok()) {", "  if (Status cut; !cut.ok()) {",
       "store_fault_test")
mutant("a line comes into the file from its end", "P7", WRITER,
       "    out = copy_forward(out, head);\n    out = copy_forward(out, body.text);\n    copy_forward(out, tail);\n",
       "    copy_forward(out + head.size() + body.text.size(), tail);\n    copy_forward(out + head.size(), body.text);\n"
       "    copy_forward(out, head);\n",
       "wal_test")

# ---- rotating --------------------------------------------------------------------------------------

mutant("rotation: the full segment is not synced before the name", "P1", ROTATION,
       "      if (Status s = sync_file(*full); !s.ok()) return s;\n      const Seq last", "      const Seq last",
       "store_power_cut_test", CRASH)
mutant("rotation: the next segment is not synced before its name", "P1", ROTATION,
       "      if (Status s = sync_file(next); !s.ok()) return s;\n", "",
       "store_power_cut_test", CRASH)
mutant("rotation: no directory sync", "P1", ROTATION,
       "if (Status s = env_.sync_dir(settings_.dir).with(kStep); !s.ok()) {", "if (Status s; !s.ok()) {",
       "store_power_cut_test", CRASH)
mutant("rotation: too many open files break the store", "P8", ROTATION,
       "return lacks_descriptors ? s : mark_broken(std::move(s));", "return mark_broken(std::move(s));", "store_fault_test")
mutant("rotation: closing line before the name", "P1", ROTATION,
       "      if (!next.is_renamed) {\n",
       "      if (Status s = seal(*full); !s.ok()) return s;\n"
       "      if (Status s = sync_file(*full); !s.ok()) return s;\n"
       "      if (!next.is_renamed) {\n",
       "store_power_cut_test", CRASH)
mutant("rotation: closing line not synced", "P1", ROTATION,
       "    if (Status s = sync_file(*full); !s.ok()) return s;\n    const std::lock_guard", "    const std::lock_guard",
       "store_power_cut_test", CRASH)
mutant("rotation: records of the next segment count as synced too early", "P2", ROTATION,
       "      const Seq last = next.first_seq - 1;\n", "      const Seq last = last_seq();\n",
       "wal_test", "store_fault_test", "store_power_cut_test", CRASH)
mutant("rotation: a sync leaves it unfinished", "P2", WRITER,
       "full != nullptr ? finish_rotation_locked(full, *segment) : sync_file(*segment);", "sync_file(*segment);",
       "store_power_cut_test", CRASH)
mutant("rotation: the next begins before the last is finished", "P1", ROTATION,
       "    if (Status s = finish_rotation(); !s.ok()) return s;\n  }\n  Result<SegmentPtr> made", "  }\n  Result<SegmentPtr> made",
       "store_test", CRASH)
mutant("first segment: not synced before its name", "P1", ROTATION,
       "    if (Status s = segment->file->sync(); !s.ok()) return s;\n", "",
       "store_power_cut_test", CRASH)
mutant("first segment: no directory sync", "P1", ROTATION,
       "    return env_.sync_dir(settings_.dir);\n  };", "    return Status();\n  };",
       "store_power_cut_test", CRASH)

# ---- recovering ------------------------------------------------------------------------------------

mutant("recovery: the torn tail stays", "P1", RECOVER,
       "      if (Status s = (*file)->truncate(settled.length); !s.ok()) return s;\n", "",
       "store_recovery_test",
       more=[(RECOVER, "      if (Status s = blank_out(env, cut); !s.ok()) return s;\n", "      (void)cut;\n")])
mutant("recovery: what is cut is not blanked out", "P1", RECOVER,
       "      if (Status s = blank_out(env, cut); !s.ok()) return s;\n", "      (void)cut;\n",
       "store_power_cut_test")
mutant("recovery: what is cut is not kept", "P5", OPEN,
       "      if (Status s = keep_torn_tail(env_, dir_, cut); !s.ok()) return s;\n", "      (void)cut;\n",
       "store_recovery_test")
mutant("recovery: what is cut is not reported", "P5", OPEN, "  recovery_.cuts = end.cuts;\n", "",
       "store_recovery_test")
mutant("recovery: a kept cut is not synced", "P5", RECOVER, "  return to.sync();\n", "  return Status();\n",
       "store_power_cut_test", CRASH)
mutant("recovery: a last line without newline is not completed", "P1", RECOVER, "      if (end.newline_missing) {\n", "      if (false) {\n",
       "store_recovery_test")
mutant("recovery: the log is not synced before it is vouched for", "P1", RECOVER,
       "      if (Status s = (*file)->sync(); !s.ok()) return s;\n      if (end.segment", "      if (end.segment",
       "store_fault_test", "store_power_cut_test", CRASH)
mutant("recovery: no directory sync", "P1", RECOVER, "    if (Status s = env.sync_dir(dir); !s.ok()) return s;\n    if (end.unsettled",
       "    if (end.unsettled", "store_power_cut_test", CRASH)
mutant("recovery: the segment before the next not settled first", "P1", RECOVER,
       "      if (Status s = trim_previous(env, dir, *end.unsettled, false); !s.ok()) return s;\n", "",
       "store_power_cut_test", CRASH)
mutant("recovery: a missing closing line is not put back", "P1", RECOVER,
       "end.unsettled->closing_line_missing) {", "false) {",
       "store_recovery_test")
mutant("recovery: the next segment does not get its name", "P1", RECOVER,
       "      if (end.segment == wal::kNextSegmentName) {\n", "      if (false) {\n",
       "store_recovery_test")
mutant("recovery: a stray next segment stays", "P1", WRITER,
       "const Status removed = env.remove(join_path(writer->settings_.dir, kNextSegmentName));", "const Status removed = Status();",
       "store_recovery_test")
mutant("recovery: leftovers of a compaction stay", "-", "kvstore/wal/file_names.cc",
       "parse_segment_name(name).has_value() || parse_snapshot_name(name).has_value();", "parse_segment_name(name).has_value();",
       "store_compaction_test")
mutant("LOCK names a store before there is one", "P1", OPEN,
       "      owner_.store = walk->store_uuid().empty() ? env_.new_uuid() : walk->store_uuid();\n",
       "      owner_.store = walk->store_uuid().empty() ? env_.new_uuid() : walk->store_uuid();\n"
       "      if (Status s = wal::write_owner(lock_->file(), owner_); !s.ok()) return s;\n",
       "store_fault_test", "store_power_cut_test", CRASH)
mutant("LOCK vouches for one record too many", "P5", OPEN,
       "owner_.closed_seq = writer_->synced_seq();", "owner_.closed_seq = writer_->synced_seq() + 1;",
       "store_test", "store_recovery_test")
mutant("LOCK is not taken", "P9", POSIX, "return uninterrupted([&] { return ::fcntl(fd, F_OFD_SETLK, &whole_file); }) == 0 ? 0 : errno;",
       "return 0;", "env_posix_test")

# ---- where the log ends ----------------------------------------------------------------------------

mutant("a checksum is not compared", "P4", "kvstore/format/decode.cc",
       "if (load_text(digits.data()) != hex_digits(computed)) [[unlikely]] {", "if (false) {",
       "format_damage_test")
mutant("the sequence number is left out of the checksum", "P4", "kvstore/format/decode.cc",
       "base::crc32c(line.substr(0, line.size() - kSealBytes));", "base::crc32c(line.substr(8, line.size() - kSealBytes - 8));",
       "format_damage_test",
       more=[("kvstore/format/encode.cc", "base::crc32c(out.view().substr(begin))", "base::crc32c(out.view().substr(begin + 8))"),
             (WRITER, "base::crc32c(head)", "base::crc32c(head.substr(8))")])
mutant("gaps between records are accepted", "P1", WALK,
       "    if (line.stamp.seq != expected) return false;\n    ++expected;\n", "    expected = line.stamp.seq + 1;\n",
       "store_recovery_test", "store_golden_test", ROT)
mutant("a rotation takes no room for the closing line", "P8", ROTATION,
       "write_at_tail(old, std::string(old.closing_line.size(), '\\n'))", "Status()",
       "wal_test")
mutant("a closing line counts where no record stands", "P1", WALK,
       "    const bool has_record = expected > segments[index].first_seq;", "    const bool has_record = true;",
       "store_recovery_test")
mutant("a segment of another store is accepted", "P4", WALK,
       "  if (!uuid.empty() && header.store != uuid) return false;\n", "",
       "store_recovery_test")
mutant("vouchers are not asked", "P5", STOP,
       "      if (line.kind == LineKind::kRecord) highest = std::max(highest, line.stamp.synced);\n", "",
       "store_golden_test", ROT)
mutant("LOCK's voucher is not asked", "P5", STOP, "  const Seq promised = std::max(*in_next, owner.closed_seq);\n",
       "  const Seq promised = *in_next;\n", "store_recovery_test")
mutant("the voucher of a stray next segment is not asked", "P5", STOP,
       "  if (!has_stray_next) return Seq{0};\n", "  return Seq{0};\n",
       "store_recovery_test", ROT)
mutant("promised lines are cut like a torn tail", "P5", STOP, "      .vouched = vouched,\n", "      .vouched = false,\n",
       "store_recovery_test")
mutant("a torn tail is called damage", "P1", STOP, "      .vouched = vouched,\n", "      .vouched = true,\n",
       "store_recovery_test")
mutant("what an old block held is called damage", "P1", STOP, "const bool is_stale = !vouched &&", "const bool is_stale = false &&",
       "store_golden_test")
mutant("a rotation counts as under way, whatever was promised since", "P5", STOP, "  return *promised < expected;\n", "  return true;\n",
       "store_golden_test")
mutant("a closing line that names a missing segment is believed to be the end", "P5", STOP,
       "  if (sealed || promised >= expected) {\n", "  if (promised >= expected) {\n",
       "store_recovery_test")
mutant("a next segment is accepted although its number does not fit", "P1", STOP,
       "    if (next->first_seq == expected) {\n", "    if (next->first_seq != 0) {\n",
       "store_recovery_test", CRASH)
mutant("a next segment of another store is accepted", "P4", STOP,
       " && (*header)->newline &&\n                       (*header)->store == uuid;\n", " && (*header)->newline;\n",
       "store_recovery_test", ROT)
mutant("a header that may be taken back begins a segment", "P6", STOP, " && (*header)->newline &&", " &&", "log_walk_test")
mutant("what is wrong with a held file is called damage though it has gone", "P6", STOP,
       "  return gone.ok() && *gone ? compacted() : status;\n", "  return status;\n", "log_walk_test")
mutant("a damaged snapshot is called damage though it has gone", "P6", WALK,
       "refuse(unless_compacted(std::move(entries).status()))", "refuse(std::move(entries).status())", "log_walk_test")
mutant("verify() counts what came after the state that it read", "-", "kvstore/engine/verify.cc",
       "  if (base_seq_.has_value()) {  //", "  if (false) {  //", "log_walk_test")
mutant("no second look beside a writer", "P6", STOP, "  if (looked_twice == place) return false;\n", "  return false;\n",
       "wal_test", "store_threads_test")

# ---- compacting, and its snapshots -----------------------------------------------------------------

mutant("snapshot: not synced before its name", "P1", SNAPSHOT_OUT,
       "  if (Status s = file_->sync(); !s.ok()) return std::move(s).with(\"write the snapshot\");\n  if (Status s = env_.rename",
       "  if (Status s = env_.rename", "store_power_cut_test", CRASH)
mutant("snapshot: no directory sync behind its name", "P1", SNAPSHOT_OUT,
       "  if (Status s = env_.sync_dir(settings_.dir); !s.ok()) return std::move(s).with(\"name the snapshot\");\n", "",
       "store_power_cut_test", CRASH)
mutant("snapshot: its checksum over the whole is not compared", "P4", SNAPSHOT_IN,
       "  if (decoded.snapshot_end.whole != crc) {", "  if (false) {", "store_compaction_test")
mutant("snapshot: its entries are not counted", "P5", SNAPSHOT_IN,
       "  if (decoded.snapshot_end.entries != entries) {", "  if (false) {", "store_compaction_test")
mutant("snapshot: a key that stands twice is not noticed", "P4", "kvstore/engine/replay.cc",
       "      if (table.stats().entries != walk.base()->entries) {", "      if (false) {", "store_compaction_test")
mutant("compaction: the log goes before the snapshot is there", "P1", COMPACTION,
       "    if (written.ok()) written = (*out)->finish();\n",
       "    if (written.ok()) {\n"
       "      Result<wal::StoreFiles> files = wal::list_store_files(env_, dir_);\n"
       "      if (!files.ok()) return std::move(files).status();\n"
       "      for (const wal::Segment& segment : files->segments) {\n"
       "        if (segment.first_seq <= report.seq) (void)env_.remove(wal::join_path(dir_, segment.name)).ok();\n"
       "      }\n"
       "      written = (*out)->finish();\n"
       "    }\n",
       "store_power_cut_test", CRASH)
mutant("compaction: one segment too many is removed", "P1", COMPACTION,
       "    if (segment.first_seq > keep_from) break;", "    if (segment.first_seq > keep_from + 1) break;",
       "store_compaction_test")
mutant("compaction: no directory sync behind each removal", "P5", COMPACTION,
       "    return env_.sync_dir(dir_);\n  };\n", "    return Status();\n  };\n",
       "store_power_cut_test", CRASH)
mutant("compaction: no new segment before the snapshot", "P1", COMPACTION,
       "  if (Status s = writer_->begin_segment(); !s.ok()) return s;\n", "",
       "store_compaction_test")
mutant("compaction: the segment it names has no name yet", "P1", COMPACTION,
       "    if (written.ok()) written = writer_->finish_rotation();  // the snapshot names that segment\n", "",
       "store_power_cut_test", CRASH)
mutant("compaction: versions are lost", "-", COMPACTION, "out.add(put_of(*entry), entry->seq())", "out.add(put_of(*entry), instant.seq())",
       "store_compaction_test")
mutant("compaction: the clock's floor is not raised", "P4", COMPACTION,
       "  clock_floor_us_.store(std::max(clock_floor_us_.load(), taken_us));\n", "",
       "store_compaction_test")
mutant("sweep: the clock's floor is not raised", "P4", COMPACTION,
       "    clock_floor_us_ = now;              // before the sweep: its contract\n", "",
       "store_compaction_test")
mutant("opening: the clock's floor is not taken from the log", "P4", OPEN, "  clock_floor_us_ = last_ts_us_; ", "  //",
       "store_compaction_test")

# ---- memory ----------------------------------------------------------------------------------------

mutant("a released pin's version goes although an older pin can see it", "P1", VERSIONS,
       "if (heir_ != nullptr && heir_->seq >= node->seq) {", "if (heir_ != nullptr && heir_->seq > node->seq) {",
       "table_release_test", "table_versions_test")
mutant("an overwritten version is released under a snapshot", "P6", TABLE, "      if (pin != nullptr && pin->seq >= older->seq()) {\n",
       "      if (pin != nullptr && pin->seq > older->seq()) {\n", "table_versions_test")
mutant("a version passes by the older snapshot that still sees it", "P6", "kvstore/table/versions.cc",
       "heir_->seq >= node->seq) {", "heir_->seq > node->seq) {", "table_versions_test")
mutant("memory is freed an epoch too early", "P6", "kvstore/table/limbo.cc",
       "retired_[(epoch_.current() + 1) % 3];", "retired_[(epoch_.current() + 2) % 3];",
       "table_concurrency_test", "table_versions_test")
mutant("a commit unlinks old versions before its number shows", "P6", TABLE,
       "  my.published.store(seq, std::memory_order_seq_cst);\n  PinRecord*", "  PinRecord*",
       "table_concurrency_test", "table_versions_test",
       more=[(TABLE, "  const size_t operations = my.linked.size();\n",
              "  my.published.store(seq, std::memory_order_seq_cst);\n  const size_t operations = my.linked.size();\n")])
mutant("a key is found after its expiry", "P4", "kvstore/engine/read.cc",
       "  if (entry->expires_us() != 0 && entry->is_expired(now_us())) return nullptr;", "  ",
       "store_test")
mutant("the sweep takes what a snapshot sees", "P6", SWEEP,
       "      if (pinned.has_value() && *pinned >= entry->seq()) continue;\n", "",
       "table_expiry_test", more=[(SWEEP, "if (!pinned.has_value() || *pinned < candidate.word.entry()->seq()) continue;", "continue;")])
mutant("evictions are not logged", "P1", "kvstore/engine/memory.cc",
       "  Result<Seq> seq = commit_locked(request, prepared);\n",
       "  stage(request, prepared);\n"
       "  Result<Seq> seq = table_.published() + 1;\n"
       "  for (Prepared::Slot& slot : prepared.slots) table_.link(std::exchange(slot.staged, nullptr), slot.hash, *seq);\n"
       "  table_.publish(*seq);\n",
       "store_memory_test")
mutant("a key that was read is evicted like any other", "-", "kvstore/table/sieve.cc",
       "    if (!entry->is_visited() || marks == kMarksMax) return entry;\n", "    return entry;\n",
       "table_eviction_test")

# ---- transactions ----------------------------------------------------------------------------------

mutant("transaction: what it read is not validated", "-", COMMIT,
       "    Status s = request.reads->check(table_, recent_writes_, ts);\n", "    Status s;\n",
       "store_transaction_test", "store_serializability_test")
mutant("transaction: writes behind its scan are not seen", "-", READ_SET,
       "  return ranges_.empty() ? Status() : catch_up(recent, UINT64_MAX);\n", "  (void)recent;\n  return Status();\n",
       "store_transaction_test", "store_serializability_test")
mutant("transaction: writes between its begin and its scan are not seen", "-", READ_SET,
       "  range.changed = highest > pin_seq;\n", "  range.changed = false;\n  (void)pin_seq;\n  (void)highest;\n",
       "store_transaction_test", "store_serializability_test")
mutant("transaction: expiry of what it scanned is not seen", "-", READ_SET,
       "    if (range.first_expiry_us != 0 && range.first_expiry_us <= ts_us) {\n", "    if (false) {\n",
       "store_transaction_test")

mutant("rotation: what came after a failed seal is not synced", "P1", ROTATION,
       "    } else if (Status s = sync_file(next); !s.ok()) {", "    } else if (Status s; !s.ok()) {", "store_fault_test")
mutant("commit: a record that is in the log is called unwritten", "P8", COMMIT,
       "      if (s.code() != Code::kBroken) s = std::move(s).as(Code::kIoError);\n", "", "store_fault_test")
mutant("repair: stale lines before the last segment are used", "P4", SALVAGE,
       "    if (const auto& unsettled = walk->end().unsettled) {", "    if (const auto& unsettled = walk->end().unsettled; false) {",
       "store_repair_test")
mutant("eviction: a batch evicts its own keys", "-", "kvstore/engine/memory.cc", "      if (own_left != 0 && evicted", "      if (false && evicted",
       "store_memory_test")
mutant("eviction: what a reader is looking at is a reason for more", "-", "kvstore/engine/memory.cc",
       "uint64_t comes_back = table_.unlinked_bytes();", "uint64_t comes_back = 0;", "store_memory_test")
mutant("eviction: a reader who stays costs more keys for each refused write", "-", "kvstore/engine/memory.cc",
       "!prepared.readers_have_left && table_.unlinked_bytes() >= readers_keep_max", "readers_keep_max == 0", "store_memory_test")
mutant("what has expired makes no room for bytes", "-", "kvstore/engine/memory.cc",
       "    if (!evicts && bytes_added_by(request) != 0 && table_.stats().expiring != 0) sweep_some(kSweptByRefusal);\n", "",
       "store_memory_test")
mutant("who waits for readers waits for those to come, too", "-", "kvstore/table/limbo.cc",
       "  return empty() || (epoch_.current() >= mark + 2", "  return empty() || (false && epoch_.current() >= mark + 2",
       "table_concurrency_test")
mutant("who waits for readers goes a step too early", "-", "kvstore/table/limbo.cc", "epoch_.current() >= mark + 2", "epoch_.current() >= mark + 1",
       "table_concurrency_test")
mutant("eviction: a write that never fits costs the others their place", "-", "kvstore/engine/memory.cc",
       "options_.max_entries != 0 && least > options_.max_entries", "options_.max_entries != 0 && least == 0", "store_memory_test")
mutant("eviction: a batch's keys that are there already do not count", "-", "kvstore/engine/memory.cc",
       "evicts ? keys.put : keys.added - std::min(keys.added, keys.removed);", "keys.added;", "store_memory_test")
mutant("eviction: a snapshot may cost all of the store", "-", "kvstore/engine/memory.cc",
       "victim->seq() > for_long && 2 * freed >= footprint && (!is_seen || may_hold != 0);", "victim->seq() != 0 || is_seen;",
       "store_memory_test")
mutant("eviction: what any snapshot sees is passed over", "-", "kvstore/engine/memory.cc", "(!is_seen || may_hold != 0);", "!is_seen;",
       "store_memory_test")
mutant("eviction: much waits for one snapshot, and what any sees is passed over", "-", "kvstore/table/versions.cc",
       "    if (sum < share) continue;\n", "", "store_memory_test")
mutant("eviction: of a tombstone that must stay all is counted", "-", "kvstore/engine/memory.cc",
       "victim->older() != nullptr ? victim->value().size() : footprint;", "footprint;", "store_memory_test")
mutant("max_entries: a store that has too many refuses what adds none", "-", "kvstore/engine/memory.cc",
       "return keys.added <= keys.removed && !evicts", "return !evicts && evicts", "store_memory_test")
mutant("erase_prefix passes over what a clock may bring back", "-", COMMIT,
       "        clock_floor_us_ = std::max(clock_floor_us_.load(), as_of);\n        request->now_us", "        request->now_us",
       "store_memory_test")

mutant("eviction: all of it in one record", "-", "kvstore/engine/memory.cc", "ops.size() < kEvictedPerRecord", "true",
       "store_memory_test")
mutant("eviction: a key may count twice", "-", "kvstore/engine/memory.cc",
       "victim == nullptr || std::ranges::any_of(ops, is_victim)", "victim == nullptr", "store_memory_test")
mutant("eviction: what a compaction sees is evicted in vain", "-", "kvstore/engine/memory.cc",
       "compaction_.holds_pin ? compaction_.pinned_seq.load() : 0);", "Seq{0});", "store_memory_test")
mutant("a write without room does not wait for what is free already", "-", "kvstore/engine/memory.cc",
       "    prepared.waits_for = WaitsFor::kVersions;\n", "", "store_memory_test")
mutant("a write without room does not wait for a compaction", "-", "kvstore/engine/memory.cc",
       "    prepared.waits_for = WaitsFor::kPin;\n", "", "store_memory_test")
mutant("max_memory: a write does not wait for readers to leave", "-", "kvstore/engine/memory.cc",
       "    prepared.waits_for = WaitsFor::kReaders;\n", "", "store_memory_test")
mutant("max_memory: a chunk that may not be touched hides all others", "-", "kvstore/table/chunks.cc",
       "if (begin != kUnitCount && may_use(chunk, begin, count)) break;",
       "if (begin != kUnitCount && !may_use(chunk, begin, count)) return nullptr;\n    if (begin != kUnitCount) break;",
       "table_memory_test")
mutant("max_memory: what deletions needed is everybody's", "-", "kvstore/table/chunks.cc",
       "  if (chunk->is_extra && mapped_bytes_ > limit_bytes_) return false;\n", "", "table_memory_test")
mutant("a batch that is discarded keeps what it set aside", "-", TABLE,
       "  if (impl_->staged == 0 && impl_->linked.empty()) impl_->trim_reserves();", "", "table_memory_test")
mutant("max_memory: memory that is used again does not count", "-", "kvstore/table/chunks.cc",
       "return more == 0 || held_bytes_", "return true || held_bytes_", "table_memory_test", "table_parts_test")
mutant("an opening leaves its directory's name unsynced", "P2", OPEN,
       "if (Status s = wal::sync_own_name(env_, dir_, makes_directory); !s.ok()) return", "if (Status s; !s.ok()) return",
       "store_fault_test", "store_power_cut_test")
mutant("who made a directory need not see to its name", "P2", "kvstore/wal/store_files.cc", "return may_not && !has_made_it ? Status() : s;",
       "return may_not ? Status() : s;", "store_fault_test")
mutant("a copy needs a readable directory above it", "-", "kvstore/wal/store_files.cc", "return may_not && !has_made_it ? Status() : s;",
       "return s;", "store_fault_test")
mutant("the log is cut before it is owned", "P1", OPEN, "  if (!(*file)->own(true)) return wal::", "  if (file->get() == nullptr) return wal::",
       "store_compaction_test")
mutant("each opening that fails keeps another copy", "-", RECOVER, "if (!kept.ok() || !holds_range(", "if (true || !holds_range(",
       "store_fault_test")
mutant("an equal size is an equal copy", "P5", RECOVER, "    if (!std::equal(", "    if (false && !std::equal(", "store_fault_test")
mutant("an opening takes it that what it replays is on disk", "P1", RECOVER,
       "    if (Status s = sync_all_but_last(env, dir, walk); !s.ok()) return s;", "", "store_power_cut_test")
mutant("half a copy of a torn tail stays", "-", RECOVER, "    if (is_made) (void)env.remove(torn.kept_as).ok();", "",
       "store_fault_test")
mutant("compaction believes every name of a snapshot", "P1", COMPACTION,
       "if (!files.ok() || files->base_seq() <= newest) return files;", "return files;",
       "store_compaction_test")
mutant("a store does not hold its directory", "P1", OPEN,
       "    if (Status s = env_.hold_dir(dir_); !s.ok()) return s;\n", "", "store_compaction_test")
mutant("a log that was removed is synced and that is that", "P1", WRITER,
       "if (!segment.counts_names || segment.file->has_name()) return s;", "return s;", "store_compaction_test")
mutant("what root makes stays root's", "-", POSIX, "made.st_uid != 0 || dir.st_uid == 0) return;", "made.st_uid == 0) return;",
       "store_compaction_test")
mutant("a record that its owner is writing is damage to a reader", "P5", OPEN,
       "    recovery_.cuts.clear();  // a record that its owner is writing right now, or what he will cut, and report\n", "", "store_test")
mutant("repair: a crash leaves the place of a new store", "P1", REPAIR,
       "const bool log_first = report_.plan.last_seq != 0;", "const bool log_first = false;", "store_repair_trouble_test")
mutant("repair: of a store without records the log comes before the kept lines", "-", REPAIR,
       "const bool log_first = report_.plan.last_seq != 0;", "const bool log_first = true;", "store_repair_trouble_test")
mutant("repair: the snapshot's name before that of the kept lines", "P1", REPAIR,
       "  return env_.sync_dir(report_.dir);  // before the snapshot's name\n", "  return {};\n", "store_repair_trouble_test")
mutant("repair: files that nobody reads have a vote", "-", SALVAGE, "const bool is_known = plan_.opens && !uuid_.empty();",
       "const bool is_known = false;", "store_repair_test")
mutant("a footer behind a hole takes memory for what it promises", "-", "kvstore/engine/replay.cc",
       "std::min(std::max(promised, come), come * kExpectTimes);", "std::max(promised, come * kExpectTimes);",
       "store_hostile_test")
mutant("verify: history that lacks its first segment is whole", "P5", "kvstore/engine/verify.cc",
       "      if (Status s = check_successor(files, snapshot); !s.ok()) return s;\n", "", "store_compaction_test")
mutant("a store goes on that has lost its LOCK", "P1", OPEN,
       ".is_ours = [this] { return lock_->still_named(); },", "", "store_compaction_test")
mutant("a NUL in the directory's name is overlooked", "-", OPEN, "if (dir.find('\\0') != std::string::npos)", "if (false)",
       "store_test")
mutant("compaction fails for damage in kept history", "P6", COMPACTION, "if (!reader.ok() && is_newest)", "if (!reader.ok())",
       "store_compaction_test")
mutant("verify ends at the last record of kept history", "P5", "kvstore/engine/verify.cc",
       "  for (;;) {  // as far as the live segments", "  while (walk->last_seq() < base) {  // as far as the live segments",
       "store_compaction_test")

# ---- copies ----------------------------------------------------------------------------------------

mutant("backup: its directory's name is not synced", "P2", "kvstore/engine/backup.cc",
       "    if (Status s = wal::sync_own_name(to, dir, *is_new); !s.ok()) return s;\n", "",
       CRASH, "store_compaction_test")
mutant("repair: an older record overrides a newer one that stands before it", "P4", SALVAGE,
       "  if (known != nullptr && known->seq() > seq) return;\n", "",
       "store_repair_test", "store_repair_trouble_test")
mutant("repair: an older record brings back a deleted key", "P4", SALVAGE,
       "    if (deleted != deleted_.end() && deleted->second > seq) return;\n", "",
       "store_repair_test", "store_repair_trouble_test")
mutant("repair: lines of another store are used", "P4", SALVAGE, "      if (place.is_foreign) {\n", "      if (false) {\n",
       "store_repair_test", "store_repair_trouble_test")
mutant("repair: done before the new directory's name is on disk", "P1", REPAIR,
       "  if (Status s = wal::sync_own_name(env_, report_.dir, *is_new); !s.ok()) return s;\n", "", "store_power_cut_test")
mutant("repair: what an opening cuts comes back", "P1", SALVAGE, "      } else if (is_behind_tear(source, at)) {\n", "      } else if (false) {\n",
       "store_repair_test", "store_repair_trouble_test", ROT)
mutant("files can be read by everybody", "P9", POSIX, "S_IRUSR | S_IWUSR", "S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH",
       "env_posix_test")
mutant("directories can be read by everybody", "P9", POSIX, "S_IRWXU", "S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH",
       "env_posix_test")
mutant("repair: the header of a next segment that an opening cuts is a promise", "-", SALVAGE,
       "      if (reason->empty() && !is_behind_tear(source, at))\n", "      if (reason->empty())\n", "store_repair_test")

mutant("repair: the header of the next segment says nothing of the records before it", "-", SALVAGE,
       "reason->empty() && !is_behind_tear", "reason->empty() && !source.is_next && !is_behind_tear", "store_repair_test")
mutant("repair: what an owner writes between two passes goes unnoticed", "P4", SALVAGE,
       "  return tally == *first_tally_ ? Status() : files_changed();\n", "  return {};\n", "store_repair_trouble_test")

# ---- the mapped log and its readers ----------------------------------------------------------------

mutant("a full segment grows beyond its mapping", "P1", WRITER,
       "needed_end <= segment.stretch_end && full_and_active()", "full_and_active()",
       "store_schedule_test",
       more=[(WRITER, "std::min(segment.stretch_end, needed_end + settings_.segment_bytes / 8)", "needed_end + settings_.segment_bytes / 8"),
             (WRITER, "    KV_ASSERT(segment->capacity <= segment->stretch_end);\n", "")])
mutant("pages are let go with their content", "P2", POSIX,
       "    advise(offset, count, MADV_DONTNEED);\n", "    advise(offset, count, MADV_REMOVE);\n", "env_conformance_test")
mutant("a reader does not hold what it has listed", "P6", WALK, "  if (has_all) held = std::move(all);\n", "",
       "log_walk_test")
mutant("a reader does not hold the next segment", "P6", WALK,
       "  if (files.has_next) all.next = open(std::string(kNextSegmentName));\n", "", "log_walk_test")
mutant("a reader takes files of two instants for those of one", "P6", WALK, "  if (*now != files) return false;\n", "",
       "log_walk_test")
mutant("the next segment that is held is placed by the record that is due", "P6", STOP,
       "  if (*number <= segments[known - 1].first_seq || *number > segments[known].first_seq) return {};\n",
       "  if (*number != expected) return held->next = std::move(was_next), Status();\n", "log_walk_test")
mutant("a reader ends at the first gap, whatever it holds", "P6", "kvstore/wal/log_walk_impl.h",
       "held.has_value() && index + 1 >= held->segments.size() && sealed", "true", "log_walk_test", "wal_test")
mutant("a segment that a compaction took away is an error to readers beside it", "P6", WALK,
       "    if (*gone) return compacted();\n  }\n  return std::move(opened)", "    (void)*gone;\n  }\n  return std::move(opened)",
       "wal_test")
