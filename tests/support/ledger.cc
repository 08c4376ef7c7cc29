#include "tests/support/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace kvstore::testing {

State contents_of(const engine::Engine& engine) {
  State state;
  Result<Snapshot> snapshot = engine.snapshot();
  if (!snapshot.ok()) return state;
  Result<Scan> scan = snapshot->scan();
  if (!scan.ok()) return state;
  for (const EntryView entry : *scan) {
    state.emplace(entry.key, Value{.bytes = std::string(entry.value),
                                   .is_json = entry.is_json,
                                   .expires_us = entry.expires_us,
                                   .version = entry.version});
  }
  return state;
}

State alive_at(const State& state, int64_t now_us) {
  State alive = state;
  std::erase_if(
      alive, [now_us](const auto& entry) { return entry.second.expires_us != 0 && entry.second.expires_us <= now_us; });
  return alive;
}

namespace {

// Everything in `part` is in `whole`, with the same value.
bool is_subset(const State& part, const State& whole) {
  return std::all_of(part.begin(), part.end(), [&](const auto& entry) {
    const auto at = whole.find(entry.first);
    return at != whole.end() && at->second == entry.second;
  });
}

}  // namespace

// ---- what the workload tells ------------------------------------------------------------------------

void Ledger::intend(State next, bool may_evict) {
  const std::lock_guard lock(mutex_);
  next_ = std::move(next);
  under_way_ = true;
  may_evict_ = may_evict;
}

std::string Ledger::committed(uint64_t last_seq, const State& live, int64_t now_us, bool durable) {
  const std::lock_guard lock(mutex_);
  under_way_ = false;
  const uint64_t before = commits_.size() - 1;
  if (last_seq <= before) return fmt::format("a commit was acknowledged, but the last one is still {}", last_seq);
  if (last_seq > before + 1 && !may_evict_)
    return fmt::format("one commit took the numbers {} to {}", before + 1, last_seq);
  State evicted;  // of the state before
  for (auto it = next_.begin(); it != next_.end();) {
    const bool is_written = it->second.version == 0 || it->second.version > before;
    if (is_written) it->second.version = last_seq;
    const bool is_dead = it->second.expires_us != 0 && it->second.expires_us <= now_us;
    if (!is_dead && !is_written && may_evict_ && !live.contains(it->first)) {
      evicted.insert(*it);
      it = next_.erase(it);
    } else {
      ++it;
    }
  }
  if (alive_at(next_, now_us) != live) return "right after the commit the store shows another state";
  for (uint64_t seq = before + 1; seq < last_seq; ++seq) {
    // Also those that were evicted and written right after.
    commits_.push_back({commits_[before].state, commits_[before].state});
  }
  if (last_seq > before + 1) {
    for (auto& [key, value] : commits_[before].state) {
      const auto now = next_.find(key);
      if (now != next_.end() && now->second == value) {
        for (uint64_t seq = before + 1; seq < last_seq; ++seq) commits_[seq].may_miss.erase(key);
      }
    }
  }
  commits_.push_back({std::move(next_), {}});
  next_ = {};
  acknowledged_ = last_seq;
  if (durable) durable_ = last_seq;
  return "";
}

void Ledger::refused() {
  const std::lock_guard lock(mutex_);
  under_way_ = false;
}

void Ledger::synced() {
  const std::lock_guard lock(mutex_);
  durable_ = acknowledged_;
}

void Ledger::survived(uint64_t last_seq) {
  const std::lock_guard lock(mutex_);
  acknowledged_ = last_seq;
}

void Ledger::rewind(uint64_t last_seq, State live) {
  const std::lock_guard lock(mutex_);
  commits_.resize(std::min<size_t>(commits_.size(), last_seq + 1));
  commits_.back() = {std::move(live), {}};
  acknowledged_ = durable_ = last_seq;
}

uint64_t Ledger::promised(bool power_cut) const {
  const std::lock_guard lock(mutex_);
  return power_cut ? durable_ : acknowledged_;
}

State Ledger::current() const {
  const std::lock_guard lock(mutex_);
  return commits_.back().state;
}

uint64_t Ledger::last_seq() const {
  const std::lock_guard lock(mutex_);
  return commits_.size() - 1;
}

