// A reader beside a writer who goes on at any moment. Both run on one thread: before each call that the reader makes of the
// environment the writer may take some steps, each one change to one file.
#include "kvstore/wal/log_walk.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/engine/inspect.h"
#include "kvstore/env/mem_env.h"
#include "kvstore/wal/file_names.h"
#include "tests/support/forwarding_env.h"
#include "tests/support/must.h"
#include "tests/support/seed.h"
#include "tests/support/store_text.h"

namespace kvstore::testing {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kSchedules = 2'000;
#else
constexpr int kSchedules = 20'000;
#endif

using format::Seq;
using Start = wal::LogWalk::Start;

// What the reader sees: the files, each look at which may come after something of the writer's.
class WatchedEnv final : public ForwardingEnv {
 public:
  using ForwardingEnv::ForwardingEnv;

  std::function<void(const std::string& call)> before = [](const std::string&) {};
  size_t descriptors = 1000;  // open() and list() take one

  Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
    before("open " + path);
    if (descriptors == 0) return Status(Code::kIoError, "open").because_of_errno(EMFILE);
    Result<std::unique_ptr<env::File>> file = ForwardingEnv::open(path, mode);
    if (!file.ok()) return file;
    return std::unique_ptr<env::File>(std::make_unique<WatchedFile>(*this, *std::move(file)));
  }
  Result<std::vector<std::string>> list(const std::string& dir) override {
    before("list");
    if (descriptors == 0) return Status(Code::kIoError, "open").because_of_errno(EMFILE);
    return ForwardingEnv::list(dir);
  }

 private:
  class WatchedFile final : public ForwardingFile {
   public:
    WatchedFile(WatchedEnv& env, std::unique_ptr<env::File> file) : ForwardingFile(std::move(file)), env_(env) {
      --env_.descriptors;
    }
    ~WatchedFile() override { ++env_.descriptors; }
    WatchedFile(const WatchedFile&) = delete;
    WatchedFile& operator=(const WatchedFile&) = delete;
    Result<size_t> read_at(uint64_t offset, std::span<char> out) override {
      env_.before("read");
      return ForwardingFile::read_at(offset, out);
    }

   private:
    WatchedEnv& env_;
  };
};

std::string path_of(const std::string& name) { return "db/" + name; }

const std::string kNext = path_of(std::string(wal::kNextSegmentName));

// A store's owner, change by change: appends in one write or in two, rotations, compactions.
class Writer {
 public:
  Writer(env::MemEnv& files, std::mt19937_64& random) : files_(files), random_(random) {
    files_.put_file(path_of(wal::segment_name(1)), header_line(1));
    file_ = open(path_of(wal::segment_name(1)));
  }

  void step() {
    while (steps_.empty()) plan();
    const std::function<void()> next = std::move(steps_.front());
    steps_.pop_front();
    next();
  }
  // Of the last record that is whole.
  [[nodiscard]] Seq last_seq() const { return last_seq_; }

 private:
  bool one_in(unsigned n) { return random_() % n == 0; }

  std::unique_ptr<env::File> open(const std::string& path) {
    Result<std::unique_ptr<env::File>> file = files_.open(path, env::OpenMode::kReadWrite);
    must(file.ok(), path);
    return *std::move(file);
  }
  static void append(env::File& file, std::string_view text) { must(file.write_at(*file.size(), text).ok()); }

  void plan_appends(uint64_t at_least = 0) {
    for (uint64_t count = at_least + random_() % 3; count > 0; --count) {
      if (one_in(3)) {
        steps_.push_back([this] { vouched_ = is_rotating_ ? first_seq_ - 1 : last_seq_; });
      }
      if (one_in(4)) {
        steps_.push_back([this] {
          torn_ = put_line(last_seq_ + 1, "k", "v", vouched_);
          append(*file_, std::string_view(torn_).substr(0, torn_.size() / 2));
        });
        steps_.push_back([this] {
          append(*file_, std::string_view(torn_).substr(torn_.size() / 2));
          ++last_seq_;
        });
      } else {
        steps_.push_back([this] {
          append(*file_, put_line(last_seq_ + 1, "k", "v", vouched_));
          ++last_seq_;
        });
      }
    }
  }

