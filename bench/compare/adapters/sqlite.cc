// SQLite, https://www.sqlite.org/pragma.html and https://www.sqlite.org/wal.html (below: "wal").
#include <sqlite3.h>

#include <mutex>

#include "bench/compare/peer.h"

namespace bench {
namespace {

// One connection, and a mutex around it: SQLite has one writer at a time, and threads that wait here need not poll the
// file's lock. Statements are prepared once.
class SqliteDatabase : public Database {
 public:
  SqliteDatabase(const OpenOptions& options, std::string_view synchronous) {
    // NOMUTEX: ours is enough.
    require(::sqlite3_open_v2((options.dir / "db.sqlite").c_str(), &db_,
                              SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr),
            "open");
    // pragma locking_mode: with one process, EXCLUSIVE saves locking the file, and the shared memory of the WAL.
    run("PRAGMA locking_mode=EXCLUSIVE");
    // wal: a commit is an append, and one sync at the most.
    run("PRAGMA journal_mode=WAL");
    // pragma synchronous: in WAL mode OFF survives a crash of the application, FULL also a power cut.
    run(fmt::format("PRAGMA synchronous={}", synchronous));
    // Everything fits, as it does for the stores that keep all data in memory (a negative number counts KiB).
    run("PRAGMA cache_size=-2000000");
    // wal, "Performance Considerations": rarer checkpoints write a page once that was changed often.
    run("PRAGMA wal_autocheckpoint=10000");
    // withoutrowid.html: one B-tree where the key is no integer.
    run("CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID");
    put_ = prepare("INSERT OR REPLACE INTO kv VALUES (?1, ?2)");
    get_ = prepare("SELECT v FROM kv WHERE k = ?1");
    scan_ = prepare("SELECT v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2");
    count_ = prepare("SELECT count(*) FROM kv");
    begin_ = prepare("BEGIN");
    commit_ = prepare("COMMIT");
  }
  ~SqliteDatabase() override {
    for (sqlite3_stmt* statement : {put_, get_, scan_, count_, begin_, commit_}) ::sqlite3_finalize(statement);
    ::sqlite3_close(db_);
  }
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  std::unique_ptr<Session> session() override;
  std::optional<uint64_t> count() override {
    const std::lock_guard lock(mutex_);
    step(count_, SQLITE_ROW);
    const auto found = static_cast<uint64_t>(::sqlite3_column_int64(count_, 0));
    ::sqlite3_reset(count_);
    return found;
  }

  void put(std::span<const Item> items) {
    const std::lock_guard lock(mutex_);
    if (items.size() > 1) execute(begin_);
    for (const Item& item : items) {
      bind(put_, 1, item.key);
      bind(put_, 2, item.value);
      execute(put_);
    }
    if (items.size() > 1) execute(commit_);
  }
  bool get(std::string_view key, std::string& value) {
    const std::lock_guard lock(mutex_);
    bind(get_, 1, key);
    const int code = ::sqlite3_step(get_);
    if (code == SQLITE_ROW) {
      value.assign(static_cast<const char*>(::sqlite3_column_blob(get_, 0)),
                   static_cast<size_t>(::sqlite3_column_bytes(get_, 0)));
    } else if (code != SQLITE_DONE) {
      require(code, "get");
    }
    ::sqlite3_reset(get_);
    return code == SQLITE_ROW;
  }
  size_t scan(std::string_view from, size_t count) {
    const std::lock_guard lock(mutex_);
    bind(scan_, 1, from);
    require(::sqlite3_bind_int64(scan_, 2, static_cast<sqlite3_int64>(count)), "bind");
    size_t seen = 0;
    while (::sqlite3_step(scan_) == SQLITE_ROW) seen += ::sqlite3_column_bytes(scan_, 0) > 0 ? 1 : 0;
    require(::sqlite3_reset(scan_), "scan");
    return seen;
  }

 private:
  void require(int code, std::string_view step) {
    if (code != SQLITE_OK) fail("SQLite: {}: {}", step, ::sqlite3_errmsg(db_));
  }
  void run(const std::string& sql) { require(::sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr), sql); }
  sqlite3_stmt* prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    require(::sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr), sql);
    return statement;
  }
  void bind(sqlite3_stmt* statement, int at, std::string_view bytes) {
    require(::sqlite3_bind_blob(statement, at, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC), "bind");
  }
  void step(sqlite3_stmt* statement, int expected) {
    if (::sqlite3_step(statement) != expected) fail("SQLite: {}: {}", ::sqlite3_sql(statement), ::sqlite3_errmsg(db_));
  }
  void execute(sqlite3_stmt* statement) {
    step(statement, SQLITE_DONE);
    ::sqlite3_reset(statement);
  }

  std::mutex mutex_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* get_ = nullptr;
  sqlite3_stmt* scan_ = nullptr;
  sqlite3_stmt* count_ = nullptr;
  sqlite3_stmt* begin_ = nullptr;
  sqlite3_stmt* commit_ = nullptr;
};

class SqliteSession : public Session {
 public:
  explicit SqliteSession(SqliteDatabase& db) : db_(db) {}
  void put(std::string_view key, std::string_view value) override {
    const Item item{key, value};
    db_.put({&item, 1});
  }
  void put_batch(std::span<const Item> items) override { db_.put(items); }
  bool get(std::string_view key, std::string& value) override { return db_.get(key, value); }
  size_t scan(std::string_view from, size_t count) override { return db_.scan(from, count); }

 private:
  SqliteDatabase& db_;
};

std::unique_ptr<Session> SqliteDatabase::session() { return std::make_unique<SqliteSession>(*this); }

Peer peer(Survives survives, std::string_view synchronous) {
  return {.name = "SQLite",
          .survives = survives,
          .rank = 40,
          .can_batch = true,
          .can_scan = true,
          .slow_put = true,
          .open = [synchronous](const OpenOptions& options) {
            return std::make_unique<SqliteDatabase>(options, synchronous);
          }};
}

const Registration kKill(peer(Survives::kKill, "OFF"));
const Registration kPowerCut(peer(Survives::kPowerCut, "FULL"));

}  // namespace
}  // namespace bench
