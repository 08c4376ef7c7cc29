#include "kvstore/wal/store_files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::wal {

using base::error;
using format::Seq;

bool Segment::is_next() const noexcept { return name == kNextSegmentName; }

std::vector<Segment> StoreFiles::live_segments() const {
  std::vector<Segment> live;
  std::copy_if(segments.begin(), segments.end(), std::back_inserter(live),
               [base = base_seq()](const Segment& segment) { return segment.first_seq > base; });
  return live;
}

Result<StoreFiles> list_store_files(env::Env& env, const std::string& dir) {
  Result<std::vector<std::string>> names = env.list(dir);
  if (!names.ok()) {
    const int cause = names.status().sys_errno();
    if (cause == ENOENT) return error(Code::kNotAStore, "{}: no such directory", dir).at(dir);
    if (cause == ENOTDIR) return error(Code::kNotAStore, "{}: not a directory, so not a store", dir).at(dir);
    return std::move(names).status();
  }
  StoreFiles files;
  for (std::string& name : *names) {  // sorted, and so are the numbers in names of one kind
    if (const std::optional<Seq> first = parse_segment_name(name)) {
      KV_ASSERT(files.segments.empty() || files.segments.back().first_seq < *first);
      files.segments.push_back({std::move(name), *first});
    } else if (const std::optional<Seq> last = parse_snapshot_name(name)) {
      KV_ASSERT(files.snapshots.empty() || files.snapshots.back().last_seq < *last);
      files.snapshots.push_back({std::move(name), *last});
    } else if (name == kNextSegmentName) {
      files.has_next = true;
    }
  }
  return files;
}

Result<uint64_t> size_of_file(env::Env& env, const std::string& path) {
  Result<std::unique_ptr<env::File>> file = env.open(path, env::OpenMode::kRead);
  if (!file.ok()) return std::move(file).status();
  return (*file)->size();
}

Result<uint64_t> line_number_at(env::File& file, uint64_t offset) {
  std::array<char, size_t{64} << 10> block;
  uint64_t line = 1;
  for (uint64_t at = 0; at < offset;) {
    const size_t want = std::min<uint64_t>(block.size(), offset - at);
    Result<size_t> got = file.read_at(at, {block.data(), want});
    if (!got.ok()) return std::move(got).status();
    line += static_cast<uint64_t>(std::count(block.data(), block.data() + *got, '\n'));
    KV_ASSERT(*got <= want);
    if (*got < want) break;
    at += *got;
  }
  return line;
}

Status damage_at(env::File* file, const std::string& path, uint64_t at, Code code, std::string_view what) {
  KV_ASSERT(code == Code::kCorruption || code == Code::kUnsupported);
  uint64_t number = 0;
  if (file != nullptr) {
    if (Result<uint64_t> counted = line_number_at(*file, at); counted.ok()) number = *counted;
  }
  return error(code, "{}:{} (byte {}): {}", path, number, at, what).at(path, at);
}

Result<std::string> owned_log_file(env::Env& env, const std::string& dir) {
  Result<StoreFiles> files = list_store_files(env, dir);
  if (!files.ok()) return std::move(files).status();
  if (files->has_next && env.is_locked(join_path(dir, kNextSegmentName))) return std::string(kNextSegmentName);
  if (files->segments.empty()) return std::string();
  const std::string& newest = files->segments.back().name;
  return env.is_locked(join_path(dir, newest)) ? newest : std::string();
}

bool is_owned(env::Env& env, const std::string& dir) {
  if (env.is_locked(join_path(dir, kLockName))) return true;
  const Result<std::string> file = owned_log_file(env, dir);
  return file.ok() && !file->empty();
}

Status sync_own_name(env::Env& env, const std::string& dir, bool has_made_it) {
  Status s = env.sync_dir(directory_above(dir));
  const int why = s.sys_errno();
  const bool may_not = why == EACCES || why == EPERM || why == EROFS;
  return may_not && !has_made_it ? Status() : s;
}

Status hold_to_read(env::Env& env, const std::string& dir) {
  Status s = env.hold_dir(dir);
  return s.sys_errno() == ENOENT || s.sys_errno() == ENOTDIR ? Status() : std::move(s).with("open");
}

Status owned_by_another(const std::string& dir, const std::string& file) {
  return error(Code::kLocked,
               "{}: in use by another process, which writes {}, though its LOCK was removed or replaced. try: stop it",
               dir, file)
      .at(join_path(dir, file));
}

Status directory_replaced(const std::string& dir) {
  return error(Code::kIoError,
               "{}: LOCK, or the whole directory, was removed or replaced while the store was open. try: reopen it, "
               "from a "
               "copy if need be",
               dir)
      .at(dir);
}

}  // namespace kvstore::wal
