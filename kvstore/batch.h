// A Batch collects puts and deletes that Store::write() commits as one: one line in the log, all or
// nothing after any crash, and never half visible to a reader (P3).
//
// Operations apply in the order they were added; a later one on the same key wins. Adding never
// fails: what is wrong with a key or value (length, malformed JSON) is reported by write(), which then
// writes nothing. The batch copies the bytes it is given, which may be its own. Not thread-safe; reusable
// after clear(), which keeps the memory. Adding throws std::bad_alloc when memory runs out, and has then
// changed nothing.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvstore::inline v1 {

class Batch {
 public:
  struct PutOptions {
    std::chrono::microseconds ttl{0};  // 0: never expires; counted from write(), not from put()
    int64_t expires_us = 0;            // absolute expiry instead, microseconds since the epoch
  };

  void put(std::string_view key, std::string_view value);
  void put(std::string_view key, std::string_view value, const PutOptions& options);
  // `document` must be one JSON text; its bytes are kept, newlines outside strings removed.
  void put_json(std::string_view key, std::string_view document);
  void put_json(std::string_view key, std::string_view document, const PutOptions& options);
  void del(std::string_view key);

  void clear() noexcept;
  [[nodiscard]] bool empty() const noexcept { return ops_.empty(); }
  [[nodiscard]] size_t size() const noexcept { return ops_.size(); }     // operations
  [[nodiscard]] size_t bytes() const noexcept { return bytes_.size(); }  // keys and values together

  // One operation as it was added; the views live until the batch changes.
  struct Op {
    enum class Kind : uint8_t { kPut, kPutJson, kDel };
    Kind kind = Kind::kPut;
    std::string_view key{};
    std::string_view value{};
    PutOptions options{};
  };
  // Needs: index < size().
  [[nodiscard]] Op operator[](size_t index) const noexcept;

 private:
  struct Stored {
    size_t key_begin = 0;  // in bytes_; the value follows the key
    size_t key_size = 0;
    size_t value_size = 0;
    Op::Kind kind = Op::Kind::kPut;
    PutOptions options{};
  };
  void add(Op::Kind kind, std::string_view key, std::string_view value, const PutOptions& options);

  std::vector<Stored> ops_;
  std::string bytes_;
};

}  // namespace kvstore::inline v1
