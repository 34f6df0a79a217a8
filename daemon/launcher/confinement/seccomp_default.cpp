// SPDX-License-Identifier: Apache-2.0
#include "launcher/confinement/seccomp.hpp"
#include "launcher/confinement/seccomp_program.hpp"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace fallbackd::launcher {

namespace {

constexpr std::uint64_t bit(unsigned capability) {
  return 1ULL << capability;
}
constexpr std::uint64_t kAdmin = bit(CAP_SYS_ADMIN);
constexpr std::uint64_t kNever = 0;

struct Denied {
  std::uint64_t liftedBy;  // any of these capabilities
  std::initializer_list<const char*> calls;
};

// The calls that containerd's default profile denies: its documentation names them, the capabilities that
// lift the denial, and why. Names that are unknown to the library or the architecture are denied by number
// (kFirstUnknown) or need no rule.
constexpr std::initializer_list<Denied> kDenied{
    // the machine: modules, kernels, swap, clocks, ports, quotas, power
    {kNever,
     {"clock_adjtime", "clock_adjtime64", "create_module", "kexec_file_load", "kexec_load", "nfsservctl",
      "query_module", "swapoff", "swapon", "_sysctl", "sysfs", "uselib", "ustat", "vm86", "vm86old",
      "get_kernel_syms"}},
    {bit(CAP_SYS_PACCT), {"acct"}},
    {kAdmin | bit(CAP_BPF), {"bpf"}},
    {kAdmin | bit(CAP_PERFMON), {"perf_event_open"}},
    {kAdmin | bit(CAP_SYSLOG), {"syslog"}},
    {bit(CAP_SYS_TIME), {"clock_settime", "clock_settime64", "settimeofday", "stime"}},
    {bit(CAP_SYS_MODULE), {"delete_module", "finit_module", "init_module"}},
    {bit(CAP_SYS_RAWIO), {"ioperm", "iopl"}},
    {bit(CAP_SYS_BOOT), {"reboot"}},
    {bit(CAP_SYS_TTY_CONFIG), {"vhangup"}},
    {kAdmin, {"fanotify_init", "lookup_dcookie", "quotactl", "quotactl_fd"}},
    // mounts, roots and namespaces
    {kAdmin,
     {"fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "setns",
      "umount", "umount2", "unshare", "sethostname", "setdomainname"}},
    {bit(CAP_SYS_CHROOT), {"chroot"}},
    {kNever, {"pivot_root", "name_to_handle_at"}},
    {bit(CAP_DAC_READ_SEARCH), {"open_by_handle_at"}},
    // other processes and their memory
    {bit(CAP_SYS_PTRACE),
     {"kcmp", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "process_madvise"}},
    {bit(CAP_SYS_NICE), {"mbind", "get_mempolicy", "set_mempolicy"}},
    {kNever, {"move_pages", "migrate_pages", "set_mempolicy_home_node", "userfaultfd"}},
    // keyrings, and rings that execute calls outside this filter
    {kNever, {"add_key", "keyctl", "request_key", "io_uring_enter", "io_uring_register", "io_uring_setup"}}};

// The first number after the calls that were judged (set_mempolicy_home_node 450 .. mseal 462, the same on
// every architecture since 424): what later kernels add is unknown here, so for a fallback it does not exist.
// x32's calls, with bit 30 set, are covered by the same comparison.
constexpr std::uint32_t kFirstUnknown = 463;

tl::unexpected<Error> ruleFailed(const char* what, int code) {
  return fail(Stage::identity, Reason::system, std::string("seccomp rule for ") + what, -code);
}

Result<> denyCalls(const SeccompContext& context, std::uint64_t capabilities) {
  for (const auto& group : kDenied) {
    if ((group.liftedBy & capabilities) != 0) continue;
    for (const char* name : group.calls) {
      const int number = ::seccomp_syscall_resolve_name(name);
      if (number < 0) continue;  // not on this architecture, or newer than the library
      const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), number, 0);
      if (code != 0) return ruleFailed(name, code);
    }
  }
  return {};
}

Result<> denyNamespaces(const SeccompContext& context) {
  // One rule per flag, because the comparison has no "any of these bits".
  for (const unsigned long flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER,
                                   CLONE_NEWPID, CLONE_NEWNET}) {
    const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                        SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    if (code != 0) return ruleFailed("clone", code);
  }
  // The flags of clone3 are in memory, invisible to a filter; C libraries then use clone.
  const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  if (code != 0) return ruleFailed("clone3", code);
  return {};
}

/// What the library cannot express: personality(2), except for the few values that do not affect security
/// (Linux, UNAME26, and reading the current value). Unknown calls come first.
std::vector<sock_filter> makePrologue() {
  constexpr std::uint32_t kNr = offsetof(seccomp_data, nr);
  constexpr std::uint32_t kArch = offsetof(seccomp_data, arch);
  constexpr std::uint32_t kArg0 = offsetof(seccomp_data, args);
  auto program = denyCallsFrom(kFirstUnknown);
  const std::array<sock_filter, 11> personality{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArch),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nativeAudit(), 0, 9),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNr),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArg0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x8, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x20000, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x20008, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xffffffff, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  }};
  program.insert(program.end(), personality.begin(), personality.end());
  return program;
}

}  // namespace

Result<std::string> compileDefaultFilter(std::uint64_t capabilities) {
  const SeccompContext context(::seccomp_init(SCMP_ACT_ALLOW));
  if (context == nullptr) return fail(Stage::identity, Reason::system, "start a seccomp filter");
  // A tree instead of a list: every system call of the program passes through here.
  ::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  FB_CHECK(denyCalls(context, capabilities));
  if ((capabilities & kAdmin) == 0) FB_CHECK(denyNamespaces(context));
  // AF_VSOCK reaches the hypervisor and bypasses network policies. The kernel looks at only 32 bits of the
  // family: so must the rule, or a bit above them would evade it.
  const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                                      SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffU, AF_VSOCK));
  if (code != 0) return ruleFailed("socket", code);
  return exportProgram(context, makePrologue());
}

}  // namespace fallbackd::launcher
