// A program that keeps nlohmann/json documents in the store, through the one header that needs nlohmann/json.
#include <kvstore/json.h>
#include <kvstore/kvstore.h>

#include <cstdio>
#include <string>

namespace {

int complain(const kvstore::Status& status) {
  std::fprintf(stderr, "consumer: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto store = kvstore::Store::open(argv[1]);
  if (!store.ok()) return complain(store.status());

  nlohmann::json user;
  user["name"] = "Ada";
  user["born"] = 1815;
  if (auto s = kvstore::put_json(*store, "user", user); !s.ok()) return complain(s);
  if (auto s = store->patch("user", R"({"born":null,"city":"London"})"); !s.ok()) return complain(s);

  auto document = kvstore::get_json(*store, "user");
  if (!document.ok()) return complain(document.status());
  if (!document->has_value()) return 1;
  (**document).edit([](kvstore::PooledJson& json) { json["seen"] = true; });
  const auto text = kvstore::marshal(***document, store->pools());
  if (!text.ok()) return complain(text.status());
  if (kvstore::unmarshal("{\n\"a\":}", store->pools()).ok()) return 1;
  return text->view() == R"({"city":"London","name":"Ada","seen":true})" &&
                 kvstore::field_string(text->view(), "name") == "Ada" &&
                 kvstore::field_bool(text->view(), "seen") == true
             ? 0
             : 1;
}
