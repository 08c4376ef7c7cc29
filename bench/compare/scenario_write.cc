// The writing rows that are told how long to write, not how much.
#include <array>

#include "bench/compare/scenario.h"
#include "bench/compare/timed.h"

namespace bench {
namespace {

void check_count(Database& database, uint64_t steps, std::string_view row) {
  if (const auto held = database.count(); held && *held != steps)
    fail("{}: {} entries after {} puts", row, *held, steps);
}

// Fresh keys, dealt to the threads in turn.
void measure_puts(const Peer& peer, const Setting& setting, unsigned threads, const Reporter& report) {
  const auto database = peer.open(setting.open());
  auto sessions = sessions_of(*database, threads);
  const uint64_t each = setting.keys.count() / threads;
  const Timed result = timed(sessions, each, setting.seconds_max, [&](unsigned thread) {
    return [&, thread, &session = *sessions[thread]](uint64_t i) {
      const uint64_t index = i * threads + thread;
      session.put(setting.keys[index], setting.values.at(index));
    };
  });
  const std::string row = fmt::format("put, {} thread{}", threads, threads == 1 ? "" : "s");
  if (!peer.raw) check_count(*database, result.steps, row);
  report(row, result.rate, "op/s");
}

// Each in a database of its own.
Outcome measure_each(const Peer& peer, const Setting& setting, std::span<const unsigned> thread_counts) {
  Outcome all;
  for (const unsigned threads : thread_counts) {
    Setting own = setting;
    own.dir = setting.dir / fmt::format("{}", threads);
    std::filesystem::create_directories(own.dir);
    const Outcome one = run_child([&](const Reporter& report) { measure_puts(peer, own, threads, report); });
    std::filesystem::remove_all(own.dir);
    all.measures.insert(all.measures.end(), one.measures.begin(), one.measures.end());
    if (!one.error.empty()) all.error += fmt::format("{} threads: {} ", threads, one.error);
  }
  return all;
}

}  // namespace

Outcome run_put_threads(const Peer& peer, const Setting& setting) {
  constexpr std::array kThreads = {1U, 2U, 8U};
  // The others put with one thread in run_fill().
  return measure_each(peer, setting, std::span(kThreads).subspan(peer.slow_put ? 0 : 1));
}

Outcome run_batch(const Peer& peer, const Setting& setting) {
  return run_child([&](const Reporter& report) {
    constexpr uint64_t kBatch = 1000;
    const auto database = peer.open(setting.open());
    auto sessions = sessions_of(*database, 1);
    std::vector<Item> items(kBatch);
    const Timed result = timed(sessions, setting.keys.count() / kBatch, setting.seconds_max, [&](unsigned /*thread*/) {
      return [&](uint64_t i) {
        for (uint64_t n = 0; n < kBatch; ++n) {
          items[n] = {setting.keys[i * kBatch + n], setting.values.at(i * kBatch + n)};
        }
        sessions[0]->put_batch(items);
      };
    });
    check_sample(*database, setting, result.steps * kBatch, "after the batches");
    report("batch of 1000", result.rate * kBatch, "op/s");
  });
}

Outcome run_durable(const Peer& peer, const Setting& setting) {
  constexpr std::array kThreads = {1U, 8U, 64U};
  return measure_each(peer, setting, std::span(kThreads).first(peer.raw ? 1 : kThreads.size()));
}

}  // namespace bench
