#include "kvstore/batch.h"

#include <algorithm>

#include "kvstore/base/assert.h"

namespace kvstore::inline v1 {

void Batch::put(std::string_view key, std::string_view value) { add(Op::Kind::kPut, key, value, {}); }

void Batch::put(std::string_view key, std::string_view value, const PutOptions& options) {
  add(Op::Kind::kPut, key, value, options);
}

void Batch::put_json(std::string_view key, std::string_view document) { add(Op::Kind::kPutJson, key, document, {}); }

void Batch::put_json(std::string_view key, std::string_view document, const PutOptions& options) {
  add(Op::Kind::kPutJson, key, document, options);
}

void Batch::del(std::string_view key) { add(Op::Kind::kDel, key, {}, {}); }

void Batch::clear() noexcept {
  ops_.clear();
  bytes_.clear();
}

Batch::Op Batch::operator[](size_t index) const noexcept {
  KV_ASSERT(index < ops_.size());
  const Stored& stored = ops_[index];
  const std::string_view bytes = bytes_;
  return {.kind = stored.kind,
          .key = bytes.substr(stored.key_begin, stored.key_size),
          .value = bytes.substr(stored.key_begin + stored.key_size, stored.value_size),
          .options = stored.options};
}

// Whatever may throw comes first, so a batch that ran out of memory is as it was. `key` and `value` may be
// views into this very batch, so old bytes live until the new ones are copied.
void Batch::add(Op::Kind kind, std::string_view key, std::string_view value, const PutOptions& options) {
  const size_t needed = bytes_.size() + key.size() + value.size();
  std::string grown;
  if (needed > bytes_.capacity()) {
    grown.reserve(std::max(needed, 2 * bytes_.capacity()));
    grown.append(bytes_);
  }
  ops_.push_back({.key_begin = bytes_.size(),
                  .key_size = key.size(),
                  .value_size = value.size(),
                  .kind = kind,
                  .options = options});
  std::string& target = needed > bytes_.capacity() ? grown : bytes_;
  target.append(key).append(value);
  if (&target == &grown) bytes_.swap(grown);
}

}  // namespace kvstore::inline v1
