// The memory behind json.h: nothing is allocated once it is warm, nothing leaks or is used twice whatever outlives what and
// on whichever thread it ends, nothing of one document can be seen in the next.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/json.h"
#include "kvstore/kvstore.h"
#include "tests/support/counting_new.h"
#include "tests/support/temp_dir.h"

namespace kvstore::testing {
namespace {

constexpr std::string_view kUser =
    R"({"id":12345,"name":"Ada Lovelace, Countess of","email":"ada@example.com","active":true,"score":0.75,)"
    R"("note":"with \"escapes\" that are more than a few","tags":["mathematics","computing","poetry"],"at":{"city":"London"}})";

// ---- Steady state ---------------------------------------------------------------------------------

template <typename Fn>
uint64_t allocations_of(Fn&& fn) {
  for (int i = 0; i < 300; ++i) fn();
  const AllocationCount before = allocations;
  for (int i = 0; i < 300; ++i) fn();
  return (allocations - before).calls;
}

TEST(JsonMemory, ParsingReadingAndWritingAllocateNothing) {
  const Pools pools;
  EXPECT_EQ(allocations_of([&] { ASSERT_TRUE(unmarshal(kUser, pools).ok()); }), 0U);
  EXPECT_EQ(allocations_of([&] { ASSERT_TRUE(extract_field(kUser, "/at/city").ok()); }), 0U);
  EXPECT_EQ(allocations_of([&] { ASSERT_EQ(field_bool(kUser, "active"), true); }), 0U);
  const auto document = unmarshal(kUser, pools);
  EXPECT_EQ(allocations_of([&] { ASSERT_TRUE(marshal(**document, pools).ok()); }), 0U);
  EXPECT_EQ(allocations_of([&] {
              Document made(pools);
              made.edit([](PooledJson& json) {
                json["name"] = "a name that is longer than fifteen bytes";
                for (const char* name : {"a", "b", "c", "d", "e", "f", "g", "h"}) json[name] = {1, 2, 3};
              });
              ASSERT_TRUE(marshal(*made, pools).ok());
            }),
            0U);
}

TEST(JsonMemory, SixteenFieldsFitIntoAFreshDocument) {
  const Pools pools;
  { const Document warm(pools); }
  const AllocationCount before = allocations;
  Document document(pools);
  document.edit([](PooledJson& json) {
    for (char name = 'a'; name < 'a' + 16; ++name) json[std::string_view(&name, 1)] = name;
  });
  EXPECT_EQ((allocations - before).calls, 0U);
  EXPECT_EQ(document->size(), 16U);
}

TEST(JsonMemory, TheStoresCallsAllocateNothing) {
  const TempDir temp;
  auto store = Store::open(temp / "db");
  ASSERT_TRUE(store.ok() && store->put_json("user", kUser).ok());
  EXPECT_EQ(allocations_of([&] { ASSERT_TRUE(store->get_field("user", "/active").has_value()); }), 0U);
  EXPECT_EQ(allocations_of([&] { ASSERT_TRUE(get_json(*store, "user")->has_value()); }), 0U);
  const auto document = get_json(*store, "user");
  EXPECT_EQ(allocations_of([&] { ASSERT_TRUE(put_json(*store, "user", ***document).ok()); }), 0U);
}

TEST(JsonMemory, WithoutMemoryCallsSaySo) {
  const std::string text = "[" + std::string(100'000, ' ') + "\"" + std::string(50'000, 'x') + "\\n\"]";
  for (uint64_t allowed = 0; allowed < 12; ++allowed) {
    const Pools pools;
    bool done = false;
    {
      const MemoryRunsOut later(allowed);
      const auto document = unmarshal(text, pools);
      done = document.ok();
      EXPECT_EQ(document.status().code(), done ? Code::kOk : Code::kOutOfMemory);
    }
    EXPECT_FALSE(allowed == 0 && done);
    EXPECT_TRUE(unmarshal(text, pools).ok());
  }
}