  void plan_rotation() {
    steps_.push_back([this] { files_.put_file(kNext, ""); });
    plan_appends(1);  // no segment is closed without a record
    steps_.push_back([this] {
      torn_ = header_line(last_seq_ + 1);
      has_come_ = torn_.size() - 1 - (one_in(2) ? random_() % torn_.size() : 0);
      append(*open(kNext), std::string_view(torn_).substr(0, has_come_));
    });
    if (one_in(4)) {  // the disk was full, and the next segment goes again
      steps_.push_back([this] { must(files_.remove(kNext).ok()); });
      return;
    }
    steps_.push_back([this] {
      std::unique_ptr<env::File> next = open(kNext);
      append(*next, std::string_view(torn_).substr(has_come_));
      old_ = std::exchange(file_, std::move(next));
      first_seq_ = last_seq_ + 1;
      is_rotating_ = true;
    });
    plan_appends();
    steps_.push_back([this] { must(files_.rename(kNext, path_of(wal::segment_name(first_seq_))).ok()); });
    plan_appends();
    steps_.push_back([this] { append(*old_, end_line(first_seq_ - 1).substr(0, 20)); });
    steps_.push_back([this] {
      append(*old_, end_line(first_seq_ - 1).substr(20));
      segments_.push_back(first_seq_);
      is_rotating_ = false;
    });
  }

  // Up to an instant before the last segments. The removing comes after it, and before whatever is planned already.
  void compact(Seq last) {
    if (last <= snapshot_) return;
    files_.put_file(path_of(wal::snapshot_name(last)), snapshot_of(last, entry_line(1, "k", "v")));
    std::vector<std::string> old;
    if (snapshot_ != 0) old.push_back(wal::snapshot_name(snapshot_));
    for (const Seq first : segments_) {
      if (first <= last) old.push_back(wal::segment_name(first));
    }
    snapshot_ = last;
    std::erase_if(segments_, [last](Seq first) { return first <= last; });
    for (auto name = old.rbegin(); name != old.rend(); ++name)
      steps_.push_front([this, name = *name] { must(files_.remove(path_of(name)).ok(), name); });
  }

  void plan() {
    plan_appends();
    if (one_in(2)) plan_rotation();
    if (!one_in(3)) return;
    steps_.push_back([this] { pinned_ = first_seq_ - 1; });
    for (uint64_t count = random_() % 3; count > 0; --count) plan_rotation();
    steps_.push_back([this] { compact(pinned_); });
  }

  env::MemEnv& files_;
  std::mt19937_64& random_;
  std::deque<std::function<void()>> steps_;
  std::unique_ptr<env::File> file_;  // the segment that is written to
  std::unique_ptr<env::File> old_;   // the one before it
  std::vector<Seq> segments_{1};     // with a number, and not removed
  std::string torn_;
  size_t has_come_ = 0;  // bytes of it
  Seq first_seq_ = 1;    // of file_
  Seq last_seq_ = 0;
  Seq vouched_ = 0;
  Seq snapshot_ = 0;
  Seq pinned_ = 0;  // where the snapshot under way will end
  bool is_rotating_ = false;
};

struct Reading {
  Status status;
  Seq last_seq = 0;
};

Reading read(env::Env& env, Start start) {
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1, start);
  if (!walk.ok()) return {walk.status()};
  for (;;) {
    Result<std::optional<wal::Records>> records = walk->next();
    if (!records.ok()) return {records.status()};
    if (!records->has_value()) return {{}, walk->last_seq()};
  }
}

// Nothing that was there before it is missing, and nothing is called damaged. A reader of an instant comes to its end at once,
// though the writer compacts again and again while the reader waits for a processor; unless he is faster all the time.
TEST(LogWalkBesideAWriter, ReadsAStateOfItsOwnTimeInEverySchedule) {
  std::mt19937_64 schedules(seed());
  int outrun = 0;
  for (int i = 0; i < kSchedules; ++i) {
    SCOPED_TRACE(fmt::format("schedule {} of KVSTORE_SEED={}", i, seed()));
    std::mt19937_64 random(schedules());
    env::MemEnv files;
    Writer writer(files, random);
    WatchedEnv env(files);
    for (uint64_t count = random() % 40; count > 0; --count) writer.step();
    const auto start = std::array{Start::kInstant, Start::kState, Start::kHistory}[static_cast<size_t>(i % 3)];
    const bool is_steady = random() % 2 == 0;  // or does hundreds of steps at once, now and then
    const uint64_t rarely = is_steady ? 1 + random() % 8 : 30;
    const uint64_t much = is_steady ? 1 + random() % 8 : 500;
    env.before = [&](const std::string&) {
      if (random() % rarely != 0) return;
      for (uint64_t count = random() % much; count > 0; --count) writer.step();
    };
    const Seq before = writer.last_seq();
    const Reading reading = read(env, start);
    if (reading.status.ok()) {
      ASSERT_GE(reading.last_seq, before);
      ASSERT_LE(reading.last_seq, writer.last_seq());
      continue;
    }
    ASSERT_EQ(reading.status.code(), Code::kCompacted) << reading.status.message();
    const bool is_too_fast = is_steady && much > 2 * rarely;
    if (start == Start::kInstant && !is_too_fast) ++outrun;
  }
  EXPECT_LE(outrun, 2 + kSchedules / 1000);  // it takes several steps at several calls in a row
}

