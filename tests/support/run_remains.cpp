// SPDX-License-Identifier: Apache-2.0
#include "run_remains.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sys/file.h>
#include <unistd.h>

namespace fallbackd::e2e {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "fbe2e.";
constexpr const char* kCgroupList = "cgroups";  // in the folder: what to remove, one path per line
constexpr std::size_t kLongestParent = 30;      // keeps sockets below the folder within sun_path

fs::path parentOfRuns() {
  const fs::path preferred = fs::temp_directory_path();
  return preferred.string().size() <= kLongestParent ? preferred : fs::path("/tmp");
}

Result<sys::UniqueFd> lockFolder(const fs::path& folder, int operation) {
  sys::UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd || ::flock(fd.get(), operation) != 0) return failErrno(Stage::cli, "lock " + folder.string());
  return fd;
}

Result<> removeRun(const fs::path& folder) {
  std::ifstream list(folder / kCgroupList);
  for (std::string cgroup; std::getline(list, cgroup);) FB_CHECK(destroyCgroup(cgroup));
  FB_TRY(const auto parent, sys::openDir(Stage::cli, folder.parent_path()));
  return sys::removeOwned(Stage::cli, parent, folder.filename());
}

/// A killed run no longer holds its lock but still has its list. A folder without a list is not ours, or
/// another process is just creating it.
void sweep(const fs::path& parent) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    const auto lock = lockFolder(entry.path(), LOCK_EX | LOCK_NB);
    if (!lock || !fs::exists(entry.path() / kCgroupList, error)) continue;
    if (getenv("FALLBACKD_E2E_KEEP") == nullptr) removeRun(entry.path());  // NOLINT(concurrency-mt-unsafe)
  }
}

}  // namespace

Result<RunRemains> RunRemains::make() {
  const fs::path parent = parentOfRuns();
  sweep(parent);
  RunRemains run;
  std::string pattern = (parent / kPrefix).string() + "XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) return failErrno(Stage::cli, "make a folder like " + pattern);
  run.folder_ = pattern;
  FB_TRY(run.lock_, lockFolder(run.folder_, LOCK_EX));
  FB_CHECK(run.makeCgroups());
  return run;
}

Result<> RunRemains::makeCgroups() {
  FB_TRY(auto hierarchies, cgroupHierarchies());
  const std::string name = folder_.filename();
  for (auto& hierarchy : hierarchies) {
    FB_TRY(auto parent, cgroupFolderOf(hierarchy, ::getpid()));
    // Below our own cgroup, so that our limits apply to the run. If v2 has the controllers, our own cgroup
    // contains processes and so cannot pass the controllers on: then only the root can have such a child.
    std::ifstream controllers(hierarchy.mountPoint / "cgroup.controllers");
    if (std::string any; hierarchy.unified && controllers >> any) parent = hierarchy.mountPoint;
    cgroups_.push_back({std::move(hierarchy), parent / name});
  }
  // The list comes first: the cleanup must find a run that is killed halfway.
  std::ofstream list(folder_ / kCgroupList);
  for (const auto& cgroup : cgroups_) list << cgroup.folder.string() << '\n';
  list.close();
  for (const auto& cgroup : cgroups_) FB_CHECK(makeCgroup(cgroup.hierarchy, cgroup.folder));
  return {};
}

Result<> RunRemains::joinRoot() const {
  for (const auto& cgroup : cgroups_) FB_CHECK(writeCgroupFile(cgroup.folder / "cgroup.procs", "0"));
  return {};
}

Result<> RunRemains::joinLeaf() const {
  for (const auto& cgroup : cgroups_) {
    if (!cgroup.hierarchy.unified) continue;
    FB_CHECK(makeCgroup(cgroup.hierarchy, cgroup.folder / "init"));
    FB_CHECK(writeCgroupFile(cgroup.folder / "init" / "cgroup.procs", "0"));
    std::ifstream controllers(cgroup.folder / "cgroup.controllers");
    for (std::string name; controllers >> name;) {
      FB_CHECK(writeCgroupFile(cgroup.folder / "cgroup.subtree_control", "+" + name));
    }
  }
  return {};
}

Result<> RunRemains::remove() {
  if (getenv("FALLBACKD_E2E_KEEP") == nullptr) return removeRun(folder_);  // NOLINT(concurrency-mt-unsafe)
  for (const auto& cgroup : cgroups_) FB_CHECK(destroyCgroup(cgroup.folder));
  return {};
}

}  // namespace fallbackd::e2e
