// The log's parts on their own: names, chunks, the forward copy, the walk beside a growing file, group commit.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kvstore/env/mem_env.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/chunk.h"
#include "kvstore/wal/copy_forward.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/group_sync.h"
#include "kvstore/wal/log_walk.h"
#include "kvstore/wal/log_writer.h"
#include "tests/support/crash_env.h"
#include "tests/support/fault_env.h"
#include "tests/support/forwarding_env.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

using format::Op;

std::string record(uint64_t seq, std::string_view value = "v") {
  const Op op{.kind = Op::Kind::kPut, .is_json = false, .key = "k", .value = value, .expires_us = 0};
  return format::encode_line({.seq = seq, .ts_us = 1, .synced = 0}, {&op, 1});
}

TEST(SegmentName, SortsAsItsNumberAndReadsBack) {
  EXPECT_EQ(wal::segment_name(1), "wal-00000000000000000001.jsonl");
  EXPECT_EQ(wal::parse_segment_name("wal-00000000000000000042.jsonl"), 42U);
  for (const char* other : {"wal-1.jsonl", "wal-00000000000000000000.jsonl", "wal-99999999999999999999.jsonl",
                            "wal-0000000000000000000x.jsonl", "wal-00000000000000000001.jsonl.tmp", "LOCK", ""}) {
    EXPECT_EQ(wal::parse_segment_name(other), std::nullopt) << other;
  }
}

TEST(CopyForward, CopiesEveryLength) {
  std::string source;
  for (int i = 0; i < 200; ++i) source.push_back(static_cast<char>('!' + i % 90));
  for (size_t length = 0; length <= source.size(); ++length) {
    std::string target(source.size() + 1, '\n');
    char* end = wal::copy_forward(target.data(), std::string_view(source).substr(0, length));
    EXPECT_EQ(end, target.data() + length);
    EXPECT_EQ(target.substr(0, length), source.substr(0, length));
    EXPECT_EQ(target.substr(length).find_first_not_of('\n'), std::string::npos);
  }
}

// All lines of a file, read through a pipeline.
std::vector<std::string> lines_through_pipeline(env::File& file, unsigned threads) {
  std::vector<std::string> lines;
  wal::ChunkPipeline pipeline(file, 0, threads);
  for (;;) {
    Result<const wal::Chunk*> chunk = pipeline.next();
    EXPECT_TRUE(chunk.ok());
    if (!chunk.ok() || *chunk == nullptr) return lines;
    for (const wal::LineRef& line : (*chunk)->lines) {
      lines.emplace_back((*chunk)->text(line));
      EXPECT_EQ(line.kind, format::LineKind::kRecord);
    }
  }
}

TEST(ChunkPipeline, KeepsTheOrderOfLinesWithAnyNumberOfThreadsAndAnyLineLength) {
  env::MemEnv env;
  std::string text;
  std::vector<std::string> expected;
  for (uint64_t i = 1; i < 3000; ++i) {
    const size_t length = i % 500 == 0 ? 700'000 : i % 200;  // some are longer than several chunks
    expected.push_back(record(i, std::string(length, 'v')));
    text += expected.back();
    expected.back().pop_back();
    if (i % 7 == 0) text += std::string(i % 90, '\n');
  }
  text.pop_back();
  env.put_file("log", text);
  const auto file = *env.open("log", env::OpenMode::kRead);
  for (const unsigned threads : {1U, 2U, 3U, 5U})
    EXPECT_EQ(lines_through_pipeline(*file, threads), expected) << threads;
}

