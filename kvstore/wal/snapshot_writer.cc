#include "kvstore/wal/snapshot_writer.h"

#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/format/encode.h"
#include "kvstore/version.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::wal {

namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr uint64_t kUnsyncedBytesMax = uint64_t{8} << 20;  // what a log sync may have to wait behind

}  // namespace

Result<std::unique_ptr<SnapshotWriter>> SnapshotWriter::create(env::Env& env, Settings settings) {
  KV_ASSERT(settings.last_seq > 0);
  KV_ASSERT(settings.last_seq < format::kIntegerMax);  // the segment behind it has a name
  KV_ASSERT(!settings.store.empty());
  std::unique_ptr<SnapshotWriter> writer(new SnapshotWriter(env, std::move(settings)));
  const Settings& my = writer->settings_;
  writer->path_ = join_path(my.dir, snapshot_name(my.last_seq));
  writer->temporary_ = writer->path_ + std::string(kTemporarySuffix);
  writer->block_.append(format::encode_snapshot_header(
      {.format = kFormatVersion, .store = my.store, .last_seq = my.last_seq, .created_us = my.created_us}));
  Result<std::unique_ptr<env::File>> file = env.open(writer->temporary_, env::OpenMode::kCreate);
  if (!file.ok()) return std::move(file).status().with("begin a snapshot");
  writer->file_ = *std::move(file);
  return writer;
}

SnapshotWriter::~SnapshotWriter() {
  if (file_ != nullptr) (void)env_.remove(temporary_).ok();  // else the next opening removes it
}

Status SnapshotWriter::add(const format::Op& op, format::Seq seq) {
  KV_ASSERT(file_ != nullptr);
  KV_ASSERT(op.kind == format::Op::Kind::kPut);  // a snapshot has no deletions
  KV_ASSERT(seq > 0 && seq <= settings_.last_seq);
  format::encode_entry(block_, op, seq);
  ++entries_;
  return block_.size() >= kBlockBytes ? flush() : Status();
}

Status SnapshotWriter::flush() {
  KV_ASSERT(synced_ <= written_);
  KV_ASSERT(block_.empty() || block_.view().ends_with('\n'));
  if (Status s = file_->write_at(written_, block_.view()); !s.ok()) return std::move(s).with("write the snapshot");
  whole_crc_ = base::crc32c(block_.view(), whole_crc_);
  file_->start_writeback(written_, block_.size());
  written_ += block_.size();
  block_.clear();
  if (written_ - synced_ < kUnsyncedBytesMax) return {};
  if (Status s = file_->sync(); !s.ok()) return std::move(s).with("write the snapshot");
  synced_ = written_;
  return {};
}

Status SnapshotWriter::finish() {
  KV_ASSERT(file_ != nullptr);  // once
  if (Status s = flush(); !s.ok()) return s;
  block_.append(format::encode_snapshot_end({.entries = entries_,
                                             .last_seq = settings_.last_seq,
                                             .next = segment_name(settings_.last_seq + 1),
                                             .whole = whole_crc_}));
  if (Status s = flush(); !s.ok()) return s;
  KV_ASSERT(block_.empty());  // all of it is in the file before it has its name
  if (Status s = file_->sync(); !s.ok()) return std::move(s).with("write the snapshot");
  if (Status s = env_.rename(temporary_, path_); !s.ok()) return std::move(s).with("name the snapshot");
  file_.reset();
  if (Status s = env_.sync_dir(settings_.dir); !s.ok()) return std::move(s).with("name the snapshot");
  return {};
}

}  // namespace kvstore::wal
