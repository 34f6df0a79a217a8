// SPDX-License-Identifier: Apache-2.0
// Which sandboxes are joined, and which are refused.
#include "launch_fixture.hpp"

#include <cerrno>
#include <csignal>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

class SandboxGate : public LaunchTest {
 protected:
  void launcherAsking(std::function<Result<pid_t>()> answer) {
    launcher = std::make_unique<launcher::LocalLauncher>(
        loop.get_executor(), options(),
        [answer = std::move(answer)](std::string) -> asio::awaitable<Result<pid_t>> { co_return answer(); });
    ASSERT_TRUE(launcher->start());
  }
  void replaceSandbox(FakeSandbox::Shape shape) {
    sandbox = std::make_unique<FakeSandbox>(folder, hierarchies, shape);
  }
};

TEST_F(SandboxGate, TheRuntimeIsAsked) {
  launcherAsking([this] { return sandbox->pause(); });
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  stop(process);
}

TEST_F(SandboxGate, AnotherPauseProcessMeansAChangedSandbox) {
  launcherAsking([this] { return sandbox->pause() + 1; });
  const auto error = refusal(request({"wait"}));
  EXPECT_EQ(error.stage, Stage::sandbox);
  EXPECT_EQ(error.reason, Reason::sandbox_changed);
}

/// The kernel already gives the answer that the runtime would give.
TEST_F(SandboxGate, APauseProcessInItsSandboxsCgroupNeedsNoQuery) {
  launcherAsking([]() -> Result<pid_t> { return fail(Stage::containerd, Reason::not_found, "not asked"); });
  sandbox->enterOwnCgroup();
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  stop(process);
  // A process of another sandbox that reused the pause process's pid, or of another pod that has a cgroup
  // with the sandbox's name.
  auto wanted = request({"wait"});
  wanted.sandbox.sandbox.id += "0";
  EXPECT_EQ(refusal(wanted).reason, Reason::sandbox_changed);
  wanted = request({"wait"});
  sandbox->leaveOwnCgroupFor("/fallbackd-test-elsewhere");
  EXPECT_EQ(refusal(wanted).reason, Reason::sandbox_changed);
}

TEST_F(SandboxGate, AFailedQueryMeansAChangedSandbox) {
  launcherAsking(
      []() -> Result<pid_t> { return fail(Stage::containerd, Reason::not_found, "no such sandbox"); });
  EXPECT_EQ(refusal(request({"wait"})).reason, Reason::sandbox_changed);
}

TEST_F(SandboxGate, ADeadPauseProcessIsNotJoined) {
  const auto wanted = request({"wait"});
  sandbox->killPause();
  const auto error = refusal(wanted);
  EXPECT_EQ(error.stage, Stage::sandbox);
  EXPECT_EQ(error.reason, Reason::sandbox_gone);
}

TEST_F(SandboxGate, TheHostsNamespacesAreNotJoined) {
  replaceSandbox({.hostNetwork = true});
  auto wanted = request({"wait"});
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);  // requested, but not allowed
  wanted.sandbox.network = cri::NamespaceMode::pod;           // hidden
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
  wanted.sandbox.pausePid = 1;
  EXPECT_EQ(refusal(wanted).reason, Reason::sandbox_gone);
  replaceSandbox({.hostIpc = true});
  wanted = request({"wait"});
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
  wanted.sandbox.ipc = cri::NamespaceMode::pod;
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
}

TEST_F(SandboxGate, HostNetworkIfBothPodAndConfigurationSaySo) {
  replaceSandbox({.hostNetwork = true});
  auto allowing = options();
  allowing.allowHostNetwork = true;
  launcherWith(allowing);
  const auto seen = reportOf(request({"report"}));
  EXPECT_EQ(seen.one("ns.net"), namespaceLink(::getpid(), "net"));
  EXPECT_NE(seen.one("ns.ipc"), namespaceLink(::getpid(), "ipc"));
  auto wanted = request({"wait"});
  wanted.sandbox.network = cri::NamespaceMode::pod;  // CRI says otherwise: something is wrong
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
}

