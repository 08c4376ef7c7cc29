// LevelDB, https://github.com/google/leveldb/blob/main/doc/index.md (below: "guide").
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include "bench/compare/peer.h"

namespace bench {
namespace {

leveldb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }

void require(const leveldb::Status& status, std::string_view step) {
  if (!status.ok()) fail("LevelDB: {}: {}", step, status.ToString());
}

class LevelSession : public Session {
 public:
  LevelSession(leveldb::DB& db, bool sync) : db_(db) { write_.sync = sync; }

  void put(std::string_view key, std::string_view value) override {
    require(db_.Put(write_, slice(key), slice(value)), "Put");
  }
  bool get(std::string_view key, std::string& value) override {
    const leveldb::Status status = db_.Get({}, slice(key), &value);
    if (!status.IsNotFound()) require(status, "Get");
    return status.ok();
  }
  void put_batch(std::span<const Item> items) override {
    batch_.Clear();
    for (const Item& item : items) batch_.Put(slice(item.key), slice(item.value));
    require(db_.Write(write_, &batch_), "Write");
  }
  size_t scan(std::string_view from, size_t count) override {
    const std::unique_ptr<leveldb::Iterator> it(db_.NewIterator({}));
    size_t seen = 0;
    for (it->Seek(slice(from)); seen < count && it->Valid() && !it->value().empty(); it->Next()) ++seen;
    require(it->status(), "scan");
    return seen;
  }

 private:
  leveldb::DB& db_;
  leveldb::WriteOptions write_;
  leveldb::WriteBatch batch_;
};

class LevelDatabase : public Database {
 public:
  LevelDatabase(const OpenOptions& open, bool sync) : sync_(sync) {
    leveldb::Options options;
    options.create_if_missing = true;
    // include/leveldb/options.h: "Larger values increase performance, especially during bulk loads"; the price is a
    // longer recovery, of which 64 MiB is a middle.
    options.write_buffer_size = size_t{64} << 20;
    // guide, "Cache": everything fits, as it does for the stores that keep all data in memory.
    cache_.reset(leveldb::NewLRUCache(size_t{2} << 30));
    options.block_cache = cache_.get();
    // guide, "Filters": about 10 bits a key, ~1 % false positives.
    filter_.reset(leveldb::NewBloomFilterPolicy(10));
    options.filter_policy = filter_.get();
    // guide, "Compression": random text does not compress, so do not try.
    options.compression = leveldb::kNoCompression;
    leveldb::DB* db = nullptr;
    require(leveldb::DB::Open(options, (open.dir / "db").string(), &db), "Open");
    db_.reset(db);
  }
  std::unique_ptr<Session> session() override { return std::make_unique<LevelSession>(*db_, sync_); }
  void compact() override { db_->CompactRange(nullptr, nullptr); }

 private:
  bool sync_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::DB> db_;
};

// guide, "Synchronous Writes": a plain write hands the log record to the system, which a crash of the process outlives;
// sync = true also syncs it.
Peer peer(Survives survives) {
  return {.name = "LevelDB",
          .survives = survives,
          .rank = 10,
          .can_batch = true,
          .can_scan = true,
          .can_compact = true,
          .open = [survives](const OpenOptions& options) {
            return std::make_unique<LevelDatabase>(options, survives == Survives::kPowerCut);
          }};
}

const Registration kKill(peer(Survives::kKill));
const Registration kPowerCut(peer(Survives::kPowerCut));

}  // namespace
}  // namespace bench
