#include "tests/support/small_disk.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#include "tests/support/forked.h"

namespace kvstore::testing {

namespace {

struct Told {
  bool skipped;
  char sentence[2048];
  void set(std::string_view text) noexcept {
    const size_t count = std::min(text.size(), sizeof sentence - 1);
    std::memcpy(sentence, text.data(), count);
    sentence[count] = '\0';
  }
};

std::string because(std::string_view what) { return fmt::format("{}: {}", what, std::strerror(errno)); }

// Mounts of our own: as root, or as the root of a user namespace of our own. "" or why not.
std::string own_mounts() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (uid == 0) {
    if (::unshare(CLONE_NEWNS) != 0) return because("unshare(CLONE_NEWNS)");
  } else {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return because("unshare(CLONE_NEWUSER)");
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << fmt::format("0 {} 1", uid);
    std::ofstream("/proc/self/gid_map") << fmt::format("0 {} 1", gid);
  }
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return because("making the mounts private");
  return "";
}

std::string mount_disk(SmallDisk kind, unsigned mib, const std::string& dir) {
  if (std::string why = own_mounts(); !why.empty()) return why;
  if (kind == SmallDisk::kTmpfs) {
    const std::string size = fmt::format("size={}m", mib);
    return ::mount("small", dir.c_str(), "tmpfs", 0, size.c_str()) == 0 ? "" : because("mount a tmpfs");
  }
  const std::string image = dir + ".img";
  const std::string commands =
      fmt::format("(truncate -s {0}M '{1}' && mkfs.ext4 -q -F -m 0 '{1}' && mount -o loop '{1}' '{2}') >/dev/null 2>&1",
                  mib, image, dir);
  return std::system(commands.c_str()) == 0 ? "" : "no loop device, or no mkfs.ext4";  // NOLINT(cert-env33-c): a test
}

}  // namespace

SmallDiskOutcome on_small_disk(SmallDisk kind, unsigned mib, const std::string& dir,
                               const std::function<std::string()>& work) {
  Told* const told = shared_between_processes<Told>();
  if (told == nullptr) return {.skipped = "no shared memory"};
  const std::string died = run_forked(120, [&] {
    if (const std::string why = mount_disk(kind, mib, dir); !why.empty()) {
      told->skipped = true;
      return told->set(why);
    }
    told->set(work());
    if (kind == SmallDisk::kExt4) (void)::umount2(dir.c_str(), MNT_DETACH);  // gives the loop device back
  });
  if (!died.empty()) return {.wrong = died};
  if (told->skipped) return {.skipped = told->sentence};
  return {.wrong = told->sentence};
}

}  // namespace kvstore::testing
