#include "bench/compare/peer.h"

#include <algorithm>

namespace bench {
namespace {

std::vector<Peer>& registered() {
  static std::vector<Peer> all;
  return all;
}

}  // namespace

std::string_view name_of(Survives survives) {
  switch (survives) {
    case Survives::kMemoryOnly:
      return "memory only";
    case Survives::kKill:
      return "kill -9";
    case Survives::kPowerCut:
      return "power cut";
  }
  fail("no such durability");
}

std::vector<Peer> peers() {
  std::vector<Peer> sorted = registered();
  std::sort(sorted.begin(), sorted.end(), [](const Peer& a, const Peer& b) { return a.rank < b.rank; });
  return sorted;
}

Registration::Registration(Peer peer) { registered().push_back(std::move(peer)); }

}  // namespace bench
