#include "tests/support/store_stress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/engine/engine.h"
#include "kvstore/inspect.h"

namespace kvstore::testing {

using engine::Engine;

namespace {

constexpr int kAccounts = 12;
constexpr int64_t kMoneyEach = 1000;
constexpr int kOwnKeys = 40;
constexpr int kRaces = 4;
constexpr uint64_t kEntriesMaxEvicting = 150;
// Writers wait for a follower that is further behind than this. So the history it needs is bounded.
constexpr uint64_t kFollowerLagMax = 20'000;
constexpr uint64_t kHistoryBytes = uint64_t{128} << 20;

// The number that a value begins with.
int64_t number_of(std::string_view value) {
  int64_t number = -1;
  (void)std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

std::string account(uint64_t index) { return fmt::format("account/{:02}", index); }

// Holds one look at the store against the rules, and against earlier looks of the same observer.
class Observer {
 public:
  explicit Observer(bool evicts) : evicts_(evicts) {}

  // "" or which rule is broken.
  std::string look(const Scan& scan, int64_t taken_us) {
    if (scan.seq() < seq_) return fmt::format("the state went back from record {} to {}", seq_, scan.seq());
    seq_ = scan.seq();
    int64_t money = 0;
    int accounts = 0;
    std::string before;
    std::map<std::string, std::array<EntryView, 2>, std::less<>> pairs;
    for (const EntryView entry : scan) {
      const auto wrong = [&](std::string_view what) {
        return fmt::format("{} (version {}, in the state after record {}): {}", entry.key, entry.version, seq_, what);
      };
      if (entry.key <= before) return wrong(fmt::format("stands behind {}", before));
      before = entry.key;
      if (entry.version > seq_) return wrong("is newer than the state");
      if (entry.expires_us != 0 && entry.expires_us <= taken_us) return wrong("has expired");
      if (entry.key.starts_with("account/")) {
        ++accounts;
        money += number_of(entry.value);
      }
      if (entry.key.starts_with("pair/")) {
        pairs[std::string(entry.key.substr(0, entry.key.size() - 1))][entry.key.ends_with('a') ? 0 : 1] = entry;
      }
      if (entry.key.starts_with("own/")) {
        Seen& seen = seen_[before];
        const int64_t number = number_of(entry.value);
        if (entry.version < seen.version || number < seen.number) return wrong("is older than what was seen before");
        if (entry.version == seen.version && number != seen.number) return wrong("has another value than before");
        seen = {entry.version, number};
      }
    }
    for (const auto& [name, pair] : pairs) {
      const bool whole = !pair[0].key.empty() && !pair[1].key.empty();
      if (!whole && !evicts_) return fmt::format("{}: half a batch", name);
      if (whole && (pair[0].version != pair[1].version || pair[0].value != pair[1].value)) {
        return fmt::format("{}: the halves of two batches, {} and {}", name, pair[0].version, pair[1].version);
      }
    }
    if (!evicts_ && (accounts != kAccounts || money != kAccounts * kMoneyEach)) {
      return fmt::format("{} accounts hold {} in the state after record {}", accounts, money, seq_);
    }
    return "";
  }

  std::string look(const Engine& engine) {
    const Result<Snapshot> snapshot = engine.snapshot();
    if (!snapshot.ok()) return std::string(snapshot.status().message());
    const Result<Scan> scan = snapshot->scan();
    if (!scan.ok()) return std::string(scan.status().message());
    return look(*scan, snapshot->taken_us());
  }

 private:
  struct Seen {
    uint64_t version = 0;
    int64_t number = -1;
  };
  const bool evicts_;
  uint64_t seq_ = 0;
  std::map<std::string, Seen, std::less<>> seen_;
};

class Stress {
 public:
  Stress(const StressPlan& plan, std::string dir, StressTally& tally)
      : plan_(plan),
        dir_(std::move(dir)),
        tally_(tally),
        evicts_(plan.seed % 3 == 0),
        keeps_history_(plan.seed % 2 == 0) {
    own_.resize(plan.writers);
  }

  std::string run() {
    for (unsigned life = 0; life < plan_.lives && !stop_; ++life) live(life);
    if (wrong_.empty()) {
      const Result<VerifyReport> report = verify(dir_);
      if (!report.ok()) fail(report.status());
      if (report.ok() && !report->findings.empty()) fail("verify: " + report->findings.front().message);
    }
    return wrong_;
  }

 private:
  using Random = std::mt19937_64;
  // What the thread that owns a key has done to it last.
  struct Own {
    int64_t number = 0;
    bool there = false;
    std::string value{};
  };

  [[nodiscard]] Options options(unsigned life) const {
    Options options;
    options.sync_interval = std::chrono::milliseconds(1 + plan_.seed % 20);
    options.log_io = (plan_.seed / 2 + life) % 2 == 0 ? LogIo::kMapped : LogIo::kWrite;
    options.segment_bytes = uint64_t{8} << (10 + plan_.seed % 4);
    options.compact_min_bytes = uint64_t{128} << 10;
    options.wipe_buffers = plan_.seed % 5 == 0;
    options.keep_history_bytes = keeps_history_ ? kHistoryBytes : 0;
    if (evicts_) {
      options.max_entries = kEntriesMaxEvicting;
      options.max_memory = uint64_t{8} << 20;
      options.when_full = WhenFull::kEvict;
    }
    return options;
  }

  void live(unsigned life) {
    Result<std::unique_ptr<Engine>> opened = Engine::open(env::posix_env(), dir_, options(life));
    if (!opened.ok()) return fail(opened.status());
    Engine& engine = **opened;
    if (life == 0) {
      Batch batch;
      for (int i = 0; i < kAccounts; ++i) batch.put(account(static_cast<uint64_t>(i)), std::to_string(kMoneyEach));
      expect(engine.write(batch, {}));
    }
    check_end(engine);  // what was there at the last close is there now
    followed_ = engine.last_seq();
    done_ = false;

    std::vector<std::thread> writers;
    std::vector<std::thread> others;
    for (unsigned t = 0; t < plan_.writers; ++t) writers.emplace_back([&, t] { write(engine, t, random_of(life, t)); });
    others.emplace_back([&] { read(engine, random_of(life, 101)); });
    others.emplace_back([&] { hold_snapshots(engine, random_of(life, 102)); });
    others.emplace_back([&] { follow(engine); });
    others.emplace_back([&] { open_beside(); });
    others.emplace_back([&] { keep_up(engine, random_of(life, 103)); });
    const auto end = std::chrono::steady_clock::now() + plan_.duration;
    while (!stop_ && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    halt_ = true;
    for (std::thread& thread : writers) thread.join();
    done_ = true;
    for (std::thread& thread : others) thread.join();
    halt_ = false;

    engine.check();
    check_end(engine);
    const Stats stats = engine.stats();
    tally_.records += stats.commits;
    tally_.rotations += stats.rotations;
    tally_.compactions += stats.compactions;
    tally_.evicted += stats.evicted;
    if (stats.broken || !stats.last_error.empty()) fail("the store reports: " + stats.last_error);
    expect(engine.close());
  }

  // ---- writers ------------------------------------------------------------------------------------

  void write(Engine& engine, unsigned t, Random random) {
    std::vector<Own>& own = own_[t];
    own.resize(kOwnKeys);
    while (!halt_ && !stop_) {
      if (engine.last_seq() > followed_ + kFollowerLagMax) {
        std::this_thread::yield();
        continue;
      }
      WriteOptions options;
      if (random() % 64 == 0) options.durability = Durability::kSync;
      if (random() % 16 == 0) options.by = "stress";
      switch (random() % 12) {
        case 0:
          transfer(engine, random, options);
          break;
        case 1: {
          Batch batch;
          const std::string value = std::to_string(random());
          batch.put(fmt::format("pair/{}/a", t), value);
          batch.put(fmt::format("pair/{}/b", t), value);
          if (random() % 4 == 0) batch.del("nobody");
          expect_or_full(engine.write(batch, options));
          break;
        }
        case 2: {
          const Result<int64_t> sum = engine.increment("sum", 1, options);
          expect_or_full(sum.status());
          if (sum.ok()) ++sum_;
          break;
        }
        case 3:
          race(engine, random, options);
          break;
        case 4:
          options.ttl = std::chrono::microseconds(1 + random() % 20'000);
          expect_or_full(engine.put(fmt::format("ttl/{}", random() % 30), "soon gone", false, options));
          break;
        case 5: {
          Own& mine = own[random() % kOwnKeys];
          const Result<bool> gone = engine.del(name_of(t, &mine - own.data()), options);
          expect(gone.status());
          if (gone.ok() && !evicts_ && *gone != mine.there) fail("del() is wrong about whether the key was there");
          mine.there = false;
          break;
        }
        case 6: {
          const std::string key = fmt::format("json/{}", t);
          const std::string number = std::to_string(random() % 1000);
          expect_or_full(engine.put(key, "{\"n\":" + number + "}", true, options));
          const std::optional<std::string> field = engine.get_field(key, "/n");
          if (!evicts_ && field != number) fail(key + " lacks the member that was just written");
          break;
        }
        case 7: {
          const std::string prefix = fmt::format("heap/{}/", t);
          for (int i = 0; i < 3; ++i) expect_or_full(engine.put(prefix + std::to_string(i), "v", false, options));
          expect(engine.erase_prefix(prefix, options).status());
          if (engine.contains(prefix + "1")) fail(prefix + " was erased, and is there");
          break;
        }
        default:
          put_own(engine, t, own, random, options);
      }
    }
  }

  void put_own(Engine& engine, unsigned t, std::vector<Own>& own, Random& random, const WriteOptions& options) {
    Own& mine = own[random() % kOwnKeys];
    const std::string key = name_of(t, &mine - own.data());
    const size_t filler_bytes = random() % 200 == 0 ? 20'000 : random() % 300;
    std::string value = fmt::format("{}|{}", mine.number + 1, std::string(filler_bytes, 'v'));
    const Status put = engine.put(key, value, false, options);
    expect_or_full(put);
    if (!put.ok()) return;
    mine = {.number = mine.number + 1, .there = true, .value = std::move(value)};
    if (!evicts_ && engine.get(key) != mine.value) fail(key + " is not what was just acknowledged");
    if (random() % 20 != 0) return;
    const Result<bool> there = engine.expire(key, std::chrono::hours(1), options);
    expect_or_full(there.status());
    expect_or_full(engine.persist(key, options).status());
  }

  void transfer(Engine& engine, Random& random, const WriteOptions& options) {
    Result<Transaction> txn = engine.begin();
    if (!txn.ok()) return fail(txn.status());
    const std::string from = account(random() % kAccounts);
    const std::string to = account(random() % kAccounts);
    const std::optional<std::string> a = txn->get(from);
    const std::optional<std::string> b = txn->get(to);
    if (!a.has_value() || !b.has_value()) {
      if (!evicts_) fail(from + " or " + to + " is missing");
      return;
    }
    if (from == to) return txn->rollback();
    if (random() % 8 == 0) (void)txn->scan("account/").ok();
    const int64_t amount = static_cast<int64_t>(random() % 50);
    txn->put(from, std::to_string(number_of(*a) - amount));
    txn->put(to, std::to_string(number_of(*b) + amount));
    const Status committed = txn->commit(options);
    if (committed.code() == Code::kConflict) {
      ++conflicts_;
      return;
    }
    expect_or_full(committed);
    ++transactions_;
  }

  void race(Engine& engine, Random& random, WriteOptions options) {
    const size_t index = random() % kRaces;
    const std::string key = fmt::format("race/{}", index);
    const std::optional<Entry> now = engine.get_entry(key);
    options.if_version = now.has_value() ? now->version : 0;
    const int64_t next = (now.has_value() ? number_of(now->value) : 0) + 1;
    const Status put = engine.put(key, std::to_string(next), false, options);
    if (put.code() == Code::kConflict) return;
    expect_or_full(put);
    if (put.ok()) ++races_[index];
  }

  // ---- everybody else -----------------------------------------------------------------------------

  void read(Engine& engine, Random random) {
    Observer observer(evicts_);
    while (!done_ && !stop_) {
      note(observer.look(engine));
      ++snapshots_;
      const std::string a = account(random() % kAccounts);
      const std::string b = name_of(0, static_cast<ptrdiff_t>(random() % kOwnKeys));
      const std::array<std::string_view, 3> keys = {a, b, "nobody"};
      const auto values = engine.multi_get(keys);
      if (values[2].has_value()) fail("a key that nobody wrote is there");
      const Stats stats = engine.stats();
      if (stats.synced_seq > stats.written_seq) fail("stats() shows more synced than written");
    }
  }

  // Old states stay what they were, whatever is overwritten meanwhile.
  void hold_snapshots(Engine& engine, Random random) {
    const auto contents = [](const Scan& scan) {
      std::string all;
      for (const EntryView entry : scan) all += fmt::format("{}={}@{};", entry.key, entry.value, entry.version);
      return all;
    };
    while (!done_ && !stop_) {
      const Result<Snapshot> snapshot = engine.snapshot();
      if (!snapshot.ok()) return fail(snapshot.status());
      const Result<Scan> first = snapshot->scan("own/");
      if (!first.ok()) return fail(first.status());
      const std::string before = contents(*first);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 5000));
      const Result<Scan> second = snapshot->scan("own/");
      if (!second.ok()) return fail(second.status());
      if (contents(*first) != before || contents(*second) != before) fail("a snapshot has changed");
    }
  }

  void follow(const Engine& engine) {
    const uint64_t begin = followed_;
    uint64_t seq = 0;
    std::map<std::string, int64_t, std::less<>> money;
    const auto open = [&]() -> std::unique_ptr<LogCursor> {
      Result<LogCursor> cursor = LogCursor::open(dir_);
      if (!cursor.ok()) fail(cursor.status());
      return cursor.ok() ? std::make_unique<LogCursor>(*std::move(cursor)) : nullptr;
    };
    std::unique_ptr<LogCursor> cursor = open();
    while (cursor != nullptr && !stop_) {
      const bool last_look = done_;
      Result<const LogRecord*> next = cursor->next();
      if (!next.ok() && next.status().code() == Code::kCompacted && !keeps_history_) {
        cursor = open();
        seq = 0;
        money.clear();
        continue;
      }
      if (!next.ok()) return fail(next.status());
      if (*next == nullptr) {
        // All is compacted away, or the follower has caught up.
        if (last_look) {
          if (seq != engine.last_seq() && keeps_history_) fail(fmt::format("the follower ends at record {}", seq));
          return;
        }
        if (!keeps_history_) followed_ = std::max<uint64_t>(followed_, engine.last_seq());
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        continue;
      }
      const LogRecord& record = **next;
      if (seq != 0 && record.seq != seq + 1) return fail(fmt::format("record {} follows {}", record.seq, seq));
      if (seq == 0 && keeps_history_ && record.seq != 1) return fail(fmt::format("the log begins with {}", record.seq));
      seq = record.seq;
      ++seen_by_follower_;
      bool moved = false;
      for (const LogOp& op : record.ops) {
        if (!op.key.starts_with("account/") || op.kind != LogOp::Kind::kPut) continue;
        money[std::string(op.key)] = number_of(op.value);
        moved = true;
      }
      if (moved && money.size() == kAccounts && !evicts_) {
        int64_t sum = 0;
        for (const auto& [key, amount] : money) sum += amount;
        if (sum != kAccounts * kMoneyEach) return fail(fmt::format("after record {} the accounts hold {}", seq, sum));
      }
      if (seq > begin) followed_ = seq;
    }
  }

  void open_beside() {
    Observer observer(evicts_);
    while (!done_ && !stop_) {
      Result<std::unique_ptr<Engine>> reader = Engine::open(
          env::posix_env(), dir_, {.read_only = true, .replay_threads = 1 + static_cast<unsigned>(openings_ % 3)});
      if (!reader.ok()) return fail(reader.status());
      note(observer.look(**reader));
      (*reader)->check();
      if (openings_ % 4 == 0) {
        const Result<VerifyReport> report = verify(dir_);
        if (!report.ok()) return fail(report.status());
        if (report->has(Finding::Severity::kDamage)) return fail("verify: " + report->findings.front().message);
        if (const Result<StoreInfo> summary = info(dir_); !summary.ok()) return fail(summary.status());
      }
      ++openings_;
    }
  }

  void keep_up(Engine& engine, Random random) {
    const std::string backup_dir = dir_ + ".backup";
    while (!done_ && !stop_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 20));
      switch (random() % 4) {
        case 0: {
          const Result<CompactionReport> compacted = engine.compact();
          expect(compacted.status());
          break;
        }
        case 1: {
          const Result<BackupReport> made = engine.backup(backup_dir);
          if (!made.ok()) return fail(made.status());
          Result<std::unique_ptr<Engine>> copy = Engine::open(env::posix_env(), backup_dir, {});
          if (!copy.ok()) return fail(copy.status());
          Observer observer(evicts_);
          note(observer.look(**copy));
          (*copy)->check();
          expect((*copy)->close());
          std::filesystem::remove_all(backup_dir);
          ++tally_.backups;
          break;
        }
        default: {
          const uint64_t at_least = engine.last_seq();
          expect(engine.sync());
          if (engine.stats().synced_seq < at_least) fail("sync() returned before everything was synced");
        }
      }
    }
  }

