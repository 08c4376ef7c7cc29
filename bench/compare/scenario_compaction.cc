// What a writer notices of a compaction: one thread overwrites random keys at full speed, each put timed, first with the
// database left alone, then while it is compacted.
#include <algorithm>
#include <atomic>
#include <random>

#include "bench/compare/scenario.h"
#include "bench/compare/timed.h"

namespace bench {
namespace {

struct Latencies {
  double p999_us = 0;
  double max_us = 0;
};

Latencies quantiles(std::vector<uint32_t>& samples_ns) {
  if (samples_ns.empty()) fail("compaction: not one put in a whole phase");
  std::sort(samples_ns.begin(), samples_ns.end());
  return {samples_ns[samples_ns.size() - 1 - samples_ns.size() / 1000] / 1e3, samples_ns.back() / 1e3};
}

template <typename Until>
Latencies write_until(Session& session, const Setting& setting, std::vector<uint32_t>& samples, uint64_t seed,
                      Until over) {
  samples.clear();
  std::mt19937_64 random(seed);
  while (!over()) {
    const uint64_t index = random() % setting.keys.count();
    const Clock::time_point begin = Clock::now();
    session.put(setting.keys[index], setting.values.at(index));
    const auto took = std::chrono::nanoseconds(Clock::now() - begin).count();
    if (samples.size() < samples.capacity())
      samples.push_back(static_cast<uint32_t>(std::min<int64_t>(took, UINT32_MAX)));
  }
  return quantiles(samples);
}

}  // namespace

Outcome run_compaction(const Peer& peer, const Setting& setting) {
  return run_child([&](const Reporter& report) {
    std::vector<uint32_t> samples(8'000'000, 1);  // touched, so that no page fault of it falls into a put
    const auto database = peer.open(setting.open());
    const auto session = database->session();
    load(peer, *session, setting);
    const Clock::time_point begin = Clock::now();
    (void)write_until(*session, setting, samples, 1, [&] { return seconds_since(begin) > setting.seconds_max / 2; });
    const Clock::time_point warm = Clock::now();
    const Latencies idle =
        write_until(*session, setting, samples, 2, [&] { return seconds_since(warm) > setting.seconds_max; });
    std::atomic<bool> over{false};
    double seconds = 0;
    std::thread compactor([&] {
      const Clock::time_point start = Clock::now();
      database->compact();
      seconds = seconds_since(start);
      over = true;
    });
    const Latencies busy =
        write_until(*session, setting, samples, 3, [&] { return over.load(std::memory_order_relaxed); });
    compactor.join();
    if (const auto held = database->count(); held && *held != setting.keys.count())
      fail("compaction: entries went missing");
    check_sample(*database, setting, setting.keys.count(), "after the compaction");
    report("compaction beside a writer, duration", seconds, "s");
    report("compaction beside a writer, put p99.9 against idle", busy.p999_us / idle.p999_us, "x");
    report("compaction beside a writer, longest put", busy.max_us / 1e3, "ms");
    report("without compaction, put p99.9", idle.p999_us, "us");
    report("without compaction, longest put", idle.max_us / 1e3, "ms");
  });
}

}  // namespace bench
