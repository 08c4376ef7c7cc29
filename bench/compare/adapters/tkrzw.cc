// Tkrzw, https://dbmx.net/tkrzw/ (below: "doc").
#include <tkrzw_dbm_hash.h>
#include <tkrzw_dbm_tiny.h>

#include "bench/compare/peer.h"

namespace bench {
namespace {

void require(const tkrzw::Status& status, std::string_view step) {
  if (!status.IsOK()) fail("Tkrzw: {}: {}", step, tkrzw::ToString(status));
}

class TkrzwSession : public Session {
 public:
  explicit TkrzwSession(tkrzw::DBM& db) : db_(db) {}

  void put(std::string_view key, std::string_view value) override { require(db_.Set(key, value), "Set"); }
  bool get(std::string_view key, std::string& value) override {
    const tkrzw::Status status = db_.Get(key, &value);
    if (status != tkrzw::Status::NOT_FOUND_ERROR) require(status, "Get");
    return status.IsOK();
  }

 private:
  tkrzw::DBM& db_;
};

class TkrzwDatabase : public Database {
 public:
  explicit TkrzwDatabase(std::unique_ptr<tkrzw::DBM> db) : db_(std::move(db)) {}
  ~TkrzwDatabase() override {
    if (db_->IsOpen()) require(db_->Close(), "Close");  // the one in memory never was
  }
  TkrzwDatabase(const TkrzwDatabase&) = delete;
  TkrzwDatabase& operator=(const TkrzwDatabase&) = delete;

  std::unique_ptr<Session> session() override { return std::make_unique<TkrzwSession>(*db_); }
  std::optional<uint64_t> count() override { return static_cast<uint64_t>(db_->CountSimple()); }

 private:
  std::unique_ptr<tkrzw::DBM> db_;
};

const Registration kHash({
    .name = "Tkrzw hash",
    .survives = Survives::kKill,  // it writes into a mapping of its file; the next opening restores the file
    .rank = 22,
    .open =
        [](const OpenOptions& options) {
          // By default a MemoryMapParallelFile, which doc, "File", calls the fastest.
          auto db = std::make_unique<tkrzw::HashDBM>();
          tkrzw::HashDBM::TuningParameters tuning;
          // doc, "Tips": one to two buckets a record.
          tuning.num_buckets = static_cast<int64_t>(2 * options.entries);
          require(db->OpenAdvanced((options.dir / "db.tkh").string(), true, tkrzw::File::OPEN_DEFAULT, tuning), "Open");
          return std::make_unique<TkrzwDatabase>(std::move(db));
        },
});

const Registration kTiny({
    .name = "Tkrzw tiny",
    .survives = Survives::kMemoryOnly,
    .rank = 23,
    .open =
        [](const OpenOptions& options) {
          // As above; without a file name it only lives in memory.
          auto db = std::make_unique<tkrzw::TinyDBM>(static_cast<int64_t>(2 * options.entries));
          return std::make_unique<TkrzwDatabase>(std::move(db));
        },
});

}  // namespace
}  // namespace bench