TEST(JsonMemory, WithoutMemoryAllocateGivesNothingAndLaterGoesOn) {
  const Pools pools;
  detail::DocumentMemory memory(pools);
  void* piece = &memory;
  {
    const MemoryRunsOut now;
    piece = memory.allocate(100'000);
  }
  EXPECT_EQ(piece, nullptr);
  EXPECT_NE(memory.allocate(100'000), nullptr);
}

// What containers rely on when they swap and move: any of them may free what another gave.
TEST(JsonMemory, AllAllocatorsAreOne) {
  detail::DocumentAllocator<int> one, other;
  EXPECT_TRUE(one == other);
  other.deallocate(one.allocate(3), 3);
  EXPECT_FALSE(detail::has_heap_pieces());
}

// ---- Who outlives whom ----------------------------------------------------------------------------

TEST(JsonMemory, LeasesOutliveTheStore) {
  const TempDir temp;
  std::optional<Document> document;
  std::optional<PooledText> text;
  {
    auto store = Store::open(temp / "db");
    ASSERT_TRUE(store.ok() && store->put_json("user", kUser).ok());
    document = *std::move(*get_json(*store, "user"));
    text = *marshal(**document, store->pools());
  }
  EXPECT_EQ((*document)->at("at").at("city"), "London");
  EXPECT_TRUE(text->view().starts_with(R"({"active":true)"));
}

TEST(JsonMemory, LeasesEndOnAnyThreadAndThreadsAfterThePools) {
  std::mutex mutex;
  std::condition_variable changed;
  bool pools_are_gone = false;
  std::optional<Pools> pools(std::in_place);
  Document document = *unmarshal(kUser, *pools);
  PooledText text = *marshal(*document, *pools);
  std::thread other([&, document = std::move(document), text = std::move(text), own = *pools]() mutable {
    { const Document mine = *unmarshal(kUser, own); }  // leaves its memory in this thread's place
    own = Pools();
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return pools_are_gone; });
    EXPECT_EQ(document->at("id"), 12345);
    document = Document();  // the last lease but one
  });
  pools.reset();
  {
    const std::lock_guard lock(mutex);
    pools_are_gone = true;
  }
  changed.notify_one();
  other.join();
}

TEST(JsonMemory, CopiesOutliveTheirDocument) {
  PooledJson on_heap;
  nlohmann::json plain;
  {
    const Document document = *unmarshal(kUser, Pools());
    on_heap = *document;
    plain = *document;
  }
  EXPECT_EQ(on_heap["tags"][2], "poetry");
  EXPECT_EQ(plain["tags"][2], "poetry");
  EXPECT_EQ(plain, nlohmann::json::parse(kUser));
}

TEST(JsonMemory, WhatWasMovedInFromTheHeapIsFreed) {  // AddressSanitizer's leak check is the judge
  PooledJson on_heap = {{"a long name to be allocated", {1, 2, {{"deep", "and another long string value"}}}}};
  const Pools pools;
  Document document(pools);
  document.edit([&](PooledJson& json) {
    json["in"] = std::move(on_heap);
    json["own"] = "a string in the document's own memory";
  });
  EXPECT_EQ(document->at("in").size(), 1U);
  EXPECT_TRUE(detail::has_heap_pieces());
  document = Document();
  EXPECT_FALSE(detail::has_heap_pieces());
}

TEST(JsonMemory, EditsOfTwoDocumentsMayNest) {
  const Pools pools;
  Document inner = *unmarshal(kUser, pools), outer(pools);
  outer.edit([&](PooledJson& o) {
    o["before"] = "some text of more than fifteen";
    inner.edit([&](PooledJson& i) { i["added"] = "some text of more than fifteen"; });
    o["copy"] = *inner;
    o["after"] = "some text of more than fifteen";
  });
  inner = Document();
  EXPECT_EQ(outer->at("copy").at("added"), outer->at("after"));
  EXPECT_FALSE(detail::has_heap_pieces());
}

// ---- Pools ----------------------------------------------------------------------------------------

TEST(JsonMemory, WipedOnReturn) {
  for (const bool wipe : {true, false}) {
    const Pools pools({.wipe = wipe});
    const char* secret = nullptr;
    const char* text = nullptr;
    {
      const Document document = *unmarshal(R"(["a secret of more than fifteen bytes"])", pools);
      secret = document->at(0).get_ptr<const PooledJson::string_t*>()->data();
      const PooledText out = *marshal(*document, pools);
      text = out.view().data();
      EXPECT_EQ(std::string_view(secret, 8), "a secret");
    }
    const Document again(pools);  // the same memory, or this test may not look at it
    const PooledText more = *marshal(*again, pools);
    EXPECT_EQ(std::string_view(secret, 8), wipe ? std::string_view("\0\0\0\0\0\0\0\0", 8) : "a secret");
    EXPECT_EQ(std::string_view(text + 8, 4), wipe ? std::string_view("\0\0\0\0", 4) : "et o");
  }
}

TEST(JsonMemory, CountersTellAndIdleMemoryGoesBack) {
  const TempDir temp;
  auto store = Store::open(temp / "db", {.pool_giant_bytes = 256 << 10});
  ASSERT_TRUE(store.ok() && store->put_json("user", kUser).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(get_json(*store, "user").ok());
  const PoolsStats stats = store->stats().pools;
  EXPECT_EQ(stats.documents.leases, 10U);
  EXPECT_EQ(stats.documents.misses, 1U);
  EXPECT_EQ(stats.documents.hits, 9U);
  EXPECT_EQ(stats.buffers.leases, 1U);
  const uint64_t idle = stats.documents.retained_bytes + stats.buffers.retained_bytes + stats.slices.retained_bytes;
  EXPECT_GT(idle, 0U);
  EXPECT_EQ(store->release_idle_memory(), idle);
  EXPECT_EQ(store->stats().pools.documents.retained_bytes, 0U);

  ASSERT_TRUE(unmarshal("[\"" + std::string(300 << 10, 'x') + "\"]", store->pools()).ok());
  EXPECT_EQ(store->stats().pools.documents.dropped, stats.documents.dropped + 1);
  EXPECT_EQ(store->stats().pools.documents.retained_bytes, 0U);
}

// ---- Many threads ---------------------------------------------------------------------------------

// Documents made by some threads are checked and ended by others, while one gives all idle memory back again and again.
TEST(JsonMemoryThreads, DocumentsChangeHands) {
  constexpr int kMakers = 3, kDocumentsEach = 1'500;
  const Pools pools({.giant_bytes = 16 << 10});
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::pair<int, Document>> queue;
  std::atomic<int> wrong{0}, ended{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kMakers; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kDocumentsEach; ++i) {
        const int number = t * kDocumentsEach + i;
        const std::string text =
            std::to_string(number) + std::string(static_cast<size_t>(i % 50 == 0 ? 20'000 : 20), 'x');
        Result<Document> document =
            unmarshal("{\"number\":" + std::to_string(number) + ",\"text\":\"" + text + "\"}", pools);
        if (!document.ok()) ++wrong;
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return queue.size() < 32; });
        queue.emplace_back(number, *std::move(document));
        changed.notify_all();
      }
    });
    threads.emplace_back([&] {
      while (ended < kMakers * kDocumentsEach) {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return !queue.empty() || ended >= kMakers * kDocumentsEach; });
        if (queue.empty()) return;
        auto [number, document] = std::move(queue.front());
        queue.pop_front();
        changed.notify_all();
        lock.unlock();
        if (document->at("number") != number) ++wrong;
        document.edit([](PooledJson& json) { json["seen"] = "by another thread than made it"; });
        const auto text = marshal(*document, pools);
        if (!text.ok() || field_string(text->view(), "text")->find('x') == std::string::npos) ++wrong;
        if (++ended == kMakers * kDocumentsEach) {
          const std::lock_guard again(mutex);
          changed.notify_all();
        }
      }
    });
  }
  std::thread visitor([&, own = pools]() mutable {
    for (int i = 0; ended < kMakers * kDocumentsEach; ++i) {
      i % 2 == 0 ? static_cast<void>(own.release_idle()) : own.age();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  visitor.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pools.stats().documents.leases, static_cast<uint64_t>(kMakers * kDocumentsEach));
}

}  // namespace
}  // namespace kvstore::testing
