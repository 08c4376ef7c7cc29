#include "bench/compare/scenario.h"

namespace bench {

std::vector<Scenario> scenarios() {
  const auto not_durable = [](const Peer& peer) { return peer.survives != Survives::kPowerCut; };
  return {
      {"fill", "put by 1 thread, memory, get, multi-get; kill -9, open, disk",
       [=](const Peer& peer) {
         return not_durable(peer) && peer.name != "Redis";
       },  // the pipelined one stands for both
       run_fill},
      {"threads", "put by 2 and 8 threads", not_durable, run_put_threads},
      {"batch", "batches of 1000",
       [](const Peer& peer) { return peer.survives == Survives::kKill && peer.can_batch && !peer.pipelined; },
       run_batch},
      {"durable", "put by 1, 8 and 64 threads, each survives a power cut",
       [](const Peer& peer) { return peer.survives == Survives::kPowerCut; }, run_durable},
      {"ycsb", "YCSB A to F",
       [](const Peer& peer) { return peer.survives != Survives::kPowerCut && !peer.raw && !peer.pipelined; }, run_ycsb},
      {"compaction", "compaction beside a writer",
       [](const Peer& peer) { return peer.survives == Survives::kKill && peer.can_compact && !peer.pipelined; },
       run_compaction},
  };
}

}  // namespace bench
