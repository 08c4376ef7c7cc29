#include "tests/support/gates.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kvstore::testing {

Gates::Gates(CrashEnv& env) {
  env.set_hook([this](const CrashEnv::OpInfo& op) { pass(op); });
}

std::unique_ptr<Gates::Gate> Gates::shut(Place place) {
  std::unique_ptr<Gate> gate(new Gate(*this, std::move(place)));
  const std::lock_guard lock(mutex_);
  gates_.push_back(gate.get());
  return gate;
}

void Gates::pass(const CrashEnv::OpInfo& op) {
  std::unique_lock lock(mutex_);
  const auto found = std::find_if(gates_.begin(), gates_.end(), [&](const Gate* gate) {
    const Place& place = gate->place_;
    return place.op == op.op && place.phase == op.phase && op.path.find(place.path_part) != std::string::npos;
  });
  if (found == gates_.end()) return;
  Gate* const gate = *found;
  gates_.erase(found);
  gate->arrived_ = true;
  changed_.notify_all();
  changed_.wait(lock, [gate] { return gate->is_open_; });
  gate->arrived_ = false;  // it has left: open() may return
  changed_.notify_all();
}

bool Gates::Gate::wait_for_arrival() {
  std::unique_lock lock(gates_.mutex_);
  return gates_.changed_.wait_for(lock, std::chrono::seconds(10), [this] { return arrived_; });
}

void Gates::Gate::open() {
  std::unique_lock lock(gates_.mutex_);
  is_open_ = true;
  gates_.gates_.remove(this);
  gates_.changed_.notify_all();
  gates_.changed_.wait(lock, [this] { return !arrived_; });
}

}  // namespace kvstore::testing
