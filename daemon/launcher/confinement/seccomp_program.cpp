// SPDX-License-Identifier: Apache-2.0
#include "launcher/confinement/seccomp_program.hpp"

#include "sys/memory_file.hpp"

#include <cstddef>
#include <cstring>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <unistd.h>

namespace fallbackd::launcher {

std::uint32_t nativeAudit() {
#if defined(__x86_64__)
  return AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  return AUDIT_ARCH_AARCH64;
#else
#error "the seccomp filter knows x86-64 and arm64"
#endif
}

std::vector<sock_filter> denyCallsFrom(std::uint32_t first) {
  return {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nativeAudit(), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
}

Result<std::string> exportProgram(const SeccompContext& context, std::vector<sock_filter> prologue) {
  FB_TRY(const auto file, sys::memoryFile(Stage::identity, "the seccomp filter"));
  if (const int code = ::seccomp_export_bpf(context.get(), file.get()); code != 0) {
    return fail(Stage::identity, Reason::system, "compile the seccomp filter", -code);
  }
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  const auto bytes = static_cast<std::size_t>(size < 0 ? 0 : size);
  std::string program(prologue.size() * sizeof(sock_filter) + bytes, '\0');
  if (!prologue.empty()) std::memcpy(program.data(), prologue.data(), prologue.size() * sizeof(sock_filter));
  if (bytes == 0 || program.size() / sizeof(sock_filter) > BPF_MAXINSNS ||
      ::pread(file.get(), program.data() + program.size() - bytes, bytes, 0) != size) {
    return fail(Stage::identity, Reason::too_large, "the seccomp filter is longer than the kernel allows");
  }
  return program;
}

}  // namespace fallbackd::launcher