// ---- single schedules ----------------------------------------------------------------------------

class LogWalkAtAnInstant : public ::testing::Test {
 protected:
  const std::string first = path_of(wal::segment_name(1));
  const std::string second = path_of(wal::segment_name(3));
  const std::string third = path_of(wal::segment_name(5));

  void append(const std::string& path, std::string_view text) {
    Result<std::unique_ptr<env::File>> file = files.open(path, env::OpenMode::kReadWrite);
    ASSERT_TRUE(file.ok() && (*file)->write_at(*(*file)->size(), text).ok());
  }
  void compact_up_to(Seq last, const std::vector<std::string>& old) {
    files.put_file(path_of(wal::snapshot_name(last)), snapshot_of(last, entry_line(1, "a", "1")));
    files.put_file(path_of(wal::segment_name(last + 1)), header_line(last + 1));
    for (const std::string& name : old) ASSERT_TRUE(files.remove(name).ok());
  }
  // Does it before the nth call from now on whose words begin like that.
  void before(std::string call, int nth, std::function<void()> act) {
    env.before = [call = std::move(call), nth, act = std::move(act), seen = 0](const std::string& now) mutable {
      if (now.starts_with(call) && ++seen == nth) act();
    };
  }

  env::MemEnv files;
  WatchedEnv env{files};
};

TEST_F(LogWalkAtAnInstant, ReadsWhatIsCompactedAwayMeanwhile) {
  files.put_file(path_of(wal::snapshot_name(2)), snapshot_of(2, entry_line(1, "a", "1")));
  files.put_file(second, header_line(3) + put_line(3, "c", "3"));
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1, Start::kInstant);
  Result<wal::LogWalk> other = wal::LogWalk::open(env, "db", 1, Start::kState);
  ASSERT_TRUE(walk.ok() && other.ok());
  append(second, put_line(4, "d", "4") + end_line(4));
  files.put_file(third, header_line(5) + put_line(5, "e", "5") + put_line(6, "f", "6") + end_line(6));
  compact_up_to(6, {path_of(wal::snapshot_name(2)), second, third});
  for (int ends = 0; ends < 2;) {  // asked again, it stays where it is
    Result<std::optional<wal::Records>> records = walk->next();
    ASSERT_TRUE(records.ok()) << records.status().message();
    if (!records->has_value()) ++ends;
  }
  EXPECT_EQ(walk->last_seq(), 4U);
  EXPECT_EQ(walk->segments().size(), 1U);
  EXPECT_EQ(walk->end().segment, wal::segment_name(3));
  EXPECT_EQ(walk->end().first_seq, 3U);
  EXPECT_TRUE(walk->end().cuts.empty());
  Status ended;
  for (int calls = 0; calls < 10 && ended.ok(); ++calls) ended = other->next().status();
  EXPECT_EQ(ended.code(), Code::kCompacted);
}

