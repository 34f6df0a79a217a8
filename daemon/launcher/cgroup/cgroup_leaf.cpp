// SPDX-License-Identifier: Apache-2.0
#include "launcher/cgroup/cgroup_leaf.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/this_coro.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMaxCgroupText = 1 << 20;
constexpr std::uint64_t kPeriodUs = 100'000;  // the kernel's default for CPU bandwidth
constexpr auto kRemoveDeadline = 5s;
constexpr auto kFirstRetry = 200us;
constexpr auto kLastRetry = 20ms;

bool present(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

/// v1: hierarchies in which a leaf limits or counts something. In the others (devices, freezer, cpuset ...) a
/// leaf would behave like the pod's cgroup, and each one costs a launch 20 to 100 us.
bool isOwn(std::string_view controller) {
  return controller == "memory" || controller == "cpu" || controller == "cpuacct" || controller == "pids";
}

bool has(const LegacyLeaf& folder, std::string_view controller) {
  return std::find(folder.controllers.begin(), folder.controllers.end(), controller) !=
         folder.controllers.end();
}

/// A new v1 cpuset has no CPUs and memory nodes, and accepts no process until it has.
Result<> inheritCpuset(const std::string& folder) {
  const std::string parent = folder.substr(0, folder.rfind('/'));
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    FB_TRY(const auto own, sys::readFile(Stage::cgroup, folder + name, kMaxCgroupText));
    if (!trim(own).empty()) continue;
    FB_TRY(const auto value, sys::readFile(Stage::cgroup, parent + name, kMaxCgroupText));
    FB_CHECK(sys::writeCgroupFile(folder + name, trim(value)));
  }
  return {};
}

/// Sets a limit if its controller is available in this folder.
Result<> limit(const std::string& path, const std::string& value) {
  if (!present(path)) return {};
  return sys::writeCgroupFile(path, value);
}

Result<> limitUnified(const std::string& folder, const config::Resources& resources) {
  if (resources.memoryBytes) FB_CHECK(limit(folder + "/memory.max", std::to_string(*resources.memoryBytes)));
  if (resources.pids) FB_CHECK(limit(folder + "/pids.max", std::to_string(*resources.pids)));
  if (resources.cpus) {
    const auto quota = static_cast<std::uint64_t>(*resources.cpus * static_cast<double>(kPeriodUs));
    FB_CHECK(limit(folder + "/cpu.max",
                   std::to_string(std::max<std::uint64_t>(quota, 1000)) + " " + std::to_string(kPeriodUs)));
  }
  return {};
}

Result<> limitLegacy(const LegacyLeaf& folder, const config::Resources& resources) {
  const auto& path = folder.path;
  if (resources.memoryBytes && has(folder, "memory")) {
    FB_CHECK(limit(path + "/memory.limit_in_bytes", std::to_string(*resources.memoryBytes)));
  }
  if (resources.pids && has(folder, "pids")) {
    FB_CHECK(limit(path + "/pids.max", std::to_string(*resources.pids)));
  }
  if (resources.cpus && has(folder, "cpu")) {
    const auto quota = static_cast<std::uint64_t>(*resources.cpus * static_cast<double>(kPeriodUs));
    FB_CHECK(limit(path + "/cpu.cfs_period_us", std::to_string(kPeriodUs)));
    FB_CHECK(limit(path + "/cpu.cfs_quota_us", std::to_string(std::max<std::uint64_t>(quota, 1000))));
  }
  return {};
}

/// A pod whose cgroup has had no container yet may not have delegated its controllers. If the kernel refuses,
/// the limits stay those of the pod.
void handDownControllers(const std::string& parent, const config::Resources& resources) {
  const std::string control = parent + "/cgroup.subtree_control";
  if (resources.memoryBytes) static_cast<void>(sys::writeCgroupFile(control, "+memory"));
  if (resources.cpus) static_cast<void>(sys::writeCgroupFile(control, "+cpu"));
  if (resources.pids) static_cast<void>(sys::writeCgroupFile(control, "+pids"));
}

/// False if there is no cgroup to create it in.
Result<bool> makeFolder(const CgroupTrees& trees, const std::string& path) {
  auto made = trees.leaf(path).and_then([](const LeafFolder& leaf) { return leaf.make(); });
  if (made) return true;
  if (made.error().reason == Reason::not_found) return false;
  return tl::unexpected<Error>(made.error());
}

Result<sys::UniqueFd> openForJoining(const std::string& file) {
  sys::UniqueFd joining(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!joining) return failErrno(Stage::cgroup, "open " + file);
  return joining;
}

Result<> makeLegacyLeaf(const LegacyLeaf& leaf, const config::Resources& resources) {
  // A cpuset that is mounted together with another controller.
  if (has(leaf, "cpuset")) FB_CHECK(inheritCpuset(leaf.path));
  return limitLegacy(leaf, resources);
}

}  // namespace

