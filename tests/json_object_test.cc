// JsonObject, the members of PooledJson's objects: a map in the order of names' bytes, whatever is done to it, whose members
// stay where they are and whose work stays bounded, and nlohmann::json in all that its users do with objects.
#include "kvstore/json_object.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/json.h"
#include "tests/support/counting_new.h"
#include "tests/support/seed.h"

namespace kvstore::testing {
namespace {

using nlohmann::json;
using Object = PooledJson::object_t;
using Model = std::map<std::string, int, std::less<>>;

static_assert(std::bidirectional_iterator<Object::iterator> && std::bidirectional_iterator<Object::const_iterator>);
static_assert(std::is_convertible_v<Object::iterator, Object::const_iterator>);
static_assert(!std::is_convertible_v<Object::const_iterator, Object::iterator>);

Model contents(const Object& object) {
  Model model;
  for (const auto& [name, value] : object) model.emplace_hint(model.end(), name, value.get<int>());
  return model;
}

// Both ways through it, and by name.
void expect_same(const Object& object, const Model& model) {
  ASSERT_EQ(object.size(), model.size());
  ASSERT_EQ(object.empty(), model.empty());
  const auto same = [](const auto& member, const auto& other) {
    return std::string_view(member.first) == other.first && member.second == other.second;
  };
  ASSERT_TRUE(std::equal(object.begin(), object.end(), model.begin(), model.end(), same));
  ASSERT_TRUE(std::equal(object.rbegin(), object.rend(), model.rbegin(), model.rend(), same));
  for (const auto& [name, value] : model) {
    ASSERT_TRUE(object.contains(name)) << name;
    ASSERT_EQ(object.at(name), value) << name;
  }
}

// Names in which all that can go wrong does: shared beginnings, lengths around eight, zeros, bytes above 127.
class RandomNames {
 public:
  explicit RandomNames(std::mt19937_64& random) : random_(random) {}
  std::string operator()() {
    switch (random_() % 4) {
      case 0:
        return std::to_string(random_() % 4'000);
      case 1:
        return "a long beginning that is shared " + std::to_string(random_() % 1'000);
      case 2:
        return letters("ab", 11);
      default:
        return letters(std::string_view("\0a\x7f\x80\xff", 5), 9);
    }
  }

 private:
  std::string letters(std::string_view from, size_t size_max) {
    std::string name;
    for (size_t i = random_() % (size_max + 1); i > 0; --i) name += from[random_() % from.size()];
    return name;
  }
  std::mt19937_64& random_;
};

TEST(JsonObject, IsAMapWhateverIsDoneToIt) {
  std::mt19937_64 random(seed());
  RandomNames name_of(random);
  for (const int steps : {30, 300, 20'000}) {
    Object object;
    Model model;
    const auto expect_at = [&](Object::iterator at, Model::iterator expected) {
      ASSERT_EQ(at == object.end(), expected == model.end());
      if (expected != model.end()) {
        ASSERT_EQ(std::string_view(at->first), expected->first);
      }
    };
    for (int i = 0; i < steps; ++i) {
      const bool is_growing = i / 6'000 % 2 == 0;  // then it shrinks again, leaf by leaf
      const std::string name = name_of();
      switch (is_growing ? random() % 8 : 3 + random() % 6) {
        case 0:
        case 1:
          object[name] = i;
          model[name] = i;
          break;
        case 2: {
          const auto [at, is_new] = object.emplace(name, i);
          const auto [expected, expected_new] = model.emplace(name, i);
          ASSERT_EQ(is_new, expected_new);
          expect_at(at, expected);
          break;
        }
        case 3:
          expect_at(object.find(name), model.find(name));
          expect_at(object.lower_bound(name), model.lower_bound(name));
          break;
        case 4:
          ASSERT_EQ(object.erase(name), model.erase(name));
          break;
        case 5:
        case 8: {
          const auto at = object.lower_bound(name);
          const auto expected = model.lower_bound(name);
          if (expected != model.end()) expect_at(object.erase(at), model.erase(expected));
          break;
        }
        case 6: {
          const auto [at, is_new] = object.insert_or_assign(name, i);
          const auto [expected, expected_new] = model.insert_or_assign(name, i);
          ASSERT_EQ(is_new, expected_new);
          expect_at(at, expected);
          break;
        }
        default: {
          if (random() % 50 != 0) break;
          auto first = object.lower_bound(name), last = first;
          auto expected_first = model.lower_bound(name), expected_last = expected_first;
          for (int n = 0; n < 40 && expected_last != model.end(); ++n) ++last, ++expected_last;
          expect_at(object.erase(first, last), model.erase(expected_first, expected_last));
        }
      }
      if (i % 1'000 == 0 || steps < 1'000) expect_same(object, model);
    }
    expect_same(object, model);
    Object copy = object;
    expect_same(copy, model);
    EXPECT_TRUE(copy == object);
    const Object moved = std::move(copy);
    expect_same(moved, model);
    object.clear();
    expect_same(object, {});
    expect_same(moved, model);
    object = moved;
    expect_same(object, model);
    object.erase(object.begin(), object.end());
    expect_same(object, {});
    object["again"] = 1;
    expect_same(object, {{"again", 1}});
  }
}

TEST(JsonObject, MembersStayWhereTheyAre) {
  PooledJson document = PooledJson::object();
  PooledJson& early = document["m"];
  early = 1;
  for (int i = 0; i < 5'000; ++i) document[std::string_view(std::to_string(i * 7919 % 5'000))] = i;
  for (int i = 0; i < 4'000; ++i) document.erase(std::string_view(std::to_string(i)));
  EXPECT_EQ(&document["m"], &early);
  EXPECT_EQ(early, 1);
}

TEST(JsonObject, AtThrowsWhereThereIsNoMember) {
  Object object;
  object["a"] = 1;
  EXPECT_EQ(object.at("a"), 1);
  EXPECT_THROW(static_cast<void>(object.at("b")), std::out_of_range);
}

// The next insertion grows the leaf, splits it, or makes the second one; each of its allocations fails in turn.
TEST(JsonObject, AFailedInsertionChangesNothing) {
  for (const int members : {0, 8, 512, 1'024}) {
    for (const char* name : {"m 0100 and more than fits into it", "z and more than fits into a string"}) {
      Object object;
      for (int i = 0; i < members; ++i) object[(i < 10 ? "m 000" : "m ") + std::to_string(i)] = i;
      const Model before = contents(object);
      bool done = false;
      uint64_t allowed = 0;
      for (; !done; ++allowed) {
        try {
          const MemoryRunsOut later(allowed);
          object[name] = 7;
          done = true;
        } catch (const std::bad_alloc&) {
          expect_same(object, before);
        }
      }
      EXPECT_GT(allowed, 2U);
      Model after = before;
      after[name] = 7;
      expect_same(object, after);
    }
  }
}

double seconds_to_read(const std::vector<std::string>& names, const Pools& pools) {
  std::string text = "{";
  for (const std::string& name : names) text += (text.size() > 1 ? ",\"" : "\"") + name + "\":" + name;
  text += "}";
  const auto begin = std::chrono::steady_clock::now();
  const auto document = unmarshal(text, pools);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  EXPECT_TRUE(document.ok());
  EXPECT_EQ((*document)->size(), names.size());
  for (const std::string& name : names)
    EXPECT_EQ((*document)->at(std::string_view(name)).dump(), std::string_view(name));
  return taken.count();
}

// One sorted array would take some thousand times as long for names in disorder as for names in order.
TEST(JsonObject, AHostileOrderOfNamesCostsLittle) {
  std::vector<std::string> names;
  for (int i = 0; i < 200'000; ++i) names.push_back(std::to_string(1'000'000 + i));
  const Pools pools;
  const double in_order = seconds_to_read(names, pools);
  std::shuffle(names.begin(), names.end(), std::mt19937_64(seed()));
  EXPECT_LT(seconds_to_read(names, pools), 100 * in_order);
  std::sort(names.begin(), names.end(), std::greater<>());
  EXPECT_LT(seconds_to_read(names, pools), 100 * in_order);
}

TEST(JsonObject, TheLastOfManyDuplicatesIsRead) {
  std::string text = "{";
  for (int i = 0; i < 5'000; ++i) {
    text += (i > 0 ? ",\"" : "\"") + std::to_string(i * 7919 % 2'000) + "\":" + std::to_string(i);
  }
  text += "}";
  const auto document = unmarshal(text, Pools());
  ASSERT_TRUE(document.ok());
  EXPECT_EQ((*document)->size(), 2'000U);
  EXPECT_EQ(json(**document), json::parse(text));
}

// ---- What nlohmann/json does with objects ---------------------------------------------------------

// The same with PooledJson as with json, told as text.
template <typename Json>
std::string deeds() {
  std::string told;
  const auto tell = [&](const Json& what) { told += std::string_view(what.dump()), told += '\n'; };
  Json a = {{"name", "Ada"}, {"born", 1815}, {"", nullptr}, {"tags", {"x", "y"}}, {"at", {{"city", "London"}}}};
  const Json b(std::map<std::string, int>{{"z", 1}, {"born", 2}});
  tell(a), tell(b);
  tell(a.count("name") + a.count("no"));
  tell(a.value("born", 0) + a.value("died", 1852));
  tell(a.at(typename Json::json_pointer("/at/city")));
  tell(a.contains("tags") && !a.contains("none") && a.find("none") == a.end());
  const Json old = a;
  a.update(b);
  tell(a);
  a.insert(b.begin(), b.end());
  tell(a.emplace("name", "Eve").second || !a.emplace("new", 1).second);
  a.merge_patch(Json{{"at", {{"zip", 1}, {"city", nullptr}}}, {"tags", nullptr}});
  tell(a);
  a.erase("name");
  a.erase(a.find("born"));
  tell(a.size());
  for (const auto& [name, value] : a.items()) told += std::string(name) + "=" + std::string(value.dump()) + ";";
  for (auto it = a.rbegin(); it != a.rend(); ++it) told += std::string(it.key()) + ",";
  tell((a == old) + 2 * (a < old) + 4 * (old < a) + 8 * (a != old) + 16 * (a <= a));
  tell(Json(a.template get<std::map<std::string, Json>>()) == a);
  a.erase(++a.begin(), a.end());
  tell(a);
  a.clear();
  tell(a);
  return told;
}

TEST(JsonObject, NlohmannDoesWithItWhatItDoesWithAMap) { EXPECT_EQ(deeds<PooledJson>(), deeds<json>()); }

TEST(JsonObject, RandomDocumentsAreDumpedAlike) {
  std::mt19937_64 random(seed());
  RandomNames name_of(random);
  for (int round = 0; round < 100; ++round) {
    json plain = json::object();
    PooledJson pooled = PooledJson::object();
    for (uint64_t i = random() % 700; i > 0; --i) {
      std::string name = name_of();
      std::erase_if(name, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });  // dump() wants UTF-8
      plain[name][std::to_string(i)] = i;
      pooled[std::string_view(name)][std::string_view(std::to_string(i))] = i;
    }
    ASSERT_EQ(pooled.dump(), PooledJson::string_t(plain.dump()));
  }
}

}  // namespace
}  // namespace kvstore::testing
