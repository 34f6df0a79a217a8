// SPDX-License-Identifier: Apache-2.0
#include "cache/sealed.hpp"

#include "attack_record.hpp"
#include "refused_calls.hpp"
#include "signed_cache.hpp"
#include "sys/file.hpp"

#include <fcntl.h>
#include <functional>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace fallbackd::cache {
namespace {

constexpr uid_t kNobody = 65534;

/// Runs the copy with one argument as an unprivileged user, like a fallback; returns its exit code.
int runCopy(const sys::UniqueFd& fd, const char* argument) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(kNobody) != 0) ::_exit(125);
    std::string name = "it";
    std::string word = argument;
    std::array<char*, 3> argv{name.data(), word.data(), nullptr};
    ::syscall(SYS_execveat, fd.get(), "", argv.data(), environ, AT_EMPTY_PATH);
    ::_exit(126);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// An attempt to make the kernel execute something other than the verified bytes, with access to the copy.
struct Attempt {
  const char* name;
  std::function<void(const std::string& original, const sys::UniqueFd& copy)> make;
};

/// Ignores the result: the outcome shows whether the kernel allowed the call.
void tried(long /*result*/) {}

void overwrite(int fd) {
  for (off_t at = 0; at < 1 << 20; at += 4096) tried(::pwrite(fd, "x", 1, at));
}

std::string linkOf(const sys::UniqueFd& fd) {
  return "/proc/self/fd/" + std::to_string(fd.get());
}

const std::vector<Attempt>& attempts() {
  using F = const sys::UniqueFd&;
  using S = const std::string&;
  static const std::vector<Attempt> rows{
      {"file changed after verification", [](S original, F) { test::writeBytes(original, "#!/bin/sh\n"); }},
      {"file replaced after verification",
       [](S original, F) {
         std::filesystem::copy_file(PROGRAMS "/elf-ill", original,
                                    std::filesystem::copy_options::overwrite_existing);
       }},
      {"file removed after verification", [](S original, F) { std::filesystem::remove(original); }},
      {"copy written through its descriptor", [](S, F copy) { overwrite(copy.get()); }},
      {"copy reopened for writing",
       [](S, F copy) {
         // Root may open anything, like a fallback that opens /proc/self/exe.
         const sys::UniqueFd again(::open(linkOf(copy).c_str(), O_RDWR | O_CLOEXEC));
         overwrite(again.get());
       }},
      {"copy truncated",
       [](S, F copy) {
         tried(::ftruncate(copy.get(), 1));
         tried(::truncate(linkOf(copy).c_str(), 1));
       }},
      {"copy reopened and truncated",
       [](S, F copy) { sys::UniqueFd(::open(linkOf(copy).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC)); }},
      {"copy mapped for writing",
       [](S, F copy) {
         const sys::UniqueFd again(::open(linkOf(copy).c_str(), O_RDWR | O_CLOEXEC));
         for (const int fd : {copy.get(), again.get()}) {
           void* mapped = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
           if (mapped != MAP_FAILED) std::memset(mapped, 'x', 8192);
         }
       }},
      {"hole punched into the copy",
       [](S, F copy) {
         const sys::UniqueFd again(::open(linkOf(copy).c_str(), O_RDWR | O_CLOEXEC));
         for (const int fd : {copy.get(), again.get()})
           tried(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192));
       }},
  };
  return rows;
}

/// The outcome of the attempt on a copy made with this method: "HELD", or what ran or was found instead.
std::string outcomeOf(const Attempt& attempt, SealMethod method) {
  const test::TempFolder folder;
  const auto bytes = test::program("elf-static-pie");
  const auto original = folder.path() + "/original";
  test::writeBytes(original, bytes);
  const sys::UniqueFd source(::open(original.c_str(), O_RDONLY | O_CLOEXEC));
  SealOptions options;
  options.first = method;
  options.tmpDir = folder.path();
  auto copy = SealedCopy::make(source, bytes.size(), "it", options);
  if (!copy) return copy.error().message();
  if (copy->method() != method) return "ANOTHER METHOD";
  const auto fd = copy->takeFd();
  attempt.make(original, fd);
  ::lseek(fd.get(), 0, SEEK_SET);
  const auto now = sys::readAll(Stage::admission, fd, bytes.size() + 1, "the copy");
  if (!now || *now != bytes) return "CHANGED";
  return runCopy(fd, "42") == 42 ? "HELD" : "DOES NOT RUN";
}

