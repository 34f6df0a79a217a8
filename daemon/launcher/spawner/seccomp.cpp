#include "launcher/spawner/seccomp.hpp"

#include "sys/fd.hpp"

#include <cstddef>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <memory>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <seccomp.h>

namespace fallbackd::launcher {

namespace {

// What a container without capabilities may not call by containerd's default profile: its documentation
// names the calls and why. Names that the library or the architecture does not know are left out by number
// (kFirstUnknown) or need no rule.
constexpr const char* kDenied[] = {
    // the machine: modules, kernels, swap, clocks, ports, quotas, power
    "acct", "bpf", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "create_module",
    "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load",
    "lookup_dcookie", "nfsservctl", "perf_event_open", "query_module", "quotactl", "quotactl_fd", "reboot",
    "settimeofday", "stime", "swapoff", "swapon", "syslog", "_sysctl", "sysfs", "uselib", "ustat", "vhangup",
    "vm86", "vm86old", "get_kernel_syms", "fanotify_init",
    // mounts, roots and namespaces
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
    "pivot_root", "setns", "umount", "umount2", "unshare", "sethostname", "setdomainname",
    "open_by_handle_at", "name_to_handle_at",
    // other processes and their memory
    "kcmp", "move_pages", "mbind", "migrate_pages", "get_mempolicy", "set_mempolicy",
    "set_mempolicy_home_node", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "process_madvise",
    "userfaultfd",
    // keyrings, and the rings that run calls past this filter
    "add_key", "keyctl", "request_key", "io_uring_enter", "io_uring_register", "io_uring_setup"};

// The first number after those that were judged (set_mempolicy_home_node 450 .. mseal 462, the same on every
// architecture since 424): what later kernels add is unknown here, and so it does not exist for a fallback.
// x32's calls, bit 30 set, fall under the same comparison.
constexpr std::uint32_t kFirstUnknown = 463;

#if defined(__x86_64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_AARCH64;
#else
#error "the seccomp filter knows x86-64 and arm64"
#endif

struct ContextDeleter {
  void operator()(void* context) const { ::seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextDeleter>;

tl::unexpected<Error> ruleFailed(const char* what, int code) {
  return fail(Stage::spawner, Reason::system, std::string("seccomp rule for ") + what, -code);
}

Result<> addRules(const Context& context) {
  for (const char* name : kDenied) {
    const int number = ::seccomp_syscall_resolve_name(name);
    if (number < 0) continue;  // not on this architecture, or newer than the library
    if (const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), number, 0); code != 0) {
      return ruleFailed(name, code);
    }
  }
  // Namespaces by clone: one rule a flag, since the comparison has no "any of these bits".
  for (const unsigned long flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER,
                                   CLONE_NEWPID, CLONE_NEWNET}) {
    const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                        SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    if (code != 0) return ruleFailed("clone", code);
  }
  // The flags of clone3 are in memory, out of a filter's sight; C libraries then use clone.
  if (const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
      code != 0) {
    return ruleFailed("clone3", code);
  }
  // Talks to the hypervisor, past every network policy.
  const int code = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                                      SCMP_A0(SCMP_CMP_EQ, AF_VSOCK));
  if (code != 0) return ruleFailed("socket", code);
  return {};
}

/// What the library cannot say, put before its program: unknown calls, and personality(2) but for the few
/// values that change nothing of security (Linux, and UNAME26, and the question for the present value).
std::vector<sock_filter> makePrologue() {
  constexpr std::uint32_t kNr = offsetof(seccomp_data, nr);
  constexpr std::uint32_t kArch = offsetof(seccomp_data, arch);
  constexpr std::uint32_t kArg0 = offsetof(seccomp_data, args);
  return {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArch),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kNativeArch, 0, 11),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNr),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kFirstUnknown, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArg0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x8, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x20000, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x20008, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xffffffff, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
}

Result<std::vector<sock_filter>> exported(const Context& context) {
  const sys::UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) return failErrno(Stage::spawner, "make room for the seccomp filter");
  if (const int code = ::seccomp_export_bpf(context.get(), file.get()); code != 0) {
    return fail(Stage::spawner, Reason::system, "compile the seccomp filter", -code);
  }
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  auto program = makePrologue();
  const std::size_t before = program.size();
  const auto bytes = static_cast<std::size_t>(size < 0 ? 0 : size);
  program.resize(before + bytes / sizeof(sock_filter));
  if (bytes == 0 || program.size() > BPF_MAXINSNS ||
      ::pread(file.get(), program.data() + before, bytes, 0) != size) {
    return fail(Stage::spawner, Reason::internal, "read the seccomp filter back");
  }
  return program;
}

}  // namespace

Result<std::vector<sock_filter>> compileSeccompFilter() {
  const Context context(::seccomp_init(SCMP_ACT_ALLOW));
  if (context == nullptr) return fail(Stage::spawner, Reason::system, "start a seccomp filter");
  // A tree instead of a list: every call of the program passes through here.
  ::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  FB_CHECK(addRules(context));
  return exported(context);
}

}  // namespace fallbackd::launcher
