#include "kvstore/engine/recover.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/store_copy.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::engine {

namespace {

constexpr size_t kCopyBytes = size_t{1} << 20;

Status copy_range(env::File& from, uint64_t begin, uint64_t count, env::File& to) {
  std::vector<char> block(std::min<uint64_t>(count, kCopyBytes));
  for (uint64_t done = 0; done < count;) {
    const size_t want = std::min<uint64_t>(block.size(), count - done);
    Result<size_t> got = from.read_at(begin + done, {block.data(), want});
    if (!got.ok()) return std::move(got).status();
    KV_ASSERT(*got <= want);
    if (*got == 0) break;
    if (Status s = to.write_at(done, {block.data(), *got}); !s.ok()) return s;
    done += *got;
  }
  return to.sync();
}

// Whether a file holds just such a range of another one. False also where that cannot be found out.
bool holds_range(env::File& file, env::File& from, uint64_t begin, uint64_t count) {
  if (Result<uint64_t> size = file.size(); !size.ok() || *size != count) return false;
  std::vector<char> block(std::min<uint64_t>(count, kCopyBytes));
  std::vector<char> expected(block.size());
  for (uint64_t done = 0; done < count; done += block.size()) {
    const size_t want = std::min<uint64_t>(block.size(), count - done);
    Result<size_t> got = file.read_at(done, {block.data(), want});
    Result<size_t> got_expected = from.read_at(begin + done, {expected.data(), want});
    if (!got.ok() || !got_expected.ok() || *got != want || *got_expected != want) return false;
    if (!std::equal(block.data(), block.data() + want, expected.data())) return false;
  }
  return true;
}

}  // namespace

Result<size_t> remove_leftovers(env::Env& env, const std::string& dir) {
  Result<std::vector<std::string>> names = env.list(dir);
  if (!names.ok()) return std::move(names).status();
  size_t removed = 0;
  for (const std::string& name : *names) {
    if (!wal::is_temporary_name(name)) continue;
    if (Status s = env.remove(wal::join_path(dir, name)); !s.ok()) return s;
    ++removed;
  }
  return removed;
}

namespace {

Status keep_in(env::Env& env, const std::string& dir, const std::string& lost_and_found, CutReport& torn) {
  KV_ASSERT(torn.kept_as.empty());
  bool is_made = false;
  const auto keep = [&]() -> Status {
    if (Status s = env.create_dir(lost_and_found); !s.ok()) return s;
    // A symbolic link to a directory elsewhere counts as one that is there.
    if (Status s = check_is_directory(env, lost_and_found); !s.ok()) return s;
    Result<std::unique_ptr<env::File>> from = env.open(torn.file, env::OpenMode::kRead);
    if (!from.ok()) return std::move(from).status();
    const std::string segment = torn.file.substr(torn.file.rfind('/') + 1);
    const std::string stem = fmt::format("{}/{}.{}", lost_and_found, segment, torn.offset);
    for (int number = 1;; ++number) {
      torn.kept_as = number == 1 ? stem : fmt::format("{}.{}", stem, number);
      Result<std::unique_ptr<env::File>> to = env.open(torn.kept_as, env::OpenMode::kCreate);
      is_made = to.ok();
      if (is_made) {
        if (Status s = copy_range(**from, torn.offset, torn.bytes, **to); !s.ok()) return s;
        break;
      }
      if (to.status().sys_errno() != EEXIST) return std::move(to).status();
      // An opening that failed behind this point has left it, and the next ones will fail, too: one copy is enough.
      Result<std::unique_ptr<env::File>> kept = env.open(torn.kept_as, env::OpenMode::kRead);
      if (!kept.ok() || !holds_range(**kept, **from, torn.offset, torn.bytes)) continue;
      if (Status s = (*kept)->sync(); !s.ok()) return s;
      break;
    }
    if (Status s = env.sync_dir(lost_and_found); !s.ok()) return s;
    return env.sync_dir(dir);
  };
  Status kept = base::guarded(keep).with("keep the torn end of the log");
  if (!kept.ok()) {
    if (is_made) (void)env.remove(torn.kept_as).ok();  // half a copy may be what keeps the disk full
    torn.kept_as.clear();
  }
  return kept;
}

}  // namespace

// At the root of a file system lost+found may be root's, and nobody else may look into it.
Status keep_torn_tail(env::Env& env, const std::string& dir, CutReport& torn) {
  Status kept = keep_in(env, dir, wal::join_path(dir, wal::kLostAndFoundName), torn);
  if (kept.sys_errno() != EACCES && kept.sys_errno() != EPERM) return kept;
  return keep_in(env, dir, wal::join_path(dir, wal::kOwnLostAndFoundName), torn);
}

