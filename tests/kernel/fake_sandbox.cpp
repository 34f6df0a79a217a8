// SPDX-License-Identifier: Apache-2.0
#include "fake_sandbox.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fallbackd::test {

namespace {

constexpr const char* kHostname = "shop-7d9f";

bool bringUpLoopback() {
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool up = ::ioctl(socket, SIOCSIFFLAGS, &request) == 0;
  ::close(socket);
  return up;
}

/// Mounts /proc as a runtime does for a pause process with its own PID namespace, or deliberately wrong.
bool showOwnProcesses(FakeSandbox::Shape::Proc proc) {
  using Proc = FakeSandbox::Shape::Proc;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return false;
  if (proc == Proc::of_host) return true;
  const char* type = proc == Proc::own ? "proc" : "tmpfs";
  return ::mount(type, "/proc", type, MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
}

[[noreturn]] void bePause(FakeSandbox::Shape shape, int goPipe, int readyPipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  char byte = 0;
  // A process can do little in a user namespace before its ids are mapped.
  const bool mapped = ::read(goPipe, &byte, 1) == 1;
  const bool made = mapped &&
                    (shape.hostNetwork || (::unshare(CLONE_NEWNET | CLONE_NEWUTS) == 0 && bringUpLoopback() &&
                                           ::sethostname(kHostname, std::strlen(kHostname)) == 0)) &&
                    (shape.hostIpc || ::unshare(CLONE_NEWIPC) == 0) &&
                    (!shape.sharedPids || showOwnProcesses(shape.proc));
  if (!made || ::write(readyPipe, "r", 1) != 1) ::_exit(1);
  for (;;) ::pause();
}

void copyCpuset(const std::string& folder) {
  for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
    std::ifstream parent(std::filesystem::path(folder).parent_path().string() + name);
    std::string value;
    if (parent >> value) std::ofstream(folder + name) << value;
  }
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

}  // namespace

FakeSandbox::FakeSandbox(const std::filesystem::path& folder,
                         const std::vector<sys::CgroupHierarchy>& hierarchies)
    : FakeSandbox(folder, hierarchies, Shape{}) {}

FakeSandbox::FakeSandbox(const std::filesystem::path& folder,
                         const std::vector<sys::CgroupHierarchy>& hierarchies, Shape shape) {
  static std::atomic<unsigned> counter{0};
  const std::string name = std::to_string(::getpid()) + "-" + std::to_string(++counter);
  status_.sandbox.id = "sandbox-" + name;
  status_.sandbox.podUid = "pod-" + name;
  status_.sandbox.podName = "shop";
  status_.sandbox.podNamespace = "market";
  status_.sandbox.ready = true;
  status_.ips = {"127.0.0.1"};
  status_.hostname = kHostname;
  status_.cgroupParent = "/fallbackd-test-besteffort-" + name;
  if (shape.hostNetwork) status_.network = cri::NamespaceMode::node;
  if (shape.hostIpc) status_.ipc = cri::NamespaceMode::node;
  if (shape.hostPid) status_.pid = cri::NamespaceMode::node;
  if (shape.sharedPids) status_.pid = cri::NamespaceMode::pod;

  const auto own = folder / name;
  std::filesystem::create_directories(own / "shm");
  if (::mount("shm", (own / "shm").c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=1m") !=
      0) {
    throw std::runtime_error("mount shm");
  }
  write(own / "resolv.conf", "nameserver 10.96.0.10\nsearch market.svc.cluster.local\noptions ndots:5\n");
  status_.resolvConfPath = own / "resolv.conf";
  status_.shmPath = own / "shm";
  status_.logDirectory = own / "logs";

  for (const auto& hierarchy : hierarchies) {
    cgroups_.push_back(hierarchy.folderOf(status_.cgroupParent));
    if (::mkdir(cgroups_.back().c_str(), 0755) != 0) throw std::runtime_error("mkdir " + cgroups_.back());
    copyCpuset(cgroups_.back());
  }

  std::array<int, 2> ready{};
  std::array<int, 2> go{};
  if (::pipe2(ready.data(), O_CLOEXEC) != 0 || ::pipe2(go.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("pipe");
  }
  // Not fork and unshare: a process with TSan's own thread cannot unshare its user namespace.
  const unsigned long flags =
      SIGCHLD | (shape.userNamespace ? CLONE_NEWUSER : 0) | (shape.sharedPids ? CLONE_NEWPID : 0);
  status_.pausePid = static_cast<pid_t>(::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
  if (status_.pausePid == 0) {
    ::close(ready[0]);
    ::close(go[1]);
    bePause(shape, go[0], ready[1]);
  }
  running_ = true;
  ::close(ready[1]);
  ::close(go[0]);
  if (shape.userNamespace) {
    for (const char* file : {"uid_map", "gid_map"}) {
      write("/proc/" + std::to_string(status_.pausePid) + "/" + file,
            "0 " + std::to_string(kFirstId) + " 65536\n");
    }
  }
  char byte = 'g';
  const bool up = ::write(go[1], &byte, 1) == 1 && ::read(ready[0], &byte, 1) == 1;
  ::close(go[1]);
  ::close(ready[0]);
  if (!up) throw std::runtime_error("the fake pause process did not start");
}

FakeSandbox::~FakeSandbox() {
  killPause();
  ::umount2(status_.shmPath.c_str(), MNT_DETACH);
  for (auto path = ownCgroups_.rbegin(); path != ownCgroups_.rend(); ++path) ::rmdir(path->c_str());
  for (const auto& path : cgroups_) ::rmdir(path.c_str());
}

void FakeSandbox::enterCgroup(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0) throw std::runtime_error("mkdir " + path);
  ownCgroups_.push_back(path);
  copyCpuset(path);
  write(path + "/cgroup.procs", std::to_string(status_.pausePid));
}

void FakeSandbox::enterOwnCgroup() {
  for (const auto& podCgroup : cgroups_) enterCgroup(podCgroup + "/" + status_.sandbox.id);
}

void FakeSandbox::leaveOwnCgroupFor(const std::string& otherPod) {
  for (const auto& podCgroup : cgroups_) {
    const auto other = podCgroup.substr(0, podCgroup.size() - status_.cgroupParent.size()) + otherPod;
    if (::mkdir(other.c_str(), 0755) != 0) throw std::runtime_error("mkdir " + other);
    copyCpuset(other);
    enterCgroup(other + "/" + status_.sandbox.id);
    ownCgroups_.insert(ownCgroups_.end() - 1, other);  // removed from the end
  }
}

void FakeSandbox::killPause() {
  if (!running_) return;
  ::kill(status_.pausePid, SIGKILL);
  ::waitpid(status_.pausePid, nullptr, 0);
  running_ = false;
}

std::string namespaceLink(pid_t pid, const std::string& kind) {
  return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind).string();
}

}  // namespace fallbackd::test
