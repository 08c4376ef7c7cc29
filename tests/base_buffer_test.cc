#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "kvstore/base/buffer.h"

// Looks into one block of memory at the moment it is given back.
namespace {
struct {
  const char* block = nullptr;
  size_t size = 0;
  bool freed = false;
  bool was_zero = false;
} watched;

void free_and_look(void* block) noexcept {
  if (block != nullptr && block == watched.block) {
    watched.freed = true;
    watched.was_zero = std::all_of(watched.block, watched.block + watched.size, [](char c) { return c == 0; });
  }
  std::free(block);
}
}  // namespace

[[gnu::noinline]] void* operator new[](size_t size) {
  void* const block = std::malloc(size);
  return block != nullptr ? block : throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete[](void* block) noexcept { free_and_look(block); }
[[gnu::noinline]] void operator delete[](void* block, size_t) noexcept { free_and_look(block); }

namespace kvstore::base {
namespace {

void watch(const Buffer& buffer) { watched = {buffer.data(), buffer.capacity(), false, false}; }

TEST(Buffer, BeginsEmptyWithoutMemory) {
  Buffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.capacity(), 0u);
  EXPECT_EQ(buffer.view(), "");
  buffer.append("");
  buffer.wipe();
  EXPECT_EQ(buffer.capacity(), 0u);
}

TEST(Buffer, KeepsEveryByteWhileItGrows) {
  Buffer buffer;
  std::string expected;
  for (int i = 0; i < 1'000; ++i) {
    buffer.append(std::to_string(i));
    buffer.append(',');
    expected += std::to_string(i) + ',';
  }
  EXPECT_EQ(buffer.view(), expected);
}

TEST(Buffer, ReservedBytesCountOnlyOnceCommitted) {
  Buffer buffer;
  buffer.append("key");
  char* out = buffer.reserve(100);
  std::copy_n("=value", 6, out);
  EXPECT_EQ(buffer.view(), "key");
  buffer.commit(6);
  EXPECT_EQ(buffer.view(), "key=value");
  EXPECT_GE(buffer.capacity(), 103u);
}

TEST(Buffer, GrowsAtLeastTwofold) {
  Buffer buffer(100);
  EXPECT_EQ(buffer.capacity(), 100u);
  buffer.append(std::string(100, 'x'));
  EXPECT_EQ(buffer.capacity(), 100u);
  buffer.append('y');
  EXPECT_GE(buffer.capacity(), 200u);
  (void)buffer.reserve(10'000);
  EXPECT_GE(buffer.capacity(), 10'101u);
}

TEST(Buffer, ClearKeepsTheCapacity) {
  Buffer buffer(1'000);
  buffer.append("something");
  const char* const data = buffer.data();
  buffer.clear();
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.data(), data);
  EXPECT_EQ(buffer.capacity(), 1'000u);
}

TEST(Buffer, WipeReachesEveryByteOfTheCapacity) {
  Buffer buffer(1'000);
  std::fill_n(buffer.reserve(1'000), 1'000, 'S');  // beyond size(), too
  buffer.commit(3);
  buffer.wipe();
  EXPECT_EQ(std::string_view(buffer.data(), buffer.capacity()), std::string(1'000, '\0'));
}

TEST(Buffer, WipesWhatGrowthLeavesBehind) {
  Buffer buffer(64, Buffer::OnFree::kWipe);
  buffer.append("a secret");
  watch(buffer);
  (void)buffer.reserve(1'000);
  EXPECT_TRUE(watched.freed);
  EXPECT_TRUE(watched.was_zero);
  EXPECT_EQ(buffer.view(), "a secret");
}

TEST(Buffer, WipesWhatDestructionAndAssignmentGiveBack) {
  {
    Buffer buffer(64, Buffer::OnFree::kWipe);
    buffer.append("a secret");
    Buffer moved = std::move(buffer);
    watch(moved);
  }
  EXPECT_TRUE(watched.freed);
  EXPECT_TRUE(watched.was_zero);

  Buffer buffer(64, Buffer::OnFree::kWipe);
  buffer.append("a secret");
  watch(buffer);
  buffer = Buffer(10);
  EXPECT_TRUE(watched.freed);
  EXPECT_TRUE(watched.was_zero);
}

TEST(Buffer, LeavesBytesAloneUnlessToldToWipe) {
  {
    Buffer buffer(64);
    buffer.append("no secret");
    watch(buffer);
  }
  EXPECT_TRUE(watched.freed);
  EXPECT_FALSE(watched.was_zero);
}

TEST(Buffer, MovedFromIsEmpty) {
  Buffer from(10);
  from.append("a");
  Buffer to = std::move(from);
  EXPECT_EQ(to.view(), "a");
  EXPECT_EQ(from.capacity(), 0u);  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move): promised
  to = Buffer();
  EXPECT_EQ(to.capacity(), 0u);
}

TEST(Buffer, RefusesASizeNoMemoryCanHold) {
  Buffer buffer(16);
  buffer.append("0123456789");
  EXPECT_THROW((void)buffer.reserve(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW((void)buffer.reserve(SIZE_MAX - 5), std::bad_alloc);
  EXPECT_EQ(buffer.view(), "0123456789");
}

TEST(BufferDeathTest, CommittingMoreThanWasReservedStopsTheProcess) {
  Buffer buffer(8);
  EXPECT_DEATH(buffer.commit(9), "kvstore: assertion failed: count <= capacity_ - size_, .*buffer.h");
}

}  // namespace
}  // namespace kvstore::base
