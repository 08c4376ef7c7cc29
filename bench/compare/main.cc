// Compares kvstore with other stores, at equal durability, turn and turn about.
//
//     compare [--rounds N] [--first-round N] [--filter REGEX] [--quick] [--full] [--entries N] [--value-bytes N] [--dir DIR] [--out FILE]
//
// --filter chooses by "scenario/peer". 1M entries with values of 100 bytes unless said; --full also takes 10M in the scenario
// fill, --quick 100k for a look whether everything works.
//
// Every round runs every scenario (scenario.h) once for every peer (peer.h), in an order that moves on by one each round, so
// that what else the machine does falls on all alike. Each measurement is a line of JSON in --out, which report.py turns into
// tables and plots. Ends with 1 when a peer failed or a result was wrong; the rest is measured all the same.
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "bench/compare/scenario.h"
#include "bench/compare/timed.h"

namespace bench {
namespace {

struct Arguments {
  unsigned rounds = 5;
  unsigned first_round = 1;  // a run may be made in parts, each with an order of its own
  std::string filter = ".";
  uint64_t entries = 1'000'000;
  size_t value_bytes = 100;
  double seconds_max = 0.4;
  bool full = false;
  std::filesystem::path dir = std::filesystem::temp_directory_path();
  std::filesystem::path out = "compare.jsonl";
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const auto value = [&]() -> std::string {
      if (++i == argc) fail("{} needs a value", name);
      return argv[i];
    };
    if (name == "--rounds") {
      arguments.rounds = static_cast<unsigned>(std::stoul(value()));
    } else if (name == "--first-round") {
      arguments.first_round = static_cast<unsigned>(std::stoul(value()));
    } else if (name == "--filter") {
      arguments.filter = value();
    } else if (name == "--dir") {
      arguments.dir = value();
    } else if (name == "--out") {
      arguments.out = value();
    } else if (name == "--quick") {  // does everything work? The figures say little
      arguments.rounds = 1;
      arguments.entries = 100'000;
      arguments.seconds_max = 0.1;
    } else if (name == "--full") {
      arguments.full = true;
    } else if (name == "--entries") {
      arguments.entries = std::stoull(value());
    } else if (name == "--value-bytes") {
      arguments.value_bytes = std::stoull(value());
    } else {
      fail("unknown option {}; see the head of bench/compare/main.cc", name);
    }
  }
  return arguments;
}

// The rows that survive a power cut are worth nothing on a file system in memory.
void refuse_memory_file_system(const std::filesystem::path& dir) {
  constexpr long kTmpfs = 0x01021994;  // statfs(2)
  struct statfs status {};
  if (::statfs(dir.c_str(), &status) != 0) fail("no directory {}", dir.string());
  if (status.f_type == kTmpfs) fail("{} lies in memory (tmpfs); name a directory on a disk by --dir", dir.string());
}

class Run {
 public:
  explicit Run(Arguments arguments)
      : arguments_(std::move(arguments)),
        keys_(arguments_.entries, 200'000),
        values_(arguments_.value_bytes),
        reading_(keys_, 4),
        out_(std::fopen(arguments_.out.c_str(), "ae")) {
    if (out_ == nullptr) fail("cannot write {}", arguments_.out.string());
    std::string name = (arguments_.dir / "kvstore-compare-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("cannot create {}", name);
    scratch_ = name;
  }
  ~Run() {
    std::filesystem::remove_all(scratch_);
    std::fclose(out_);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  int all() {
    const std::regex filter(arguments_.filter);
    const std::vector<Peer> contestants = peers();
    for (unsigned round = arguments_.first_round; round < arguments_.first_round + arguments_.rounds; ++round) {
      for (const Scenario& scenario : scenarios()) {
        for (size_t n = 0; n < contestants.size(); ++n) {
          const Peer& peer = contestants[(n + round) % contestants.size()];
          const std::string name = fmt::format("{}/{}", scenario.name, peer.name);
          if (scenario.takes(peer) && std::regex_search(name, filter)) one(round, scenario, peer);
        }
      }
    }
    return failures_ == 0 ? 0 : 1;
  }

 private:
  void one(unsigned round, const Scenario& scenario, const Peer& peer) {
    const std::filesystem::path dir = scratch_ / "life";
    std::filesystem::create_directories(dir);
    // Memory that a virtual machine's host has not handed out yet, or has taken back, costs microseconds a page at its first
    // touch: 1 GB of it 5 s instead of 0.3. Whoever comes first would pay for all.
    warm_memory(std::min<uint64_t>(keys_.count() * (400 + values_.bytes() * 4), uint64_t{4} << 30));
    const Clock::time_point begin = Clock::now();
    const Outcome outcome = scenario.run(
        peer,
        {.dir = dir, .keys = keys_, .values = values_, .reading = reading_, .seconds_max = arguments_.seconds_max});
    std::filesystem::remove_all(dir);
    fmt::print("round {}, {}, {} ({}), {:.1f} s\n", round, scenario.name, peer.name, name_of(peer.survives),
               seconds_since(begin));
    if (!outcome.error.empty()) {
      ++failures_;
      fmt::print("  FAILED: {}\n", outcome.error);
    }
    for (const Measure& measure : outcome.measures) {
      fmt::print("  {:<52} {:>14.1f} {}\n", measure.row, measure.value, measure.unit);
      const nlohmann::ordered_json line = {{"round", round},           {"scenario", scenario.name},
                                           {"row", measure.row},       {"survives", name_of(peer.survives)},
                                           {"peer", peer.name},        {"raw", peer.raw},
                                           {"value", measure.value},   {"unit", measure.unit},
                                           {"entries", keys_.count()}, {"value_bytes", values_.bytes()}};
      fmt::print(out_, "{}\n", line.dump());
    }
    std::fflush(nullptr);
  }

  Arguments arguments_;
  Keys keys_;
  Values values_;
  Reading reading_;
  std::FILE* out_;
  std::filesystem::path scratch_;
  unsigned failures_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  using namespace bench;
  const Arguments arguments = parse(argc, argv);
  refuse_memory_file_system(arguments.dir);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // child.cc waits for what a killed child leaves behind
  std::filesystem::remove(arguments.out);
  const int ended = Run(arguments).all();
  if (!arguments.full) return ended;
  Arguments large = arguments;
  large.entries = 10'000'000;
  large.filter = "^fill/";
  return std::max(ended, Run(large).all());
}
