// SeqRanges: a set of sequence numbers that costs memory for its gaps only. Pure, not thread-safe.
#pragma once

#include <iterator>
#include <map>

#include "kvstore/base/assert.h"
#include "kvstore/format/record.h"

namespace kvstore::engine {

class SeqRanges {
 public:
  // False when it is there already. Throws std::bad_alloc.
  bool add(format::Seq seq) {
    KV_ASSERT(seq > 0);  // 0 says that there is none
    const auto next = last_of_.upper_bound(seq);
    const bool touches_next = next != last_of_.end() && next->first == seq + 1;
    if (next != last_of_.begin()) {
      const auto before = std::prev(next);
      KV_ASSERT(before->first <= before->second);
      KV_ASSERT(next == last_of_.end() || before->second + 1 < next->first);  // runs never touch
      if (before->second >= seq) return false;
      if (before->second + 1 == seq) {
        before->second = touches_next ? next->second : seq;
        if (touches_next) last_of_.erase(next);
        return true;
      }
    }
    last_of_.emplace_hint(next, seq, touches_next ? next->second : seq);
    if (touches_next) last_of_.erase(next);
    return true;
  }
  [[nodiscard]] format::Seq highest() const noexcept {
    return last_of_.empty() ? 0 : std::prev(last_of_.end())->second;
  }

  // visit(first, last) for each gap between `first` and `last`, both included, in order. Needs: first > 0.
  template <typename Visit>
  void for_each_gap(format::Seq first, format::Seq last, Visit visit) const {
    KV_ASSERT(first > 0);
    auto range = last_of_.upper_bound(first);
    if (range != last_of_.begin()) --range;
    for (; range != last_of_.end() && range->first <= last && first <= last; ++range) {
      if (range->first > first) visit(first, range->first - 1);
      if (range->second >= first) first = range->second + 1;
    }
    if (first <= last) visit(first, last);
  }

 private:
  std::map<format::Seq, format::Seq> last_of_;  // first -> last of a run without a gap; runs never touch
};

}  // namespace kvstore::engine
