// What the pools are worth for JSON: each task done with leased memory, and as a careful programmer does it with plain
// nlohmann/json: a fresh document, a fresh string, nothing copied that need not be.
//
//     json_bench [--rounds N] [--filter NAME]
//
// Each task's two ways give the same result, which is compared first. Then they run turn and turn about, in rounds, so that
// what else the machine does falls on both alike: so many at a time for the throughput, and each by itself for the latency
// (with the clock's own 20 ns or so in both). Ratios are medians over the rounds, in brackets the middle 80 %. Allocations
// and bytes are counted by replacing operator new, per task. "two threads": both run the task at once, on the same pools.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/check.h"
#include "kvstore/base/pool.h"
#include "kvstore/json.h"
#include "kvstore/kvstore.h"
#include "tests/support/counting_new.h"

namespace kvstore {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view kUser =
    R"({"active":true,"born":1815,"city":"London","email":"ada.lovelace@example.com","id":12345,)"
    R"("name":"Ada Lovelace, Countess of Lovelace","score":0.75,"tags":["mathematics","computing","poetry"]})";

using bench::fail;
using bench::require;

// Keeps the compiler from leaving out what leads to `value`.
template <typename T>
void use(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

const Pools& pools() {
  static const Pools shared;
  return shared;
}

struct Spread {
  double low, median, high;
};
Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
  };
  return {at(0.1), at(0.5), at(0.9)};
}

struct Arguments {
  int rounds = 31;
  std::string_view filter;
};

class Bench {
 public:
  explicit Bench(Arguments arguments) : arguments_(arguments) {}

  void title(std::string_view text) {
    fmt::print("\n{}\n{:<28} {:>22} {:>15} {:>20} {:>12} {:>10} {:>14}\n", text, "task", "throughput, times",
               "ns with/without", "latency p50, less %", "p99, less %", "allocs", "bytes");
  }

  // `batch`: how many of the task make some 100 us.
  template <typename With, typename Without>
  void compare(std::string_view name, int batch, With&& with, Without&& without) {
    if (name.find(arguments_.filter) == std::string_view::npos) return;
    for (int i = 0; i < 300; ++i) with(), without();
    const auto [with_count, with_bytes] = allocations_of(batch, with);
    const auto [without_count, without_bytes] = allocations_of(batch, without);
    std::vector<double> ratios, with_ns, without_ns, p50, p99;
    for (int round = 0; round < arguments_.rounds; ++round) {
      const double a = ns_each(10 * batch, with), b = ns_each(10 * batch, without);
      with_ns.push_back(a);
      without_ns.push_back(b);
      ratios.push_back(b / a);
      const auto [a50, a99] = latencies(4 * batch, with);
      const auto [b50, b99] = latencies(4 * batch, without);
      p50.push_back(100 * (1 - a50 / b50));
      p99.push_back(100 * (1 - a99 / b99));
    }
    const Spread ratio = spread_of(ratios), fifty = spread_of(p50), ninety_nine = spread_of(p99);
    fmt::print(
        "{:<28} {:>7.2f}x ({:.2f}-{:.2f}) {:>7.0f}/{:<7.0f} {:>6.1f} ({:.1f}-{:.1f}) {:>12.1f} {:>6.0f} <- {:<4.0f} "
        "{:>5.0f} <- {:.0f}\n",
        name, ratio.median, ratio.low, ratio.high, spread_of(with_ns).median, spread_of(without_ns).median,
        fifty.median, fifty.low, fifty.high, ninety_nine.median, with_count, without_count, with_bytes, without_bytes);
    std::fflush(stdout);
  }

  // The throughput of two threads at once.
  template <typename With, typename Without>
  void compare_by_two(std::string_view name, int batch, With&& with, Without&& without) {
    if (name.find(arguments_.filter) == std::string_view::npos) return;
    std::vector<double> ratios;
    for (int round = 0; round < arguments_.rounds; ++round)
      ratios.push_back(by_two(40 * batch, without) / by_two(40 * batch, with));
    const Spread ratio = spread_of(ratios);
    fmt::print("{:<28} {:>7.2f}x ({:.2f}-{:.2f})\n", name, ratio.median, ratio.low, ratio.high);
  }

 private:
  template <typename Fn>
  static std::pair<double, double> allocations_of(int times, Fn& fn) {
    const testing::AllocationCount before = testing::allocations;
    for (int i = 0; i < times; ++i) fn();
    const testing::AllocationCount used = testing::allocations - before;
    return {static_cast<double>(used.calls) / times, static_cast<double>(used.bytes) / times};
  }
  template <typename Fn>
  static double ns_each(int times, Fn& fn) {
    const auto begin = SteadyClock::now();
    for (int i = 0; i < times; ++i) fn();
    return std::chrono::duration<double, std::nano>(SteadyClock::now() - begin).count() / times;
  }
  template <typename Fn>
  static std::pair<double, double> latencies(int times, Fn& fn) {
    static std::vector<double> each;
    each.clear();
    for (int i = 0; i < times; ++i) each.push_back(ns_each(1, fn));
    std::sort(each.begin(), each.end());
    return {each[each.size() / 2], each[each.size() * 99 / 100]};
  }
  template <typename Fn>
  static double by_two(int times, Fn& fn) {
    std::atomic<int> ready{0};
    std::atomic<double> total{0};
    const auto work = [&] {
      ++ready;
      while (ready != 2) {
      }
      const double ns = ns_each(times, fn);
      total = total + ns;
    };
    std::thread other(work);
    work();
    other.join();
    return total;
  }

