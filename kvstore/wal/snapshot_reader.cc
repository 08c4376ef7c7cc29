#include "kvstore/wal/snapshot_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "kvstore/base/assert.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/base/shell_word.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::wal {

using format::LineKind;
using format::Seq;

namespace {

constexpr size_t kLookBytes = 1024;  // a header and a footer are shorter

}  // namespace

struct SnapshotReader::Impl {
  std::string path;
  SnapshotFile name;
  Summary summary;
  std::unique_ptr<env::File> file;
  std::unique_ptr<ChunkPipeline> pipeline;

  // What has been read so far.
  uint64_t entries = 0;
  uint32_t crc = 0;
  bool header_seen = false;
  bool footer_seen = false;

  Status damage(uint64_t at, std::string_view what) {
    return damage_at(file.get(), path, at, Code::kCorruption,
                     fmt::format("{}. try: kvctl verify {}, then restore this file from a copy", what,
                                 base::shell_word(std::filesystem::path(path).parent_path().string())));
  }
  Status bad_line(uint64_t at, std::string_view text, const format::Line& line, std::string_view expected) {
    if (line.kind == LineKind::kUnknownOp) {
      return damage_at(file.get(), path, at, Code::kUnsupported,
                       "written in a newer format. try: a newer version of this program");
    }
    return damage(at, fmt::format("{} should stand here: {}", expected, format::explain(text, line)));
  }
  Status look_at_ends(unsigned threads);
  Status check_line(const Chunk& chunk, const LineRef& line);
};

// The header and the footer alone; next() checks all that lies between.
Status SnapshotReader::Impl::look_at_ends(unsigned threads) {
  Result<uint64_t> size = file->size();
  if (!size.ok()) return std::move(size).status();
  summary.bytes = *size;
  std::string bytes(std::min<uint64_t>(kLookBytes, *size), '\0');
  Result<size_t> got = file->read_at(0, bytes);
  if (!got.ok()) return std::move(got).status();
  std::vector<format::Op> ops;
  base::Scratch scratch;
  std::string_view text = std::string_view(bytes).substr(0, *got);
  text.remove_prefix(std::min(text.find_first_not_of(format::kBlankBytes), text.size()));
  text = text.substr(0, text.find('\n'));
  const format::Line head = format::decode(text, ops, scratch);
  if (head.kind != LineKind::kSnapshotHeader) return bad_line(0, text, head, "the header of a snapshot");
  if (head.snapshot.last_seq != name.last_seq) {
    return damage(0, fmt::format("the header is that of the snapshot of record {}: this is another file",
                                 head.snapshot.last_seq));
  }
  summary.store = head.snapshot.store;
  summary.last_seq = head.snapshot.last_seq;
  summary.created_us = head.snapshot.created_us;

  KV_ASSERT(bytes.size() <= *size);
  const uint64_t tail_begin = *size - bytes.size();
  got = file->read_at(tail_begin, bytes);
  if (!got.ok()) return std::move(got).status();
  text = std::string_view(bytes).substr(0, *got);
  text = text.substr(0, text.find_last_not_of(format::kBlankBytes) + 1);
  const size_t begin = text.rfind('\n') + 1;  // npos + 1 is 0
  const uint64_t footer_at = tail_begin + begin;
  text.remove_prefix(begin);
  const format::Line foot = format::decode(text, ops, scratch);
  if (foot.kind != LineKind::kSnapshotEnd) return bad_line(footer_at, text, foot, "the footer of the snapshot");
  if (foot.snapshot_end.last_seq != name.last_seq || foot.snapshot_end.next != segment_name(name.last_seq + 1)) {
    return damage(footer_at,
                  fmt::format("the footer is that of the snapshot of record {}", foot.snapshot_end.last_seq));
  }
  KV_ASSERT(footer_at < *size);
  summary.entries = foot.snapshot_end.entries;
  pipeline = std::make_unique<ChunkPipeline>(*file, 0, threads);
  return {};
}

