#include "tests/crash/workload.h"

#include <fmt/format.h>

#include <random>

namespace kvstore::crash {

namespace {

constexpr unsigned kKeysPerThread = 200;

std::string value_of(std::mt19937_64& random, uint64_t number) {
  std::string value = fmt::format("{}:", number);
  const uint64_t shape = random() % 100;
  const size_t size = shape == 0 ? 20'000 : shape < 5 ? 3'000 : random() % 200;
  const bool binary = shape >= 90;
  while (value.size() < size) value.push_back(static_cast<char>(binary ? random() : ' ' + random() % 95));
  return value;
}

}  // namespace

std::string prefix_of(unsigned thread) { return fmt::format("t{}/", thread); }

Operation operation(uint64_t seed, unsigned thread, uint64_t number) {
  std::mt19937_64 random(seed * 1'000'003 + uint64_t{thread} * 10'007 + number * 7'919);
  const auto key = [&] { return fmt::format("{}k{}", prefix_of(thread), random() % kKeysPerThread); };
  Operation op;
  op.durable = random() % 16 == 0;
  const uint64_t choice = random() % 10;
  if (choice < 6) {
    op.changes = {{key(), value_of(random, number), false}};
  } else if (choice < 7) {
    op.kind = Operation::Kind::kPutJson;
    op.changes = {{key(), fmt::format(R"({{"number":{},"text":"é"}})", number), false}};
  } else if (choice < 8) {
    op.kind = Operation::Kind::kDel;
    op.changes = {{key(), "", true}};
  } else {
    op.kind = choice < 9 ? Operation::Kind::kBatch : Operation::Kind::kTransaction;
    for (uint64_t i = 0, n = 2 + random() % 4; i < n; ++i) {
      const bool is_del = random() % 5 == 0;
      op.changes.push_back({key(), is_del ? "" : value_of(random, number), is_del});
    }
  }
  return op;
}

Status perform(Store& store, const Operation& op) {
  WriteOptions options;
  if (op.durable) options.durability = Durability::kSync;
  const Operation::Change& first = op.changes.front();
  switch (op.kind) {
    case Operation::Kind::kPut:
      return store.put(first.key, first.value, options);
    case Operation::Kind::kPutJson:
      return store.put_json(first.key, first.value, options);
    case Operation::Kind::kDel:
      return store.del(first.key, options).status();
    case Operation::Kind::kTransaction:
      return store.transact(
          [&op](Transaction& transaction) -> Status {
            for (const Operation::Change& change : op.changes) {
              (void)transaction.contains(change.key);  // nobody else writes this thread's keys, but evictions
              if (change.is_del) {
                transaction.del(change.key);
              } else {
                transaction.put(change.key, change.value);
              }
            }
            return {};
          },
          /*attempts=*/1000, options);
    case Operation::Kind::kBatch:
      break;
  }
  Batch batch;
  for (const Operation::Change& change : op.changes) {
    if (change.is_del) {
      batch.del(change.key);
    } else {
      batch.put(change.key, change.value);
    }
  }
  return store.write(batch, options);
}

void apply_to(Model& model, const Operation& op) {
  for (const Operation::Change& change : op.changes) {
    if (change.is_del) {
      model.erase(change.key);
    } else {
      model[change.key] = change.value;
    }
  }
}

}  // namespace kvstore::crash
