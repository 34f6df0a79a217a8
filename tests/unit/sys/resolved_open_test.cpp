// SPDX-License-Identifier: Apache-2.0
// openat2 answers EAGAIN if something is renamed or mounted during a walk that must not leave its folder. The
// linker wraps the system calls, so that the test can return EAGAIN as often as it likes.
#include "sys/resolved_open.hpp"

#include "sys/file.hpp"
#include "sys/owned_folder.hpp"
#include "temp_folder.hpp"

#include <array>
#include <cerrno>
#include <cstdarg>
#include <fcntl.h>
#include <sys/syscall.h>

#include <gtest/gtest.h>

namespace {

int refusals = 0;  // how often openat2 returns EAGAIN
int attempts = 0;

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): the linker chooses these names
extern "C" {
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
  std::array<long, 6> values{};
  va_list list;
  va_start(list, number);
  for (auto& value : values) value = va_arg(list, long);
  va_end(list);
  if (number == SYS_openat2) {
    ++attempts;
    if (refusals > 0) {
      --refusals;
      errno = EAGAIN;
      return -1;
    }
  }
  return __real_syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}
}
// NOLINTEND(readability-identifier-naming)

namespace fallbackd::sys {
namespace {

struct ResolvedOpen : testing::Test {
  void refuse(int times) {
    refusals = times;
    attempts = 0;
  }
  void TearDown() override { refuse(0); }
  test::TempFolder folder;
};

TEST_F(ResolvedOpen, IsTriedAgainWhereverItIsUsed) {
  folder.write("inside/file", "text");
  const auto dir = openDir(Stage::run, folder.path());
  ASSERT_TRUE(dir);
  refuse(3);
  EXPECT_TRUE(openBeneath(Stage::run, *dir, "inside/file"));
  refuse(3);
  const auto owned = OwnedFolder::open(Stage::run, *dir, "inside");
  EXPECT_TRUE(owned) << owned.error().message();
  refuse(3);
  const auto removed = removeOwned(Stage::run, *dir, "inside");
  EXPECT_TRUE(removed) << removed.error().message();
}

TEST_F(ResolvedOpen, GivesUpWhereTheKernelGoesOnRefusing) {
  folder.write("file", "text");
  const auto dir = openDir(Stage::run, folder.path());
  ASSERT_TRUE(dir);
  refuse(1000);
  errno = 0;
  EXPECT_EQ(openResolved(dir->get(), "file", O_RDONLY, RESOLVE_BENEATH), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_LE(attempts, 32);
}

TEST_F(ResolvedOpen, OtherErrorsAreFinal) {
  const auto dir = openDir(Stage::run, folder.path());
  ASSERT_TRUE(dir);
  refuse(0);
  EXPECT_EQ(openResolved(dir->get(), "missing", O_RDONLY, RESOLVE_BENEATH), -1);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(attempts, 1);
}

}  // namespace
}  // namespace fallbackd::sys
