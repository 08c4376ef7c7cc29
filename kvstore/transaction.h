// Transaction: read, decide, write, as if nobody else were there (serializable).
//
//     kvstore::Status moved = store.transact([](kvstore::Transaction& txn) -> kvstore::Status {
//       const int from = to_int(txn.get("account:1")), to = to_int(txn.get("account:2"));
//       if (from < 10) return {kvstore::Code::kInvalidArgument, "not enough money"};
//       txn.put("account:1", std::to_string(from - 10));
//       txn.put("account:2", std::to_string(to + 10));
//       return {};
//     });
//
// Optimistic: nothing is locked while it runs. It reads the state of one instant, with its own writes on top, and keeps
// those writes to itself. commit() checks that all it has read is still so, keys found absent and whole scans included,
// and then writes all or nothing (P3). If something has changed it writes nothing and says kConflict: run it again on a
// new transaction, as Store::transact() does. Somebody else has got ahead then, so the store as a whole makes progress.
//
// What is promised: the transactions that wrote, and all single writes, take effect in the order of their sequence
// numbers, each as if it had read the state right before its own. One that only read saw the state after seq(). Expiry
// is part of that: a key that was alive when read and has expired by the commit's time stamp is a conflict. (One that
// only read judges expiry by the clock at begin().)
//
// Cost: a read copies the key into the set of what was read, and commit() looks each up again while it holds up other
// writers, 0.2 us a key. A scan visits every key of the store once, and from a transaction's first scan on, until it
// ends, the keys of all commits are noted, up to 16 MiB: a transaction that has scanned and has seen more go by is
// refused, with kConflict. Overwritten values stay in memory while a transaction that could see them stands, so be
// brief.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/batch.h"
#include "kvstore/options.h"
#include "kvstore/snapshot.h"
#include "kvstore/status.h"

namespace kvstore::engine {
class TransactionState;
}  // namespace kvstore::engine

namespace kvstore::inline v1 {

// Made by Store::begin(). Movable; for one thread at a time. Needs: the Store outlives it. Destroying one that has not
// been committed rolls it back.
//
// It is over after commit(), whatever that returned, and after rollback(). Needs, for all calls but seq(),
// conflict_key(), commit() and rollback(): that it is not over.
class Transaction {
 public:
  Transaction(Transaction&&) noexcept;
  Transaction& operator=(Transaction&&) noexcept;
  ~Transaction();

  // ---- reading: one instant, own writes on top -------------------------------------------------
  // A read that copies and finds no memory for the copy ends the process, as with Store.

  [[nodiscard]] std::optional<std::string> get(std::string_view key) noexcept;
  // An own write has version 0, and a ttl of its own counts from begin() here.
  [[nodiscard]] std::optional<Entry> get_entry(std::string_view key) noexcept;
  [[nodiscard]] bool contains(std::string_view key) noexcept;
  // The keys that start with `prefix`; or those from `from` on and before `to` (empty: to the end). Sorted by key
  // bytes, with copies. Fails only with kOutOfMemory.
  [[nodiscard]] Result<std::vector<Entry>> scan(std::string_view prefix = {});
  [[nodiscard]] Result<std::vector<Entry>> scan(std::string_view from, std::string_view to);

  // ---- writing: kept here until commit() -------------------------------------------------------
  // The last write to a key wins. As with Batch these do not fail: what is wrong with a key, a value or an expiry is
  // reported by commit(), which then writes nothing; the refused call has no effect on reads. A ttl counts from
  // commit().

  void put(std::string_view key, std::string_view value, const Batch::PutOptions& options = {}) noexcept;
  void put_json(std::string_view key, std::string_view document, const Batch::PutOptions& options = {}) noexcept;
  void del(std::string_view key) noexcept;

  // ---- ending ----------------------------------------------------------------------------------
  // `options` may carry durability and `by`. Failures, all of which have written nothing but for a sync that failed:
  //   kConflict         something read has changed; the sentence names the key
  //   kInvalidArgument  a write was refused (see above), the options carry more, or the transaction is over
  //   and those of any write, see Store
  // With nothing to write it is OK: what was read is the state of one instant, and stays true of that.
  Status commit(const WriteOptions& options = {});
  // Forgets the writes and lets go of the instant. Nothing happens when it is over already.
  void rollback() noexcept;

  // The instant it reads: every write up to this one, none after.
  [[nodiscard]] uint64_t seq() const noexcept;
  // After a kConflict: a key that has changed. Empty when there is none to name, because too much was written since the
  // scan. The view lives as long as the transaction.
  [[nodiscard]] std::string_view conflict_key() const noexcept;

 private:
  friend class engine::TransactionState;
  explicit Transaction(std::unique_ptr<engine::TransactionState> state) noexcept;
  std::unique_ptr<engine::TransactionState> state_;
};

}  // namespace kvstore::inline v1
