// What a durable write of 200 bytes costs without any store: the ways a log could take, and what the page cache makes of
// each. None is part of kvstore; they are what a durable put is measured against.
//
//   disk/overwrite     pwrite() into blocks that are written already, and fdatasync()
//   disk/dsync         the same through O_DSYNC
//   disk/direct        one block of 4 KiB through O_DIRECT and O_DSYNC
//   disk/direct_lost   one block of 4 KiB through O_DIRECT alone: survives no power cut
//   disk/map/F         a store through a mapping, and fdatasync(); the file was filled by writes of F KiB
//
// The directory is TMPDIR's (/tmp); the figures are worth something only where that is a real disk. Each benchmark reads
// back what it wrote.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "bench/check.h"

namespace kvstore::bench {
namespace {

constexpr size_t kFileBytes = size_t{16} << 20;
constexpr size_t kLineBytes = 200;
constexpr size_t kBlockBytes = 4096;

// A file of newlines on disk, without a name.
class BlankFile {
 public:
  BlankFile(int flags, size_t write_bytes) {
    std::string name = (std::filesystem::temp_directory_path() / "kvstore-bench-XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    require(fd >= 0, "mkstemp");
    const std::string filler(write_bytes, '\n');
    for (size_t at = 0; at < kFileBytes; at += write_bytes) {
      require(::pwrite(fd, filler.data(), write_bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(write_bytes),
              "fill");
    }
    require(::fsync(fd) == 0, "fsync");
    fd_ = ::open(name.c_str(), O_RDWR | O_CLOEXEC | flags);
    require(fd_ >= 0, "open");
    require(::unlink(name.c_str()) == 0 && ::close(fd) == 0, "unlink");
  }
  ~BlankFile() { (void)::close(fd_); }
  BlankFile(const BlankFile&) = delete;
  BlankFile& operator=(const BlankFile&) = delete;

  void write(size_t at, const char* bytes, size_t count) {
    require(::pwrite(fd_, bytes, count, static_cast<off_t>(at)) == static_cast<ssize_t>(count), "pwrite");
  }
  void sync() { require(::fdatasync(fd_) == 0, "fdatasync"); }
  char* map() {
    void* const at = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    require(at != MAP_FAILED, "mmap");
    return static_cast<char*>(at);
  }
  // Whether what stands at `at` is `bytes`. `block` is aligned, as O_DIRECT wants it.
  void require_holds(size_t at, std::string_view bytes, char* block) {
    const size_t begin = at / kBlockBytes * kBlockBytes;
    require(::pread(fd_, block, 2 * kBlockBytes, static_cast<off_t>(begin)) >= static_cast<ssize_t>(kBlockBytes),
            "pread");
    require(std::memcmp(block + (at - begin), bytes.data(), bytes.size()) == 0,
            "the file does not hold what was written");
  }

 private:
  int fd_ = -1;
};

struct FreeAligned {
  void operator()(char* at) const { std::free(at); }
};
std::unique_ptr<char, FreeAligned> aligned_blocks() {
  return std::unique_ptr<char, FreeAligned>(static_cast<char*>(std::aligned_alloc(kBlockBytes, 2 * kBlockBytes)));
}

const std::string kLine(kLineBytes, 'x');

// Where the next `count` bytes go: behind the last ones, from the beginning again at the end of the file.
size_t next_place(size_t at, size_t count) { return at + 2 * count > kFileBytes ? 0 : at + count; }

void overwrite(benchmark::State& state, bool dsync) {
  BlankFile file(dsync ? O_DSYNC : 0, kBlockBytes);
  size_t at = 0;
  for ([[maybe_unused]] auto _ : state) {
    at = next_place(at, kLineBytes);
    file.write(at, kLine.data(), kLineBytes);
    if (!dsync) file.sync();
  }
  file.require_holds(at, kLine, aligned_blocks().get());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(overwrite, , false)->Name("disk/overwrite")->UseRealTime();
BENCHMARK_CAPTURE(overwrite, , true)->Name("disk/dsync")->UseRealTime();

void direct(benchmark::State& state, bool dsync) {
  BlankFile file(O_DIRECT | (dsync ? O_DSYNC : 0), kBlockBytes);
  const auto blocks = aligned_blocks();
  std::memset(blocks.get(), 'x', 2 * kBlockBytes);
  size_t at = 0;
  for ([[maybe_unused]] auto _ : state) {
    at = next_place(at, kBlockBytes);
    file.write(at, blocks.get(), kBlockBytes);
  }
  file.require_holds(at, kLine, blocks.get());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(direct, , true)->Name("disk/direct")->UseRealTime();
BENCHMARK_CAPTURE(direct, , false)->Name("disk/direct_lost")->UseRealTime();

void through_mapping(benchmark::State& state) {
  BlankFile file(0, static_cast<size_t>(state.range(0)) << 10);
  char* const mapping = file.map();
  size_t at = 0;
  for ([[maybe_unused]] auto _ : state) {
    at = next_place(at, kLineBytes);
    std::memcpy(mapping + at, kLine.data(), kLineBytes);
    file.sync();
  }
  require(::munmap(mapping, kFileBytes) == 0, "munmap");
  file.require_holds(at, kLine, aligned_blocks().get());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(through_mapping)->Name("disk/map")->Arg(4)->Arg(16)->Arg(64)->Arg(256)->Arg(1024)->Arg(4096)->UseRealTime();

}  // namespace
}  // namespace kvstore::bench

BENCHMARK_MAIN();
