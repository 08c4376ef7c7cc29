// Is a recorded history of one register linearizable: can every operation be given one instant between its call and its
// return, so that the operations, done one after the other at these instants, would have answered as they did?
//
// The search is that of Wing and Gong, "Testing and Verifying Concurrent Objects" (J. Parallel Distrib. Comput. 17,
// 1993): choose one of the operations nobody must come before, go on with the rest, come back if that fails. With the
// memoisation of Lowe, "Testing for linearizability" (Concurrency and Computation 29, 2017), which A. Athalye's
// Porcupine made known: what is left to do depends only on the set of operations done and the state, so a pair seen
// before is a dead end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvstore::testing {

// One operation on a register. Values are chosen so that none is written twice; 0: absent.
struct RegisterOp {
  enum class Kind : uint8_t {
    kRead,   // answers `seen`
    kWrite,  // `written`
    kCas,    // `written` if the value was `expected`; answers ok
    kSwap,   // `written`; answers `seen`, what was there before
    kErase,  // answers ok: there was something
  };
  Kind kind = Kind::kRead;
  unsigned thread = 0;
  int64_t called_ns = 0;  // of a clock that all threads share; equal times count as overlapping
  int64_t returned_ns = 0;
  uint64_t expected = 0;
  uint64_t written = 0;
  uint64_t seen = 0;
  bool ok = true;
};

// "" when linearizable; else the operations around the place where every order fails. The register begins absent.
[[nodiscard]] std::string explain_unless_linearizable(const std::vector<RegisterOp>& history);

}  // namespace kvstore::testing
