#include "bench/compare/scenario_read.h"

#include <array>
#include <atomic>
#include <cstring>

#include "bench/compare/timed.h"

namespace bench {
namespace {

// Stands for a value in a sum over all that were read: cheap beside a read, and wrong when one value is.
uint64_t digest(std::string_view value) {
  uint64_t end = 0;
  if (value.size() < sizeof end) return value.size();
  std::memcpy(&end, value.data() + value.size() - sizeof end, sizeof end);
  return end + value.size();
}

void check(uint64_t got, uint64_t expected, std::string_view row) {
  if (got != expected) fail("{}: the values read are not those that were put", row);
}

void measure_hits(Database& database, const Setting& setting, const Reporter& report) {
  auto sessions = sessions_of(database, 1);
  const uint64_t count = setting.reading.count();
  const auto expected = [&](uint64_t steps) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < steps; ++i) sum += digest(setting.values.at(setting.reading.index[i]));
    return sum;
  };
  const auto run = [&](std::string_view row, auto get) {
    std::string value;
    uint64_t sum = 0;
    const Timed result = timed(sessions, count, setting.seconds_max, [&](unsigned /*thread*/) {
      return [&](uint64_t i) { sum += get(setting.reading.key(i), value); };
    });
    check(sum, expected(result.steps), row);
    report(row, 1e9 / result.rate, "ns");
  };
  const auto get = [&](std::string_view key, std::string& value) {
    return sessions[0]->get(key, value) ? digest(value) : 0;
  };
  {  // warm-up: what a fresh child meets for the first time, and caches that the peer keeps
    std::string value;
    timed(sessions, count / 4, setting.seconds_max / 4,
          [&](unsigned /*thread*/) { return [&](uint64_t i) { get(setting.reading.key(count - 1 - i), value); }; });
  }
  run("get, hit", get);
  run("get, hit, a new string", [&](std::string_view key, std::string& /*value*/) {
    const std::optional<std::string> value = sessions[0]->get_new(key);
    return value ? digest(*value) : 0;
  });
}

void measure_misses(Database& database, const Setting& setting, const Reporter& report) {
  auto sessions = sessions_of(database, 1);
  std::string value;
  uint64_t found = 0;
  const Timed result = timed(sessions, setting.keys.count(), setting.seconds_max, [&](unsigned /*thread*/) {
    return [&](uint64_t i) { found += sessions[0]->get(setting.keys.absent(i), value) ? 1 : 0; };
  });
  if (found != 0) fail("get, miss: {} keys were found that were never put", found);
  report("get, miss", 1e9 / result.rate, "ns");
}

void measure_multi_get(Database& database, const Setting& setting, const Reporter& report) {
  auto sessions = sessions_of(database, 1);
  for (const uint64_t group : {16, 64}) {
    std::vector<std::string_view> keys(group);
    uint64_t bytes = 0;
    const Timed result =
        timed(sessions, setting.reading.count() / group, setting.seconds_max, [&](unsigned /*thread*/) {
          return [&](uint64_t i) {
            for (uint64_t n = 0; n < group; ++n) keys[n] = setting.reading.key(i * group + n);
            bytes += sessions[0]->multi_get(keys);
          };
        });
    check(bytes, result.steps * group * setting.values.bytes(), "multi-get");
    report(fmt::format("multi-get of {}, a key", group), 1e9 / result.rate / static_cast<double>(group), "ns");
  }
}

// 1000 keys, which fit into the caches: what is left is the cost of the call and of sharing.
void measure_hot(Database& database, bool beside_writer, const Setting& setting, const Reporter& report) {
  constexpr uint64_t kHot = 1000;
  if (setting.reading.count() < kHot) return;
  const auto run = [&](std::string_view row, unsigned readers) {
    auto sessions = sessions_of(database, readers);
    std::atomic<bool> stop{false};
    std::thread writer;
    if (beside_writer) {
      writer = std::thread([&] {
        const auto session = database.session();
        for (uint64_t i = 0; !stop.load(std::memory_order_relaxed); i = (i + 1) % setting.keys.count()) {
          session->put(setting.keys[i], setting.values.at(i));
        }
        session->flush();
      });
    }
    std::vector<uint64_t> bytes(readers * 8);  // 64 bytes apart
    const Timed result = timed(sessions, UINT64_MAX, setting.seconds_max / 3, [&](unsigned thread) {
      return
          [&, thread, &session = *sessions[thread], value = std::string(), at = uint64_t{0}](uint64_t /*i*/) mutable {
            at = at + 619 < kHot ? at + 619 : at + 619 - kHot;  // a prime: all of them in turn, in no order
            if (session.get(setting.reading.key(at), value)) bytes[thread * 8] += value.size();
          };
    });
    stop = true;
    if (writer.joinable()) writer.join();
    uint64_t sum = 0;
    for (unsigned t = 0; t < readers; ++t) sum += bytes[t * 8];
    check(sum, result.steps * setting.values.bytes(), row);
    report(row, result.rate, "op/s");
  };
  if (beside_writer) {
    run("get, 1000 hot keys, 1 reader beside a writer", 1);
  } else {
    run("get, 1000 hot keys, 1 reader", 1);
    run("get, 1000 hot keys, 2 readers", 2);
  }
}

}  // namespace

void measure_reads(const Peer& peer, Database& database, const Setting& setting, const Reporter& report) {
  measure_hits(database, setting, report);
  measure_misses(database, setting, report);
  if (peer.can_multi_get) measure_multi_get(database, setting, report);
  measure_hot(database, false, setting, report);
}

void measure_reads_beside_writer(Database& database, const Setting& setting, const Reporter& report) {
  measure_hot(database, true, setting, report);
}

}  // namespace bench
