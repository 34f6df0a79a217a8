// SPDX-License-Identifier: Apache-2.0
// What a workload may request beyond the defaults: capabilities, filters, labels, limits. Filters are tested
// by making the calls.
#include "base/strings.hpp"
#include "launch_fixture.hpp"
#include "launcher/confinement/security.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/resource.h>
#include <sys/xattr.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using config::SecurityProfile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Confinement : public LaunchTest {
 protected:
  ProbeOutput attackOf(launcher::LaunchRequest wanted) {
    const auto process = launched(std::move(wanted));
    if (process == nullptr) return ProbeOutput("");
    ProbeOutput output(logWith(process, " F end\n"));
    stop(process);
    return output;
  }
  launcher::LaunchRequest withProfile(const std::string& text) {
    auto given = options();
    given.seccompProfiles = folder / "seccomp";
    writeText(folder / "seccomp" / "profile.json", text);
    launcherWith(given);
    auto wanted = request({"attack"});
    wanted.workload.security.seccomp = {SecurityProfile::Type::localhost, "profile.json"};
    return wanted;
  }
  /// A kernel with SELinux, on which the pause process's program has a label; empty: none.
  launcher::KernelFolders seLinuxKernel(pid_t pause, const std::string& programLabel) const {
    const auto kernel = folder / "kernel";
    writeText(kernel / "proc" / "filesystems", "nodev\tselinuxfs\n");
    const auto program = kernel / "proc" / std::to_string(pause) / "exe";
    writeText(program, "");
    const auto* label = programLabel.c_str();
    EXPECT_TRUE(programLabel.empty() ||
                ::setxattr(program.c_str(), "security.selinux", label, programLabel.size() + 1, 0) == 0)
        << std::strerror(errno);
    return {kernel / "proc", kernel / "sys"};
  }
  /// How a launch ends on a kernel with SELinux if the workload's label is in no policy; most kernels do not
  /// even have the attribute. A fallback must not run without its label.
  Error refusalOfLabel(launcher::LaunchRequest wanted) {
    auto given = options();
    given.kernel = seLinuxKernel(wanted.sandbox.pausePid, "system_u:object_r:container_file_t:s0:c1,c2");
    launcherWith(given);
    wanted.workload.security.seLinuxLabel = "no:such:label:s0";
    return refusal(std::move(wanted));
  }
  static std::string fileLabelOf(int file) {
    char label[256] = {};
    EXPECT_GT(::fgetxattr(file, "security.selinux", label, sizeof label - 1), 0) << std::strerror(errno);
    return label;
  }
};

TEST_F(Confinement, ExactlyTheRequestedCapabilities) {
  auto wanted = request({"report"});
  wanted.workload.security.capabilities = 1ULL << 10 | 1ULL << 5;  // NET_BIND_SERVICE, KILL
  auto seen = reportOf(wanted);
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(seen.status(set), "0000000000000420") << set;
  }
  EXPECT_EQ(seen.status("NoNewPrivs"), "1");
  wanted.workload.user = {0, 0, {}};
  wanted.recoveryId = "root";
  wanted.workload.match.container = "root";
  seen = reportOf(wanted);
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(seen.status(set), "0000000000000420") << set;
  }
}

TEST_F(Confinement, ACapabilityWorksForAnOrdinaryUser) {
  auto wanted = request({"listen", "80"});
  wanted.workload.user = {1234, 1234, {}};
  wanted.workload.security.capabilities = 1ULL << 10;
  const auto process = launched(wanted);
  ASSERT_NE(process, nullptr);
  logWith(process, "up");
  stop(process);
}

TEST_F(Confinement, TheDefaultFilterAllowsTheCallsOfACapability) {
  auto wanted = request({"attack"});
  wanted.workload.user = {0, 0, {}};
  wanted.workload.security.capabilities = 1ULL << 18;  // SYS_CHROOT
  const auto seen = attackOf(wanted);
  EXPECT_EQ(seen.number("try.chroot"), 0);
  EXPECT_EQ(seen.number("try.mount"), EPERM);
  EXPECT_EQ(seen.number("try.unshare"), EPERM);
}

TEST_F(Confinement, AProfileThatDeniesByName) {
  const auto seen = attackOf(withProfile(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]},
    {"names": ["personality", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]})"));
  EXPECT_EQ(seen.number("try.vsock"), EACCES);
  EXPECT_EQ(seen.number("try.personality.query"), ENOSYS);
  EXPECT_EQ(seen.number("try.fork"), 0);
}

TEST_F(Confinement, AProfileThatAllowsByName) {
  // Names neither execveat nor the calls that the launch itself needs.
  const auto seen = attackOf(withProfile(R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"], "syscalls": [{"names": ["write", "writev", "read", "open", "openat",
    "close", "exit_group", "brk", "mmap", "munmap", "mprotect", "fstat", "newfstatat", "arch_prctl", "set_tid_address",
    "set_robust_list", "rseq", "prlimit64", "readlink", "readlinkat", "getrandom", "pause", "lseek", "ioctl", "rt_sigaction", "ppoll"],
    "action": "SCMP_ACT_ALLOW"}, {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
    {"index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}]})"));
  EXPECT_EQ(seen.number("try.personality.query"), 0);  // one of two values for the same argument
  EXPECT_EQ(seen.number("try.personality.norandom"), EPERM);
  EXPECT_EQ(seen.number("try.fork"), EPERM);
  EXPECT_EQ(seen.number("try.unknown.900"), ENOSYS);  // newer than all calls that it names
}

