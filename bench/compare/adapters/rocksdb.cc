// RocksDB 7, https://github.com/facebook/rocksdb/wiki (below: "wiki").
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "bench/compare/peer.h"

namespace bench {
namespace {

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }

void require(const rocksdb::Status& status, std::string_view step) {
  if (!status.ok()) fail("RocksDB: {}: {}", step, status.ToString());
}

class RocksSession : public Session {
 public:
  RocksSession(rocksdb::DB& db, bool sync) : db_(db) { write_.sync = sync; }

  void put(std::string_view key, std::string_view value) override {
    require(db_.Put(write_, slice(key), slice(value)), "Put");
  }
  bool get(std::string_view key, std::string& value) override {
    const rocksdb::Status status = db_.Get({}, slice(key), &value);
    if (!status.IsNotFound()) require(status, "Get");
    return status.ok();
  }
  void put_batch(std::span<const Item> items) override {
    rocksdb::WriteBatch batch;
    for (const Item& item : items) require(batch.Put(slice(item.key), slice(item.value)), "WriteBatch");
    require(db_.Write(write_, &batch), "Write");
  }
  size_t multi_get(std::span<const std::string_view> keys) override {
    // wiki, "MultiGet Performance": the form with arrays and pinned values is the one that batches its work.
    slices_.clear();
    for (const std::string_view key : keys) slices_.push_back(slice(key));
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> statuses(keys.size());
    db_.MultiGet({}, db_.DefaultColumnFamily(), keys.size(), slices_.data(), values.data(), statuses.data());
    size_t bytes = 0;
    for (size_t i = 0; i < keys.size(); ++i) bytes += statuses[i].ok() ? values[i].size() : 0;
    return bytes;
  }
  size_t scan(std::string_view from, size_t count) override {
    const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator({}));
    size_t seen = 0;
    for (it->Seek(slice(from)); seen < count && it->Valid() && !it->value().empty(); it->Next()) ++seen;
    require(it->status(), "scan");
    return seen;
  }

 private:
  rocksdb::DB& db_;
  rocksdb::WriteOptions write_;
  std::vector<rocksdb::Slice> slices_;
};

class RocksDatabase : public Database {
 public:
  RocksDatabase(const OpenOptions& open, bool sync) : sync_(sync) {
    rocksdb::Options options;
    options.create_if_missing = true;
    // wiki, "RocksDB Tuning Guide", parallelism: one background thread a core.
    options.IncreaseParallelism(2);
    // ... and for point look-ups: a filter of 10 bits a key and a hash index in the blocks; a cache in which everything
    // fits, as it does for the stores that keep all data in memory.
    options.OptimizeForPointLookup(2048);
    // include/rocksdb/options.h: larger memtables, "especially during bulk loads"; as LevelDB's.
    options.write_buffer_size = size_t{64} << 20;
    // Random text does not compress, so do not try.
    options.compression = rocksdb::kNoCompression;
    // wiki, "Pipelined Write": helps where several threads write.
    options.enable_pipelined_write = true;
    rocksdb::DB* db = nullptr;
    require(rocksdb::DB::Open(options, (open.dir / "db").string(), &db), "Open");
    db_.reset(db);
  }
  std::unique_ptr<Session> session() override { return std::make_unique<RocksSession>(*db_, sync_); }
  void compact() override { require(db_->CompactRange({}, nullptr, nullptr), "CompactRange"); }

 private:
  bool sync_;
  std::unique_ptr<rocksdb::DB> db_;
};

// wiki, "WAL Performance": by default every write reaches the system's page cache (manual_wal_flush is off), which a crash
// of the process outlives; sync = true syncs it, in groups.
Peer peer(Survives survives) {
  return {.name = "RocksDB",
          .survives = survives,
          .rank = 11,
          .can_batch = true,
          .can_multi_get = true,
          .can_scan = true,
          .can_compact = true,
          .open = [survives](const OpenOptions& options) {
            return std::make_unique<RocksDatabase>(options, survives == Survives::kPowerCut);
          }};
}

const Registration kKill(peer(Survives::kKill));
const Registration kPowerCut(peer(Survives::kPowerCut));

}  // namespace
}  // namespace bench
