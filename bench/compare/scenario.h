// What is measured. A scenario is the life of one database, or two; it yields one or more rows.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

#include "bench/compare/child.h"
#include "bench/compare/peer.h"
#include "bench/compare/workload.h"

namespace bench {

struct Setting {
  std::filesystem::path dir;  // of this life alone; exists, empty
  const Keys& keys;
  const Values& values;
  const Reading& reading;
  double seconds_max = 1;  // of one row that is not told how much to do

  [[nodiscard]] OpenOptions open() const { return {dir, keys.count(), values.bytes()}; }
};

struct Scenario {
  std::string_view name;
  std::string_view what;
  std::function<bool(const Peer&)> takes;
  std::function<Outcome(const Peer&, const Setting&)> run;
};

std::vector<Scenario> scenarios();

// Their parts, a file each.
Outcome run_fill(const Peer& peer, const Setting& setting);
Outcome run_put_threads(const Peer& peer, const Setting& setting);
Outcome run_batch(const Peer& peer, const Setting& setting);
Outcome run_durable(const Peer& peer, const Setting& setting);
Outcome run_ycsb(const Peer& peer, const Setting& setting);
Outcome run_compaction(const Peer& peer, const Setting& setting);

// Puts all keys, untimed, by batches where the peer has them.
void load(const Peer& peer, Session& session, const Setting& setting);

// Reads a sample of keys [0, count) back, the last ones put among them, and compares; fails when one is missing or wrong.
void check_sample(Database& database, const Setting& setting, uint64_t count, std::string_view when);

}  // namespace bench
