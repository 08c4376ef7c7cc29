// A table with the store's part played in a few lines: numbering commits, and answering with copies.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/table/table.h"

namespace kvstore::testing {

using Contents = std::map<std::string, std::string>;

inline format::Op put_op(std::string_view key, std::string_view value) {
  return {.kind = format::Op::Kind::kPut, .is_json = false, .key = key, .value = value, .expires_us = 0};
}
inline format::Op del_op(std::string_view key) {
  return {.kind = format::Op::Kind::kDel, .is_json = false, .key = key, .value = {}, .expires_us = 0};
}

// One writer's view of a table. Tests that want collisions replace `hash_of`.
struct TestTable {
  table::Table table{0x5eed};
  format::Seq seq = 0;
  uint64_t (*hash_of)(const table::Table&, std::string_view) = [](const table::Table& t, std::string_view key) {
    return t.hash(key);
  };

  [[nodiscard]] uint64_t hash(std::string_view key) const { return hash_of(table, key); }
  void link(const format::Op& op) {
    table::Entry* staged = table.stage(op, hash(op.key));
    table.link(staged, hash(op.key), seq + 1);
  }
  void publish() { table.publish(++seq); }
  void commit(const std::vector<format::Op>& ops) {
    std::vector<table::Entry*> staged;
    for (const format::Op& op : ops) staged.push_back(table.stage(op, hash(op.key)));
    for (size_t i = 0; i < ops.size(); ++i) table.link(staged[i], hash(ops[i].key), seq + 1);
    publish();
  }
  void put(std::string_view key, std::string_view value) { commit({put_op(key, value)}); }
  void del(std::string_view key) { commit({del_op(key)}); }
  // Housekeeping until nothing is left to do (or a reader is in the way).
  void tidy_all() {
    for (int turn = 0; turn < 100 && table.tidy(1 << 20); ++turn) {
    }
  }

  [[nodiscard]] std::optional<std::string> get(std::string_view key) const {
    const table::Table::ReadGuard guard(table);
    const table::Entry* entry = table.find(key, hash(key));
    return entry == nullptr ? std::nullopt : std::optional<std::string>(entry->value());
  }
  [[nodiscard]] Contents contents(const table::Table::Pin& pin, std::string_view prefix = {}) const {
    std::vector<const table::Entry*> found;
    table.collect(pin, {.prefix = prefix}, found);
    Contents contents;
    for (const table::Entry* entry : found) {
      EXPECT_TRUE(contents.emplace(entry->key(), entry->value()).second) << "met twice: " << entry->key();
    }
    return contents;
  }
  [[nodiscard]] Contents contents() const { return contents(table::Table::Pin(table)); }
};

// Checks the table's invariants after every test, unasked.
class TableTest : public ::testing::Test {
 protected:
  void TearDown() override { t.table.check(); }
  TestTable t;
};

}  // namespace kvstore::testing
