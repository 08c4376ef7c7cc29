// How a command ended: the exit code, and the sentence and advice that main() prints on stderr.
#pragma once

#include <string>
#include <utility>

#include "kvstore/status.h"

namespace kvctl {

// Part of kvctl's interface: scripts branch on these numbers, so they never change.
enum class Exit : int {
  kOk = 0,
  kNo = 1,             // the answer is no: the key is absent, a condition did not hold
  kUsage = 2,          // the command line, or a line of input, asks for something impossible
  kCorruption = 3,     // promised data is damaged
  kLocked = 4,         // another process owns the store
  kIo = 5,             // the operating system refused, or there is no store
  kNewerFormat = 6,    // written by a newer version
  kCompacted = 7,      // the history asked for is no longer kept
  kInterrupted = 130,  // Ctrl-C, SIGTERM or SIGHUP ended it in order, with work or output left (128 + SIGINT)
};

[[nodiscard]] Exit exit_for(kvstore::Code code) noexcept;

struct Outcome {
  Exit exit = Exit::kOk;
  std::string sentence;  // empty: nothing to say
  std::string advice;    // what to do next; empty: the usual step for this kind of failure, if there is one
  kvstore::Code code = kvstore::Code::kOk;
  std::string path;  // the file or directory to blame, where the library names one

  Outcome(Exit how) : exit(how) {}  // NOLINT: conversion is the purpose
  Outcome(Exit how, std::string why, std::string next_step = {})
      : exit(how), sentence(std::move(why)), advice(std::move(next_step)) {}
  Outcome(const kvstore::Status& status);  // NOLINT: conversion is the purpose

  // Replaces the advice.
  Outcome&& advise(std::string next_step) && { return advice = std::move(next_step), std::move(*this); }

  [[nodiscard]] bool ok() const noexcept { return exit == Exit::kOk; }
};

// A slip in the command line or in a line of input.
[[nodiscard]] inline Outcome usage(std::string sentence) { return {Exit::kUsage, std::move(sentence)}; }

// The step to suggest after `outcome`, empty when there is none worth a line.
[[nodiscard]] std::string advice_for(const Outcome& outcome, std::string_view command, std::string_view dir);

}  // namespace kvctl