  // ---- judging ------------------------------------------------------------------------------------

  // Nobody writes now: the newest state is known to the last key, unless keys were evicted.
  void check_end(const Engine& engine) {
    Observer observer(evicts_);
    note(observer.look(engine));
    for (size_t t = 0; t < own_.size(); ++t) {
      for (size_t k = 0; k < own_[t].size(); ++k) {
        const std::string key = name_of(static_cast<unsigned>(t), static_cast<ptrdiff_t>(k));
        const std::optional<std::string> value = engine.get(key);
        if (!value.has_value() && evicts_) continue;
        if (value.has_value() != own_[t][k].there || (value.has_value() && *value != own_[t][k].value)) {
          return fail(key + " is not what its thread wrote last");
        }
      }
    }
    if (evicts_) return;
    if (sum_ != 0 && engine.get("sum") != std::to_string(sum_)) fail(fmt::format("sum is not {}", sum_.load()));
    for (size_t i = 0; i < kRaces; ++i) {
      const std::optional<std::string> value = engine.get(fmt::format("race/{}", i));
      if ((value.has_value() ? number_of(*value) : 0) != races_[i]) fail(fmt::format("race/{} lost a winner", i));
    }
    tally_.snapshots += snapshots_.exchange(0);
    tally_.openings += openings_.exchange(0);
    tally_.followed += seen_by_follower_.exchange(0);
    tally_.transactions += transactions_.exchange(0);
    tally_.conflicts += conflicts_.exchange(0);
  }

