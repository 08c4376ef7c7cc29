#include "kvstore/wal/chunk.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "kvstore/base/assert.h"
#include "kvstore/base/thread_name.h"

namespace kvstore::wal {

namespace {

// Large enough to make a read call cheap, small enough that a decoded chunk is still in the second-level
// cache when the consumer gets to it.
constexpr size_t kChunkBytes = size_t{256} << 10;

// Lines may have hundreds of megabytes, and damaged files look as if they had. So few chunks are under way at once when
// they are that long, and none keeps the memory of a long one.
constexpr size_t kUnderWayBytesMax = size_t{64} << 20;
constexpr size_t kKeptBytesMax = size_t{8} << 20;
static_assert(kLineBytesMax + 2 * kChunkBytes <
              UINT32_MAX);  // LineRef::begin and size, in a chunk of one long line and a rest

const char* skip_newlines(const char* at, const char* end) noexcept {
  constexpr uint64_t kEightNewlines = 0x0a0a0a0a0a0a0a0aULL;
  uint64_t word = 0;
  while (end - at >= 8 && (std::memcpy(&word, at, 8), word == kEightNewlines)) at += 8;
  while (at != end && *at == '\n') ++at;
  return at;
}

Status out_of_memory() { return {Code::kOutOfMemory, "read the log: out of memory"}; }

}  // namespace

void decode_chunk(Chunk& chunk) {
  chunk.lines.clear();
  chunk.ops.clear();
  chunk.scratch.clear();
  const char* const begin = chunk.bytes.data();
  const char* const end = begin + chunk.bytes.size();
  KV_ASSERT(chunk.bytes.size() <= UINT32_MAX);  // LineRef counts in 32 bits
  for (const char* at = skip_newlines(begin, end); at != end; at = skip_newlines(at, end)) {
    const auto* newline = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    const char* const line_end = newline != nullptr ? newline : end;
    const auto size = static_cast<size_t>(line_end - at);
    const format::Line line = format::decode({at, size}, chunk.ops, chunk.scratch);
    KV_ASSERT(line.op_begin + line.op_count <= chunk.ops.size());
    if (line.kind != format::LineKind::kBlank) {
      chunk.lines.push_back({.kind = line.kind,
                             .newline = newline != nullptr,
                             .is_batch = line.is_batch,
                             .begin = static_cast<uint32_t>(at - begin),
                             .size = static_cast<uint32_t>(size),
                             .op_begin = static_cast<uint32_t>(line.op_begin),
                             .op_count = static_cast<uint32_t>(line.op_count),
                             .stamp = line.stamp});
    }
    at = line_end;
  }
}

Result<bool> ChunkReader::next(Chunk& chunk) {
  chunk.bytes.clear();
  chunk.offset = offset_;
  chunk.bytes.append(carry_.view());
  carry_.clear();
  while (!at_end_) {
    const size_t begin = chunk.bytes.size();
    char* room = chunk.bytes.reserve(kChunkBytes);
    Result<size_t> got = file_.read_at(offset_ + begin, {room, kChunkBytes});
    if (!got.ok()) return std::move(got).status();
    KV_ASSERT(*got <= kChunkBytes);
    chunk.bytes.commit(*got);
    at_end_ = *got < kChunkBytes;
    if (at_end_) break;

    // What stands before is the head of one line. Never more is read at a time, also of long lines: behind one there
    // may be millions of short ones.
    const std::string_view fresh = chunk.bytes.view().substr(begin);
    const size_t last_newline = fresh.rfind('\n');
    if (last_newline != std::string_view::npos) {
      KV_ASSERT(carry_.empty());  // its former content stands at the front of the chunk
      carry_.append(fresh.substr(last_newline + 1));
      chunk.bytes.truncate(begin + last_newline + 1);
      break;
    }
    if (chunk.bytes.size() > line_bytes_max_) break;  // nothing of ours: hand it out as it is, in bounded memory
  }
  offset_ += chunk.bytes.size();
  KV_ASSERT(!chunk.bytes.empty() || at_end_);
  return !chunk.bytes.empty();
}

// Chunks carry tickets in file order. A worker takes a free chunk and the next ticket and reads under the
// mutex, so reads stay in order; it decodes outside the mutex; the consumer waits for its ticket.
struct ChunkPipeline::Impl {
  struct Slot {
    Chunk chunk;
    uint64_t ticket = 0;
    enum class State : uint8_t { kFree, kBusy, kReady } state = State::kFree;
  };

  Impl(env::File& file, uint64_t offset, size_t line_bytes_max) : reader(file, offset, line_bytes_max) {}

  ChunkReader reader;  // guarded by mutex, as all below
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::unique_ptr<Slot>> slots;
  uint64_t next_ticket = 0;
  uint64_t consumed = 0;   // tickets the consumer is done with
  bool exhausted = false;  // no ticket >= next_ticket will come
  bool stopping = false;
  Status failure;
  Slot* lent = nullptr;  // what the consumer looks at
  std::vector<std::thread> workers;

