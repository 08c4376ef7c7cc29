#include "tests/support/store_fuzz.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/crc32c.h"
#include "kvstore/base/scratch.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/inspect.h"
#include "kvstore/engine/repair.h"
#include "kvstore/env/mem_env.h"
#include "kvstore/format/decode.h"
#include "kvstore/wal/store_files.h"
#include "tests/support/format_spelling.h"
#include "tests/support/must.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

using engine::Engine;
using format::LineKind;

constexpr size_t kFilesMax = 8;

bool is_name(std::string_view name) {
  return !name.empty() && name.size() < 64 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

// Puts the checksums in that the input leaves to us.
std::string finished(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    constexpr std::string_view kWhole = "\"whole\":\"~\"";
    if (const size_t at = line.find(kWhole); at != std::string::npos) {
      line.replace(at, kWhole.size(), fmt::format("\"whole\":\"{:08x}\"", base::crc32c(out)));
    }
    constexpr std::string_view kSeal = ",\"crc\":\"~\"}";
    if (line.ends_with(kSeal)) line = sealed(std::string_view(line).substr(0, line.size() - kSeal.size()));
    out += line + '\n';
  }
  return out;
}

Files files_in(std::string_view input) {
  constexpr std::string_view kMark = "== ";
  Files files;
  while (files.size() < kFilesMax && input.starts_with(kMark)) {
    const size_t name_end = std::min(input.find('\n'), input.size());
    const std::string name(input.substr(kMark.size(), name_end - kMark.size()));
    input.remove_prefix(std::min(name_end + 1, input.size()));
    const size_t next = input.starts_with(kMark) ? 0 : std::min(input.find("\n== "), input.size() - 1) + 1;
    const std::string_view body = input.substr(0, next);
    if (is_name(name)) files[name] = finished(body);
    input.remove_prefix(std::min(next, input.size()));
  }
  return files;
}

Files files_of(const env::MemEnv& env) {
  Files files;
  for (const std::string& path : env.files()) {
    if (path.starts_with("db/") && !path.starts_with("db/lost+found/")) files[path.substr(3)] = *env.get_file(path);
  }
  return files;
}

void put_files(env::MemEnv& env, const Files& files) {
  for (const auto& [name, bytes] : files) env.put_file("db/" + name, bytes);
}

// How many stores the headers are of, as far as they can be read.
bool is_of_one_store(const Files& files) {
  std::set<std::string> stores;
  for (const auto& [name, bytes] : files) {
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t end = std::min(bytes.find('\n', begin), bytes.size());
      std::vector<format::Op> ops;
      base::Scratch scratch;
      const format::Line line = format::decode(std::string_view(bytes).substr(begin, end - begin), ops, scratch);
      if (line.kind == LineKind::kSegmentHeader) stores.emplace(line.header.store);
      if (line.kind == LineKind::kSnapshotHeader) stores.emplace(line.snapshot.store);
      if (line.kind == LineKind::kOwner && !line.owner.store.empty()) stores.emplace(line.owner.store);
      begin = end + 1;
    }
  }
  return stores.size() <= 1;
}

// What does not expire, which is what the clock has no say in.
State lasting(State state) {
  std::erase_if(state, [](const auto& item) { return item.second.expires_us != 0; });
  return state;
}

State state_of(const Engine& engine) {
  State state;
  Result<Scan> scan = engine.snapshot()->scan();
  must(scan.ok(), "a scan");
  for (const EntryView e : *scan) {
    must(engine.get(e.key) == e.value, "get() and scan() agree");
    state[std::string(e.key)] = {.bytes = std::string(e.value), .version = e.version, .expires_us = e.expires_us};
  }
  return state;
}

Options options_for(bool read_only) {
  return {.sync_interval = std::chrono::hours(1),
          .create_if_missing = false,
          .read_only = read_only,
          .replay_threads = 1,
          .compact_at_percent = 0};
}

bool is_refusal(Code code) {
  return code == Code::kCorruption || code == Code::kUnsupported || code == Code::kNotAStore || code == Code::kIoError;
}