// Its records may have been acknowledged before it got its number, and so before the walk began.
TEST_F(LogWalkAtAnInstant, ReadsTheNextSegmentWhateverBecomesOfIt) {
  for (const bool is_begun : {true, false}) {
    const std::string next = header_line(3) + put_line(3, "c", "3");
    files.put_file(first, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2"));
    files.put_file(kNext, is_begun ? next : "");
    before("list", 3, [&] {
      append(kNext, (is_begun ? "" : next) + put_line(4, "d", "4") + end_line(4));
      append(first, end_line(2));
      ASSERT_TRUE(files.rename(kNext, second).ok());
      compact_up_to(4, {first, second});
    });
    const Reading reading = read(env, Start::kInstant);
    EXPECT_TRUE(reading.status.ok()) << reading.status.message();
    EXPECT_EQ(reading.last_seq, 4U);
    for (const std::string& name : {wal::snapshot_name(4), wal::segment_name(5)})
      ASSERT_TRUE(files.remove(path_of(name)).ok());
  }
}

// It was placed behind itself, and the log called damaged.
TEST_F(LogWalkAtAnInstant, ReadsTheNextSegmentOnceThoughTheOneBeforeItGrewMeanwhile) {
  files.put_file(first, header_line(1) + put_line(1, "a", "1"));
  files.put_file(kNext, "");
  int lists = 0;
  env.before = [&](const std::string& call) {
    if (call != "list") return;
    if (++lists == 3) {  // at the end of the first
      append(first, put_line(2, "b", "2") + end_line(2));
      append(kNext, header_line(3));
      ASSERT_TRUE(files.rename(kNext, second).ok());
    } else if (lists == 4) {  // at the end of the second
      append(second, put_line(3, "c", "3") + put_line(4, "d", "4") + end_line(4));
      files.put_file(third, header_line(5));
    }
  };
  const Reading reading = read(env, Start::kInstant);
  EXPECT_TRUE(reading.status.ok()) << reading.status.message();
  EXPECT_EQ(reading.last_seq, 4U);
}

TEST_F(LogWalkAtAnInstant, EndsBeforeASegmentThatIsGoneByTheTimeItsTurnHasCome) {
  files.put_file(first, header_line(1) + put_line(1, "a", "1"));
  int lists = 0;
  env.before = [&](const std::string& call) {
    if (call == "list" && ++lists == 3) {
      append(first, put_line(2, "b", "2") + end_line(2));
      files.put_file(second, header_line(3) + put_line(3, "c", "3") + end_line(3));
    }
    if (call == "open " + second && files.get_file(first).has_value()) compact_up_to(3, {first, second});
  };
  const Reading reading = read(env, Start::kInstant);
  EXPECT_TRUE(reading.status.ok()) << reading.status.message();
  EXPECT_EQ(reading.last_seq, 2U);
}

// Whose disk was full takes the next segment back, and goes on in the one before it.
TEST_F(LogWalkAtAnInstant, LeavesOutANextSegmentWhoseRotationWasTakenBack) {
  const std::string fourth = path_of(wal::segment_name(4));
  files.put_file(first, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2"));
  const std::string header = header_line(3);
  files.put_file(kNext, header.substr(0, header.size() - 1));
  before("list", 3, [&] {
    ASSERT_TRUE(files.remove(kNext).ok());
    append(first, put_line(3, "c", "3") + end_line(3));
    files.put_file(fourth, header_line(4) + put_line(4, "d", "4"));
  });
  const Reading reading = read(env, Start::kInstant);
  EXPECT_TRUE(reading.status.ok()) << reading.status.message();
  EXPECT_EQ(reading.last_seq, 4U);
}

// A gap that nobody's compaction has made is damage, before what is held and behind it.
TEST_F(LogWalkAtAnInstant, TakesNoGapForACompaction) {
  const std::string whole = header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2");
  files.put_file(first, whole + end_line(2));
  files.put_file(third, header_line(5) + put_line(5, "e", "5") + put_line(6, "f", "6"));
  EXPECT_EQ(read(env, Start::kInstant).status.code(), Code::kCorruption);
  ASSERT_TRUE(files.remove(third).ok());
  files.put_file(first, whole);
  before("list", 3, [&] {
    append(first, end_line(2));
    files.put_file(third, header_line(5) + put_line(5, "e", "5") + put_line(6, "f", "6"));
  });
  EXPECT_EQ(read(env, Start::kInstant).status.code(), Code::kCorruption);
}

// What it holds may be damaged, and gone: then another beginning finds the store well.
TEST_F(LogWalkAtAnInstant, CallsNothingDamagedThatHasGone) {
  files.put_file(first, header_line(1) + put_line(1, "a", "1") + end_line(1));
  files.put_file(path_of(wal::segment_name(2)), header_line(2) + "damaged\n" + put_line(3, "c", "3", 2));
  EXPECT_EQ(read(env, Start::kInstant).status.code(), Code::kCorruption);
  before("list", 3, [&] { compact_up_to(3, {first, path_of(wal::segment_name(2))}); });
  EXPECT_EQ(read(env, Start::kInstant).status.code(), Code::kCompacted);
}

// A listing that changes while the files are opened is out of date.
TEST_F(LogWalkAtAnInstant, BeginsWithFilesOfOneInstant) {
  files.put_file(first, header_line(1) + put_line(1, "a", "1") + put_line(2, "b", "2"));
  before("open " + first, 1, [&] {
    files.put_file(second, header_line(3) + put_line(3, "c", "3"));
    append(first, end_line(2));
  });
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1, Start::kInstant);
  ASSERT_TRUE(walk.ok());
  EXPECT_EQ(walk->segments().size(), 2U);
}

// Holding the files is worth nothing where it keeps one from reading them.
TEST_F(LogWalkAtAnInstant, TakesNoMoreDescriptorsThanThereAre) {
  for (Seq seq = 1; seq <= 6; ++seq)
    files.put_file(path_of(wal::segment_name(seq)), header_line(seq) + put_line(seq, "k", "v") + end_line(seq));
  files.put_file(path_of(wal::segment_name(7)), header_line(7));
  files.put_file(kNext, "");
  for (size_t descriptors = 1; descriptors <= 10; ++descriptors) {
    SCOPED_TRACE(fmt::format("{} descriptors", descriptors));
    env.descriptors = descriptors;
    const Reading with_few = read(env, Start::kState);
    EXPECT_EQ(read(env, Start::kInstant).status.code(), with_few.status.code());
    EXPECT_EQ(with_few.status.ok(), descriptors >= 2);
  }
}

TEST_F(LogWalkAtAnInstant, CallsNoSnapshotDamagedThatHasGone) {
  std::string damaged = snapshot_of(2, entry_line(1, "a", "1"));
  damaged.replace(damaged.find("\"a\""), 3, "\"b\"");
  files.put_file(path_of(wal::snapshot_name(2)), damaged);
  files.put_file(second, header_line(3) + put_line(3, "c", "3"));
  EXPECT_EQ(read(env, Start::kInstant).status.code(), Code::kCorruption);
  Result<wal::LogWalk> walk = wal::LogWalk::open(env, "db", 1, Start::kInstant);
  ASSERT_TRUE(walk.ok());
  compact_up_to(3, {path_of(wal::snapshot_name(2)), second});
  EXPECT_EQ(walk->next().status().code(), Code::kCompacted);
}

// Whenever the compaction comes, all that the report counts is of one state.
TEST_F(LogWalkAtAnInstant, IsWhatVerifyReportsOn) {
  for (int i = 0; i < 24; ++i) {
    const int nth = 1 + i / 2;
    const bool keeps_history = i % 2 == 1;
    SCOPED_TRACE(fmt::format("a compaction before listing {}, history kept: {}", nth, keeps_history));
    files.put_file(path_of(wal::snapshot_name(2)), snapshot_of(2, entry_line(1, "a", "1")));
    files.put_file(second, header_line(3) + put_line(3, "c", "3"));
    before("list", nth, [&] {
      append(second, end_line(3));
      compact_up_to(3, {});
      if (keeps_history) return;
      for (const std::string& old : {path_of(wal::snapshot_name(2)), second}) ASSERT_TRUE(files.remove(old).ok());
    });
    Result<VerifyReport> report = engine::verify(env, "db");
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_FALSE(report->has(Finding::Severity::kDamage));
    const bool is_newer = nth <= 2;  // the files that are held were listed after it
    EXPECT_EQ(report->snapshots, is_newer && keeps_history ? 2U : 1U);
    EXPECT_EQ(report->entries, report->snapshots);
    EXPECT_EQ(report->records, is_newer && !keeps_history ? 0U : 1U);
    EXPECT_EQ(report->last_seq, 3U);
    env.before = [](const std::string&) {};
    for (const std::string& path : files.files()) ASSERT_TRUE(files.remove(path).ok());
  }
}

// More segments than may be held are read one after the other.
TEST_F(LogWalkAtAnInstant, ReadsAsManySegmentsAsThereAre) {
  constexpr Seq kSegments = 100;
  for (Seq seq = 1; seq < kSegments; ++seq)
    files.put_file(path_of(wal::segment_name(seq)), header_line(seq) + put_line(seq, "k", "v") + end_line(seq));
  files.put_file(path_of(wal::segment_name(kSegments)), header_line(kSegments) + put_line(kSegments, "k", "v"));
  size_t fewest = env.descriptors;
  env.before = [&](const std::string&) { fewest = std::min(fewest, env.descriptors); };
  const Reading reading = read(env, Start::kInstant);
  EXPECT_TRUE(reading.status.ok()) << reading.status.message();
  EXPECT_EQ(reading.last_seq, kSegments);
  EXPECT_LE(env.descriptors - fewest, 2U);
}

}  // namespace
}  // namespace kvstore::testing