  Slot* free_slot() {
    for (auto& slot : slots) {
      if (slot->state == Slot::State::kFree) return slot.get();
    }
    return nullptr;
  }

  // A chunk of tiny lines takes many times its bytes.
  [[nodiscard]] static size_t memory_of(const Chunk& chunk) {
    return chunk.bytes.capacity() + chunk.lines.capacity() * sizeof(LineRef) +
           chunk.ops.capacity() * sizeof(format::Op);
  }
  [[nodiscard]] bool has_room() const {
    size_t bytes = 0;
    for (const auto& slot : slots) {
      if (slot->state == Slot::State::kBusy) bytes += slot->chunk.bytes.capacity();  // the rest is its worker's
      if (slot->state == Slot::State::kReady) bytes += memory_of(slot->chunk);
    }
    return bytes < kUnderWayBytesMax;
  }

  static void clear(Slot& slot) {
    if (memory_of(slot.chunk) > kKeptBytesMax) slot.chunk = Chunk();
  }

  // Reads the next chunk into `slot`; false at the end or after a failure. Needs: mutex held (or no workers).
  bool read_into(Slot& slot) {
    try {
      Result<bool> more = reader.next(slot.chunk);
      exhausted = !more.ok() || !*more;
      if (!more.ok()) failure = std::move(more).status();
    } catch (const std::bad_alloc&) {
      failure = out_of_memory();
      exhausted = true;
    }
    if (!exhausted) slot.ticket = next_ticket++;
    return !exhausted;
  }

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      Slot* slot = nullptr;
      changed.wait(lock, [&] { return stopping || exhausted || (has_room() && (slot = free_slot()) != nullptr); });
      if (stopping || exhausted || !read_into(*slot)) break;
      KV_ASSERT(slot->state == Slot::State::kFree);
      slot->state = Slot::State::kBusy;
      lock.unlock();
      Status decoded;
      try {
        decode_chunk(slot->chunk);
      } catch (const std::bad_alloc&) {
        decoded = out_of_memory();
      }
      lock.lock();
      KV_ASSERT(slot->state == Slot::State::kBusy);
      KV_ASSERT(slot->ticket >= consumed);  // nobody has gone past it
      slot->state = Slot::State::kReady;
      if (!decoded.ok()) failure = std::move(decoded), exhausted = true;
      changed.notify_all();
    }
    changed.notify_all();
  }
};

ChunkPipeline::ChunkPipeline(env::File& file, uint64_t offset, unsigned threads, size_t line_bytes_max)
    : impl_(std::make_unique<Impl>(file, offset, line_bytes_max)) {
  const unsigned workers = threads > 1 ? threads - 1 : 0;
  for (unsigned i = 0; i < 2 * workers + 1; ++i) impl_->slots.push_back(std::make_unique<Impl::Slot>());
  impl_->workers.reserve(workers);
  try {
    for (unsigned i = 0; i < workers; ++i)
      impl_->workers.emplace_back([this] {
        base::name_this_thread("kvstore-replay");
        impl_->work();
      });
  } catch (const std::exception&) {  // no thread, or no memory for one, is left: those there are, or none, will do
  }
}

ChunkPipeline::~ChunkPipeline() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  for (std::thread& worker : impl_->workers) worker.join();
}

Result<const Chunk*> ChunkPipeline::next() {
  Impl& p = *impl_;
  if (p.workers.empty()) {
    Impl::Slot& slot = *p.slots.front();
    Impl::clear(slot);
    if (p.exhausted || !p.read_into(slot)) {
      if (!p.failure.ok()) return p.failure;
      return static_cast<const Chunk*>(nullptr);
    }
    try {
      decode_chunk(slot.chunk);
    } catch (const std::bad_alloc&) {
      return out_of_memory();
    }
    return &slot.chunk;
  }

  std::unique_lock lock(p.mutex);
  if (p.lent != nullptr) {
    KV_ASSERT(p.lent->state == Impl::Slot::State::kReady);
    KV_ASSERT(p.lent->ticket == p.consumed);
    p.lent->state = Impl::Slot::State::kFree;
    Impl::clear(*p.lent);
    p.lent = nullptr;
    ++p.consumed;
    KV_ASSERT(p.consumed <= p.next_ticket);
    p.changed.notify_all();
  }
  Impl::Slot* found = nullptr;
  p.changed.wait(lock, [&] {
    for (auto& slot : p.slots) {
      if (slot->state == Impl::Slot::State::kReady && slot->ticket == p.consumed) found = slot.get();
    }
    return found != nullptr || !p.failure.ok() || (p.exhausted && p.consumed == p.next_ticket);
  });
  if (!p.failure.ok()) return p.failure;
  if (found == nullptr) return static_cast<const Chunk*>(nullptr);
  p.lent = found;
  return &found->chunk;
}

}  // namespace kvstore::wal
