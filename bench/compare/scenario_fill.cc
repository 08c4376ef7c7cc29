// The first life of a database: it is filled, read, and killed. And its second: it is opened again, checked, compacted and
// closed. Peers that keep nothing on disk have one life only.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "bench/compare/scenario_read.h"
#include "bench/compare/timed.h"

namespace bench {
namespace {

// Keys and values themselves are 116 bytes at the usual sizes; the row says what comes on top.
double overhead(int64_t bytes, const Setting& setting) {
  return static_cast<double>(bytes) / static_cast<double>(setting.keys.count()) -
         static_cast<double>(kKeyBytes + setting.values.bytes());
}

void report_memory(const Database& database, const Memory& before, const Setting& setting, std::string_view when,
                   const Reporter& report) {
  const Memory now = memory_of(database.server().value_or(::getpid()));
  report(fmt::format("memory an entry, over key and value, {}", when),
         overhead(now.anonymous - before.anonymous, setting), "B");
  report(fmt::format("mapped files an entry, {}", when),
         static_cast<double>(now.file - before.file) / static_cast<double>(setting.keys.count()), "B");
}

int64_t disk_bytes(const std::filesystem::path& dir) {
  int64_t bytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(dir)) {
    struct stat status {};
    if (::lstat(file.path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) bytes += int64_t{status.st_blocks} * 512;
  }
  return bytes;
}

bool has_two_lives(const Peer& peer) { return peer.survives != Survives::kMemoryOnly && !peer.raw; }

void first_life(const Peer& peer, const Setting& setting, const Reporter& report) {
  Memory before = memory_of(::getpid());
  const auto database = peer.open(setting.open());
  if (database->server()) before = memory_of(*database->server());
  auto sessions = sessions_of(*database, 1);
  if (peer.slow_put) {
    load(peer, *sessions[0], setting);
  } else {
    const Timed result = timed(sessions, setting.keys.count(), 1e9, [&](unsigned /*thread*/) {
      return [&](uint64_t i) { sessions[0]->put(setting.keys[i], setting.values.at(i)); };
    });
    report("put, 1 thread", result.rate, "op/s");
  }
  check_sample(*database, setting, setting.keys.count(), "after the puts");
  report_memory(*database, before, setting, "after puts", report);
  measure_reads(peer, *database, setting, report);
  if (has_two_lives(peer)) wait_for_kill(report);
  if (!peer.raw) measure_reads_beside_writer(*database, setting, report);
}

void second_life(const Peer& peer, const Setting& setting, const Reporter& report) {
  Memory before = memory_of(::getpid());
  const Clock::time_point begin = Clock::now();
  const auto database = peer.open(setting.open());
  const double seconds = seconds_since(begin);
  report("open after kill -9", seconds * 1e3, "ms");
  if (database->server()) before.anonymous = 0;  // a new process: all it has is the data's, but for some megabytes
  check_sample(*database, setting, setting.keys.count(), "after kill -9");
  report_memory(*database, before, setting, "after opening", report);
  // Not in the first life: what is opened then is the log of so many puts, and of nothing else.
  measure_reads_beside_writer(*database, setting, report);
  if (peer.can_compact) database->compact();
}

}  // namespace

void check_sample(Database& database, const Setting& setting, uint64_t count, std::string_view when) {
  if (const auto held = database.count(); held && *held != count)
    fail("{}: {} entries, expected {}", when, *held, count);
  const auto session = database.session();
  std::mt19937_64 random(3);
  std::string value;
  constexpr uint64_t kSample = 20'000;
  for (uint64_t n = 0; n < std::min(count, kSample); ++n) {
    const uint64_t index = n < kSample / 10 ? count - 1 - n : random() % count;
    if (!session->get(setting.keys[index], value)) fail("{}: key {} of {} is missing", when, index, count);
    if (value != setting.values.at(index)) fail("{}: key {} has a wrong value", when, index);
  }
}

void load(const Peer& peer, Session& session, const Setting& setting) {
  constexpr uint64_t kBatch = 1000;
  if (!peer.can_batch) {
    for (uint64_t i = 0; i < setting.keys.count(); ++i) session.put(setting.keys[i], setting.values.at(i));
    session.flush();
    return;
  }
  std::vector<Item> items;
  for (uint64_t i = 0; i < setting.keys.count(); ++i) {
    items.push_back({setting.keys[i], setting.values.at(i)});
    if (items.size() < kBatch && i + 1 < setting.keys.count()) continue;
    session.put_batch(items);
    items.clear();
  }
}

Outcome run_fill(const Peer& peer, const Setting& setting) {
  const bool two_lives = has_two_lives(peer);
  Outcome first = run_child([&](const Reporter& report) { first_life(peer, setting, report); },
                            two_lives ? End::kIsKilled : End::kExits);
  if (!two_lives || !first.error.empty()) return first;
  Outcome second = run_child([&](const Reporter& report) { second_life(peer, setting, report); });
  second.measures.insert(second.measures.begin(), first.measures.begin(), first.measures.end());
  second.measures.push_back({"disk an entry, compacted",
                             static_cast<double>(disk_bytes(setting.dir)) / static_cast<double>(setting.keys.count()),
                             "B"});
  return second;
}

}  // namespace bench