void check_verify(env::MemEnv& env, const Files& files, const Status& opened) {
  Result<VerifyReport> report = engine::verify(env, "db");
  if (!report.ok()) {
    must(is_refusal(report.status().code()) && !opened.ok(), "verify() fails only where an opening does");
    return;
  }
  const bool complains = report->has(Finding::Severity::kDamage) || report->has(Finding::Severity::kUnsupported);
  for (const Finding& finding : report->findings) must(!finding.message.empty(), "a finding is a sentence");
  if (!opened.ok()) return must(complains, "verify() sees why an opening refuses");
  Result<wal::StoreFiles> names = wal::list_store_files(env, "db");
  const bool has_history =
      names.ok() && (names->snapshots.size() > 1 || names->live_segments().size() < names->segments.size());
  must(!complains || has_history, "verify() has no complaint about a store that opens");
  must(files.empty() || report->last_seq > 0 || report->records == 0, "counts");
}

// Opening for writing gives the same state, takes a write, and gives both back.
void check_writing(const Files& files, const State& expected, uint64_t last_seq) {
  env::MemEnv env;
  put_files(env, files);
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(false));
  must(engine.ok(), engine.status().message());
  must(lasting(state_of(**engine)) == expected && (*engine)->last_seq() == last_seq, "the same for writing");
  const Status put = (*engine)->put("\x01new", "1", false, {});
  must(put.ok() == (last_seq < format::kIntegerMax - 1), put.message());
  must((*engine)->close().ok(), "closing");
  engine = Engine::open(env, "db", options_for(true));
  must(engine.ok(), engine.status().message());
  State again = lasting(state_of(**engine));
  if (put.ok()) must(again["\x01new"].bytes == "1", "the write is there");
  again.erase("\x01new");
  State before = expected;
  before.erase("\x01new");
  must(again == before, "and all the rest");
}

void check_repair(const Files& files, bool opens, const std::optional<State>& expected) {
  env::MemEnv env;
  put_files(env, files);
  Result<RepairPlan> plan = engine::plan_repair(env, "db", {.threads = 1});
  Result<RepairReport> report = engine::repair(env, "db", "new", {.threads = 1});
  must(files_of(env) == files, "a repair only reads the old directory");
  if (!report.ok()) {
    must(is_refusal(report.status().code()) && !report.status().message().empty(), report.status().message());
    must(!Engine::open(env, "new", options_for(true)).ok(), "a refused repair leaves nothing");
    return;
  }
  must(plan.ok() && plan->entries == report->plan.entries && plan->opens == report->plan.opens, "as planned");
  must(report->plan.opens == opens, "repair and opening agree on what opens");
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "new", options_for(true));
  must(engine.ok(), engine.status().message());
  must((*engine)->last_seq() == report->plan.last_seq, "the number it ends with");
  if (expected.has_value()) must(lasting(state_of(**engine)) == *expected, "what a repair keeps");
  Result<VerifyReport> verified = engine::verify(env, "new");
  must(verified.ok() && verified->findings.empty(), "a repaired store is whole");
}

}  // namespace

void fuzz_replay(const uint8_t* data, size_t size) {
  const Files files = files_in({reinterpret_cast<const char*>(data), size});
  env::MemEnv env;
  put_files(env, files);
  Result<std::unique_ptr<Engine>> engine = Engine::open(env, "db", options_for(true));
  must(files_of(env) == files, "reading changes nothing");
  check_verify(env, files, engine.status());
  std::optional<State> expected;
  if (!engine.ok()) {
    must(is_refusal(engine.status().code()) && !engine.status().message().empty(), engine.status().message());
    if (is_of_one_store(files)) expected = lasting(salvaged(files));
  } else {
    expected = lasting(replayed(files, (*engine)->last_seq()));
    must(lasting(state_of(**engine)) == *expected, "what an opening finds");
    check_writing(files, *expected, (*engine)->last_seq());
  }
  check_repair(files, engine.ok(), expected);
}

}  // namespace kvstore::testing
