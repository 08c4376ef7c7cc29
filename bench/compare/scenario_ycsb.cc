// YCSB's core workloads on a loaded database, 2 threads. One life each peer; e, which only ordered stores answer quickly, last.
#include "bench/compare/scenario.h"
#include "bench/compare/timed.h"

namespace bench {
namespace {

constexpr unsigned kThreads = 2;
constexpr size_t kSteps = 500'000;     // of each thread, then again from the start
constexpr uint64_t kInserts = 25'000;  // of one thread in one workload: about 5 % of the steps

struct Streams {
  char workload = 'a';
  std::vector<std::vector<Step>> of_thread;
};

void do_step(Session& session, const Step& step, const Setting& setting, uint64_t version, std::string& value) {
  const std::string_view key(step.key.data(), step.key.size());
  switch (step.op) {
    case Op::kRead:
      if (!session.get(key, value) || value.size() != setting.values.bytes()) fail("key {} is missing", step.index);
      return;
    case Op::kUpdate:
    case Op::kInsert:
      session.put(key, setting.values.at(step.index, version));
      return;
    case Op::kReadModifyWrite:
      if (!session.get(key, value) || value.size() != setting.values.bytes()) fail("key {} is missing", step.index);
      session.put(key, setting.values.at(step.index, version));
      return;
    case Op::kScan:
      if (session.scan(key, step.length) == 0) fail("a scan from key {} found nothing", step.index);
      return;
  }
}

}  // namespace

Outcome run_ycsb(const Peer& peer, const Setting& setting) {
  return run_child([&](const Reporter& report) {
    const auto database = peer.open(setting.open());
    auto sessions = sessions_of(*database, kThreads);
    load(peer, *sessions[0], setting);
    const Zipfian zipfian(setting.keys.count());
    uint64_t first_insert = setting.keys.count();
    for (const char workload : kYcsb) {
      if (workload == 'e' && !peer.can_scan) continue;
      std::vector<std::vector<Step>> streams;
      for (unsigned t = 0; t < kThreads; ++t) {
        streams.push_back(ycsb_steps(workload, setting.keys, zipfian, kSteps, t, kThreads, first_insert, kInserts));
      }
      first_insert += uint64_t{kInserts} * kThreads;
      const Timed result = timed(sessions, UINT64_MAX, setting.seconds_max / 2, [&](unsigned thread) {
        return [&, &session = *sessions[thread], &steps = streams[thread], value = std::string()](uint64_t i) mutable {
          do_step(session, steps[i % kSteps], setting, 1 + i, value);
        };
      });
      report(fmt::format("YCSB {}, 2 threads", static_cast<char>(workload - 'a' + 'A')), result.rate, "op/s");
    }
    if (const auto held = database->count(); held && *held < setting.keys.count()) fail("entries went missing");
  });
}

}  // namespace bench
