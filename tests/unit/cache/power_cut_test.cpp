// SPDX-License-Identifier: Apache-2.0
// The version floor under power cuts. The test records its file system calls (the linker wraps them, see
// CMakeLists.txt), creates every disk that a cut at each boundary could leave, and opens the floor on it.
#include "cache/floor.hpp"
#include "cache/install.hpp"
#include "signed_cache.hpp"
#include "temp_folder.hpp"

#include <array>
#include <cstdarg>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace {

/// A disk with only POSIX's guarantees: a file's bytes are durable after its fsync, names after the folder's.
/// Until then a cut may leave any prefix of the bytes and any later state of the names.
struct Disk {
  struct Inode {
    std::string durable;  // as of its last fsync
    std::string written;
  };
  using Names = std::map<std::string, int>;
  std::vector<Inode> inodes;
  std::vector<Names> names{Names()};  // [0]: the durable names; then the names after each change

  Names now() const { return names.back(); }
  void change(const std::function<void(Names&)>& how) {
    names.push_back(now());
    how(names.back());
  }
};

struct Recorder {
  bool on = false;
  Disk disk;
  std::map<int, int> open;  // descriptor to inode
  std::function<void()> atBoundary;
  void boundary() const {
    if (on && atBoundary) atBoundary();
  }
};
Recorder recorder;

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): the linker chooses these names
extern "C" {
int __real_openat(int dir, const char* path, int flags, ...);
int __real_unlinkat(int dir, const char* path, int flags);
ssize_t __real_write(int fd, const void* bytes, size_t size);
int __real_fsync(int fd);
int __real_renameat(int from, const char* old, int to, const char* name);

int __wrap_openat(int dir, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const int fd = __real_openat(dir, path, flags, mode);
  if (recorder.on && fd >= 0 && (flags & O_CREAT) != 0) {
    recorder.boundary();
    const int inode = static_cast<int>(recorder.disk.inodes.size());
    recorder.disk.inodes.emplace_back();
    recorder.open[fd] = inode;
    recorder.disk.change([&](auto& names) { names[path] = inode; });
    recorder.boundary();
  }
  return fd;
}
int __wrap_unlinkat(int dir, const char* path, int flags) {
  if (recorder.on) recorder.disk.change([&](auto& names) { names.erase(path); });
  recorder.boundary();
  return __real_unlinkat(dir, path, flags);
}
ssize_t __wrap_write(int fd, const void* bytes, size_t size) {
  if (recorder.on && recorder.open.contains(fd)) {
    recorder.disk.inodes.at(static_cast<std::size_t>(recorder.open[fd]))
        .written.append(static_cast<const char*>(bytes), size);
    recorder.boundary();
  }
  return __real_write(fd, bytes, size);
}
int __wrap_fsync(int fd) {
  recorder.boundary();
  if (recorder.on && recorder.open.contains(fd)) {
    auto& inode = recorder.disk.inodes.at(static_cast<std::size_t>(recorder.open[fd]));
    inode.durable = inode.written;
  } else if (recorder.on) {
    recorder.disk.names = {recorder.disk.now()};  // an fsync of the folder
  }
  recorder.boundary();
  return __real_fsync(fd);
}
int __wrap_renameat(int from, const char* old, int to, const char* name) {
  recorder.boundary();
  if (recorder.on) {
    recorder.disk.change([&](auto& names) {
      if (const auto moved = names.extract(old)) names[name] = moved.mapped();  // else a folder
    });
  }
  recorder.boundary();
  return __real_renameat(from, old, to, name);
}
}
// NOLINTEND(readability-identifier-naming)

namespace fallbackd::cache {
namespace {

namespace fs = std::filesystem;

/// Every folder that a cut at this moment could leave: each state of the names since the last fsync of the
/// folder, with the unsynced bytes of a file missing, torn or present.
std::set<std::map<std::string, std::string>> remains(const Disk& disk) {
  std::set<std::map<std::string, std::string>> all;
  for (const auto& names : disk.names) {
    for (int share = 0; share <= 4; ++share) {
      std::map<std::string, std::string> files;
      for (const auto& [name, number] : names) {
        const auto& inode = disk.inodes.at(static_cast<std::size_t>(number));
        const auto size = inode.durable.size() +
                          (inode.written.size() - inode.durable.size()) * static_cast<std::size_t>(share) / 4;
        files[name] = inode.written.substr(0, size);
      }
      all.insert(files);
    }
  }
  return all;
}

struct PowerCutTest : testing::Test {
  ~PowerCutTest() override { recorder = Recorder(); }

