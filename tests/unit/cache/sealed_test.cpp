#include "cache/sealed.hpp"

#include "signed_cache.hpp"

#include <fcntl.h>
#include <functional>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace fallbackd::cache {
namespace {

constexpr uid_t kNobody = 65534;

/// Runs the copy with one argument as an unprivileged user, as fallbacks run; its exit code.
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
  EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << "nothing has a name";
}

INSTANTIATE_TEST_SUITE_P(Methods, Sealed,
                         testing::Values(SealMethod::memfd_exec, SealMethod::memfd, SealMethod::tmpfile),
                         [](const auto& method) { return std::string(toString(method.param)); });

/// Runs `body` in a process of its own; its exit code.
int inChild(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// What copies are made by: the method's number plus 1, 100 where a copy does not run.
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

/// A filter that refuses flags of memfd_create as kernels before 6.3 do.
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

TEST(SealedPitfall, KernelsBefore63KnowNoMfdExec) {
  const test::TempFolder folder;
  EXPECT_EQ(inChild([&] { return refuseMfdExec() ? methodFound(folder.path()) : 101; }),
            found(SealMethod::memfd));
}

/// vm.memfd_noexec belongs to the pid namespace: set in one of the test's own.
TEST(SealedPitfall, WhereMemfdsMayNotExecuteAnUnlinkedFileDoes) {
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

/// CVE-2019-5736 for the copy without seals: root without capabilities owns the file, and might give itself
/// the right to write as soon as nobody executes it.
TEST(SealedPitfall, AnUnlinkedCopyCannotBeWrittenByItsOwnerEither) {
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

TEST(SealedSize, AFileThatGrowsOrShrinksMeanwhileIsRefused) {
  const test::TempFolder folder;
  const auto file = folder.write("f", "0123456789");
  const sys::UniqueFd source(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(SealedCopy::make(source, 10, "it"));
  EXPECT_EQ(SealedCopy::make(source, 9, "it").error().reason, Reason::digest_mismatch);
  EXPECT_EQ(SealedCopy::make(source, 11, "it").error().reason, Reason::digest_mismatch);
}

}  // namespace
}  // namespace fallbackd::cache
