#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>

#include "kvstore/batch.h"
#include "tests/support/counting_new.h"

namespace kvstore {
namespace {

using namespace std::chrono_literals;

// "put a=1 ttl=600000000us | del b"
std::string describe(const Batch& batch) {
  std::string text;
  for (size_t i = 0; i < batch.size(); ++i) {
    const Batch::Op op = batch[i];
    text.append(i == 0 ? "" : " | ");
    if (op.kind == Batch::Op::Kind::kDel) {
      text.append("del ").append(op.key).append(op.value);
      continue;
    }
    text.append(op.kind == Batch::Op::Kind::kPutJson ? "put_json " : "put ");
    text.append(op.key).append("=").append(op.value);
    if (op.options.ttl != 0us) text.append(" ttl=" + std::to_string(op.options.ttl.count()) + "us");
    if (op.options.expires_us != 0) text.append(" expires=" + std::to_string(op.options.expires_us));
  }
  return text;
}

TEST(Batch, KeepsEveryOperationInTheOrderItWasAdded) {
  Batch batch;
  batch.put("a", "1");
  batch.put("b", "2", {.ttl = 10min});
  batch.put_json("c", R"({"name":"Ada"})", {.expires_us = 99});
  batch.put_json("d", "[]");
  batch.del("a");
  batch.put("a", "");
  EXPECT_EQ(
      describe(batch),
      R"(put a=1 | put b=2 ttl=600000000us | put_json c={"name":"Ada"} expires=99 | put_json d=[] | del a | put a=)");
  EXPECT_EQ(batch.size(), 6u);
  EXPECT_EQ(batch.bytes(), 6u + 1 + 1 + 14 + 2);
}

TEST(Batch, CopiesTheBytesItIsGiven) {
  Batch batch;
  {
    std::string key("gone\0soon", 9), value(1000, 'v');
    batch.put(key, value);
    key.assign(9, 'x'), value.assign(1000, 'x');
  }
  EXPECT_EQ(batch[0].key, std::string_view("gone\0soon", 9));
  EXPECT_EQ(batch[0].value, std::string(1000, 'v'));
}

TEST(Batch, TakesItsOwnBytesAsInput) {
  // Each addition makes the batch grow under the very views it is given.
  Batch batch;
  batch.put("key", "value");
  for (int i = 0; i < 10; ++i) {
    const Batch::Op last = batch[batch.size() - 1];
    batch.put(last.value, last.key);
  }
  EXPECT_EQ(batch[10].key, "key");
  EXPECT_EQ(batch[10].value, "value");
  EXPECT_EQ(batch[9].key, "value");
}

TEST(Batch, ClearedItIsEmptyAndReusesItsMemory) {
  Batch batch;
  for (int i = 0; i < 100; ++i) batch.put("some key or other", "some value or other");
  batch.clear();
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.bytes(), 0u);
  const auto before = testing::allocations;
  for (int i = 0; i < 100; ++i) batch.put("some key or other", "some value or other");
  EXPECT_EQ((testing::allocations - before).calls, 0u);
  EXPECT_EQ(batch.size(), 100u);
}

TEST(Batch, WithoutMemoryItStaysAsItWas) {
  for (uint64_t allowed = 0; allowed < 3; ++allowed) {
    Batch batch;
    batch.put("a", "1");
    const std::string long_value(1000, 'v');
    bool thrown = false;
    {
      const testing::MemoryRunsOut later(allowed);
      try {
        batch.put("b", long_value);
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
    }
    if (thrown) {
      EXPECT_EQ(describe(batch), "put a=1") << allowed;
      EXPECT_EQ(batch.bytes(), 2u) << allowed;
    } else {
      EXPECT_EQ(describe(batch), "put a=1 | put b=" + long_value) << allowed;
    }
    EXPECT_EQ(thrown, allowed < 2);
  }
}

}  // namespace
}  // namespace kvstore
