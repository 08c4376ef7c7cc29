// The checksum behind P4: the published vectors, and every way of computing it against one that is too simple to be wrong.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "kvstore/base/crc32c.h"
#include "tests/support/seed.h"

namespace kvstore::base {
namespace {

// Straight from the definition, a bit at a time.
uint32_t bitwise(std::string_view bytes) {
  uint32_t state = 0xFFFFFFFF;
  for (const char byte : bytes) {
    state ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) != 0 ? 0x82F63B78 : 0);
  }
  return ~state;
}

std::string random_bytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(Crc32c, GivesThePublishedVectors) {
  // RFC 3720, appendix B.4.
  std::string up(32, '\0'), down(32, '\0');
  for (size_t i = 0; i < 32; ++i) up[i] = static_cast<char>(i), down[i] = static_cast<char>(31 - i);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(up), 0x46DD794Eu);
  EXPECT_EQ(crc32c(down), 0x113FDB5Cu);
  // The check value that catalogues of checksums list.
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Crc32c, SealsTheExampleLine) {
  EXPECT_EQ(crc32c(R"({"seq":7,"ts":1763800000123456,"op":"put","key":"user:1","value":"Ada")"), 0x6AC5481Bu);
}

TEST(Crc32c, EveryShortLengthAtEveryAlignmentMatchesTheDefinition) {
  std::mt19937_64 random(testing::seed());
  const std::string bytes = random_bytes(random, 320);
  for (size_t begin = 0; begin < 8; ++begin) {
    for (size_t size = 0; size <= 300; ++size) {
      // A copy of its own, so that AddressSanitizer sees a read beside it.
      const std::string copy = bytes.substr(begin, size);
      const uint32_t expected = bitwise(copy);
      const std::string_view view = std::string_view(bytes).substr(begin, size);
      ASSERT_EQ(crc32c(copy), expected) << "size " << size;
      ASSERT_EQ(crc32c(view), expected) << "size " << size << " at " << begin;
      ASSERT_EQ(crc32c_portable(view), expected) << "size " << size << " at " << begin;
    }
  }
}

TEST(Crc32c, LongRunsMatchTheDefinition) {
  std::mt19937_64 random(testing::seed());
  const std::string bytes = random_bytes(random, 70'000);
  // 3 KiB is one full round of lanes: its neighbourhood, then anything.
  for (size_t size = 3 * 1024 - 30; size <= 3 * 1024 + 30; ++size) {
    ASSERT_EQ(crc32c(bytes.substr(0, size)), bitwise(bytes.substr(0, size))) << "size " << size;
  }
  for (int round = 0; round < 200; ++round) {
    const std::string copy = bytes.substr(random() % 100, random() % 20'000);
    ASSERT_EQ(crc32c(copy), bitwise(copy)) << "size " << copy.size();
    ASSERT_EQ(crc32c_portable(copy), bitwise(copy)) << "size " << copy.size();
  }
}

TEST(Crc32c, ContinuesAChecksumWhereItStopped) {
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 2'000; ++round) {
    const std::string a = random_bytes(random, random() % 400), b = random_bytes(random, random() % 400);
    ASSERT_EQ(crc32c(b, crc32c(a)), bitwise(a + b)) << a.size() << " + " << b.size();
    ASSERT_EQ(crc32c_portable(b, crc32c_portable(a)), bitwise(a + b)) << a.size() << " + " << b.size();
  }
}

TEST(Crc32c, JoiningEqualsReadingItAll) {
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 2'000; ++round) {
    const std::string a = random_bytes(random, random() % 100), b = random_bytes(random, random() % 1'000);
    const uint32_t shift = crc32c_shift(b.size());
    ASSERT_EQ(crc32c_join(crc32c(a), crc32c(b), shift), bitwise(a + b)) << a.size() << " + " << b.size();
    ASSERT_EQ(crc32c_join_portable(crc32c(a), crc32c(b), shift), bitwise(a + b)) << a.size() << " + " << b.size();
  }
}

TEST(Crc32c, JoiningIsTheSameByInstructionAndByTable) {
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 10'000; ++round) {
    const auto a = static_cast<uint32_t>(random()), b = static_cast<uint32_t>(random()),
               shift = static_cast<uint32_t>(random());
    ASSERT_EQ(crc32c_join(a, b, shift), crc32c_join_portable(a, b, shift)) << std::hex << a << ' ' << b << ' ' << shift;
  }
}

TEST(Crc32c, ShiftsOfEverySizeClassAddUp) {
  // Joining with the empty string's checksum shifts alone: two shifts in a row are one shift by the sum. Sizes of
  // up to 40 bits pass through every table and through the period of 2^31 - 1 bytes.
  std::mt19937_64 random(testing::seed());
  for (int round = 0; round < 10'000; ++round) {
    const size_t a = random() >> (24 + random() % 40), b = random() >> (24 + random() % 40);
    const auto crc = static_cast<uint32_t>(random());
    ASSERT_EQ(crc32c_join(crc32c_join(crc, 0, crc32c_shift(a)), 0, crc32c_shift(b)),
              crc32c_join(crc, 0, crc32c_shift(a + b)))
        << a << " + " << b;
  }
}

TEST(Crc32c, JoinsALongTail) {
  std::mt19937_64 random(testing::seed());
  const std::string a = random_bytes(random, 40), b = random_bytes(random, (size_t{1} << 24) + 12'345);
  EXPECT_EQ(crc32c_join(crc32c(a), crc32c(b), crc32c_shift(b.size())), crc32c(b, crc32c(a)));
  EXPECT_EQ(crc32c(b), crc32c_portable(b));
}

TEST(Crc32c, UsesTheInstructionsOfThisProcessor) {
#if defined(__x86_64__)
  EXPECT_EQ(crc32c_is_hardware(), __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"));
#else
  GTEST_SKIP() << "no independent way to ask this processor";
#endif
}

}  // namespace
}  // namespace kvstore::base
