#include "bench/compare/workload.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace bench {
namespace {

constexpr double kExponent = 0.99;

uint64_t fnv1a(uint64_t number) {  // http://www.isthe.com/chongo/tech/comp/fnv/
  uint64_t hash = 0xcbf29ce484222325;
  for (int i = 0; i < 8; ++i, number >>= 8) hash = (hash ^ (number & 0xff)) * 0x100000001b3;
  return hash;
}

double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1.0p-53; }

}  // namespace

Keys::Keys(uint64_t count, uint64_t spare)
    : count_(count),
      spare_(spare),
      absent_(std::min<uint64_t>(count, 1'000'000)),
      bytes_((count + spare + absent_) * kKeyBytes) {
  // An odd factor makes a bijection of the 64-bit numbers: distinct, and in no order when printed.
  for (uint64_t i = 0; i < count + spare + absent_; ++i) {
    uint64_t number = (i + 1) * 0x9e3779b97f4a7c15;
    for (size_t n = kKeyBytes; n-- > 0; number >>= 4) bytes_[i * kKeyBytes + n] = "0123456789abcdef"[number & 15];
  }
  std::mt19937_64 random(1);
  for (uint64_t i = count - 1; i > 0; --i) {
    const uint64_t other = random() % (i + 1);
    std::swap_ranges(bytes_.data() + i * kKeyBytes, bytes_.data() + (i + 1) * kKeyBytes,
                     bytes_.data() + other * kKeyBytes);
  }
}

Values::Values(size_t bytes) : bytes_(bytes), text_(kText + bytes) {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,-_:";
  std::mt19937_64 random(2);
  for (char& c : text_) c = kAlphabet[random() % kAlphabet.size()];
}

Zipfian::Zipfian(uint64_t n)
    : n_(n), zeta_(0), alpha_(1 / (1 - kExponent)), eta_(0), second_(1 + std::pow(0.5, kExponent)) {
  for (uint64_t i = 1; i <= n; ++i) zeta_ += 1 / std::pow(static_cast<double>(i), kExponent);
  eta_ = (1 - std::pow(2.0 / static_cast<double>(n), 1 - kExponent)) / (1 - second_ / zeta_);
}

uint64_t Zipfian::operator()(std::mt19937_64& random) const {
  const double u = uniform(random);
  const double uz = u * zeta_;
  if (uz < 1) return 0;
  if (uz < second_) return 1;
  const double at = static_cast<double>(n_) * std::pow(eta_ * u - eta_ + 1, alpha_);
  return std::min(static_cast<uint64_t>(at), n_ - 1);
}

uint64_t Zipfian::scrambled(std::mt19937_64& random) const { return fnv1a((*this)(random)) % n_; }

Reading::Reading(const Keys& keys, uint64_t seed) : index(keys.count()) {
  constexpr uint64_t kCountMax = 10'000'000;
  std::iota(index.begin(), index.end(), 0);
  std::shuffle(index.begin(), index.end(), std::mt19937_64(seed));
  index.resize(std::min(index.size(), kCountMax));
  bytes.resize(index.size() * kKeyBytes);
  for (size_t i = 0; i < index.size(); ++i) keys[index[i]].copy(bytes.data() + i * kKeyBytes, kKeyBytes);
}

std::vector<Step> ycsb_steps(char workload, const Keys& keys, const Zipfian& zipfian, size_t steps, unsigned thread,
                             unsigned threads, uint64_t first_insert, uint64_t inserts_max) {
  const uint64_t entries = keys.count();
  std::mt19937_64 random(static_cast<uint64_t>(workload) * 1000 + thread);
  std::vector<Step> made(steps);
  std::vector<uint32_t> mine;  // inserted so far, oldest first
  for (Step& step : made) {
    const double dice = uniform(random);
    step.index = static_cast<uint32_t>(zipfian.scrambled(random));
    switch (workload) {
      case 'a':
        step.op = dice < 0.5 ? Op::kRead : Op::kUpdate;
        break;
      case 'b':
        step.op = dice < 0.95 ? Op::kRead : Op::kUpdate;
        break;
      case 'c':
        step.op = Op::kRead;
        break;
      case 'd':
        step.op = dice < 0.95 ? Op::kRead : Op::kInsert;
        break;
      case 'e':
        step.op = dice < 0.95 ? Op::kScan : Op::kInsert;
        break;
      default:
        step.op = dice < 0.5 ? Op::kRead : Op::kReadModifyWrite;
        break;  // f
    }
    if (step.op == Op::kInsert && mine.size() == inserts_max) step.op = workload == 'd' ? Op::kRead : Op::kScan;
    if (step.op == Op::kInsert) {
      step.index = static_cast<uint32_t>(first_insert + thread + mine.size() * threads);
      mine.push_back(step.index);
    } else if (workload == 'd') {
      const uint64_t age = zipfian(random);  // 0: the newest
      step.index = age < mine.size() ? mine[mine.size() - 1 - age]
                                     : static_cast<uint32_t>(entries - 1 - (age - mine.size()) % entries);
    } else if (step.op == Op::kScan) {
      step.length = static_cast<uint8_t>(1 + random() % 100);
    }
    keys[step.index].copy(step.key.data(), kKeyBytes);
  }
  return made;
}

}  // namespace bench
