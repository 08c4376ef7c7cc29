// Many threads on one store: what is acknowledged is visible, batches are whole, reads go on, the log stays JSON at
// every moment. Made for the thread sanitizer; run it there (make tsan).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/store_test.h"

namespace kvstore::testing {
namespace {

class ThreadsTest : public StoreTest {
 protected:
  // Runs `body(thread)` on each of `count` threads until all return. The first one to return, also by a failed
  // assertion, sets done_.
  template <typename Body>
  void on_threads(int count, Body body) {
    done_ = false;
    std::vector<std::thread> threads;
    for (int t = 0; t < count; ++t) {
      threads.emplace_back([=, this] {
        body(t);
        done_ = true;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  std::atomic<bool> done_{false};
};

TEST_F(ThreadsTest, AnAcknowledgedWriteIsVisibleToEveryoneAtOnce) {
  open({.segment_bytes = 16 << 10});
  std::atomic<uint64_t> acknowledged{0};
  on_threads(3, [&](int thread) {
    if (thread == 0) {
      for (uint64_t i = 1; i <= 3000; ++i) {
        ASSERT_TRUE(store_->put("counter", std::to_string(i)).ok());
        acknowledged = i;
      }
      return;
    }
    while (!done_) {
      const uint64_t at_least = acknowledged;
      const std::optional<std::string> seen = store_->get("counter");
      if (at_least > 0) {
        ASSERT_TRUE(seen.has_value());
        ASSERT_GE(std::stoull(*seen), at_least);
      }
    }
  });
}

TEST_F(ThreadsTest, NobodyEverSeesHalfABatch) {
  open({.segment_bytes = 16 << 10});
  // Each batch moves the token: exactly one of the two keys exists, and `sum` counts the moves.
  ASSERT_TRUE(store_->put("left", "0").ok());
  on_threads(4, [&](int thread) {
    if (thread == 0) {
      for (int i = 1; i <= 2000; ++i) {
        Batch batch;
        batch.put(i % 2 == 0 ? "left" : "right", std::to_string(i));
        batch.del(i % 2 == 0 ? "right" : "left");
        batch.put("sum", std::to_string(i));
        ASSERT_TRUE(store_->write(batch).ok());
      }
      return;
    }
    while (!done_) {
      if (thread == 1) {
        Result<Scan> scan = store_->scan();
        ASSERT_TRUE(scan.ok());
        const bool begun = scan->size() == 2;
        ASSERT_TRUE(begun || scan->size() == 1) << scan->size();
        if (begun) {
          ASSERT_EQ((*scan)[0].value, (*scan)[1].value);
          ASSERT_EQ((*scan)[0].version, (*scan)[1].version);
        }
      } else {
        // Single gets, one after the other: the later one is never older than the earlier.
        const std::optional<Entry> sum = store_->get_entry("sum");
        const std::optional<Entry> left = store_->get_entry("left");
        if (sum.has_value() && left.has_value() && std::stoi(sum->value) % 2 == 0) {
          ASSERT_GE(left->version, sum->version);
        }
      }
    }
  });
}

TEST_F(ThreadsTest, AllCallsAtOnceLeaveAWholeStore) {
  for (const LogIo io : {LogIo::kMapped, LogIo::kWrite}) {
    open({.sync_interval = std::chrono::milliseconds(1), .log_io = io, .segment_bytes = 8 << 10});
    on_threads(6, [&](int thread) {
      for (int i = 0; i < 300; ++i) {
        const std::string key = fmt::format("{}/{}", thread % 3, i % 40);
        switch ((i + thread) % 10) {
          case 0: {
            Batch batch;
            batch.put(key, "batch");
            batch.put_json(key + "/json", "{\"i\":" + std::to_string(i) + "}");
            ASSERT_TRUE(store_->write(batch).ok());
            break;
          }
          case 1:
            ASSERT_TRUE(store_->del(key).ok());
            break;
          case 2:
            ASSERT_TRUE(store_->increment("n").ok());
            break;
          case 3:
            ASSERT_TRUE(store_->put(key, "durable", {.durability = Durability::kSync}).ok());
            break;
          case 4:
            ASSERT_TRUE(store_->scan(std::to_string(thread)).ok());
            break;
          case 5:
            if (i % 100 == 5) {
              ASSERT_TRUE(store_->erase_prefix("2/").ok());
            }
            break;
          case 6: {
            const std::vector<std::string_view> keys = {key, "n", "none"};
            ASSERT_EQ(store_->multi_get(keys).size(), 3U);
            break;
          }
          case 7:
            (void)store_->stats();
            (void)store_->get_field(key + "/json", "/i");
            break;
          default:
            ASSERT_TRUE(store_->put(key, std::string(static_cast<size_t>(i), 'v')).ok());
        }
      }
    });
    EXPECT_EQ(store_->get("n"), std::to_string(180 * (io == LogIo::kMapped ? 1 : 2)));
  }
}

TEST_F(ThreadsTest, ReadersBesideAWriterSeeEveryRecordInOrder) {
  open({.segment_bytes = 8 << 10});
  on_threads(3, [&](int thread) {
    if (thread == 0) {
      for (int i = 0; i < 3000; ++i) ASSERT_TRUE(store_->put(fmt::format("k{}", i % 100), std::string(100, 'v')).ok());
      return;
    }
    if (thread == 1) {  // a follower: every record once, none missing, across rotations
      Result<LogCursor> cursor = LogCursor::open(dir());
      ASSERT_TRUE(cursor.ok());
      uint64_t seq = 0;
      while (seq < 3000) {
        const bool was_done = done_;
        Result<const LogRecord*> record = cursor->next();
        ASSERT_TRUE(record.ok()) << record.status().message();
        if (*record == nullptr) {
          ASSERT_FALSE(was_done) << "no record behind " << seq << ", though 3000 are acknowledged";
          continue;
        }
        ASSERT_EQ((*record)->seq, ++seq);
      }
      return;
    }
    while (!done_) {  // and whole openings
      Result<Store> reader = Store::open(dir(), {.read_only = true});
      ASSERT_TRUE(reader.ok()) << reader.status().message();
      ASSERT_EQ(reader->stats().entries, std::min<uint64_t>(reader->last_seq(), 100));
      Result<VerifyReport> report = verify(dir());
      ASSERT_TRUE(report.ok());
      ASSERT_FALSE(report->has(Finding::Severity::kDamage)) << report->findings[0].message;
      ASSERT_EQ(first_line_that_is_no_json(dir(), /*last_line_may_be_torn=*/true), "");
    }
  });
}

}  // namespace
}  // namespace kvstore::testing
