// Many threads, and checkers that need no trust in the store: histories are recorded from outside and judged
// afterwards.
//   registers    put, compare-and-set, delete, transactions on single keys are linearizable (support/linearizability.h)
//   replay       every transaction read what the log says it must have read (support/serial_replay.h)
//   accounts     the sum of all accounts never differs, however it is read
//   on call      what write skew would break holds at every instant
// Run it under the thread sanitizer as well (make tsan).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/kvstore.h"
#include "tests/support/linearizability.h"
#include "tests/support/seed.h"
#include "tests/support/serial_replay.h"
#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

using std::chrono::microseconds;

// ---- the checkers themselves -----------------------------------------------------------------------

using Kind = RegisterOp::Kind;

RegisterOp op(Kind kind, int64_t called, int64_t returned, uint64_t written, uint64_t seen, bool ok = true,
              uint64_t expected = 0) {
  return {.kind = kind,
          .thread = 0,
          .called_ns = called,
          .returned_ns = returned,
          .expected = expected,
          .written = written,
          .seen = seen,
          .ok = ok};
}

bool linearizable(const std::vector<RegisterOp>& history) { return explain_unless_linearizable(history).empty(); }

TEST(LinearizabilityChecker, KnowsGoodHistoriesFromBadOnes) {
  EXPECT_TRUE(linearizable({}));
  // A read beside a write may see the old value or the new one, but two reads after another not the new one first.
  const RegisterOp one = op(Kind::kWrite, 0, 10, 1, 0);
  const RegisterOp two = op(Kind::kWrite, 20, 60, 2, 0);
  EXPECT_TRUE(linearizable({one, two, op(Kind::kRead, 30, 35, 0, 1), op(Kind::kRead, 40, 45, 0, 2)}));
  EXPECT_FALSE(linearizable({one, two, op(Kind::kRead, 30, 35, 0, 2), op(Kind::kRead, 40, 45, 0, 1)}));
  // A stale read, and one from nowhere.
  EXPECT_FALSE(linearizable({one, two, op(Kind::kRead, 61, 70, 0, 1)}));
  EXPECT_FALSE(linearizable({one, op(Kind::kRead, 11, 12, 0, 7)}));
  // Of two compare-and-sets from the same value one fails; a lost update.
  const RegisterOp first = op(Kind::kCas, 20, 40, 2, 0, true, 1);
  EXPECT_TRUE(linearizable({one, first, op(Kind::kCas, 20, 40, 3, 0, false, 1)}));
  EXPECT_FALSE(linearizable({one, first, op(Kind::kCas, 20, 40, 3, 0, true, 1)}));
  EXPECT_TRUE(linearizable({one, op(Kind::kSwap, 20, 40, 2, 3), op(Kind::kSwap, 20, 40, 3, 1)}));
  EXPECT_FALSE(linearizable({one, op(Kind::kSwap, 20, 40, 2, 1), op(Kind::kSwap, 20, 40, 3, 1)}));
  EXPECT_TRUE(linearizable({one, op(Kind::kErase, 11, 12, 0, 0, true), op(Kind::kErase, 13, 14, 0, 0, false)}));
  EXPECT_FALSE(linearizable({one, op(Kind::kErase, 11, 12, 0, 0, true), op(Kind::kErase, 13, 14, 0, 0, true)}));
}

// ---- on a store ----------------------------------------------------------------------------------

class SerializabilityTest : public StoreTest {
 protected:
  using Random = std::mt19937_64;

