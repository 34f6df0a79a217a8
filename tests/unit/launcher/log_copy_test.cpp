// SPDX-License-Identifier: Apache-2.0
#include "launcher/logs/log_copy.hpp"

#include "cri_log_lines.hpp"
#include "refused_calls.hpp"
#include "temp_folder.hpp"

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::launcher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LogCopy : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    out = sys::UniqueFd(ends[0]);
    in = sys::UniqueFd(ends[1]);
    question.path = folder.path() + "/pod/app-fallback/0.log";
    question.stream = "stdout";
    question.maxBytes = 64 * 1024;
    question.maxLines = 1000;
    std::filesystem::create_directories(folder.path() + "/pod");
  }
  void write(const std::string& text) const {
    ASSERT_EQ(::write(in.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] std::string log() const {
    std::ostringstream text;
    text << std::ifstream(question.path).rdbuf();
    return text.str();
  }

  test::TempFolder folder;
  CopyLogQuestion question;
  sys::UniqueFd out;
  sys::UniqueFd in;
};

TEST_F(LogCopy, WholeLinesAreCopiedAndAPartStays) {
  write("one\ntwo\nthr");
  auto copied = copyLog(question, out);
  ASSERT_TRUE(copied) << copied.error().message();
  EXPECT_EQ(copied->bytes, 8U);
  EXPECT_EQ(copied->lines, 2U);
  copied = copyLog(question, out);
  EXPECT_EQ(copied->left, CopiedLog::Left::part);
  EXPECT_EQ(copied->bytes, 0U);
  write("ee\n");
  copied = copyLog(question, out);
  EXPECT_EQ(copied->lines, 1U);
  EXPECT_THAT(test::criLogLines(log()), ElementsAre("one", "two", "three"));
}

/// kubelet rotates and removes files at any time.
TEST_F(LogCopy, AFileThatIsRemovedWhileItIsOpenedIsNotUnsafe) {
  const auto opened = test::onOwnThread([&]() -> Result<> {
    const auto remove = [path = question.path](const auto&) {
      ::unlink(path.c_str());
      return 0;
    };
    if (!test::decideCalls(test::statCalls(), remove))
      return fail(Stage::logs, Reason::internal, "no filter");
    FB_CHECK(LogFile::open(question.path, question.limits));
    return {};
  });
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().reason, Reason::not_found) << opened.error().message();
}

/// NFS and older versions of ZFS do not know RENAME_NOREPLACE.
TEST_F(LogCopy, AFullFileIsRotatedWhereRenamesKnowNoFlags) {
  std::filesystem::create_directories(folder.path() + "/pod/app-fallback");
  const auto opened = test::onOwnThread([&] {
    if (!test::refuseCalls({SYS_renameat2}, EINVAL)) return false;
    auto file = LogFile::open(question.path, {.maxBytes = 100, .maxFiles = 3});
    if (!file) return false;
    file->write(std::string(60, 'x') + "1\n");
    file->write(std::string(60, 'x') + "2\n");
    return true;
  });
  ASSERT_TRUE(opened);
  EXPECT_EQ(log(), std::string(60, 'x') + "2\n");
  std::size_t files = 0;
  for (const auto& one : std::filesystem::directory_iterator(folder.path() + "/pod/app-fallback"))
    files += one.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 2U);
}

TEST_F(LogCopy, APartIsCopiedAfterItWaitedLongEnough) {
  write("half");
  question.ends = LineEnds::parts_too;
  EXPECT_EQ(copyLog(question, out)->bytes, 4U);
  EXPECT_THAT(log(), HasSubstr("stdout P half\n"));
}

TEST_F(LogCopy, NoMoreThanAllowedLeavesThePipe) {
  write("one\ntwo\nthree\n");
  question.maxLines = 2;
  EXPECT_EQ(copyLog(question, out)->lines, 2U);
  question.maxLines = 1000;
  question.maxBytes = 3;
  EXPECT_EQ(copyLog(question, out)->bytes, 3U) << "part of a longer line";
  question.maxBytes = 1000;
  EXPECT_EQ(copyLog(question, out)->bytes, 3U);
  EXPECT_THAT(test::criLogLines(log()), ElementsAre("one", "two", "three"));
}

TEST_F(LogCopy, OnlyTheEndIsReported) {
  EXPECT_EQ(copyLog(question, out)->left, CopiedLog::Left::unknown);
  in.reset();
  EXPECT_EQ(copyLog(question, out)->left, CopiedLog::Left::nothing);
}

TEST_F(LogCopy, AFolderRemovedWithItsPodIsNotRecreated) {
  std::filesystem::remove_all(folder.path() + "/pod");
  write("lost\n");
  EXPECT_EQ(copyLog(question, out)->bytes, 5U) << "a missing file must not block the process";
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/pod"));
}

TEST_F(LogCopy, DroppingIsBounded) {
  write(std::string(5000, 'x'));
  EXPECT_EQ(dropLog(out.get(), 3000).bytes, 3000U);
  const auto rest = dropLog(out.get(), 3000);
  EXPECT_EQ(rest.bytes, 2000U);
  EXPECT_EQ(rest.left, CopiedLog::Left::unknown);
  in.reset();
  EXPECT_EQ(dropLog(out.get(), 3000).left, CopiedLog::Left::nothing);
}

}  // namespace
}  // namespace fallbackd::launcher
