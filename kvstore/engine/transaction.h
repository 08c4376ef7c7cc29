// What a Transaction is made of: an instant to read from, what it has read of that (read_set.h), and what it wants
// written, which goes through Engine::commit() like any other write.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/scratch.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/read_set.h"
#include "kvstore/engine/snapshot.h"
#include "kvstore/transaction.h"

namespace kvstore::engine {

// Contracts in kvstore/transaction.h. Calls that read and put() need: not over.
class TransactionState {
 public:
  static Result<Transaction> begin(Engine& engine);  // throws std::bad_alloc
  explicit TransactionState(Engine& engine);         // throws std::bad_alloc
  ~TransactionState() { rollback(); }
  TransactionState(const TransactionState&) = delete;
  TransactionState& operator=(const TransactionState&) = delete;

  // The entry as the transaction sees it: an own write, one of the table, or neither; valid until the next call.
  struct Found {
    const table::Entry* entry = nullptr;
    std::optional<EntryView> own;
    [[nodiscard]] bool absent() const noexcept { return entry == nullptr && !own.has_value(); }
  };
  Found find(std::string_view key) noexcept;
  Result<std::vector<Entry>> scan(const table::Filter& filter);
  void put(std::string_view key, std::string_view value, bool is_json, const Batch::PutOptions& options) noexcept;
  void del(std::string_view key) noexcept;
  Status commit(const WriteOptions& options);
  void rollback() noexcept;
  [[nodiscard]] format::Seq seq() const noexcept { return seq_; }
  [[nodiscard]] const std::string& conflict_key() const noexcept { return reads_.conflict_key(); }

 private:
  struct Write {
    format::Op::Kind kind = format::Op::Kind::kPut;
    bool is_json = false;
    std::string value{};
    Batch::PutOptions options{};
  };
  using Writes = std::map<std::string, Write, std::less<>>;

  [[nodiscard]] std::optional<EntryView> view_of_own(const Writes::value_type& write) const noexcept;
  Status keep(std::string_view key, std::string_view value, bool is_json, const Batch::PutOptions& options);
  void refuse(std::string_view call, Status why) noexcept;
  Status commit_writes(const WriteOptions& options);
  Status catch_up();

  Engine& engine_;
  std::optional<SnapshotState> instant_;  // nothing: over
  const format::Seq seq_;
  bool watching_ = false;  // the recent writes
  ReadSet reads_;
  Writes writes_;
  Status refused_;  // the first failure of what is not allowed to fail; commit() reports it
};

}  // namespace kvstore::engine
