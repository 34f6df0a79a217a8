#include "launcher/cgroup_leaf.hpp"

#include "base/clock.hpp"
#include "base/strings.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

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

/// v1: where a leaf has something to limit or to count. In the others (devices, freezer, cpuset ...) one of
/// its own would be as the pod's is, and each costs a launch 20 to 100 us.
bool isOwn(std::string_view controller) {
  return controller == "memory" || controller == "cpu" || controller == "cpuacct" || controller == "pids";
}

bool has(const LegacyLeaf& folder, std::string_view controller) {
  return std::find(folder.controllers.begin(), folder.controllers.end(), controller) !=
         folder.controllers.end();
}

/// A v1 cpuset is born without CPUs and memory nodes, and nobody can be put into it then.
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

/// Sets a limit where its controller is in this folder.
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

/// A pod whose cgroup has had no container yet may not hand its controllers down. The kernel refuses where
/// that cannot be; the limits then stay those of the pod.
void handDownControllers(const std::string& parent, const config::Resources& resources) {
  const std::string control = parent + "/cgroup.subtree_control";
  if (resources.memoryBytes) static_cast<void>(sys::writeCgroupFile(control, "+memory"));
  if (resources.cpus) static_cast<void>(sys::writeCgroupFile(control, "+cpu"));
  if (resources.pids) static_cast<void>(sys::writeCgroupFile(control, "+pids"));
}

/// False where there is nothing to make it in.
Result<bool> makeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return true;
  if (errno == ENOENT) return false;
  return fail(Stage::cgroup, errno == EEXIST ? Reason::already_exists : Reason::system, "create " + path,
              errno);
}

Result<sys::UniqueFd> openForJoining(const std::string& file) {
  sys::UniqueFd joining(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!joining) return failErrno(Stage::cgroup, "open " + file);
  return joining;
}

Result<> makeLegacyLeaf(const LegacyLeaf& leaf, const config::Resources& resources) {
  // A cpuset that is mounted together with one of the others.
  if (has(leaf, "cpuset")) FB_CHECK(inheritCpuset(leaf.path));
  return limitLegacy(leaf, resources);
}

/// ".../kubepods/burstable/podUID", or systemd's ".../kubepods-burstable-podUID.slice".
bool isPodCgroup(const std::filesystem::path& path) {
  const auto name = path.filename().string();
  return path.string().find("/kubepods") != std::string::npos &&
         (name.starts_with("pod") || (name.find("-pod") != std::string::npos && name.ends_with(".slice")));
}

/// True when none is left there.
bool removeFolders(const std::vector<std::string>& paths) {
  bool gone = true;
  for (const auto& path : paths) {
    if (::rmdir(path.c_str()) != 0 && errno != ENOENT) gone = false;
  }
  return gone;
}

/// The folders of the cgroups that a process is in, one a hierarchy.
std::vector<std::string> foldersOf(pid_t pid, const std::vector<sys::CgroupHierarchy>& hierarchies) {
  const auto text = sys::readFile(Stage::cgroup, "/proc/" + std::to_string(pid) + "/cgroup", kMaxCgroupText);
  std::vector<std::string> folders;
  if (!text) return folders;
  for (const auto line : split(*text, '\n')) {  // "4:cpu,cpuacct:/kubepods/pod1"; v2: "0::/kubepods/pod1"
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    for (const auto& hierarchy : hierarchies) {
      const auto names = split(controllers, ',');
      const bool same = controllers.empty() ? hierarchy.unified
                                            : !hierarchy.unified &&
                                                  std::all_of(names.begin(), names.end(),
                                                              [&](auto name) { return hierarchy.has(name); });
      if (same) folders.push_back(hierarchy.folderOf(line.substr(second + 1)));
    }
  }
  return folders;
}

}  // namespace

std::string leafName(const std::string& container) {
  return "fallback-" + container;
}

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

Result<> makeUnifiedLeaf(CgroupLeaf& leaf, const config::Resources& resources, LaunchOrder& order,
                         LaunchFds& fds) {
  if (!leaf.unified) return {};
  const auto& path = *leaf.unified;
  handDownControllers(path.substr(0, path.rfind('/')), resources);
  FB_TRY(const bool made, makeFolder(path));
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

Result<> makeLegacyLeaves(CgroupLeaf& leaf, const config::Resources& resources, EntryFds& fds) {
  for (auto folder = leaf.legacy.begin(); folder != leaf.legacy.end();) {
    FB_TRY(const bool made, makeFolder(folder->path));
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
    return fail(Stage::cgroup, Reason::not_found, "the pod's cgroup " + leaf.pod + " is in no hierarchy");
  }
  for (const auto& pods : leaf.shared) {
    auto joining = openForJoining(pods + "/tasks");
    if (!joining && joining.error().errnum == ENOENT) continue;  // the pod has none there
    if (!joining) return tl::unexpected<Error>(joining.error());
    fds.tasks.push_back(std::move(*joining));
  }
  return {};
}

bool isInLeaf(pid_t pid, const std::vector<std::string>& paths,
              const std::vector<sys::CgroupHierarchy>& hierarchies) {
  const auto folders = foldersOf(pid, hierarchies);
  return !paths.empty() && std::all_of(paths.begin(), paths.end(), [&](const std::string& leaf) {
    return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
      return folder == leaf || folder.starts_with(leaf + "/");
    });
  });
}

void killLeaf(const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    // v2 from 5.14 on: all at once, and none can fork its way out.
    if (sys::writeCgroupFile(path + "/cgroup.kill", "1")) continue;
    const auto text = sys::readFile(Stage::cgroup, path + "/cgroup.procs", kMaxCgroupText);
    if (!text) continue;
    for (const auto line : split(*text, '\n')) {
      pid_t pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid > 1) ::kill(pid, SIGKILL);  // 0: a process that our pid namespace does not show
    }
  }
}

asio::awaitable<Result<>> removeLeaf(std::vector<std::string> paths) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto deadline = Monotonic::now() + kRemoveDeadline;
  std::chrono::nanoseconds delay = kFirstRetry;
  for (;;) {
    killLeaf(paths);
    if (removeFolders(paths)) co_return Result<>{};
    if (Monotonic::now() > deadline) {
      co_return fail(Stage::cgroup, Reason::timeout, "empty and remove " + join(paths, ", "));
    }
    timer.expires_after(delay);
    co_await timer.async_wait(asio::use_awaitable);
    delay = std::min<std::chrono::nanoseconds>(delay * 2, kLastRetry);
  }
}

std::vector<std::string> leavesBelow(const std::vector<sys::CgroupHierarchy>& hierarchies) {
  namespace fs = std::filesystem;
  std::vector<std::string> leaves;
  std::error_code error;  // folders come and go while they are listed
  for (const auto& hierarchy : hierarchies) {
    for (fs::recursive_directory_iterator it(hierarchy.mountPoint, error), end; !error && it != end;
         it.increment(error)) {
      std::error_code gone;
      if (!isPodCgroup(it->path()) || !it->is_directory(gone)) continue;
      // No deeper: a pod may be a node of its own, with pods and fallbacks that are not ours.
      it.disable_recursion_pending();
      for (const auto& child : fs::directory_iterator(it->path(), gone)) {
        if (child.path().filename().string().starts_with(leafName("")) && child.is_directory(gone)) {
          leaves.push_back(child.path().string());
        }
      }
    }
  }
  return leaves;
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
