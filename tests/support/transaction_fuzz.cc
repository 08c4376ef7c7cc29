#include "tests/support/transaction_fuzz.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/env/mem_env.h"
#include "tests/support/must.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

using engine::Engine;

constexpr size_t kTransactions = 4;
constexpr size_t kStepsMax = 400;

// What the store held after each commit, and which keys the commit touched.
struct Commit {
  State state;
  std::set<std::string> touched;
};

struct Running {
  std::optional<Transaction> txn;
  size_t seq = 0;                                            // the state it reads
  std::map<std::string, std::optional<std::string>> writes;  // nullopt: deleted
  std::set<std::string> keys_read;
  std::set<std::string> prefixes_read;
};

class Script {
 public:
  explicit Script(std::string_view steps) : steps_(steps) {
    Result<std::unique_ptr<Engine>> opened = Engine::open(env_, "db",
                                                          {.sync_interval = std::chrono::hours(1),
                                                           .log_io = LogIo::kWrite,
                                                           .replay_threads = 1,
                                                           .compact_at_percent = 0});
    must(opened.ok(), "opening");
    engine_ = *std::move(opened);
  }

  void run() {
    for (size_t i = 0; i + 2 < steps_.size() && i < 3 * kStepsMax; i += 3) {
      const auto at = [&](size_t n) { return static_cast<unsigned char>(steps_[i + n]); };
      step(at(0), running_[at(1) % kTransactions], fmt::format("{}{}", at(1) / 4 % 2 == 0 ? "a" : "b", at(1) / 8 % 4),
           std::to_string(at(2)));
      must(engine_->last_seq() == commits_.size() - 1, "as many commits as the model");
    }
    for (Running& one : running_) one = {};
    check_state();
    engine_->check();
    must(engine_->close().ok(), "closing");
    Result<std::unique_ptr<Engine>> again = Engine::open(env_, "db", {.read_only = true, .replay_threads = 1});
    must(again.ok(), again.status().message());
    engine_ = *std::move(again);
    check_state();
  }

 private:
  [[nodiscard]] const State& latest() const { return commits_.back().state; }

  void step(unsigned char what, Running& one, const std::string& key, const std::string& value) {
    if (what % 16 >= 12) return write_beside(what, key, value);
    if (!one.txn.has_value()) begin(one);
    switch (what % 16) {
      case 0:
      case 1:
      case 2:
        return get(one, key);
      case 3:
        return scan(one, "");
      case 4:
        return scan(one, key.substr(0, 1));
      case 5:
      case 6:
      case 7:
        one.txn->put(key, value);
        one.writes[key] = value;
        return;
      case 8:
        one.txn->del(key);
        one.writes[key] = std::nullopt;
        return;
      case 9:
      case 10:
        return commit(one);
      default:
        one.txn->rollback();
        one = {};
        return;
    }
  }

  void write_beside(unsigned char what, const std::string& key, const std::string& value) {
    Commit next{.state = latest(), .touched = {key}};
    const uint64_t seq = commits_.size();
    if (what % 16 == 12) {
      Result<bool> deleted = engine_->del(key, {});
      must(deleted.ok() && *deleted == latest().contains(key), "del() tells whether the key was there");
      if (!*deleted) return;
      next.state.erase(key);
    } else if (what % 16 == 13) {
      (void)engine_->compact().ok();
      return;
    } else {
      must(engine_->put(key, value, false, {}).ok(), "a put beside");
      next.state[key] = {.bytes = value, .version = seq};
    }
    commits_.push_back(std::move(next));
  }

  void begin(Running& one) {
    Result<Transaction> txn = engine_->begin();
    must(txn.ok(), "begin");
    one = {};
    one.txn.emplace(*std::move(txn));
    one.seq = one.txn->seq();
    must(one.seq == commits_.size() - 1, "it reads the newest state");
  }

  // The state of its instant with its own writes on top.
  static State view_of(const Running& one, const State& at) {
    State view = at;
    for (const auto& [key, value] : one.writes) {
      if (value.has_value()) {
        view[key] = {.bytes = *value, .version = 0};
      } else {
        view.erase(key);
      }
    }
    return view;
  }

  void get(Running& one, const std::string& key) {
    const State view = view_of(one, commits_[one.seq].state);
    const std::optional<Entry> found = one.txn->get_entry(key);
    must(found.has_value() == view.contains(key), "a read sees its instant, or its own write");
    if (found.has_value())
      must(found->value == view.at(key).bytes && found->version == view.at(key).version, "with that value");
    if (!one.writes.contains(key)) one.keys_read.insert(key);
  }

  void scan(Running& one, const std::string& prefix) {
    Result<std::vector<Entry>> found = one.txn->scan(prefix);
    must(found.ok(), "a scan");
    State view = view_of(one, commits_[one.seq].state);
    std::erase_if(view, [&](const auto& item) { return !item.first.starts_with(prefix); });
    must(found->size() == view.size(), "a scan sees its instant");
    for (const Entry& entry : *found) {
      must(view.contains(entry.key) && view.at(entry.key).bytes == entry.value, "with those values");
    }
    one.prefixes_read.insert(prefix);
  }

  void commit(Running& one) {
    bool must_conflict = false;  // a read would give another answer now
    bool may_conflict = false;   // something read was touched since
    const State& then = commits_[one.seq].state;
    const auto compare = [&](const std::string& key) {
      const bool differs =
          then.contains(key) != latest().contains(key) || (then.contains(key) && !(then.at(key) == latest().at(key)));
      must_conflict = must_conflict || differs;
      for (size_t i = one.seq + 1; i < commits_.size(); ++i)
        may_conflict = may_conflict || commits_[i].touched.contains(key);
    };
    for (const std::string& key : one.keys_read) compare(key);
    for (const std::string& prefix : one.prefixes_read) {
      for (const char group : {'a', 'b'}) {
        for (int n = 0; n < 4; ++n) {
          if (const std::string key = fmt::format("{}{}", group, n); key.starts_with(prefix)) compare(key);
        }
      }
    }
    const Status result = one.txn->commit();
    const bool is_conflict = result.code() == Code::kConflict;
    must(result.ok() || is_conflict, result.message());
    if (one.writes.empty()) {
      must(result.ok(), "what only reads is the state of one instant");
    } else {
      must(is_conflict || !must_conflict, "a read that is no longer so was not noticed");
      must(!is_conflict || may_conflict, "a conflict without a cause");
    }
    if (result.ok() && !one.writes.empty()) {
      Commit next{.state = latest(), .touched = {}};
      const uint64_t seq = commits_.size();
      for (const auto& [key, value] : one.writes) {
        next.touched.insert(key);
        if (value.has_value()) {
          next.state[key] = {.bytes = *value, .version = seq};
        } else {
          next.state.erase(key);
        }
      }
      commits_.push_back(std::move(next));
    }
    one = {};
  }

  void check_state() {
    State state;
    const Result<Snapshot> snapshot = engine_->snapshot();
    must(snapshot.ok(), "a snapshot");
    Result<Scan> scan = snapshot->scan();
    must(scan.ok(), "a scan");
    for (const EntryView e : *scan) state[std::string(e.key)] = {.bytes = std::string(e.value), .version = e.version};
    must(state == latest(), "the state is the model's");
  }

  std::string_view steps_;
  env::MemEnv env_;
  std::unique_ptr<Engine> engine_;
  std::vector<Commit> commits_ = {{}};
  std::array<Running, kTransactions> running_;
};

}  // namespace

void fuzz_transactions(const uint8_t* data, size_t size) { Script({reinterpret_cast<const char*>(data), size}).run(); }

}  // namespace kvstore::testing
