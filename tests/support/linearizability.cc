#include "tests/support/linearizability.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <set>
#include <utility>

namespace kvstore::testing {
namespace {

// Does the operation, if its answer fits the state.
bool perform(const RegisterOp& op, uint64_t& state) {
  switch (op.kind) {
    case RegisterOp::Kind::kRead:
      return op.seen == state;
    case RegisterOp::Kind::kWrite:
      state = op.written;
      return true;
    case RegisterOp::Kind::kCas:
      if (op.ok != (state == op.expected)) return false;
      if (op.ok) state = op.written;
      return true;
    case RegisterOp::Kind::kSwap:
      if (op.seen != state) return false;
      state = op.written;
      return true;
    case RegisterOp::Kind::kErase:
      if (op.ok != (state != 0)) return false;
      state = 0;
      return true;
  }
  return false;
}

std::string describe(const RegisterOp& op, int64_t origin_ns) {
  std::string text = fmt::format("  thread {} at {:>9} .. {:>9} ns: ", op.thread, op.called_ns - origin_ns,
                                 op.returned_ns - origin_ns);
  switch (op.kind) {
    case RegisterOp::Kind::kRead:
      return text + fmt::format("read -> {}", op.seen);
    case RegisterOp::Kind::kWrite:
      return text + fmt::format("write {}", op.written);
    case RegisterOp::Kind::kCas:
      return text + fmt::format("cas {} to {} -> {}", op.expected, op.written, op.ok);
    case RegisterOp::Kind::kSwap:
      return text + fmt::format("swap {} -> {}", op.written, op.seen);
    case RegisterOp::Kind::kErase:
      return text + fmt::format("erase -> {}", op.ok);
  }
  return text;
}

// Calls and returns in order of time, as a doubly linked list that operations are lifted out of and put back into.
class Search {
 public:
  explicit Search(const std::vector<RegisterOp>& history) : history_(history), done_(history.size(), false) {
    struct Event {
      int64_t ns;
      bool is_return;
      size_t op;
    };
    std::vector<Event> events;
    for (size_t i = 0; i < history.size(); ++i) {
      events.push_back({history[i].called_ns, false, i});
      events.push_back({history[i].returned_ns, true, i});
    }
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
      return std::pair(a.ns, a.is_return) < std::pair(b.ns, b.is_return);
    });
    nodes_.resize(events.size() + 2);  // the first and the last stand for the ends
    calls_.resize(history.size());
    returns_.resize(history.size());
    for (size_t i = 0; i < events.size(); ++i) {
      nodes_[i + 1] = {.op = events[i].op, .is_return = events[i].is_return, .previous = i, .next = i + 2};
      (events[i].is_return ? returns_ : calls_)[events[i].op] = i + 1;
    }
    nodes_.front().next = 1;
    nodes_.back().previous = events.size();
  }

  std::string run() {
    struct Step {
      size_t op;
      uint64_t state_before;
    };
    std::vector<Step> steps;
    uint64_t state = 0;
    std::set<std::pair<std::vector<bool>, uint64_t>> seen;
    size_t most_done = 0;
    std::vector<bool> best = done_;
    uint64_t best_state = state;
    size_t at = nodes_.front().next;
    while (nodes_.front().next != nodes_.size() - 1) {
      const Node& node = nodes_[at];
      if (!node.is_return) {  // nobody has returned before this one was called: it may be the next
        uint64_t after = state;
        if (perform(history_[node.op], after)) {
          done_[node.op] = true;
          if (seen.emplace(done_, after).second) {
            steps.push_back({node.op, state});
            state = after;
            lift(node.op);
            at = nodes_.front().next;
            if (steps.size() > most_done) {
              most_done = steps.size();
              best = done_;
              best_state = state;
            }
            continue;
          }
          done_[node.op] = false;
        }
        at = nodes_[at].next;
        continue;
      }
      // An operation has returned that no order found a place for: back to the last choice.
      if (steps.empty()) return explain(best, best_state);
      const Step last = steps.back();
      steps.pop_back();
      state = last.state_before;
      done_[last.op] = false;
      put_back(last.op);
      at = nodes_[calls_[last.op]].next;
    }
    return "";
  }

 private:
  struct Node {
    size_t op = 0;
    bool is_return = true;
    size_t previous = 0;
    size_t next = 0;
  };
  void unlink(size_t node) {
    nodes_[nodes_[node].previous].next = nodes_[node].next;
    nodes_[nodes_[node].next].previous = nodes_[node].previous;
  }
  void relink(size_t node) {
    nodes_[nodes_[node].previous].next = node;
    nodes_[nodes_[node].next].previous = node;
  }
  void lift(size_t op) {
    unlink(calls_[op]);
    unlink(returns_[op]);
  }
  void put_back(size_t op) {  // in the opposite order
    relink(returns_[op]);
    relink(calls_[op]);
  }

  [[nodiscard]] std::string explain(const std::vector<bool>& done, uint64_t state) const {
    std::vector<RegisterOp> left;
    for (size_t i = 0; i < history_.size(); ++i) {
      if (!done[i]) left.push_back(history_[i]);
    }
    std::sort(left.begin(), left.end(),
              [](const RegisterOp& a, const RegisterOp& b) { return a.called_ns < b.called_ns; });
    std::string text = fmt::format(
        "not linearizable: after at most {} of {} operations, with the value {}, none of these can be next:\n",
        history_.size() - left.size(), history_.size(), state);
    for (size_t i = 0; i < std::min<size_t>(left.size(), 8); ++i)
      text += describe(left[i], left.front().called_ns) + '\n';
    return text;
  }

  const std::vector<RegisterOp>& history_;
  std::vector<bool> done_;
  std::vector<Node> nodes_;
  std::vector<size_t> calls_, returns_;  // the nodes of each operation
};

}  // namespace

std::string explain_unless_linearizable(const std::vector<RegisterOp>& history) { return Search(history).run(); }

}  // namespace kvstore::testing