// Every line but the entries, which next() takes by the dozen.
Status SnapshotReader::Impl::check_line(const Chunk& chunk, const LineRef& line) {
  const uint64_t at = chunk.offset_of(line);
  const std::string_view text = chunk.text(line);
  std::vector<format::Op> ops;
  base::Scratch scratch;
  const format::Line decoded = format::decode(text, ops, scratch);
  if (footer_seen) return damage(at, "a line stands behind the footer");
  if (!header_seen) {
    if (decoded.kind != LineKind::kSnapshotHeader) return bad_line(at, text, decoded, "the header of a snapshot");
    header_seen = true;
    return {};
  }
  KV_ASSERT(decoded.kind == line.kind);  // the same bytes
  if (decoded.kind != LineKind::kSnapshotEnd) return bad_line(at, text, decoded, "an entry");
  footer_seen = true;
  if (decoded.snapshot_end.entries != entries) {
    return damage(at, fmt::format("the footer counts {} entries, but {} stand in the file",
                                  decoded.snapshot_end.entries, entries));
  }
  crc = base::crc32c(chunk.bytes.view().substr(0, line.begin), crc);
  if (decoded.snapshot_end.whole != crc) {
    return damage(
        at, fmt::format("the lines are intact each for itself, but not as a whole (checksum stored {:08x}, computed "
                        "{:08x}): some were exchanged, repeated or left out",
                        decoded.snapshot_end.whole, crc));
  }
  return {};
}

SnapshotReader::SnapshotReader(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
SnapshotReader::SnapshotReader(SnapshotReader&&) noexcept = default;
SnapshotReader::~SnapshotReader() = default;

Result<SnapshotReader> SnapshotReader::open(env::Env& env, const std::string& dir, const SnapshotFile& file,
                                            unsigned threads) {
  auto impl = std::make_unique<Impl>();
  impl->path = join_path(dir, file.name);
  impl->name = file;
  Result<std::unique_ptr<env::File>> opened = env.open(impl->path, env::OpenMode::kRead);
  if (!opened.ok()) return std::move(opened).status().with("read the snapshot");
  impl->file = *std::move(opened);
  if (Status s = impl->look_at_ends(threads); !s.ok()) return s;
  return SnapshotReader(std::move(impl));
}

Result<std::optional<Records>> SnapshotReader::next() {
  Impl& my = *impl_;
  for (;;) {
    Result<const Chunk*> read = my.pipeline->next();
    if (!read.ok()) return std::move(read).status().with("read the snapshot");
    if (*read == nullptr) {
      KV_ASSERT(!my.footer_seen || my.header_seen);
      if (my.footer_seen) return std::optional<Records>();
      return my.damage(my.summary.bytes, "the file has become shorter while it was read");
    }
    const Chunk& chunk = **read;
    size_t first = chunk.lines.size();  // of the entries: a header may stand before them, a footer behind
    size_t last = first;
    for (size_t i = 0; i < chunk.lines.size(); ++i) {
      const LineRef& line = chunk.lines[i];
      if (line.kind == LineKind::kEntry && my.header_seen && !my.footer_seen) {
        if (line.stamp.seq > my.name.last_seq) {
          return my.damage(chunk.offset_of(line),
                           fmt::format("version {} in the snapshot of record {}", line.stamp.seq, my.name.last_seq));
        }
        ++my.entries;
        first = std::min(first, i);
        last = i + 1;
      } else if (Status s = my.check_line(chunk, line); !s.ok()) {
        return s;
      }
    }
    if (!my.footer_seen) my.crc = base::crc32c(chunk.bytes.view(), my.crc);
    if (first < chunk.lines.size()) {
      KV_ASSERT(first < last && last <= chunk.lines.size());
      KV_ASSERT(my.entries >= last - first);
      return std::optional<Records>(Records{&chunk, std::span(chunk.lines).subspan(first, last - first), my.path});
    }
  }
}

const SnapshotReader::Summary& SnapshotReader::summary() const noexcept { return impl_->summary; }

}  // namespace kvstore::wal