TEST(ChunkPipeline, StopsInTheMiddleWithoutWaitingForTheRest) {
  env::MemEnv env;
  std::string text;
  for (uint64_t i = 1; i < 20'000; ++i) text += record(i, std::string(100, 'v'));
  env.put_file("log", text);
  const auto file = *env.open("log", env::OpenMode::kRead);
  for (int i = 0; i < 20; ++i) {
    wal::ChunkPipeline pipeline(*file, 0, 3);
    ASSERT_TRUE(pipeline.next().ok());
  }
}

TEST(ChunkPipeline, ReportsAReadErrorInsteadOfTheEnd) {
  env::MemEnv disk;
  FaultEnv env(disk);
  std::string text;
  for (uint64_t i = 1; i < 20'000; ++i) text += record(i, std::string(100, 'v'));
  disk.put_file("log", text);
  for (const unsigned threads : {1U, 2U}) {
    const auto file = *env.open("log", env::OpenMode::kRead);
    env.fail({.op = EnvOp::kRead, .nth = 3, .sys_errno = EIO});
    wal::ChunkPipeline pipeline(*file, 0, threads);
    Result<const wal::Chunk*> chunk = pipeline.next();
    while (chunk.ok() && *chunk != nullptr) chunk = pipeline.next();
    EXPECT_EQ(chunk.status().code(), Code::kIoError);
    env.heal();
  }
}

// A MemEnv in which something happens before the n-th read: a writer goes on while somebody reads.
class BusyEnv final : public env::MemEnv {
 public:
  uint64_t act_before_read = 0;
  std::function<void()> act;
  uint64_t bytes_in_pages = 0;  // that came by write_in_pages()
  std::function<void(const std::string&)> before_open = [](const std::string&) {};

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    before_open(path);
    Result<std::unique_ptr<env::File>> file = MemEnv::open(path, mode);
    if (!file.ok()) return file;
    return std::unique_ptr<env::File>(std::make_unique<BusyFile>(*this, *std::move(file)));
  }

 private:
  class BusyFile final : public ForwardingFile {
   public:
    BusyFile(BusyEnv& env, std::unique_ptr<env::File> file) : ForwardingFile(std::move(file)), env_(env) {}
    Result<size_t> read_at(uint64_t offset, std::span<char> out) override {
      if (offset > 0 && ++env_.reads_ == env_.act_before_read) env_.act();
      return ForwardingFile::read_at(offset, out);
    }
    Status write_in_pages(uint64_t offset, std::string_view bytes) override {
      env_.bytes_in_pages += bytes.size();
      return ForwardingFile::write_in_pages(offset, bytes);
    }

   private:
    BusyEnv& env_;
  };
  uint64_t reads_ = 0;
};

// Blocks are read one after the other. What was filler in the first may be a record by the time the second, with the
// record's end and the one after it, is read.
TEST(LogWalk, LooksTwiceBeforeItCallsALineBadBesideAWriter) {
  BusyEnv env;
  const std::string path = "db/wal-00000000000000000001.jsonl";
  const std::string begin =
      format::encode_segment_header(
          {.format = 1, .store = "00000000-0000-4000-8000-000000000000", .first_seq = 1, .created_us = 1}) +
      record(1);
  env.put_file(path, begin + std::string(600'000, '\n'));
  const std::string later = record(2, std::string(400'000, 'v')) + record(3);
  env.act = [&] {
    ASSERT_TRUE((*env.MemEnv::open(path, env::OpenMode::kReadWrite))->write_at(begin.size(), later).ok());
  };
  env.act_before_read = 1;
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1);
  ASSERT_TRUE(walk.ok());
  for (;;) {
    Result<std::optional<wal::Records>> records = walk->next();
    ASSERT_TRUE(records.ok()) << records.status().message();
    if (!records->has_value()) break;
  }
  for (const CutReport& cut : walk->end().cuts) ADD_FAILURE() << cut.reason;
  EXPECT_EQ(walk->last_seq(), 3U);
}

// A rotation that looks unfinished makes a reader look into the segment behind. That it had gone was no reason to fail.
TEST(LogWalk, ASegmentCompactedAwayWhileTheOneBeforeItIsJudgedIsNoError) {
  BusyEnv env;
  const std::string first = "db/wal-00000000000000000001.jsonl";
  const std::string second = "db/wal-00000000000000000003.jsonl";
  env.put_file(first, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2"));
  env.put_file(second, header_line(3) + put_line(3, "c", "3"));
  env.before_open = [&](const std::string& path) {
    if (path != second || !env.get_file(first).has_value()) return;
    env.put_file("db/snapshot-00000000000000000003.jsonl", snapshot_of(3, entry_line(1, "a", "1")));
    env.put_file("db/wal-00000000000000000004.jsonl", header_line(4));
    ASSERT_TRUE(env.remove(first).ok() && env.remove(second).ok());
  };
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1);
  ASSERT_TRUE(walk.ok());
  Status ended;
  while (ended.ok()) ended = walk->next().status();
  EXPECT_EQ(ended.code(), Code::kCompacted) << ended.message();
}

// A reader that found the line under way twice, since its writer had lost the processor, once saw the promise that a later
// line made for it, and called it damaged. Whenever the writer goes on, the log is whole.
TEST(LogWalk, NeverCallsALineDamagedThatWasOnlyPromisedAfterItWasRead) {
  const std::string path = "db/wal-00000000000000000001.jsonl";
  const std::string begin =
      format::encode_segment_header(
          {.format = 1, .store = "00000000-0000-4000-8000-000000000000", .first_seq = 1, .created_us = 1}) +
      record(1);
  const Op op{.kind = Op::Kind::kPut, .is_json = false, .key = "k", .value = "v", .expires_us = 0};
  const std::string later = record(2) + format::encode_line({.seq = 3, .ts_us = 1, .synced = 2}, {&op, 1});
  int finished_later = 0;
  for (uint64_t nth = 1; nth <= 20; ++nth) {
    SCOPED_TRACE(fmt::format("the writer goes on before read {}", nth));
    BusyEnv env;
    env.put_file(path, begin + later.substr(0, 20) + std::string(1000, '\n'));
    env.act = [&] {
      ASSERT_TRUE((*env.MemEnv::open(path, env::OpenMode::kReadWrite))->write_at(begin.size(), later).ok());
    };
    env.act_before_read = nth;
    Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1);
    ASSERT_TRUE(walk.ok());
    for (;;) {
      Result<std::optional<wal::Records>> records = walk->next();
      ASSERT_TRUE(records.ok()) << records.status().message();
      if (!records->has_value()) break;
    }
    EXPECT_TRUE(walk->last_seq() == 3 || (walk->last_seq() == 1 && walk->end().cuts.size() == 1));
    if (walk->last_seq() == 3) ++finished_later;
  }
  EXPECT_GE(finished_later, 2);
}

class Log : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(env.create_dir("db").ok()); }

  std::unique_ptr<wal::LogWriter> open_writer(uint64_t segment_bytes = 1 << 20) {
    return open_writer_on(env, segment_bytes);
  }
  std::unique_ptr<wal::LogWriter> open_writer_on(env::Env& on, uint64_t segment_bytes = 1 << 20,
                                                 LogIo io = LogIo::kMapped, bool syncs_little = false) {
    Result<std::unique_ptr<wal::LogWriter>> writer =
        wal::LogWriter::open(on,
                             {.dir = "db",
                              .store = "00000000-0000-4000-8000-000000000000",
                              .io = io,
                              .segment_bytes = segment_bytes,
                              .syncs_little = syncs_little,
                              .now_us = [] { return int64_t{1}; },
                              .on_low_room = [this] { ++low_room; },
                              .on_rotation = [] {}},
                             {});
    EXPECT_TRUE(writer.ok());
    return *std::move(writer);
  }
  static void append(wal::LogWriter& writer, size_t bytes = 50) {
    base::Buffer body;
    const std::string value(bytes, 'v');
    const Op op{.kind = Op::Kind::kPut, .is_json = false, .key = "k", .value = value, .expires_us = 0};
    format::encode_body(body, {&op, 1}, false, {});
    ASSERT_TRUE(writer.make_room(body.size()).ok());
    ASSERT_TRUE(
        writer.append({.seq = writer.last_seq() + 1, .ts_us = 1, .synced = 0}, wal::Body::of(body.view())).ok());
  }

  env::MemEnv disk;
  FaultEnv env{disk};
  std::atomic<int> low_room{0};
};

TEST_F(Log, AWalkFollowsAGrowingLogAcrossRotations) {
  const auto writer = open_writer(4096);
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1);
  ASSERT_TRUE(walk.ok());
  uint64_t seen = 0;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 7; ++i) append(*writer);
    for (;;) {
      Result<std::optional<wal::Records>> records = walk->next();
      ASSERT_TRUE(records.ok()) << records.status().message();
      if (!records->has_value()) break;
      seen += (*records)->lines.size();
    }
    ASSERT_TRUE(walk->end().cuts.empty()) << walk->end().cuts.front().reason;
    ASSERT_EQ(walk->last_seq(), writer->last_seq());
    if (round % 5 == 4) {
      ASSERT_TRUE(writer->sync().ok());  // which finishes a rotation
    }
  }
  EXPECT_EQ(seen, 350U);
  EXPECT_GT(walk->segments().size(), 5U);
}