TEST_F(SandboxGate, HostIpcAndHostPidIfBothPodAndConfigurationSaySo) {
  replaceSandbox({.hostIpc = true, .hostPid = true});
  EXPECT_EQ(refusal(request({"wait"})).reason, Reason::host_namespace);
  auto allowing = options();
  allowing.allowHostIpc = true;
  launcherWith(allowing);
  EXPECT_EQ(refusal(request({"wait"})).reason,
            Reason::host_namespace);  // one of the two settings is not enough
  allowing.allowHostPid = true;
  launcherWith(allowing);
  const auto seen = reportOf(request({"report"}));
  EXPECT_EQ(seen.one("ns.ipc"), namespaceLink(::getpid(), "ipc"));
  EXPECT_EQ(seen.one("ns.pid"), namespaceLink(::getpid(), "pid"));
  EXPECT_NE(seen.one("ns.net"), namespaceLink(::getpid(), "net"));
}

TEST_F(SandboxGate, ASharedPidNamespaceIsJoinedAndLeftUnchanged) {
  replaceSandbox({.sharedPids = true});
  auto wanted = request({"report"});
  wanted.workload.healthCheck.args = {"--health-check=daemon"};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_EQ(seen.one("ns.pid"), namespaceLink(sandbox->pause(), "pid"));
  EXPECT_NE(seen.one("pid"), "1");
  EXPECT_EQ(seen.one("ppid"), "0");  // the spawner is outside
  // The pause process lives, the health check's daemon does not: only pause and the program are visible.
  EXPECT_EQ(seen.one("names.processes"), " 1 " + seen.one("pid"));
  EXPECT_EQ(seen.one("subreaper"), "0");
  // Other launches of the same spawner are not in it.
  const auto other = std::make_unique<FakeSandbox>(folder, hierarchies);
  auto plain = request({"report"});
  plain.sandbox = other->status();
  EXPECT_EQ(reportOf(std::move(plain)).one("pid"), "1");
}

TEST_F(SandboxGate, AProcThatIsNotTheSandboxesIsNotMounted) {
  using Proc = FakeSandbox::Shape::Proc;
  for (const auto proc : {Proc::of_host, Proc::something_else}) {
    replaceSandbox({.sharedPids = true, .proc = proc});
    const auto error = refusal(request({"wait"}));
    EXPECT_EQ(error.stage, Stage::join) << error.message();
    // The machine's first process cannot even be examined: EACCES.
    EXPECT_TRUE(error.reason == Reason::unsafe_path || error.errnum == EACCES) << error.message();
  }
}

TEST_F(SandboxGate, AHealthCheckInItsOwnProcFindsTheSameMasks) {
  replaceSandbox({.sharedPids = true});
  auto wanted = request({"wait"});
  wanted.workload.user = {0, 0, {}};  // root could read them by mode: only the mask protects them
  wanted.workload.healthCheck.args = {"--health-check=masks"};
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  stop(process);
}

TEST_F(SandboxGate, TheHostsPidNamespaceIsNotJoinedAsASharedOne) {
  auto wanted = request({"wait"});
  wanted.sandbox.pid = cri::NamespaceMode::pod;  // but the pause process is in the host's PID namespace
  EXPECT_EQ(refusal(wanted).reason, Reason::host_namespace);
}

TEST_F(SandboxGate, InASharedPidNamespaceStoppingEndsTheFallbackAndItsChildrenOnly) {
  replaceSandbox({.sharedPids = true});
  const auto process = launched(request({"family"}));
  ASSERT_NE(process, nullptr);
  logWith(process, "child up");
  const auto leaves = process->record().cgroupLeaves;
  stop(process);
  for (const auto& leaf : leaves) EXPECT_FALSE(std::filesystem::exists(leaf)) << leaf;
  EXPECT_EQ(::kill(sandbox->pause(), 0), 0);
}