/// True since Linux 6.3.
bool knowsSealExec() {
  constexpr int kSealExec = 0x20;
  const sys::UniqueFd memory(::memfd_create("it", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  return ::fcntl(memory.get(), F_ADD_SEALS, kSealExec) == 0;
}

struct Sealed : testing::TestWithParam<SealMethod> {};

TEST_P(Sealed, RunsAndCannotBeChanged) {
  const auto bytes = test::program("elf-static-pie");
  const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
  const test::TempFolder folder;
  SealOptions options;
  options.first = GetParam();
  options.tmpDir = folder.path();
  auto copy = SealedCopy::make(source, bytes.size(), "it", options);
  ASSERT_TRUE(copy) << copy.error().message();
  EXPECT_EQ(copy->digest(), Sha256::of(bytes));
  EXPECT_EQ(std::memcmp(copy->bytes().data(), bytes.data(), bytes.size()), 0);
  const auto fd = copy->takeFd();
  EXPECT_EQ(runCopy(fd, "42"), 42);
  EXPECT_LT(::pwrite(fd.get(), "x", 1, 0), 0);
  EXPECT_LT(::ftruncate(fd.get(), 1), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "the copy must not have a name";
  const bool fixed = GetParam() == SealMethod::tmpfile || knowsSealExec();
  EXPECT_EQ(::fchmod(fd.get(), 0644) != 0, fixed) << "F_SEAL_EXEC and a read-only mount fix the mode";
}

TEST_P(Sealed, ResistsEachAttempt) {
  for (const auto& attempt : attempts()) {
    const auto outcome = outcomeOf(attempt, GetParam());
    EXPECT_EQ(outcome, "HELD") << attempt.name;
    const auto row = std::string(attempt.name) + " (" + std::string(toString(GetParam())) + ")";
    test::recordAttack(row, "HELD", outcome, "");
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, Sealed,
                         testing::Values(SealMethod::memfd_exec, SealMethod::memfd, SealMethod::tmpfile),
                         [](const auto& method) { return std::string(toString(method.param)); });

/// Runs `body` in a child process; returns its exit code.
int inChild(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// How copies are made: the method's number plus 1, or 100 if a copy does not run.
int methodFound(const std::string& tmpDir) {
  const auto bytes = test::program("elf-static-pie");
  const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
  SealOptions options;
  options.tmpDir = tmpDir;
  auto copy = SealedCopy::make(source, bytes.size(), "it", options);
  if (!copy || copy->digest() != Sha256::of(bytes)) return 100;
  const auto method = copy->method();
  return runCopy(copy->takeFd(), "42") == 42 ? 1 + static_cast<int>(method) : 100;
}
constexpr int found(SealMethod method) {
  return 1 + static_cast<int>(method);
}

/// A filter that refuses flags of memfd_create, like kernels before 6.3.
bool refuseMfdExec() {
  constexpr unsigned kMfdExec = 0x10;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kMfdExec, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// A filter without F_SEAL_EXEC, like kernels before 6.3. With it, newer kernels always seal against writing,
/// requested or not.
bool refuseSealExec() {
  constexpr unsigned kSealExec = 0x20;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_ADD_SEALS, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kSealExec, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(SealedPitfall, KernelsWithoutSealExecStillSealAgainstWriting) {
  const int seals = inChild([] {
    if (!refuseSealExec()) return 101;
    const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
    auto copy = SealedCopy::make(source, std::filesystem::file_size(PROGRAMS "/elf-static-pie"), "it",
                                 {.first = SealMethod::memfd, .tmpDir = "/nowhere"});
    if (!copy) return 102;
    const auto fd = copy->takeFd();
    if (::pwrite(fd.get(), "x", 1, 0) >= 0) return 103;
    return ::fcntl(fd.get(), F_GET_SEALS);
  });
  EXPECT_EQ(seals, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
      << "101: no filter, 102: no copy, 103: written to";
}

/// The copy's seals if the kernel is busy that many times, as when it migrates a page; 0 if there is no copy.
int sealsAfter(int refusals) {
  return inChild([=] {
    const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
    const auto busy = [left = refusals](const seccomp_data& call) mutable {
      return call.args[1] == F_ADD_SEALS && left-- > 0 ? EBUSY : 0;
    };
    if (!test::decideCalls({SYS_fcntl}, busy)) return 101;
    auto copy = SealedCopy::make(source, std::filesystem::file_size(PROGRAMS "/elf-static-pie"), "it",
                                 {.first = SealMethod::memfd, .tmpDir = "/nowhere"});
    return copy ? ::fcntl(copy->takeFd().get(), F_GET_SEALS) & 0xf : 0;
  });
}

TEST(SealedPitfall, ABusyKernelIsAskedAgain) {
  constexpr int kAll = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  EXPECT_EQ(sealsAfter(1), kAll);
  EXPECT_EQ(sealsAfter(3), kAll);
  EXPECT_EQ(sealsAfter(1000), 0) << "it gives up at some point";
}

TEST(SealedPitfall, KernelsBefore63LackMfdExec) {
  const test::TempFolder folder;
  EXPECT_EQ(inChild([&] { return refuseMfdExec() ? methodFound(folder.path()) : 101; }),
            found(SealMethod::memfd));
}

/// vm.memfd_noexec belongs to the PID namespace: the test sets it in a separate one.
TEST(SealedPitfall, WithoutExecutableMemfdsAnUnlinkedFileIsUsed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: a pid namespace with vm.memfd_noexec=2";
  if (::access("/proc/sys/vm/memfd_noexec", F_OK) != 0) GTEST_SKIP() << "needs vm.memfd_noexec, Linux 6.3";
  const test::TempFolder folder;
  const int result = inChild([&] {
    if (::unshare(CLONE_NEWPID) != 0) return 101;
    return inChild([&] {
      const sys::UniqueFd setting(::open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC));
      return ::write(setting.get(), "2", 1) == 1 ? methodFound(folder.path()) : 102;
    });
  });
  EXPECT_EQ(result, found(SealMethod::tmpfile));
}

/// CVE-2019-5736 for the copy without seals: root without capabilities owns the file and could make it
/// writable as soon as nobody executes it.
TEST(SealedPitfall, AnUnlinkedCopyCannotBeWrittenEvenByItsOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: a read-only mount";
  const test::TempFolder folder;
  const auto bytes = test::program("elf-static-pie");
  const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
  SealOptions options;
  options.first = SealMethod::tmpfile;
  options.tmpDir = folder.path();
  auto copy = SealedCopy::make(source, bytes.size(), "it", options);
  ASSERT_TRUE(copy) << copy.error().message();
  const auto fd = copy->takeFd();
  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  EXPECT_NE(::chmod(path.c_str(), 0777), 0);
  EXPECT_NE(::fchmod(fd.get(), 0777), 0);
  EXPECT_FALSE(sys::UniqueFd(::open(path.c_str(), O_WRONLY | O_CLOEXEC)));
  EXPECT_NE(::truncate(path.c_str(), 0), 0);
  EXPECT_EQ(runCopy(fd, "42"), 42);
}

/// Debian mounts /run with noexec. Without executable memfds no binary would run on such a node.
TEST(SealedPitfall, AnUnlinkedCopyRunsWhereItsFolderForbidsIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: a mount";
  const test::TempFolder folder;
  const int code = inChild([&] {
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("run", folder.path().c_str(), "tmpfs", flags, "mode=755") != 0) {
      return 101;
    }
    const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
    auto copy = SealedCopy::make(source, std::filesystem::file_size(PROGRAMS "/elf-static-pie"), "it",
                                 {.first = SealMethod::tmpfile, .tmpDir = folder.path()});
    return copy ? runCopy(copy->takeFd(), "42") : 102;
  });
  EXPECT_EQ(code, 42) << "101: no mount, 102: no copy, 126: not executed";
}

TEST(SealedSysctl, IfItForbidsMemfdsAnUnlinkedFileIsUsed) {
  // The real sysctl belongs to the PID namespace: the test sets it in a separate one.
  const test::TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) ::_exit(120);
    const pid_t first = ::fork();
    if (first != 0) {
      int status = 0;
      ::waitpid(first, &status, 0);
      ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 121);
    }
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("proc", "/proc", "proc", 0, nullptr) != 0) {
      ::_exit(122);
    }
    const sys::UniqueFd sysctl(::open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC));
    if (!sysctl) ::_exit(errno == ENOENT ? 123 : 122);
    if (::write(sysctl.get(), "2", 1) != 1) ::_exit(122);
    const auto bytes = test::program("elf-static-pie");
    const sys::UniqueFd source(::open(PROGRAMS "/elf-static-pie", O_RDONLY | O_CLOEXEC));
    SealOptions options;
    options.tmpDir = folder.path();
    auto copy = SealedCopy::make(source, bytes.size(), "it", options);
    if (!copy) ::_exit(124);
    if (copy->method() != SealMethod::tmpfile) ::_exit(119);
    ::_exit(runCopy(copy->takeFd(), "42"));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (code == 123) GTEST_SKIP() << "this kernel has no vm.memfd_noexec (added in 6.3)";
  EXPECT_EQ(code, 42);
  test::recordAttack("memfd refused by the sysctl", "HELD", code == 42 ? "HELD" : std::to_string(code), "");
}

TEST(SealedSize, AFileThatGrowsOrShrinksDuringTheCopyIsRefused) {
  const test::TempFolder folder;
  const auto file = folder.write("f", "0123456789");
  const sys::UniqueFd source(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(SealedCopy::make(source, 10, "it"));
  EXPECT_EQ(SealedCopy::make(source, 9, "it").error().reason, Reason::digest_mismatch);
  EXPECT_EQ(SealedCopy::make(source, 11, "it").error().reason, Reason::digest_mismatch);
}

}  // namespace
}  // namespace fallbackd::cache
