// Kyoto Cabinet, https://dbmx.net/kyotocabinet/spex.html (below: "spex"), "Tips and hacks".
#include <kchashdb.h>
#include <kcstashdb.h>

#include "bench/compare/peer.h"

namespace bench {
namespace {

// Copies what it meets: the cheapest way in, which DB::get() uses too.
class Reader : public kyotocabinet::DB::Visitor {
 public:
  explicit Reader(std::string& value) : value_(value) {}
  [[nodiscard]] bool found() const { return found_; }

 private:
  const char* visit_full(const char* /*key*/, size_t /*key_size*/, const char* value, size_t size,
                         size_t* /*new_size*/) override {
    value_.assign(value, size);
    found_ = true;
    return NOP;
  }
  std::string& value_;
  bool found_ = false;
};

template <typename Db>
class KyotoSession : public Session {
 public:
  explicit KyotoSession(Db& db) : db_(db) {}

  void put(std::string_view key, std::string_view value) override {
    if (!db_.set(key.data(), key.size(), value.data(), value.size())) fail("Kyoto: set: {}", db_.error().message());
  }
  bool get(std::string_view key, std::string& value) override {
    Reader reader(value);
    if (!db_.accept(key.data(), key.size(), &reader, false)) fail("Kyoto: get: {}", db_.error().message());
    return reader.found();
  }

 private:
  Db& db_;
};

// Opens on construction what is common to both; the hash database needs its tuning before.
template <typename Db>
class KyotoDatabase : public Database {
 public:
  KyotoDatabase(const std::string& path, const std::function<void(Db&)>& tune) {
    tune(db_);
    if (!db_.open(path, Db::OWRITER | Db::OCREATE)) fail("Kyoto: open: {}", db_.error().message());
  }
  ~KyotoDatabase() override { db_.close(); }
  std::unique_ptr<Session> session() override { return std::make_unique<KyotoSession<Db>>(db_); }
  std::optional<uint64_t> count() override { return static_cast<uint64_t>(db_.count()); }

 private:
  Db db_;
};

using kyotocabinet::HashDB;
using kyotocabinet::StashDB;

const Registration kHash({
    .name = "Kyoto hash",
    .survives = Survives::kKill,  // it writes into a mapping of its file; the next opening repairs the file
    .rank = 20,
    .open =
        [](const OpenOptions& options) {
          return std::make_unique<KyotoDatabase<HashDB>>((options.dir / "db.kch").string(), [&](HashDB& db) {
            // spex: the number of buckets should be about twice that of the records.
            db.tune_buckets(static_cast<int64_t>(2 * options.entries));
            // spex: with enough buckets, linear chains instead of trees save time and space.
            db.tune_options(HashDB::TLINEAR);
            // spex: map the whole file. 16 + 6 bytes a bucket, a record's head, and room to grow.
            db.tune_map(static_cast<int64_t>((size_t{256} << 20) + options.entries * 2 * (options.value_bytes + 64)));
          });
        },
});

const Registration kStash({
    .name = "Kyoto stash",
    .survives = Survives::kMemoryOnly,
    .rank = 21,
    .open =
        [](const OpenOptions& options) {
          return std::make_unique<KyotoDatabase<StashDB>>(":", [&](StashDB& db) {
            db.tune_buckets(static_cast<int64_t>(2 * options.entries));  // as above
          });
        },
});

}  // namespace
}  // namespace bench