TEST_F(SandboxGate, AUserNamespaceIsJoinedAndItsRootIsNobodyOutside) {
  replaceSandbox({.userNamespace = true});
  auto wanted = request({"report"});
  wanted.workload.user = {1234, 2345, {3456}};
  // Not a tmpfs: before Linux 6.3 it cannot be mapped to other owners.
  const auto volume = makeVolume("empty-dir", "scratch");
  ASSERT_EQ(::chmod(volume.c_str(), 0700), 0);
  ASSERT_EQ(::chown(volume.c_str(), 1234, 2345), 0);
  // The node's root is not mapped in these two, so only the pod's root can create the mount points in them.
  const auto outer = makeVolume("empty-dir", "outer");
  ASSERT_EQ(::chown(outer.c_str(), 999, 999), 0);
  writeText(makeVolume("configmap", "settings") / "config.yaml", "inner\n");
  wanted.workload.volumes = {{config::Volume::Kind::empty_dir, "scratch", "/scratch", "", false},
                             {config::Volume::Kind::empty_dir, "outer", "/etc", "", false},
                             {config::Volume::Kind::config_map, "settings", "/etc/app", "", true},
                             {config::Volume::Kind::config_map, "settings", "/tmp/a/b", "", true}};
  const auto process = launched(std::move(wanted));
  ASSERT_NE(process, nullptr);
  const ProbeOutput seen(logWith(process, " F end\n"));
  EXPECT_THAT(seen.all("file.config"), ::testing::ElementsAre("inner"));
  const auto outside = contentOf("/proc/" + std::to_string(process->record().pid) + "/status");
  stop(process);
  for (const char* kind : {"user", "net", "ipc", "uts"}) {
    EXPECT_EQ(seen.one(std::string("ns.") + kind), namespaceLink(sandbox->pause(), kind)) << kind;
  }
  EXPECT_EQ(seen.status("Uid"), "1234\t1234\t1234\t1234");
  EXPECT_EQ(seen.status("Groups"), "3456");
  EXPECT_EQ(seen.status("CapEff"), "0000000000000000");
  EXPECT_NE(outside.find("Uid:\t101234\t"), std::string::npos) << outside;
  EXPECT_EQ(seen.one("owner.root"), "0 0");           // the namespace's root, not the host's
  EXPECT_EQ(seen.one("owner.stdout"), "1234 65534");  // the group is the daemon's, which reads it
  EXPECT_EQ(seen.number("write.scratch"), 0);         // owners of volumes are mapped
  struct stat made {};
  ASSERT_EQ(::stat((volume / "new").c_str(), &made), 0);
  EXPECT_EQ(made.st_uid, 1234U);
  ASSERT_EQ(::stat((outer / "app").c_str(), &made), 0);
  EXPECT_EQ(made.st_uid, 0U) << "the pod's root";
}

TEST_F(SandboxGate, AVolumeWhoseOwnersCannotBeMappedIsRefusedByName) {
  replaceSandbox({.userNamespace = true});
  auto wanted = request({"wait"});
  const auto volume = makeVolume("empty-dir", "scratch");
  ASSERT_EQ(::mount("vol", volume.c_str(), "ramfs", 0, nullptr), 0);
  wanted.workload.volumes = {{config::Volume::Kind::empty_dir, "scratch", "/scratch", "", false}};
  const auto error = refusal(wanted);
  EXPECT_EQ(::umount2(volume.c_str(), MNT_DETACH), 0);
  EXPECT_THAT(error.message(),
              ::testing::HasSubstr("map the owners of volume \"scratch\" to the pod's user namespace"));
}

TEST_F(SandboxGate, AUserOutsideTheNamespaceIsRefused) {
  replaceSandbox({.userNamespace = true});
  auto wanted = request({"wait"});
  wanted.workload.user = {70000, 70000, {}};
  const auto error = refusal(wanted);
  EXPECT_EQ(error.stage, Stage::identity);
  EXPECT_EQ(error.reason, Reason::invalid);
}

}  // namespace fallbackd::test
