// SPDX-License-Identifier: Apache-2.0
// Memory files on kernels that do not know, know, or require MFD_NOEXEC_SEAL.
#include "sys/memory_file.hpp"

#include "refused_calls.hpp"

#include <cerrno>
#include <cstdint>
#include <functional>
#include <string>
#include <sys/stat.h>

#include <gtest/gtest.h>

namespace fallbackd::sys {
namespace {

constexpr std::uint64_t kNoExec = 0x08;  // MFD_NOEXEC_SEAL, MFD_EXEC
constexpr std::uint64_t kExec = 0x10;

std::string made(const std::function<int(const seccomp_data&)>& kernel) {
  return test::onOwnThread([&]() -> std::string {
    if (!test::decideCalls({SYS_memfd_create}, kernel)) return "no filter";
    const auto file = memoryFile(Stage::identity, "a test");
    return file ? "" : file.error().message();
  });
}

TEST(MemoryFile, IsMadeByEveryKernel) {
  const auto before63 = [](const auto& call) { return (call.args[1] & (kNoExec | kExec)) != 0 ? EINVAL : 0; };
  EXPECT_EQ(made(before63), "");
  const auto demanding = [](const auto& call) {
    return (call.args[1] & (kNoExec | kExec)) == 0 ? EINVAL : 0;
  };
  EXPECT_EQ(made(demanding), "");
  EXPECT_NE(made([](const auto&) { return ENFILE; }), "");
}

TEST(MemoryFile, NobodyCanExecuteIt) {
  const auto file = memoryFile(Stage::identity, "a test");
  ASSERT_TRUE(file) << file.error().message();
  struct stat status {};
  ASSERT_EQ(::fstat(file->get(), &status), 0);
  if ((status.st_mode & 0111U) != 0) GTEST_SKIP() << "a kernel before 6.3";
  EXPECT_NE(::fchmod(file->get(), 0700), 0);
}

}  // namespace
}  // namespace fallbackd::sys
