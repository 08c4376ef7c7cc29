// The one definition of what every contestant is asked to do: keys, values, and the streams of operations.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace bench {

constexpr size_t kKeyBytes = 16;

// Keys by number, in random order: 16 printable bytes, distinct, made before any clock runs. Numbers from `count()` on
// are for workloads that insert; key `absent(i)` is never put, and there are at most a million of them.
class Keys {
 public:
  Keys(uint64_t count, uint64_t spare);
  [[nodiscard]] uint64_t count() const { return count_; }
  [[nodiscard]] uint64_t capacity() const { return count_ + spare_; }
  [[nodiscard]] std::string_view operator[](uint64_t index) const {
    return {bytes_.data() + index * kKeyBytes, kKeyBytes};
  }
  [[nodiscard]] std::string_view absent(uint64_t index) const {
    return {bytes_.data() + (capacity() + index % absent_) * kKeyBytes, kKeyBytes};
  }

 private:
  uint64_t count_;
  uint64_t spare_;
  uint64_t absent_;
  std::vector<char> bytes_;
};

// Values: cuts from 64 KiB of random printable text (letters, digits, space, .,-_ and :, nothing that JSON escapes), which
// stay in the second-level cache and do not compress within a block. Value i is the same at any time, so any reader can
// check it; version 1, 2 ... of it differ.
class Values {
 public:
  explicit Values(size_t bytes);
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] std::string_view at(uint64_t index, uint64_t version = 0) const {
    return {text_.data() + ((index * 7919 + version * 104729) & (kText - 1)), bytes_};
  }

 private:
  static constexpr size_t kText = size_t{64} << 10;
  size_t bytes_;
  std::vector<char> text_;
};

// Numbers below n with a Zipfian distribution of exponent 0.99, 0 the most frequent: the constant and the method of YCSB's
// ZipfianGenerator, which takes them from J. Gray et al., "Quickly generating billion-record synthetic databases",
// SIGMOD 1994, section 3.2. Construction costs n powers.
class Zipfian {
 public:
  explicit Zipfian(uint64_t n);
  [[nodiscard]] uint64_t operator()(std::mt19937_64& random) const;
  // The same, spread over all numbers below n by a hash (FNV-1a, 64 bits, as YCSB's ScrambledZipfianGenerator does).
  [[nodiscard]] uint64_t scrambled(std::mt19937_64& random) const;

 private:
  uint64_t n_;
  double zeta_;
  double alpha_;
  double eta_;
  double second_;  // 1 + 0.5^0.99
};

// YCSB's core workloads, https://github.com/brianfrankcooper/YCSB/wiki/Core-Workloads, as streams made in advance.
enum class Op : uint8_t { kRead, kUpdate, kInsert, kScan, kReadModifyWrite };
struct Step {
  std::array<char, kKeyBytes> key{};  // its bytes stand here, so that finding them costs the measurement no cache miss
  uint32_t index = 0;                 // of the key
  Op op = Op::kRead;
  uint8_t length = 0;  // of a scan, 1 to 100
};
constexpr std::array<char, 6> kYcsb = {'a', 'b', 'c',
                                       'f', 'd', 'e'};  // the order YCSB runs them in: those that insert last

// The keys in another random order, for reading: in the order of insertion an arena would be read from end to end. Of more
// than ten million keys, so many.
struct Reading {
  Reading(const Keys& keys, uint64_t seed);
  [[nodiscard]] uint64_t count() const { return index.size(); }
  [[nodiscard]] std::string_view key(uint64_t i) const { return {bytes.data() + i * kKeyBytes, kKeyBytes}; }
  std::vector<uint32_t> index;  // of the i-th key to read
  std::vector<char> bytes;
};

// `steps` steps for thread `thread` of `threads`. Inserts take the keys first_insert + thread, + threads, ... in turn, at most
// `inserts_max`; "latest" (workload d) reads what this thread inserted, and what was there before.
std::vector<Step> ycsb_steps(char workload, const Keys& keys, const Zipfian& zipfian, size_t steps, unsigned thread,
                             unsigned threads, uint64_t first_insert, uint64_t inserts_max);

}  // namespace bench