  Arguments arguments_;
};

// ---- The origin's table ---------------------------------------------------------------------------

template <typename Json>
void fill_sixteen(Json& out) {
  static constexpr std::string_view kNames[] = {"active", "born", "city", "email", "id",    "kind", "lang", "name",
                                                "owner",  "plan", "rank", "score", "state", "tag",  "team", "zone"};
  int64_t n = 0;
  for (const std::string_view name : kNames) {
    if (n % 4 == 0) {
      out[name] = "a text of some length";
    } else {
      out[name] = n;
    }
    ++n;
  }
}

PooledText written_with() {
  JsonWriter out(pools());
  out.begin_object().member("active").boolean(true).member("born").number(1815).member("city").text("London");
  out.member("email").text("ada.lovelace@example.com").member("id").number(12345);
  out.member("name").text("Ada Lovelace, Countess of Lovelace").member("score").number(0.75).end_object();
  return *out.take();
}

std::string written_without() {
  return json{{"active", true},   {"born", 1815},
              {"city", "London"}, {"email", "ada.lovelace@example.com"},
              {"id", 12345},      {"name", "Ada Lovelace, Countess of Lovelace"},
              {"score", 0.75}}
      .dump();
}

void origin_table(Bench& bench) {
  bench.title("with leased memory <- without");

  const auto map_with = [] {
    Document document(pools());
    document.edit([](PooledJson& out) { fill_sixteen(out); });
    use(*document);
  };
  const auto map_without = [] {
    json document;
    fill_sixteen(document);
    use(document);
  };
  bench.compare("map, 16 fields", 100, map_with, map_without);

  static base::BufferPool buffers({});
  const auto buffer_with = [] {
    const base::BufferPool::Lease out = buffers.lease();
    for (int i = 0; i < 32; ++i) out->append("a piece of 24 bytes text");
    use(out->view());
  };
  const auto buffer_without = [] {
    std::string out;
    for (int i = 0; i < 32; ++i) out.append("a piece of 24 bytes text");
    use(out);
  };
  bench.compare("buffer, 32 pieces", 200, buffer_with, buffer_without);

  const json plain = json::parse(kUser);
  const auto leased = unmarshal(kUser, pools());
  require(marshal(**leased, pools())->view() == plain.dump(), "marshal");
  const auto marshal_with = [&] { use(*marshal(**leased, pools())); };
  const auto marshal_without = [&] { use(plain.dump()); };
  bench.compare("marshal", 100, marshal_with, marshal_without);

  require(json(**leased) == plain, "unmarshal");
  const auto unmarshal_with = [] { use(**unmarshal(kUser, pools())); };
  const auto unmarshal_without = [] { use(json::parse(kUser)); };
  bench.compare("unmarshal", 50, unmarshal_with, unmarshal_without);

  require(field_string(kUser, "email") == plain["email"].get<std::string>(), "field");
  const auto field_with = [] { use(*extract_field(kUser, "/email")); };
  const auto field_without = [] {
    const json document = json::parse(kUser);
    use(document.at("email").get_ref<const std::string&>());
  };
  bench.compare("field", 50, field_with, field_without);

  // Values of a program to JSON text, what a log or an answer is made of: without a document in between, and with one.
  require(written_with().view() == written_without(), "write");
  const auto write_with = [] { use(written_with()); };
  const auto write_without = [] { use(written_without()); };
  bench.compare("write values as JSON", 100, write_with, write_without);

  // What a handler of requests does: parse, look, change, answer.
  const auto round_with = [] {
    Result<Document> document = unmarshal(kUser, pools());
    document->edit([](PooledJson& out) { out["seen"] = out["id"].get<int64_t>() + 1; });
    use(*marshal(**document, pools()));
  };
  const auto round_without = [] {
    json document = json::parse(kUser);
    document["seen"] = document["id"].get<int64_t>() + 1;
    use(document.dump());
  };
  bench.compare("unmarshal, edit, marshal", 40, round_with, round_without);

  fmt::print("\ntwo threads, throughput\n");
  bench.compare_by_two("map, 16 fields", 100, map_with, map_without);
  bench.compare_by_two("marshal", 100, marshal_with, marshal_without);
  bench.compare_by_two("unmarshal", 50, unmarshal_with, unmarshal_without);
  bench.compare_by_two("field", 50, field_with, field_without);
  bench.compare_by_two("write values as JSON", 100, write_with, write_without);
  bench.compare_by_two("unmarshal, edit, marshal", 40, round_with, round_without);
}