namespace {

// Overwrites a range with filler, for good. Among what is cut there may be whole lines, behind the torn one. The blocks
// that it gives back may come to this very log again, and after a power cut show what they held before: then such a line
// might stand exactly where its number is due again, in a history in which it never was.
Status blank_out(env::Env& env, const CutReport& cut) {
  Result<std::unique_ptr<env::File>> file = env.open(cut.file, env::OpenMode::kReadWrite);
  if (!file.ok()) return std::move(file).status();
  const std::string filler(std::min<uint64_t>(cut.bytes, kCopyBytes), '\n');
  for (uint64_t done = 0; done < cut.bytes; done += filler.size()) {
    const std::string_view part = std::string_view(filler).substr(0, cut.bytes - done);
    if (Status s = (*file)->write_at(cut.offset + done, part); !s.ok()) return s;
  }
  return (*file)->sync();
}

// The order is that of a rotation (wal/log_rotation.cc): records, then the next segment, its name, the closing line.
Status trim_previous(env::Env& env, const std::string& dir, const wal::WalkEnd::Unsettled& previous, bool close) {
  KV_ASSERT(previous.offset > 0);  // its header
  KV_ASSERT(!close || previous.closing_line_missing);
  Result<std::unique_ptr<env::File>> file = env.open(wal::join_path(dir, previous.segment), env::OpenMode::kReadWrite);
  if (!file.ok()) return std::move(file).status();
  if (Status s = (*file)->truncate(previous.offset); !s.ok()) return s;
  if (close) {
    // The newline in front completes a last line that lacks its own, and is a legal blank line otherwise.
    const std::string closing_line =
        "\n" +
        format::encode_segment_end({.last_seq = previous.last_seq, .next = wal::segment_name(previous.last_seq + 1)});
    if (Status s = (*file)->write_at(previous.offset, closing_line); !s.ok()) return s;
  }
  return (*file)->sync();
}

// They may be the kernel's alone, the last line of the segment before the last because a process died before its sync, all of
// them because somebody has just copied them here; and soon records behind them are vouched for.
Status sync_all_but_last(env::Env& env, const std::string& dir, const wal::LogWalk& walk) {
  const auto sync = [&](const std::string& name) -> Status {
    Result<std::unique_ptr<env::File>> file = env.open(wal::join_path(dir, name), env::OpenMode::kRead);
    return file.ok() ? (*file)->sync() : std::move(file).status();
  };
  if (walk.base().has_value()) {
    if (Status s = sync(wal::snapshot_name(walk.base()->last_seq)); !s.ok()) return s;
  }
  for (const wal::Segment& segment : walk.segments()) {
    if (segment.name == walk.end().segment) continue;
    if (Status s = sync(segment.name); !s.ok()) return s;
  }
  return {};
}

}  // namespace

Result<Settled> settle_log(env::Env& env, const std::string& dir, const wal::LogWalk& walk) {
  const wal::WalkEnd& end = walk.end();
  KV_ASSERT(end.segment.empty() || end.offset > 0);
  KV_ASSERT(end.segment.empty() || end.first_seq > 0);
  KV_ASSERT(!end.segment.empty() || end.cuts.empty());
  KV_ASSERT(!end.unsettled.has_value() || end.unsettled->segment == end.previous_segment);
  KV_ASSERT(!end.unsettled.has_value() || end.unsettled->last_seq + 1 == end.first_seq);
  const auto settle = [&]() -> Result<Settled> {
    for (const CutReport& cut : end.cuts) {
      if (Status s = blank_out(env, cut); !s.ok()) return s;
    }
    if (end.unsettled.has_value()) {
      if (Status s = trim_previous(env, dir, *end.unsettled, false); !s.ok()) return s;
    }
    if (Status s = sync_all_but_last(env, dir, walk); !s.ok()) return s;
    Settled settled{.segment = end.segment, .length = end.offset};
    if (!end.segment.empty()) {
      const std::string path = wal::join_path(dir, end.segment);
      Result<std::unique_ptr<env::File>> file = env.open(path, env::OpenMode::kReadWrite);
      if (!file.ok()) return std::move(file).status();
      if (Status s = (*file)->truncate(settled.length); !s.ok()) return s;
      if (end.newline_missing) {
        if (Status s = (*file)->write_at(settled.length, "\n"); !s.ok()) return s;
        ++settled.length;
      }
      if (Status s = (*file)->sync(); !s.ok()) return s;
      if (end.segment == wal::kNextSegmentName) {
        settled.segment = wal::segment_name(end.first_seq);
        if (Status s = env.rename(path, wal::join_path(dir, settled.segment)); !s.ok()) return s;
      }
    }
    KV_ASSERT(settled.segment != wal::kNextSegmentName);  // nothing is appended to what has no number
    if (Status s = env.sync_dir(dir); !s.ok()) return s;
    if (end.unsettled.has_value() && end.unsettled->closing_line_missing) {
      if (Status s = trim_previous(env, dir, *end.unsettled, true); !s.ok()) return s;
    }
    return settled;
  };
  Result<Settled> settled = settle();
  if (!settled.ok()) return std::move(settled).status().with("settle the log");
  return settled;
}

}  // namespace kvstore::engine
