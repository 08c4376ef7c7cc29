// A real file system of a few MiB, for tests of a disk that is truly full: in a child process with mounts of its own, so
// that nothing is left of it afterwards.
#pragma once

#include <functional>
#include <string>

namespace kvstore::testing {

enum class SmallDisk {
  kTmpfs,
  kExt4
};  // kExt4: in a file, by a loop device; needs root, mkfs.ext4 and /dev/loop-control

struct SmallDiskOutcome {
  std::string skipped{};  // why there is no such file system here
  std::string wrong{};    // what `work` returned, or how the child died (of a SIGBUS, say)
};

// Mounts `kind` with about `mib` MiB on the directory `dir`, which must exist, and calls work() there. Needs: no other
// threads run.
SmallDiskOutcome on_small_disk(SmallDisk kind, unsigned mib, const std::string& dir,
                               const std::function<std::string()>& work);

}  // namespace kvstore::testing
