// SPDX-License-Identifier: Apache-2.0
// The launched program, seen from inside and from outside.
#include "launch_fixture.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class Isolation : public LaunchTest {};

TEST_F(Isolation, SharesTheSandboxesNamespacesAndNoneOfTheHosts) {
  const auto seen = reportOf(request({"report"}));
  for (const char* kind : {"net", "ipc", "uts"}) {
    EXPECT_EQ(seen.one(std::string("ns.") + kind), namespaceLink(sandbox->pause(), kind));
    EXPECT_NE(seen.one(std::string("ns.") + kind), namespaceLink(::getpid(), kind));
  }
  for (const char* kind : {"pid", "mnt", "cgroup"}) {
    EXPECT_NE(seen.one(std::string("ns.") + kind), namespaceLink(::getpid(), kind));
    EXPECT_NE(seen.one(std::string("ns.") + kind), namespaceLink(sandbox->pause(), kind));
  }
  EXPECT_EQ(seen.one("hostname"), sandbox->status().hostname);
  EXPECT_EQ(seen.one("pid"), "1");
  EXPECT_EQ(seen.one("ppid"), "0");
  EXPECT_EQ(seen.one("sid"), "1");
}

TEST_F(Isolation, RunsAsTheConfiguredUserWithoutAnyPrivilege) {
  auto wanted = request({"report"});
  wanted.workload.user = {1234, 2345, {3456, 4567}};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_EQ(seen.status("Uid"), "1234\t1234\t1234\t1234");
  EXPECT_EQ(seen.status("Gid"), "2345\t2345\t2345\t2345");
  EXPECT_EQ(seen.status("Groups"), "3456 4567");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(seen.status(set), "0000000000000000") << set;
  }
  EXPECT_EQ(seen.status("NoNewPrivs"), "1");
  EXPECT_EQ(seen.status("Seccomp"), "2");
  EXPECT_EQ(seen.status("Seccomp_filters"), "1");
}

TEST_F(Isolation, EvenRootHasNoCapabilities) {
  auto wanted = request({"report"});
  wanted.workload.user = {0, 0, {}};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_EQ(seen.status("Uid"), "0\t0\t0\t0");
  EXPECT_EQ(seen.status("Groups"), "");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(seen.status(set), "0000000000000000") << set;
  }
  EXPECT_NE(seen.number("write.sysctl"), 0);
  EXPECT_NE(seen.number("write.root"), 0);
}

TEST_F(Isolation, InheritsNoDescriptorSignalMaskOrUmask) {
  const sys::UniqueFd leaky(::dup(0));  // without CLOEXEC, as a careless library leaves it
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  ::signal(SIGUSR2, SIG_IGN);
  const mode_t mask = ::umask(0);
  // The spawner of a second launcher inherits all of this.
  launcherWith(options());
  const auto seen = reportOf(request({"report"}));
  ::umask(mask);
  ::signal(SIGUSR2, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(seen.one("fds"), "0 1 2");
  EXPECT_EQ(seen.status("SigBlk"), "0000000000000000");
  EXPECT_EQ(seen.status("SigIgn"), "0000000000000000");
  EXPECT_EQ(seen.one("umask"), "22");
}

TEST_F(Isolation, HasExactlyTheConfiguredArgumentsAndEnvironment) {
  ::setenv("LEAKED_FROM_DAEMON", "secret", 1);
  auto wanted = request({"report", "--port=8080", ""});
  wanted.workload.env = {{"MODE", "fallback"}, {"POD_IP", "overridden"}, {"EMPTY", ""}};
  const auto seen = reportOf(std::move(wanted));
  ::unsetenv("LEAKED_FROM_DAEMON");
  EXPECT_THAT(seen.all("arg"), ElementsAre("probe", "report", "--port=8080", ""));
  EXPECT_THAT(seen.all("env"),
              UnorderedElementsAre("EMPTY=", "HOME=/",
                                   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                   "HOSTNAME=shop-7d9f", "MODE=fallback", "NODE_NAME=node-1",
                                   "POD_IP=overridden", "POD_NAME=shop", "POD_NAMESPACE=market"));
}

TEST_F(Isolation, LimitsAndOomScoreAreThoseOfAContainer) {
  const rlimit few{256, 512};  // what containerd gives its containers, including the pause process
  ASSERT_EQ(::prlimit(sandbox->pause(), RLIMIT_NOFILE, &few, nullptr), 0);
  const auto seen = reportOf(request({"report"}));
  EXPECT_EQ(seen.one("rlimit.nofile"), "256 512");
  EXPECT_EQ(seen.one("rlimit.core"), "0 0");
  EXPECT_EQ(seen.one("oom_score_adj"), "1000");  // the cgroup parent says besteffort
}

TEST_F(Isolation, WhatTheDaemonWasGivenIsNotInherited) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{std::min<rlim_t>(before.rlim_max, 512), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  ASSERT_EQ(::setpriority(PRIO_PROCESS, 0, 5), 0);
  // Its spawner inherits the limits and the priority.
  launcherWith(options());
  const auto process = launched(request({"report"}));
  ASSERT_EQ(::setpriority(PRIO_PROCESS, 0, 0), 0);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_NE(process, nullptr);
  const ProbeOutput seen(logWith(process, " F end\n"));
  errno = 0;
  EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(process->record().pid)), 0);
  EXPECT_EQ(errno, 0);
  stop(process);
  EXPECT_EQ(seen.one("rlimit.nofile"),
            std::to_string(before.rlim_cur) + " " + std::to_string(before.rlim_max));
}

TEST_F(Isolation, WorksInTheConfiguredFolder) {
  auto wanted = request({"report"});
  wanted.workload.workingDir = "/var/lib/shop/";
  EXPECT_EQ(reportOf(std::move(wanted)).one("cwd"), "/var/lib/shop");
  EXPECT_EQ(reportOf(request({"report"})).one("cwd"), "/");
}

TEST_F(Isolation, DeniedCallsAreDenied) {
  const auto process = launched(request({"attack"}));
  ASSERT_NE(process, nullptr);
  const ProbeOutput seen(logWith(process, " F end\n"));
  stop(process);
  for (const char* call : {"mount",
                           "umount",
                           "remount",
                           "unshare",
                           "clone.newuser",
                           "clone.newns",
                           "setns",
                           "chroot",
                           "pivot_root",
                           "mknod",
                           "bpf",
                           "perf_event_open",
                           "io_uring_setup",
                           "keyctl",
                           "add_key",
                           "userfaultfd",
                           "open_by_handle_at",
                           "kexec_load",
                           "init_module",
                           "reboot",
                           "vsock",
                           "personality.norandom",
                           "setuid",
                           "sethostname"}) {
    EXPECT_EQ(seen.number(std::string("try.") + call), EPERM) << call;
  }
  for (const char* call : {"clone3", "unknown.463", "unknown.900"}) {
    EXPECT_EQ(seen.number(std::string("try.") + call), ENOSYS) << call;
  }
  EXPECT_NE(seen.number("try.proc1.root"), 0);
  EXPECT_NE(seen.number("try.self.exe"), 0);
  EXPECT_EQ(seen.number("try.kill.all"), ESRCH);  // it sees only itself
  EXPECT_EQ(seen.number("try.personality.query"), 0);
  EXPECT_EQ(seen.number("try.fork"), 0);  // programs can do what they need
}

}  // namespace fallbackd::test
