// LMDB, http://www.lmdb.tech/doc/group__mdb.html (below: "doc").
#include <lmdb.h>

#include "bench/compare/peer.h"

namespace bench {
namespace {

void require(int code, std::string_view step) {
  if (code != MDB_SUCCESS) fail("LMDB: {}: {}", step, ::mdb_strerror(code));
}

MDB_val view(std::string_view text) {
  return {text.size(), const_cast<char*>(text.data())};  // NOLINT(cppcoreguidelines-pro-type-const-cast): C API
}

class LmdbSession : public Session {
 public:
  LmdbSession(MDB_env* env, MDB_dbi dbi) : env_(env), dbi_(dbi) {}
  ~LmdbSession() override {
    if (read_ != nullptr) ::mdb_txn_abort(read_);
  }
  LmdbSession(const LmdbSession&) = delete;
  LmdbSession& operator=(const LmdbSession&) = delete;

  void put(std::string_view key, std::string_view value) override {
    const Item item{key, value};
    put_batch({&item, 1});
  }
  void put_batch(std::span<const Item> items) override {
    MDB_txn* txn = nullptr;
    require(::mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
    for (const Item& item : items) {
      MDB_val key = view(item.key);
      MDB_val value = view(item.value);
      require(::mdb_put(txn, dbi_, &key, &value, 0), "put");
    }
    require(::mdb_txn_commit(txn), "commit");
  }
  bool get(std::string_view key, std::string& value) override {
    begin_read();
    MDB_val k = view(key);
    MDB_val v{};
    const int code = ::mdb_get(read_, dbi_, &k, &v);
    if (code == MDB_SUCCESS) value.assign(static_cast<const char*>(v.mv_data), v.mv_size);
    ::mdb_txn_reset(read_);
    if (code != MDB_NOTFOUND) require(code, "get");
    return code == MDB_SUCCESS;
  }
  size_t scan(std::string_view from, size_t count) override {
    begin_read();
    MDB_cursor* cursor = nullptr;
    require(::mdb_cursor_open(read_, dbi_, &cursor), "cursor");
    MDB_val key = view(from);
    MDB_val value{};
    size_t seen = 0;
    int code = ::mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (code == MDB_SUCCESS && seen < count && value.mv_size > 0) {
      ++seen;
      code = ::mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    ::mdb_cursor_close(cursor);
    ::mdb_txn_reset(read_);
    if (code != MDB_NOTFOUND) require(code, "scan");
    return seen;
  }

 private:
  // doc, mdb_txn_renew: a reader's handle, kept and renewed, saves allocating one for every read.
  void begin_read() {
    if (read_ == nullptr) {
      require(::mdb_txn_begin(env_, nullptr, MDB_RDONLY, &read_), "begin");
    } else {
      require(::mdb_txn_renew(read_), "renew");
    }
  }

  MDB_env* env_;
  MDB_dbi dbi_;
  MDB_txn* read_ = nullptr;
};

class LmdbDatabase : public Database {
 public:
  LmdbDatabase(const OpenOptions& options, unsigned flags) {
    require(::mdb_env_create(&env_), "env_create");
    // doc, mdb_env_set_mapsize: as large as the database will ever be; the file is sparse.
    require(::mdb_env_set_mapsize(env_, (size_t{1} << 30) + options.entries * 4 * (options.value_bytes + 100)),
            "mapsize");
    require(::mdb_env_set_maxreaders(env_, 256), "maxreaders");
    // MDB_NOTLS: a read transaction belongs to its handle, so threads may come and go.
    require(::mdb_env_open(env_, options.dir.c_str(), MDB_NOTLS | flags, 0600), "open");
    MDB_txn* txn = nullptr;
    require(::mdb_txn_begin(env_, nullptr, 0, &txn), "begin");
    require(::mdb_dbi_open(txn, nullptr, 0, &dbi_), "dbi_open");
    require(::mdb_txn_commit(txn), "commit");
  }
  ~LmdbDatabase() override { ::mdb_env_close(env_); }
  LmdbDatabase(const LmdbDatabase&) = delete;
  LmdbDatabase& operator=(const LmdbDatabase&) = delete;

  std::unique_ptr<Session> session() override { return std::make_unique<LmdbSession>(env_, dbi_); }
  std::optional<uint64_t> count() override {
    MDB_stat stat{};
    require(::mdb_env_stat(env_, &stat), "stat");
    return stat.ms_entries;
  }

 private:
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
};

Peer peer(std::string name, Survives survives, unsigned flags) {
  return {.name = std::move(name),
          .survives = survives,
          .rank = 30,
          .can_batch = true,
          .can_scan = true,
          .open = [flags](const OpenOptions& options) { return std::make_unique<LmdbDatabase>(options, flags); }};
}

// doc, mdb_env_open: MDB_NOSYNC leaves the writing to the system; with MDB_WRITEMAP pages are changed in place in the
// mapping, "faster and uses fewer mallocs". A crash of the process leaves the page cache whole.
// MDB_NOMEMINIT: no zeroing of bytes about to be overwritten.
const Registration kKill(peer("LMDB nosync", Survives::kKill, MDB_NOSYNC | MDB_WRITEMAP | MDB_NOMEMINIT));
// Its default: two fdatasync a commit.
const Registration kPowerCut(peer("LMDB", Survives::kPowerCut, MDB_NOMEMINIT));

}  // namespace
}  // namespace bench
