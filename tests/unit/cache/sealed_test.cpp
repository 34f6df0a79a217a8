#include "cache/sealed.hpp"

#include "signed_cache.hpp"

#include <fcntl.h>
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