  /// Opens the floor on a disk with these files.
  Result<VersionFloor> openOn(const std::map<std::string, std::string>& files) {
    const std::string folder = scratch.path() + "/" + std::to_string(++count);
    fs::create_directory(folder);
    for (const auto& [name, bytes] : files) std::ofstream(folder + "/" + name) << bytes;
    return VersionFloor::open(folder);
  }
  test::TempFolder scratch;
  int count = 0;
};

TEST_F(PowerCutTest, TheFloorNeverFallsAndNeverLocksTheNodeOut) {
  const test::TempFolder folder;
  auto floor = VersionFloor::open(folder.path());
  ASSERT_TRUE(floor);
  const std::array<const char*, 4> versions{"1.0.0", "1.1.0", "1.10.0", "2.0.0"};
  std::string acknowledged;  // acknowledged by raise(): the floor must not be lower
  int boundaries = 0;
  recorder.atBoundary = [&] {
    ++boundaries;
    recorder.on = false;
    for (const auto& files : remains(recorder.disk)) {
      const auto found = openOn(files);
      ASSERT_TRUE(found) << "locked out: " << found.error().message();
      if (acknowledged.empty()) continue;
      EXPECT_TRUE(found->check({"checkout", "3.0.0"}));
      EXPECT_FALSE(found->check({"checkout", "0.9.0"})) << "lost at boundary " << boundaries;
      for (const auto* version : versions) {
        if (compareVersions(version, acknowledged) < 0) {
          EXPECT_FALSE(found->check({"checkout", version}))
              << version << " at boundary " << boundaries << ", acknowledged " << acknowledged;
        }
      }
      EXPECT_FALSE(found->warning()) << *found->warning() << ": an ordinary cut damages no file in use";
    }
    recorder.on = true;
  };
  for (const auto* version : versions) {
    recorder.on = true;
    ASSERT_TRUE(floor->raise({"checkout", version}));
    recorder.on = false;
    acknowledged = version;
  }
  EXPECT_GE(boundaries, 4 * 2 * 7) << "the calls were not recorded: is the test linked with --wrap?";
}

struct InstallCutTest : testing::Test {
  InstallCutTest() {
    // A pack of two signed binaries; the cache already has other bytes for one of them.
    for (const auto* name : {"cart", "checkout"}) world.put({name, "1.8.3"}, test::program("elf-static-pie"));
    fs::rename(world.path("cache"), world.path("pack"));
    fs::create_directory(world.path("cache"));
    world.put({"cart", "1.8.3"}, test::program("elf-static"));
    fs::rename(world.path("cache"), world.path("before"));
  }
  ~InstallCutTest() override { recorder = Recorder(); }

  void reset() const {
    fs::remove_all(world.path("cache"));
    fs::copy(world.path("before"), world.path("cache"));
  }
  /// Runs an install that is killed at the boundary; returns whether it reached that boundary.
  [[nodiscard]] bool dies(int boundary) const {
    const pid_t child = ::fork();
    if (child == 0) {
      int seen = 0;
      recorder.atBoundary = [&] {
        if (++seen == boundary) ::_exit(7);
      };
      recorder.on = true;
      auto installer = Installer::open(world.settings(), ::geteuid());
      const auto pack = readPack(world.path("pack"));
      ::_exit(installer && pack && installer->install(pack->items) ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 1) << "boundary " << boundary;
    return WIFEXITED(status) && WEXITSTATUS(status) == 7;
  }
  [[nodiscard]] std::string digestOf(const std::string& name) const {
    AdmissionOptions options;
    options.owner = ::geteuid();
    options.floor = FloorUse::check;
    const auto admitted = Admission(world.settings(), options).admit({name, "1.8.3"}, Clock::system().wall());
    return admitted ? admitted->digest : std::string(toString(admitted.error().reason));
  }
  test::SignedCache world;
};

TEST_F(InstallCutTest, APackIsInstalledCompletelyOrNotAtAll) {
  const auto fresh = toHex(Sha256::of(test::program("elf-static-pie")));
  const auto old = toHex(Sha256::of(test::program("elf-static")));
  int before = 0;
  int after = 0;
  constexpr int kMaxSteps = 1000;
  int boundary = 1;
  for (; boundary < kMaxSteps; ++boundary) {
    reset();
    const bool died = dies(boundary);
    ASSERT_TRUE(Installer::open(world.settings(), ::geteuid()))
        << "the next installer must clean up, boundary " << boundary;
    const auto cart = digestOf("cart");
    const auto checkout = digestOf("checkout");
    if (cart == old) {
      EXPECT_EQ(checkout, "not_found") << "boundary " << boundary;
      ++before;
    } else {
      EXPECT_EQ(cart, fresh) << "boundary " << boundary;
      EXPECT_EQ(checkout, fresh) << "boundary " << boundary;
      ++after;
    }
    for (const auto& entry : fs::directory_iterator(world.path("cache"))) {
      EXPECT_FALSE(entry.path().filename().string().starts_with('.')) << entry.path();
    }
    if (!died) break;
  }
  EXPECT_LT(boundary, kMaxSteps);
  EXPECT_GT(before, 10) << "the calls were not recorded: is the test linked with --wrap?";
  EXPECT_GT(after, 5);
}

TEST_F(PowerCutTest, OneFileTornAtAnyByteLosesNothing) {
  const test::TempFolder folder;
  ASSERT_TRUE(VersionFloor::open(folder.path())->raise({"checkout", "1.8.3"}));
  for (const auto* torn : {"version-floor.json", "version-floor.copy.json"}) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder.path())) {
      std::ifstream in(entry.path());
      files[entry.path().filename()] = {std::istreambuf_iterator<char>(in), {}};
    }
    ASSERT_EQ(files.size(), 2U);
    const auto whole = files[torn];
    for (std::size_t size = 0; size + 2 < whole.size(); ++size) {
      files[torn] = whole.substr(0, size);
      const auto found = openOn(files);
      ASSERT_TRUE(found);
      EXPECT_TRUE(found->warning());
      EXPECT_FALSE(found->check({"checkout", "1.8.2"})) << torn << " cut at " << size;
    }
  }
}

}  // namespace
}  // namespace fallbackd::cache