// ---- judging ----------------------------------------------------------------------------------------

bool Ledger::fits(const Commit& commit, const State& found, int64_t now_us) const {
  const State whole = alive_at(commit.state, now_us);
  if (commit.may_miss.empty()) return found == whole;
  State least = whole;
  std::erase_if(least, [&](const auto& entry) { return commit.may_miss.contains(entry.first); });
  return is_subset(found, whole) && is_subset(least, found);
}

// The commit under way is there, or some of the evictions in front of it.
bool Ledger::fits_what_is_under_way(const State& found, int64_t now_us) const {
  if (!under_way_) return false;
  if (!may_evict_) return found == alive_at(next_, now_us);
  const State next = alive_at(next_, now_us);
  if (is_subset(found, alive_at(commits_.back().state, now_us))) return true;
  return is_subset(found, next) && std::all_of(next.begin(), next.end(), [&](const auto& entry) {
           const auto before = commits_.back().state.find(entry.first);
           const bool is_written =
               before == commits_.back().state.end() || !(before->second == entry.second) || entry.second.version == 0;
           return !is_written || found.contains(entry.first);
         });
}

Judgement Ledger::judge(uint64_t last_seq, const State& found, uint64_t promised, int64_t now_us) const {
  const std::lock_guard lock(mutex_);
  if (last_seq < promised) {
    return {Violation::kLostAcknowledged,
            fmt::format("commit {} was acknowledged, the store ends with {}", promised, last_seq)};
  }
  if (last_seq < commits_.size()) {
    return fits(commits_[last_seq], found, now_us) ? Judgement() : classify(last_seq, found, now_us);
  }
  const bool can_be = under_way_ && (last_seq == commits_.size() || may_evict_);
  if (!can_be) return {Violation::kWrongValue, fmt::format("commit {} was never written", last_seq)};
  return fits_what_is_under_way(found, now_us) ? Judgement() : classify(last_seq, found, now_us);
}

std::string Ledger::judge_salvage(const State& found) const {
  const std::lock_guard lock(mutex_);
  return never_written(found);
}

std::string Ledger::never_written(const State& found) const {
  for (const State::value_type& entry : found) {
    const auto holds = [&entry](const State& state) {
      const auto at = state.find(entry.first);
      return at != state.end() && at->second == entry.second;
    };
    if (holds(next_)) continue;
    if (std::any_of(commits_.begin(), commits_.end(), [&](const Commit& c) { return holds(c.state); })) continue;
    return fmt::format("key {} has a value (version {}) that was never committed", entry.first, entry.second.version);
  }
  return "";
}

// Which name the wrong state deserves.
Judgement Ledger::classify(uint64_t last_seq, const State& found, int64_t now_us) const {
  for (size_t seq = 0; seq < commits_.size(); ++seq) {
    if (commits_[seq].may_miss.empty() && found == alive_at(commits_[seq].state, now_us)) {
      return {Violation::kStale, fmt::format("the state is that after commit {}, the store says {}", seq, last_seq)};
    }
  }
  if (std::string wrong = never_written(found); !wrong.empty()) return {Violation::kWrongValue, std::move(wrong)};
  const State& after = last_seq < commits_.size() ? commits_[last_seq].state : next_;
  const State& before =
      last_seq == 0 ? commits_[0].state : commits_[std::min<size_t>(last_seq, commits_.size()) - 1].state;
  const bool is_mixture = [&] {
    const auto same = [&](const std::string& key, const State& state) {
      const auto a = found.find(key);
      const auto b = state.find(key);
      return a == found.end() ? b == state.end() : b != state.end() && a->second == b->second;
    };
    State all = alive_at(after, now_us);
    all.merge(alive_at(before, now_us));
    all.insert(found.begin(), found.end());
    return std::all_of(all.begin(), all.end(), [&](const auto& entry) {
      return same(entry.first, alive_at(after, now_us)) || same(entry.first, alive_at(before, now_us));
    });
  }();
  if (is_mixture)
    return {Violation::kTornBatch, fmt::format("a part of commit {} is there, and a part is not", last_seq)};
  return {Violation::kHole, fmt::format("the store ends with commit {}, but not all before it are there", last_seq)};
}

}  // namespace kvstore::testing