TEST_F(Log, RoomIsAskedForBeforeItRunsOut) {
  const auto writer = open_writer(8 << 20);
  uint64_t stalls_without_help = 0;
  for (int i = 0; i < 20'000; ++i) {
    const int before = low_room;
    append(*writer, 150);
    if (low_room != before) writer->extend();
    if (i == 1000) stalls_without_help = writer->counters().reserve_stalls;
  }
  EXPECT_EQ(writer->counters().reserve_stalls, stalls_without_help) << "with help no commit waits for room";
  EXPECT_GT(low_room, 3);
}

// A sync of one line once wrote 256 KiB: the block of the page cache that had come by one write.
TEST_F(Log, SpaceIsFilledPageByPageWhileSyncsCoverLittle) {
  BusyEnv counting;
  ASSERT_TRUE(counting.create_dir("db").ok());
  const auto writer = open_writer_on(counting, 8 << 20);
  const auto extends_in_pages = [&] {
    const uint64_t before = counting.bytes_in_pages;
    writer->extend();
    return counting.bytes_in_pages > before;
  };
  append(*writer);
  EXPECT_FALSE(extends_in_pages()) << "no sync so far";
  ASSERT_TRUE(writer->sync().ok());
  EXPECT_TRUE(extends_in_pages());
  append(*writer, 60'000);
  ASSERT_TRUE(writer->sync().ok());
  EXPECT_TRUE(extends_in_pages());
  append(*writer, 70'000);
  ASSERT_TRUE(writer->sync().ok());
  EXPECT_FALSE(extends_in_pages());
}

TEST_F(Log, OfAStoreThatSyncsEveryWriteAllSpaceIsFilledPageByPage) {
  BusyEnv counting;
  ASSERT_TRUE(counting.create_dir("db").ok());
  const auto writer = open_writer_on(counting, 8 << 20, LogIo::kMapped, true);
  append(*writer);
  EXPECT_GE(counting.bytes_in_pages, 64U << 10);
}

// Whoever looks at a line under way, or at what kill -9 left of it, sees a leading part of it and filler behind (P7).
TEST_F(Log, ALineComesIntoTheFileStrictlyFromItsFront) {
  constexpr size_t kValueBytes = 400'000;
  constexpr int kRecordsMax = 1000;
  constexpr int kLooksWanted = 10;  // at lines half of which is there; a busy machine may give fewer
  const auto writer = open_writer(kRecordsMax * uint64_t{600'000});
  const auto file = *disk.open("db/wal-00000000000000000001.jsonl", env::OpenMode::kRead);
  std::atomic<uint64_t> line_begin{writer->counters().log_bytes.load()};
  std::atomic<int> looks{0};
  std::atomic<bool> done{false};
  std::thread looker([&] {
    std::array<char, 64> late;
    std::array<char, 7> early;
    const auto is_there = [&](uint64_t at) {
      Result<size_t> got = file->read_at(at, late);
      return got.ok() && std::string_view(late.data(), *got).find_first_not_of('\n') != std::string_view::npos;
    };
    while (!done) {
      const uint64_t begin = line_begin;
      const bool has_half = is_there(begin + kValueBytes / 2);
      if (!has_half && !is_there(begin + kValueBytes)) continue;
      ASSERT_EQ(*file->read_at(begin, early), early.size());
      ASSERT_EQ(std::string_view(early.data(), early.size()), "{\"seq\":") << "a later part came before the first";
      if (has_half && !is_there(begin + kValueBytes) && begin == line_begin) ++looks;
    }
  });
  for (int i = 0; i < kRecordsMax && looks < kLooksWanted && !HasFailure(); ++i) {
    line_begin = writer->counters().log_bytes.load();
    append(*writer, kValueBytes);
  }
  done = true;
  looker.join();
}

// On a disk that was full by then the closing line found no block, and closing the store failed.
TEST_F(Log, AClosingLineNeedsNoRoomThatTheRotationDidNotTake) {
  const std::string path = "db/wal-00000000000000000001.jsonl";
  const auto writer = open_writer_on(env, 4096, LogIo::kWrite);
  while (writer->counters().segments == 1U) append(*writer, 150);
  const size_t taken = disk.get_file(path)->size();
  ASSERT_TRUE(writer->sync().ok());
  const std::string text = *disk.get_file(path);
  EXPECT_NE(text.find(R"({"kvstore":"end")"), std::string::npos);
  EXPECT_LE(text.size(), taken);
}

// The counters used to keep the header of a segment that a full disk had made impossible, once for every attempt.
TEST_F(Log, ARotationUndoneLeavesTheCountersAsTheyWere) {
  const auto writer = open_writer_on(env, 4096, LogIo::kWrite);
  Status refused;
  for (int i = 0; i < 100; ++i) {
    // Making room writes to this file only to begin it.
    env.fail({.op = EnvOp::kWrite, .sys_errno = ENOSPC, .path_part = "wal-next.jsonl"});
    refused = writer->make_room(150);
    env.heal();
    if (!refused.ok()) break;
    append(*writer, 50);
  }
  EXPECT_EQ(refused.code(), Code::kNoSpace);
  EXPECT_EQ(disk.list("db")->size(), 1U);
  EXPECT_EQ(writer->counters().segments, 1U);
  // Behind the last line are the blank ones where the closing line would have stood.
  const std::string text = *disk.get_file("db/wal-00000000000000000001.jsonl");
  EXPECT_EQ(writer->counters().log_bytes, text.find_last_not_of('\n') + 2);
  append(*writer, 150);  // begins it now that there is room
  EXPECT_EQ(writer->counters().segments, 2U);
}

// What stays in the file would be taken for a torn line, or for the beginning of the next one.
TEST_F(Log, APartialLineThatCannotBeRemovedBreaksTheWriter) {
  const auto writer = open_writer_on(env, 1 << 20, LogIo::kWrite);
  append(*writer);
  const auto refused = [&] {
    base::Buffer body;
    const Op op{.kind = Op::Kind::kPut, .is_json = false, .key = "k", .value = "v", .expires_us = 0};
    format::encode_body(body, {&op, 1}, false, {});
    EXPECT_TRUE(writer->make_room(body.size()).ok());
    return writer->append({.seq = 2, .ts_us = 1, .synced = 0}, wal::Body::of(body.view()));
  };
  env.fail({.op = EnvOp::kWrite, .sys_errno = EIO, .bytes_written = 7});
  EXPECT_TRUE(refused().message().starts_with("append to the log: "));
  EXPECT_FALSE(writer->is_broken());
  env.fail({.op = EnvOp::kWrite, .sys_errno = EIO, .bytes_written = 7});
  env.fail({.op = EnvOp::kTruncate, .sys_errno = EIO});
  const Status broken = refused();
  EXPECT_NE(broken.message().find("append to the log, then remove the partial line: "), std::string::npos)
      << broken.message();
  EXPECT_TRUE(writer->is_broken());
}

TEST_F(Log, OneSyncServesAllWhoWaitForIt) {
  const auto writer = open_writer();
  wal::GroupSync group(*writer);
  for (int i = 0; i < 10; ++i) append(*writer);
  const uint64_t before = writer->counters().syncs;
  ASSERT_TRUE(group.wait_for(10).ok());
  for (uint64_t seq = 1; seq <= 10; ++seq) ASSERT_TRUE(group.wait_for(seq).ok());
  EXPECT_EQ(writer->counters().syncs, before + 1);
  EXPECT_EQ(group.shared(), 10U);
}

// The next three look on from within a sync: the environment calls back around each of its steps.

TEST_F(Log, ASyncVouchesForNothingThatCameAfterItBegan) {
  CrashEnv watched;
  ASSERT_TRUE(watched.create_dir("db").ok());
  const auto writer = open_writer_on(watched);
  append(*writer);
  watched.set_hook([&](const CrashEnv::OpInfo& op) {
    if (op.op == EnvOp::kSync && op.phase == CrashEnv::Phase::kAfter) append(*writer);
  });
  ASSERT_TRUE(writer->sync().ok());
  EXPECT_EQ(writer->last_seq(), 2U);
  EXPECT_EQ(writer->synced_seq(), 1U);
}

TEST_F(Log, WhoComesDuringASyncWaitsForTheNext) {
  CrashEnv watched;
  ASSERT_TRUE(watched.create_dir("db").ok());
  const auto writer = open_writer_on(watched);
  wal::GroupSync group(*writer);
  append(*writer);
  std::thread late;
  uint64_t synced_for_late = 0;
  bool is_first = true;
  watched.set_hook([&](const CrashEnv::OpInfo& op) {
    if (op.op != EnvOp::kSync || !std::exchange(is_first, false)) return;
    append(*writer);
    late = std::thread([&] {
      EXPECT_TRUE(group.wait_for(2).ok());
      synced_for_late = writer->synced_seq();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // by then it waits for this sync to end
  });
  ASSERT_TRUE(group.wait_for(1).ok());
  late.join();
  EXPECT_EQ(synced_for_late, 2U);
}

TEST_F(Log, NothingInANewSegmentIsVouchedForUntilTheRotationIsFinished) {
  CrashEnv watched;
  ASSERT_TRUE(watched.create_dir("db").ok());
  const auto writer = open_writer_on(watched, 4096);
  while (writer->counters().rotations == 0) append(*writer);
  const uint64_t full_until = writer->last_seq() - 1;
  append(*writer);
  uint64_t vouched = 0;
  watched.set_hook([&](const CrashEnv::OpInfo&) { vouched = writer->synced_seq(); });
  ASSERT_TRUE(writer->sync().ok());
  EXPECT_EQ(vouched, full_until);
  EXPECT_EQ(writer->synced_seq(), full_until + 2);
}

TEST_F(Log, EveryWaiterHearsOfAFailedSync) {
  const auto writer = open_writer();
  wal::GroupSync group(*writer);
  append(*writer);
  env.fail({.op = EnvOp::kSync, .sys_errno = EIO});
  std::atomic<int> failed{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] { failed += group.wait_for(1).ok() ? 0 : 1; });
  }
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(failed, 4);
  EXPECT_EQ(writer->make_room(1).code(), Code::kBroken);
  EXPECT_EQ(writer->synced_seq(), 0U);
}

// A disk that fails once, told as Linux tells it: one sync hears of the error, and another beside it returns OK.
class FailingDisk final : public ForwardingEnv {
 public:
  using ForwardingEnv::ForwardingEnv;
  void fail_next_sync() { armed_ = true; }
  void run_out_of_memory_in_next_sync() { armed_ = out_of_memory_ = true; }

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    Result<std::unique_ptr<env::File>> file = ForwardingEnv::open(path, mode);
    if (!file.ok()) return file;
    return std::unique_ptr<env::File>(std::make_unique<Handle>(*this, *std::move(file)));
  }

 private:
  class Handle final : public ForwardingFile {
   public:
    Handle(FailingDisk& disk, std::unique_ptr<env::File> file) : ForwardingFile(std::move(file)), disk_(disk) {}
    Status sync() override {
      if (!disk_.armed_.exchange(false)) return ForwardingFile::sync();
      // Gives another sync every chance to get in between the failure and the news of it.
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (disk_.out_of_memory_) throw std::bad_alloc();
      return {Code::kIoError, "input/output error"};
    }

   private:
    FailingDisk& disk_;
  };

  std::atomic<bool> armed_{false};
  std::atomic<bool> out_of_memory_{false};
};

TEST_F(Log, ASyncBesideAFailingOneVouchesForNothing) {
  FailingDisk failing(env);
  const auto writer = open_writer_on(failing);
  append(*writer);
  failing.fail_next_sync();
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] { failed += writer->sync().ok() ? 0 : 1; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 2);
  EXPECT_EQ(writer->synced_seq(), 0U);
}

// The exception used to get past the leader's flag: those who had meant to share its sync waited for ever. And the
// writer went on, although nobody could know what had reached the disk.
TEST_F(Log, ASyncThatRunsOutOfMemoryBreaksTheWriterAndEveryWaiterHearsOfIt) {
  FailingDisk failing(env);
  const auto writer = open_writer_on(failing);
  wal::GroupSync group(*writer);
  append(*writer);
  failing.run_out_of_memory_in_next_sync();
  std::atomic<int> out_of_memory{0};
  std::atomic<int> broken{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      const Status s = group.wait_for(1);
      out_of_memory += s.code() == Code::kOutOfMemory ? 1 : 0;
      broken += s.code() == Code::kBroken ? 1 : 0;
    });
  }
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(out_of_memory, 1);
  EXPECT_EQ(broken, 3);
  EXPECT_EQ(writer->synced_seq(), 0U);
}

TEST_F(Log, ClosingTrimsTheFillerAndFurtherAppendsAreRefused) {
  const auto writer = open_writer();
  append(*writer);
  EXPECT_EQ(disk.get_file("db/wal-00000000000000000001.jsonl")->back(), '\n');
  ASSERT_TRUE(writer->close().ok());
  const std::string text = *disk.get_file("db/wal-00000000000000000001.jsonl");
  EXPECT_EQ(text.size(), writer->counters().log_bytes);
  EXPECT_NE(text[text.size() - 2], '\n');
  EXPECT_EQ(writer->make_room(1).code(), Code::kClosed);
}

}  // namespace
}  // namespace kvstore::testing