  // Runs `body(thread, random)` on each of `count` threads until all return.
  template <typename Body>
  void on_threads(unsigned count, Body body) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < count; ++t) {
      threads.emplace_back([this, t, &body] {
        Random random(seed() + t);
        body(t, random);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  // Lets the others in now and then: on few cores short transactions would hardly ever overlap.
  static void linger(Random& random) {
    if (random() % 4 == 0) std::this_thread::yield();
    if (random() % 16 == 0) std::this_thread::sleep_for(microseconds(random() % 50));
  }
};

// Opens the histories of all threads on one key, so that each may be checked for itself: linearizability is local.
TEST_F(SerializabilityTest, SingleKeysAreLinearizable) {
  constexpr unsigned kThreads = 4;
  constexpr unsigned kKeys = 3;
  constexpr unsigned kOps = 1500;
  open({.segment_bytes = 64 << 10});
  const auto now_ns = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
  std::array<std::array<std::vector<RegisterOp>, kKeys>, kThreads> recorded;
  on_threads(kThreads, [&](unsigned thread, Random& random) {
    for (uint64_t i = 1; i <= kOps; ++i) {
      const size_t index = random() % kKeys;
      const std::string key = fmt::format("k{}", index);
      const uint64_t value = i * kThreads + thread;
      const std::string text = std::to_string(value);
      const auto number = [](const std::optional<std::string>& found) {
        return found.has_value() ? std::stoull(*found) : 0;
      };
      RegisterOp done{.thread = thread};
      std::optional<Entry> current;
      const auto choice = random() % 10;
      if (choice >= 7) current = store_->get_entry(key);  // for the compare-and-set; not part of the history
      linger(random);
      done.called_ns = now_ns();
      if (choice < 3) {
        done.kind = Kind::kRead;
        done.seen = number(store_->get(key));
      } else if (choice < 4) {
        done.kind = Kind::kWrite;
        done.written = value;
        ASSERT_TRUE(store_->put(key, text).ok());
      } else if (choice < 5) {
        done.kind = Kind::kErase;
        Result<bool> found = store_->del(key);
        ASSERT_TRUE(found.ok());
        done.ok = *found;
      } else if (choice < 7) {
        done.kind = Kind::kSwap;
        done.written = value;
        const Status s = store_->transact(
            [&](Transaction& txn) -> Status {
              done.seen = number(txn.get(key));
              linger(random);
              txn.put(key, text);
              return {};
            },
            1000);
        ASSERT_TRUE(s.ok()) << s.message();
      } else {
        done.kind = Kind::kCas;
        done.written = value;
        done.expected = current.has_value() ? std::stoull(current->value) : 0;
        const Status s = store_->put(key, text, {.if_version = current.has_value() ? current->version : 0});
        ASSERT_TRUE(s.ok() || s.code() == Code::kConflict);
        done.ok = s.ok();
      }
      done.returned_ns = now_ns();
      recorded[thread][index].push_back(done);
    }
  });
  for (size_t key = 0; key < kKeys; ++key) {
    std::vector<RegisterOp> history;
    for (const auto& of_thread : recorded) history.insert(history.end(), of_thread[key].begin(), of_thread[key].end());
    EXPECT_EQ(explain_unless_linearizable(history), "") << "key k" << key;
  }
}

TEST_F(SerializabilityTest, EveryTransactionReadWhatTheLogSaysItMustHaveRead) {
  constexpr unsigned kWriters = 4;
  constexpr unsigned kThreads = kWriters + 2;
  constexpr unsigned kTransactions = 600;
  open({.segment_bytes = 64 << 10});
  std::array<std::vector<SerialTransaction>, kThreads> recorded;
  std::atomic<unsigned> running{kWriters};
  const auto random_key = [](Random& random) {
    const auto choice = random() % 8;
    return choice < 3   ? fmt::format("a/{}", random() % 6)
           : choice < 6 ? fmt::format("b/{}", random() % 6)
                        : fmt::format("ttl/{}", random() % 3);  // only these expire
  };
  const auto write = [](auto& target, const std::string& key, const std::string& value, Random& random) {
    if (random() % 3 == 0) return target.del(key);
    if (!key.starts_with("ttl/")) return target.put(key, value);
    return target.put(key, value, {.ttl = microseconds(50 + random() % 1000)});
  };
  const auto read = [&](Transaction& txn, std::vector<SerialRead>& reads, Random& random, bool may_expire) {
    const std::string key = random_key(random);
    if (key.starts_with("ttl/") && !may_expire) return;
    if (random() % 3 == 0) {
      const std::string prefix = key.substr(0, key.find('/') + 1);
      Result<std::vector<Entry>> found = txn.scan(prefix);
      ASSERT_TRUE(found.ok());
      reads.push_back({.is_scan = true, .key = prefix, .seen = spell(*found)});
    } else {
      reads.push_back({.is_scan = false, .key = key, .seen = spell(txn.get_entry(key))});
    }
  };
  on_threads(kThreads, [&](unsigned thread, Random& random) {
    for (unsigned i = 0; thread < kWriters ? i < kTransactions : running > 0; ++i) {
      SerialTransaction record{.tag = fmt::format("{}/{}", thread, i)};
      if (thread == kWriters) {  // others who write, without transactions
        Batch batch;
        for (auto n = 1 + random() % 2; n-- > 0;) write(batch, random_key(random), record.tag, random);
        ASSERT_TRUE(store_->write(batch).ok());
        if (random() % 64 == 0) {
          ASSERT_TRUE(store_->erase_prefix("a/").ok());
        }
        std::this_thread::sleep_for(microseconds(random() % 100));
        continue;
      }
      Result<Transaction> txn = store_->begin();
      ASSERT_TRUE(txn.ok());
      linger(random);
      for (auto n = 1 + random() % 3; n-- > 0;) {
        read(*txn, record.reads, random, /*may_expire=*/thread < kWriters);
        linger(random);
      }
      if (thread < kWriters) {
        for (auto n = 1 + random() % 2; n-- > 0;) write(*txn, random_key(random), record.tag, random);
      } else {
        record.instant = txn->seq();
      }
      const Status s = txn->commit({.by = record.tag});
      ASSERT_TRUE(s.ok() || s.code() == Code::kConflict) << s.message();
      record.committed = s.ok();
      recorded[thread].push_back(std::move(record));
    }
    if (thread < kWriters) --running;
  });
  std::vector<SerialTransaction> all;
  size_t refused = 0;
  for (auto& of_thread : recorded) {
    for (SerialTransaction& transaction : of_thread) {
      if (!transaction.committed) ++refused;
      all.push_back(std::move(transaction));
    }
  }
  EXPECT_EQ(replay_and_compare(dir(), all), "");
  // The fixture's clock, which it opens the store again with: what has expired shall stay so.
  now_us = std::chrono::duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  // Both happened, or the test has no teeth.
  EXPECT_GT(refused, all.size() / 100);
  EXPECT_LT(refused, all.size() * 9 / 10);
}

TEST_F(SerializabilityTest, TheSumOfAllAccountsNeverDiffers) {
  constexpr unsigned kMovers = 3;
  constexpr int kAccounts = 24;
  constexpr int64_t kSum = int64_t{100} * kAccounts;
  open({.segment_bytes = 32 << 10});
  for (int i = 0; i < kAccounts; ++i) ASSERT_TRUE(store_->put(fmt::format("account/{}", i), "100").ok());
  std::atomic<unsigned> running{kMovers};
  const auto sum_of = [](const auto& entries) {
    int64_t sum = 0;
    for (const auto& entry : entries) sum += std::stoll(std::string(entry.value));
    return sum;
  };
  on_threads(kMovers + 2, [&](unsigned thread, Random& random) {
    if (thread < kMovers) {
      // An account that is empty is closed: so scans see keys come and go.
      const auto set = [](Transaction& txn, const std::string& key, int64_t money) {
        money == 0 ? txn.del(key) : txn.put(key, std::to_string(money));
      };
      for (int i = 0; i < 600; ++i) {
        if (random() % 4 ==
            0) {  // every account at once: the more writes a commit has, the longer it could be seen half done
          const auto shift = static_cast<int>(1 + random() % (kAccounts - 1));
          const Status s = store_->transact(
              [&](Transaction& txn) -> Status {
                Result<std::vector<Entry>> found = txn.scan("account/");
                if (!found.ok()) return found.status();
                for (const Entry& entry : *found) txn.del(entry.key);
                for (const Entry& entry : *found) {
                  const int number = std::stoi(entry.key.substr(entry.key.find('/') + 1));
                  txn.put(fmt::format("account/{}", (number + shift) % kAccounts), entry.value);
                }
                return {};
              },
              1000);
          ASSERT_TRUE(s.ok()) << s.message();
          continue;
        }
        const std::string from = fmt::format("account/{}", random() % kAccounts);
        const std::string to = fmt::format("account/{}", random() % kAccounts);
        if (from == to) continue;
        const auto amount = static_cast<int64_t>(random() % 50);
        const Status s = store_->transact(
            [&](Transaction& txn) -> Status {
              const auto balance = [&](const std::string& key) { return std::stoll(txn.get(key).value_or("0")); };
              const int64_t had = balance(from);
              linger(random);
              const int64_t moved = std::min(had, amount);
              set(txn, to, balance(to) + moved);
              set(txn, from, had - moved);
              return {};
            },
            1000);
        ASSERT_TRUE(s.ok()) << s.message();
      }
      --running;
      return;
    }
    while (running > 0) {
      if (thread == kMovers) {
        Result<Scan> scan = store_->scan("account/");
        ASSERT_TRUE(scan.ok());
        ASSERT_EQ(sum_of(*scan), kSum) << "by a scan, at " << scan->seq();
        Result<Snapshot> snapshot = store_->snapshot();
        ASSERT_TRUE(snapshot.ok());
        int64_t sum = 0;
        for (int i = 0; i < kAccounts; ++i)
          sum += std::stoll(snapshot->get(fmt::format("account/{}", i)).value_or("0"));
        ASSERT_EQ(sum, kSum) << "by a snapshot, at " << snapshot->seq();
        if (random() % 64 == 0) {
          ASSERT_TRUE(store_->compact().ok());
        }
        continue;
      }
      // By a transaction, half of which also write what they found: these are checked at their commit.
      Result<Transaction> txn = store_->begin();
      ASSERT_TRUE(txn.ok());
      Result<std::vector<Entry>> found = txn->scan("account/");
      ASSERT_TRUE(found.ok());
      ASSERT_EQ(sum_of(*found), kSum) << "by a transaction, at " << txn->seq();
      if (random() % 2 == 0) txn->put("sum", std::to_string(sum_of(*found)));
      const Status s = txn->commit();
      ASSERT_TRUE(s.ok() || s.code() == Code::kConflict) << s.message();
    }
  });
  EXPECT_EQ(sum_of(*store_->scan("account/")), kSum);
}

// Each may leave only while the other is there. Under mere snapshot isolation both would leave at once.
TEST_F(SerializabilityTest, SomebodyIsAlwaysOnCall) {
  constexpr unsigned kDoctors = 2;
  constexpr int kTurns = 1500;
  open({.segment_bytes = 64 << 10});
  for (const char* key : {"on call/0", "on call/1"}) ASSERT_TRUE(store_->put(key, "").ok());
  std::atomic<unsigned> running{kDoctors};
  on_threads(kDoctors + 1, [&](unsigned thread, Random& random) {
    if (thread == kDoctors) {
      while (running > 0) {
        Result<Scan> there = store_->scan("on call/");
        ASSERT_TRUE(there.ok());
        ASSERT_GE(there->size(), 1U) << "nobody is, at " << there->seq();
      }
      return;
    }
    const std::string me = fmt::format("on call/{}", thread);
    const std::string other = fmt::format("on call/{}", 1 - thread);
    for (int turn = 0; turn < kTurns; ++turn) {
      const bool by_scan = random() % 2 == 0;
      const Status left = store_->transact([&](Transaction& txn) -> Status {
        const bool others = by_scan ? txn.scan("on call/")->size() == 2 : txn.contains(other);
        linger(random);
        if (others) txn.del(me);
        return {};
      });
      ASSERT_TRUE(left.ok() || left.code() == Code::kConflict) << left.message();
      linger(random);
      ASSERT_TRUE(store_->put(me, "").ok());
    }
    --running;
  });
}

}  // namespace
}  // namespace kvstore::testing