  void fail(const std::string& sentence) {
    const std::lock_guard lock(mutex_);
    if (wrong_.empty()) wrong_ = sentence;
    stop_ = true;
  }
  void fail(const Status& status) { fail(std::string(status.message())); }
  void note(const std::string& sentence) {
    if (!sentence.empty()) fail(sentence);
  }
  void expect(const Status& status) {
    if (!status.ok()) fail(status);
  }
  // A store that evicts may refuse a write now and then (DESIGN.md, "Known weak spots").
  void expect_or_full(const Status& status) {
    if (!(evicts_ && status.code() == Code::kOutOfMemory)) expect(status);
  }
  [[nodiscard]] Random random_of(unsigned life, unsigned thread) const {
    return Random(plan_.seed * 1'000'003 + life * 1009 + thread);
  }
  static std::string name_of(unsigned thread, ptrdiff_t index) { return fmt::format("own/{}/{:02}", thread, index); }

  const StressPlan plan_;
  const std::string dir_;
  StressTally& tally_;
  const bool evicts_;
  const bool keeps_history_;  // enough for the follower to see every record

  std::vector<std::vector<Own>> own_;  // each by its thread, and by nobody else while that runs
  std::atomic<int64_t> sum_{0};
  std::array<std::atomic<int64_t>, kRaces> races_{};
  std::atomic<uint64_t> followed_{0};
  std::atomic<bool> halt_{false};  // the writers end
  std::atomic<bool> done_{false};  // the others end, once they have seen the last record
  std::atomic<bool> stop_{false};  // everybody ends: a rule was broken
  std::atomic<uint64_t> snapshots_{0}, openings_{0}, seen_by_follower_{0}, transactions_{0}, conflicts_{0};

  std::mutex mutex_;
  std::string wrong_;
};

}  // namespace

std::string run_stress(const StressPlan& plan, const std::string& dir, StressTally& tally) {
  return Stress(plan, dir, tally).run();
}

}  // namespace kvstore::testing