std::vector<std::string> pathsOf(const CgroupLeaf& leaf) {
  std::vector<std::string> paths;
  if (leaf.unified) paths.push_back(*leaf.unified);
  for (const auto& folder : leaf.legacy) paths.push_back(folder.path);
  return paths;
}

Result<CgroupLeaf> leafBelow(const std::vector<sys::CgroupHierarchy>& hierarchies, const std::string& parent,
                             const std::string& name) {
  FB_TRY(const auto path, sys::expandCgroupParent(parent));
  CgroupLeaf leaf;
  leaf.pod = path;
  for (const auto& hierarchy : hierarchies) {
    const std::string pods = hierarchy.folderOf(path);
    if (hierarchy.unified) {
      leaf.unified = pods + "/" + name;
    } else if (std::any_of(hierarchy.controllers.begin(), hierarchy.controllers.end(), isOwn)) {
      leaf.legacy.push_back({pods + "/" + name, hierarchy.controllers});
    } else {
      leaf.shared.push_back(pods);
    }
  }
  return leaf;
}

Result<> makeUnifiedLeaf(const CgroupTrees& trees, CgroupLeaf& leaf, const config::Resources& resources,
                         LaunchOrder& order, LaunchFds& fds) {
  if (!leaf.unified) return {};
  const auto& path = *leaf.unified;
  handDownControllers(path.substr(0, path.rfind('/')), resources);
  FB_TRY(const bool made, makeFolder(trees, path));
  if (!made) {
    leaf.unified.reset();
    return {};
  }
  FB_CHECK(limitUnified(path, resources));
  FB_TRY(fds.cgroupFolder, sys::openDir(Stage::cgroup, path));
  FB_TRY(fds.cgroupProcs, openForJoining(path + "/cgroup.procs"));
  order.unifiedCgroup = true;
  return {};
}

Result<> makeLegacyLeaves(const CgroupTrees& trees, CgroupLeaf& leaf, const config::Resources& resources,
                          EntryFds& fds) {
  for (auto folder = leaf.legacy.begin(); folder != leaf.legacy.end();) {
    FB_TRY(const bool made, makeFolder(trees, folder->path));
    if (!made) {
      folder = leaf.legacy.erase(folder);
      continue;
    }
    FB_CHECK(makeLegacyLeaf(*folder, resources));
    FB_TRY(auto joining, openForJoining(folder->path + "/tasks"));
    fds.tasks.push_back(std::move(joining));
    ++folder;
  }
  if (leaf.empty()) {
    return fail(Stage::cgroup, Reason::not_found,
                "the pod's cgroup " + leaf.pod + " is not in any hierarchy");
  }
  for (const auto& pods : leaf.shared) {
    auto joining = openForJoining(pods + "/tasks");
    if (!joining && joining.error().errnum == ENOENT) continue;  // the pod has none there
    if (!joining) return tl::unexpected<Error>(joining.error());
    fds.tasks.push_back(std::move(*joining));
  }
  return {};
}

void killLeaf(const CgroupTrees& trees, const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    if (const auto leaf = trees.leaf(path)) leaf->kill();
  }
}

asio::awaitable<Result<>> removeLeaf(std::shared_ptr<const CgroupTrees> trees,
                                     std::vector<std::string> paths) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  const auto deadline = clock.now() + kRemoveDeadline;
  auto unopened = paths;
  Result<> outcome;
  std::vector<LeafFolder> left;
  Backoff backoff({kFirstRetry, kLastRetry});
  for (;;) {
    std::erase_if(unopened, [&](const std::string& path) {
      auto leaf = trees->leaf(path);
      if (leaf) {
        left.push_back(std::move(*leaf));
        return true;
      }
      const auto& error = leaf.error();
      if (isTemporary(error)) return false;  // processes may run in it
      if (error.reason != Reason::not_found) outcome = tl::unexpected<Error>(error);
      return true;
    });
    for (const auto& leaf : left) leaf.kill();
    std::erase_if(left, [](const LeafFolder& leaf) { return leaf.remove(); });
    if (left.empty() && unopened.empty()) co_return outcome;
    if (clock.now() > deadline) {
      co_return fail(Stage::cgroup, Reason::timeout, "empty and remove " + join(paths, ", "));
    }
    co_await backoff.wait();
  }
}

unsigned long long oomKillsIn(const std::vector<std::string>& paths) {
  unsigned long long kills = 0;
  for (const auto& path : paths) {
    kills += sys::readCgroupCounter(path + "/memory.events", "oom_kill");
    kills += sys::readCgroupCounter(path + "/memory.oom_control", "oom_kill");
  }
  return kills;
}

}  // namespace fallbackd::launcher
