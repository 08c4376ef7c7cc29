// WiredTiger 3.2, https://source.wiredtiger.com/3.2.1/ (below: "doc").
#include <wiredtiger.h>

#include "bench/compare/peer.h"

namespace bench {
namespace {

void require(int code, std::string_view step) {
  if (code != 0) fail("WiredTiger: {}: {}", step, ::wiredtiger_strerror(code));
}

WT_ITEM item_of(std::string_view text) {
  WT_ITEM item{};
  item.data = text.data();
  item.size = text.size();
  return item;
}

class WiredSession : public Session {
 public:
  explicit WiredSession(WT_CONNECTION* connection) {
    require(connection->open_session(connection, nullptr, nullptr, &session_), "open_session");
    // "raw" keys and values are bytes; a cursor is kept, doc, "Performance Tuning".
    require(session_->create(session_, "table:kv", "key_format=u,value_format=u"), "create");
    require(session_->open_cursor(session_, "table:kv", nullptr, nullptr, &cursor_), "open_cursor");
  }
  ~WiredSession() override { session_->close(session_, nullptr); }
  WiredSession(const WiredSession&) = delete;
  WiredSession& operator=(const WiredSession&) = delete;

  void put(std::string_view key, std::string_view value) override {
    WT_ITEM k = item_of(key);
    WT_ITEM v = item_of(value);
    cursor_->set_key(cursor_, &k);
    cursor_->set_value(cursor_, &v);
    int code = cursor_->insert(cursor_);
    while (code == WT_ROLLBACK) code = cursor_->insert(cursor_);  // two threads on one page may conflict
    require(code, "insert");
  }
  bool get(std::string_view key, std::string& value) override {
    WT_ITEM k = item_of(key);
    cursor_->set_key(cursor_, &k);
    const int code = cursor_->search(cursor_);
    if (code == WT_NOTFOUND) return false;
    require(code, "search");
    WT_ITEM v{};
    require(cursor_->get_value(cursor_, &v), "get_value");
    value.assign(static_cast<const char*>(v.data), v.size);
    require(cursor_->reset(cursor_), "reset");
    return true;
  }

 private:
  WT_SESSION* session_ = nullptr;
  WT_CURSOR* cursor_ = nullptr;
};

class WiredDatabase : public Database {
 public:
  explicit WiredDatabase(const OpenOptions& options) {
    // A cache in which everything fits, and sessions for 64 threads. doc, "Commit-level durability": with transaction_sync
    // enabled a commit writes its log record out and syncs it before it returns, in groups.
    require(::wiredtiger_open(options.dir.c_str(), nullptr,
                              "create,cache_size=2GB,session_max=200,log=(enabled=true),"
                              "transaction_sync=(enabled=true,method=fsync)",
                              &connection_),
            "open");
  }
  ~WiredDatabase() override { connection_->close(connection_, nullptr); }
  WiredDatabase(const WiredDatabase&) = delete;
  WiredDatabase& operator=(const WiredDatabase&) = delete;

  std::unique_ptr<Session> session() override { return std::make_unique<WiredSession>(connection_); }

 private:
  WT_CONNECTION* connection_ = nullptr;
};

// Only where it counts among the best: durable puts.
const Registration kPowerCut({
    .name = "WiredTiger",
    .survives = Survives::kPowerCut,
    .rank = 41,
    .open = [](const OpenOptions& options) { return std::make_unique<WiredDatabase>(options); },
});

}  // namespace
}  // namespace bench
