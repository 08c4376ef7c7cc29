// A program as users write it. Built against an installed kvstore, an embedded one, and through pkg-config;
// exit code 0 says that it works there.
#include <kvstore/kvstore.h>

#include <cstdio>
#include <optional>
#include <string>

namespace {

int complain(const kvstore::Status& status) {
  std::fprintf(stderr, "consumer: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  {
    auto store = kvstore::Store::open(argv[1]);
    if (!store.ok()) return complain(store.status());
    if (auto s = store->put("user:1", "Ada"); !s.ok()) return complain(s);
    if (auto s = store->put_json("user:2", R"({"name":"Bob"})"); !s.ok()) return complain(s);
    kvstore::Batch batch;
    batch.put("a", "1");
    batch.put("b", "2");
    if (auto s = store->write(batch, {.durability = kvstore::Durability::kSync}); !s.ok()) return complain(s);
    if (auto s = store->close(); !s.ok()) return complain(s);
  }

  auto store = kvstore::Store::open(argv[1], {.create_if_missing = false});
  if (!store.ok()) return complain(store.status());
  bool same = false;
  store->read("user:1", [&same](std::string_view value) { same = value == "Ada"; });
  const auto users = store->scan("user:");
  if (!users.ok()) return complain(users.status());
  const auto report = kvstore::verify(argv[1]);
  if (!report.ok()) return complain(report.status());
  return same && store->get_field("user:2", "/name") == "\"Bob\"" && users->size() == 2 && store->last_seq() == 3 ? 0
                                                                                                                  : 1;
}