// ---- Real workloads -------------------------------------------------------------------------------

std::string document_of(size_t bytes) {
  json out = json::parse(kUser);
  for (size_t i = 0; i * 55 < bytes; ++i) {  // so many bytes has an item
    out["items"].push_back({{"n", i}, {"text", "an item of some length"}, {"price", static_cast<double>(i) * 0.25}});
  }
  return out.dump();
}

void workloads(Bench& bench) {
  const auto dir = std::filesystem::temp_directory_path() / fmt::format("json_bench.{}", static_cast<int>(::getpid()));
  {
    Result<Store> opened = Store::open(dir);
    if (!opened.ok()) fail(opened.status().message());
    Store& store = *opened;
    const json plain = json::parse(kUser);
    const auto leased = unmarshal(kUser, store.pools());
    bench.title("in a store");
    bench.compare(
        "put_json of a document", 100, [&] { require(put_json(store, "a", **leased).ok(), "put"); },
        [&] { require(store.put_json("b", plain.dump()).ok(), "put"); });
    require(store.get("a") == store.get("b"), "put_json");

    for (const size_t bytes : {size_t{0}, size_t{10} << 10, size_t{1} << 20}) {
      const std::string text = document_of(bytes);
      require(store.put_json("doc", text).ok(), "put");
      const int batch = bytes == 0 ? 50 : bytes > 100'000 ? 1 : 5;
      const std::string size = bytes == 0 ? "0.2 KiB" : bytes > 100'000 ? "1 MiB" : "10 KiB";
      require(store.get_field("doc", "/email") == "\"ada.lovelace@example.com\"", "get_field");
      bench.compare(
          fmt::format("get_field, {}", size), batch, [&] { use(store.get_field("doc", "/email")); },
          [&] {
            json document;
            store.read("doc", [&](std::string_view value) { document = json::parse(value); });
            use(document.at("email").get<std::string>());
          });
      bench.compare(
          fmt::format("get_json, {}", size), batch, [&] { use(***get_json(store, "doc")); },
          [&] {
            json document;
            store.read("doc", [&](std::string_view value) { document = json::parse(value); });
            use(document);
          });
    }
    require(store.put_json("patched", kUser).ok(), "put");
    int turn = 0;
    bench.compare(
        "patch of one member", 50,
        [&] { require(store.patch("patched", ++turn % 2 ? R"({"born":1816})" : R"({"born":1815})").ok(), "patch"); },
        [&] {
          json document = json::parse(*store.get("patched"));
          document.merge_patch(json::parse(++turn % 2 ? R"({"born":1816})" : R"({"born":1815})"));
          require(store.put_json("patched", document.dump()).ok(), "put");
        });
  }
  std::filesystem::remove_all(dir);
}

// The rows of an export of JSON values, as kvctl makes them: what comes out is counted, and thrown away.
void export_rows(Bench& bench) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (int i = 0; i < 1'000; ++i) entries.emplace_back(fmt::format("user:{:06}", i), std::string(kUser));
  size_t with_bytes = 0, without_bytes = 0;
  bench.title("export of 1,000 JSON values");
  const auto with = [&] {
    with_bytes = 0;
    JsonWriter out(pools(), [&](std::string_view piece) { with_bytes += piece.size(); });
    for (const auto& [key, value] : entries) {
      out.begin_object().bytes("key", key).member("json").raw(value).end_object().end_row();
    }
    require(out.finish().ok(), "export");
  };
  const auto strings = [&] {
    without_bytes = 0;
    for (const auto& [key, value] : entries) {
      const std::string row = "{\"key\":" + json(key).dump() + ",\"json\":" + value + "}\n";
      without_bytes += row.size();
      use(row);
    }
  };
  const auto documents = [&] {
    without_bytes = 0;
    for (const auto& [key, value] : entries) {
      const std::string row = json{{"key", key}, {"json", json::parse(value)}}.dump() + "\n";
      without_bytes += row.size();
      use(row);
    }
  };
  with(), strings();
  require(with_bytes == without_bytes, "export");
  bench.compare("against strings", 1, with, strings);
  with(), documents();
  require(with_bytes == without_bytes, "export");
  bench.compare("against documents", 1, with, documents);
}

}  // namespace
}  // namespace kvstore

int main(int argc, char** argv) {
  kvstore::Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name.starts_with("--benchmark_")) continue;  // make bench gives the same arguments to every program
    if (name == "--rounds" && i + 1 < argc && std::atoi(argv[i + 1]) > 0) {
      arguments.rounds = std::atoi(argv[++i]);
    } else if (name == "--filter" && i + 1 < argc) {
      arguments.filter = argv[++i];
    } else {
      fmt::print(stderr, "usage: json_bench [--rounds N] [--filter NAME]\n");
      return 2;
    }
  }
  kvstore::Bench bench(arguments);
  kvstore::origin_table(bench);
  kvstore::workloads(bench);
  kvstore::export_rows(bench);
}
