// JsonWriter: JSON out, a document or a stream of rows, through one leased buffer.
//
//     JsonWriter json(store.pools(), [](std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stdout); });
//     for (auto& entry : *scan) json.begin_object().member("size").number(entry.value.size()).end_object().end_row();
//     Status status = json.finish();
//
// What is written waits in the buffer: a short output reaches the sink in one piece, a long one in pieces of 64 KiB and a
// row at most, each ending behind a row. Nothing is allocated once the pools are warm. Not thread-safe; no call throws.
//
// The writer sets commas and quotes; that names and values, begins and ends take turns as JSON wants it is up to the caller.
// The first failure stays, and everything behind it is dropped: ask once, at the end.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "kvstore/pools.h"
#include "kvstore/status.h"

namespace kvstore::inline v1 {

class JsonWriter {
 public:
  using Sink = std::function<void(std::string_view bytes)>;
  // How rows stand together: each on a line of its own, or as the elements of one array, still one a line.
  enum class Layout : uint8_t { kLines, kArray };

  explicit JsonWriter(const Pools& pools, Sink sink, Layout layout = Layout::kLines) noexcept;
  // Without a sink: all is kept for take().
  explicit JsonWriter(const Pools& pools) noexcept;

  JsonWriter& begin_object() noexcept { return begin('{'); }
  JsonWriter& end_object() noexcept { return end('}'); }
  JsonWriter& begin_array() noexcept { return begin('['); }
  JsonWriter& end_array() noexcept { return end(']'); }
  JsonWriter& member(std::string_view name) noexcept;  // its value comes next

  JsonWriter& text(std::string_view utf8) noexcept;  // fails unless it is UTF-8
  JsonWriter& number(std::integral auto value) noexcept {
    if constexpr (std::signed_integral<decltype(value)>) return number_signed(value);
    return number_unsigned(static_cast<uint64_t>(value));
  }
  // The fewest digits that read back as the same double; null for what is no number, as nlohmann/json does it.
  JsonWriter& number(double number) noexcept;
  JsonWriter& boolean(bool value) noexcept;
  JsonWriter& null() noexcept;
  JsonWriter& raw(std::string_view json) noexcept;  // JSON text, byte for byte. Needs: it is that

  // Any bytes as a member: "name":"…" where they are UTF-8, "name64":"…" in base64 otherwise.
  JsonWriter& bytes(std::string_view name, std::string_view value) noexcept;

  // Behind each row. Once the buffer is full, the sink gets it.
  JsonWriter& end_row() noexcept;
  // Gives the sink what is there. For output that somebody waits for.
  void flush() noexcept;
  // The end, once: closes the array and flushes. kInvalidArgument: text that is no UTF-8, or more than 1,000 levels; kOutOfMemory.
  Status finish() noexcept;
  // What was written, without a sink. The failures of finish().
  Result<PooledText> take() noexcept;

  [[nodiscard]] bool failed() const noexcept { return !status_.ok(); }
  // Ends the output with this failure.
  void fail(Status why) noexcept;

 private:
  JsonWriter& begin(char open) noexcept;
  JsonWriter& end(char close) noexcept;
  JsonWriter& number_signed(int64_t number) noexcept;
  JsonWriter& number_unsigned(uint64_t number) noexcept;
  char* open_value(size_t bytes_max) noexcept;
  void close_value(char* end) noexcept;
  char* open_slowly(size_t bytes_max) noexcept;
  enum class Use : uint8_t { kName, kValue };
  template <Use kUse>
  JsonWriter& quoted(std::string_view utf8) noexcept;
  JsonWriter& quoted_in_chunks(std::string_view utf8, std::string_view tail) noexcept;

  void settle() noexcept;
  void resume() noexcept;

  PooledText text_;
  // Where the next byte goes, and the end of its room, or the same where something is to be done first: to begin a row, or
  // to fail. The buffer does not know of what was written since it was settled.
  char* at_ = nullptr;
  char* limit_ = nullptr;
  Sink sink_;
  Status status_;
  Layout layout_ = Layout::kLines;
  bool needs_comma_ = false;
  bool row_is_open_ = false;
  bool has_rows_ = false;
  unsigned depth_ = 0;
};

}  // namespace kvstore::inline v1