TEST_F(Confinement, AProfileThatCannotBeUsedIsNamed) {
  for (
      const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
          {"{", "not a JSON object"},
          {R"({"defaultAction": "SCMP_ACT_MAYBE"})", "SCMP_ACT_MAYBE"},
          {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRACE"}]})",
           "SCMP_ACT_TRACE"},
          {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP",
              "includes": {"caps": ["CAP_SYS_ADMIN"]}}]})",
           "includes"},
          {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP",
              "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]}]})",
           "args"}}) {
    const auto error = refusal(withProfile(text));
    EXPECT_EQ(error.stage, Stage::identity) << text;
    EXPECT_THAT(error.message(), HasSubstr(words));
    EXPECT_THAT(error.message(), HasSubstr("seccomp/profile.json"));
  }
  auto wanted = withProfile("{}");
  wanted.workload.security.seccomp.localhost = "missing.json";
  EXPECT_EQ(refusal(wanted).reason, Reason::not_found);
}

TEST_F(Confinement, NoFilterIfRequested) {
  auto wanted = request({"report"});
  wanted.workload.security.seccomp.type = SecurityProfile::Type::unconfined;
  EXPECT_EQ(reportOf(std::move(wanted)).status("Seccomp"), "0");
}

TEST_F(Confinement, LimitsOfTheWorkload) {
  auto wanted = request({"report"});
  wanted.workload.security.rlimits = {{RLIMIT_NOFILE, 64}, {RLIMIT_CORE, 4096}};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_EQ(seen.one("rlimit.nofile"), "64 64");
  EXPECT_EQ(seen.one("rlimit.core"), "4096 4096");
}

bool nodeHasAppArmor() {
  return trim(contentOf("/sys/module/apparmor/parameters/enabled")) == "Y";
}

/// fallbackd's own container has no securityfs, so it cannot read which profiles are loaded. A fallback must
/// start in spite of that.
TEST_F(Confinement, WithoutTheKernelsListTheDefaultProfileIsAppliedOrReported) {
  if (!nodeHasAppArmor()) GTEST_SKIP() << "this kernel has no AppArmor, or it is switched off";
  auto given = options();
  given.kernel.sys = folder / "sys";
  writeText(folder / "sys/module/apparmor/parameters/enabled", "Y\n");
  launcherWith(given);
  const std::string profile = "cri-containerd.apparmor.d (enforce)";
  const bool loaded = contentOf("/sys/kernel/security/apparmor/profiles").find(profile) != std::string::npos;
  const auto process = launched(request({"wait"}));
  ASSERT_NE(process, nullptr);
  const auto label = contentOf("/proc/" + std::to_string(process->record().pid) + "/attr/apparmor/current");
  EXPECT_EQ(trim(label), loaded ? profile : "unconfined");
  stop(process);
}

TEST_F(Confinement, WithoutTheKernelsListAMissingProfileIsNamed) {
  if (!nodeHasAppArmor()) GTEST_SKIP() << "this kernel has no AppArmor, or it is switched off";
  auto given = options();
  given.kernel.sys = folder / "sys";
  writeText(folder / "sys/module/apparmor/parameters/enabled", "Y\n");
  launcherWith(given);
  auto wanted = request({"wait"});
  wanted.workload.security.appArmor = {SecurityProfile::Type::localhost, "fallbackd-no-such-profile"};
  const auto error = refusal(wanted);
  EXPECT_EQ(error.reason, Reason::not_found) << error.message();
  EXPECT_THAT(error.message(), HasSubstr("fallbackd-no-such-profile is not loaded"));
}

// labels_test tests the decision on fake /sys and /proc trees; this tests that the launch writes the label.
TEST_F(Confinement, TheLabelIsWrittenBeforeTheBinaryIsExecuted) {
  const auto error = refusalOfLabel(request({"wait"}));
  EXPECT_EQ(error.stage, Stage::identity);
  EXPECT_THAT(error.message(), HasSubstr("label the process by attr/exec"));
}

// SELinux allows a container to execute only files with a container's label. Other pods share the copy: no
// categories.
TEST_F(Confinement, TheBinaryIsLabelledLikeTheFilesOfAnImage) {
  const auto wanted = request({"wait"});
  refusalOfLabel(wanted);
  EXPECT_EQ(fileLabelOf(wanted.executable->get()), "system_u:object_r:container_file_t:s0");
}

TEST_F(Confinement, AMissingLabelOfTheSandboxesFilesIsNoted) {
  const auto wanted = request({"wait"});
  const auto kernel = seLinuxKernel(wanted.sandbox.pausePid, "");
  writeText(std::filesystem::path(kernel.proc) / std::to_string(wanted.sandbox.pausePid) / "attr/current",
            "u:r:container_t:s0");
  launcher::Confinement confinement("", kernel);
  launcher::LaunchOrder order;
  std::vector<std::string> notes;
  ASSERT_TRUE(confinement.apply(wanted, order, notes));
  EXPECT_EQ(order.fileLabel, "");
  EXPECT_THAT(notes, ElementsAre(HasSubstr("its files have no SELinux label of the pod: ")));
}

}  // namespace fallbackd::test
