// kvstore, in its default configuration: the default is what is measured. Only the durability differs between the two
// peers, as a caller would choose it.
#include "kvstore/kvstore.h"

#include "bench/compare/peer.h"

namespace bench {
namespace {

void require(const kvstore::Status& status, std::string_view step) {
  if (!status.ok()) fail("kvstore: {}: {}", step, status.message());
}

class KvstoreSession : public Session {
 public:
  explicit KvstoreSession(kvstore::Store& store) : store_(store) {}

  void put(std::string_view key, std::string_view value) override { require(store_.put(key, value), "put"); }
  bool get(std::string_view key, std::string& value) override {
    return store_.read(key, [&](std::string_view found) { value.assign(found); });
  }
  std::optional<std::string> get_new(std::string_view key) override { return store_.get(key); }
  void put_batch(std::span<const Item> items) override {
    batch_.clear();
    for (const Item& item : items) batch_.put(item.key, item.value);
    require(store_.write(batch_), "write");
  }
  size_t multi_get(std::span<const std::string_view> keys) override {
    size_t bytes = 0;
    for (const std::optional<std::string>& value : store_.multi_get(keys)) bytes += value ? value->size() : 0;
    return bytes;
  }
  size_t scan(std::string_view from, size_t count) override {
    const kvstore::Result<kvstore::Scan> found = store_.scan(from, {});
    require(found.status(), "scan");
    size_t seen = 0;
    for (const kvstore::EntryView& entry : *found) {
      if (seen == count || entry.value.empty()) break;
      ++seen;
    }
    return seen;
  }

 private:
  kvstore::Store& store_;
  kvstore::Batch batch_;
};

class KvstoreDatabase : public Database {
 public:
  KvstoreDatabase(const OpenOptions& options, kvstore::Durability durability) {
    kvstore::Result<kvstore::Store> opened = kvstore::Store::open(options.dir / "db", {.durability = durability});
    require(opened.status(), "open");
    store_.emplace(*std::move(opened));
  }
  std::unique_ptr<Session> session() override { return std::make_unique<KvstoreSession>(*store_); }
  std::optional<uint64_t> count() override { return store_->stats().entries; }
  void compact() override { require(store_->compact().status(), "compact"); }

 private:
  std::optional<kvstore::Store> store_;
};

Peer peer(Survives survives, kvstore::Durability durability) {
  return {.name = "kvstore",
          .survives = survives,
          .rank = 0,
          .can_batch = true,
          .can_multi_get = true,
          .can_scan = true,
          .can_compact = true,
          .open = [durability](const OpenOptions& options) {
            return std::make_unique<KvstoreDatabase>(options, durability);
          }};
}

const Registration kKill(peer(Survives::kKill, kvstore::Durability::kProcess));
const Registration kPowerCut(peer(Survives::kPowerCut, kvstore::Durability::kSync));

}  // namespace
}  // namespace bench
