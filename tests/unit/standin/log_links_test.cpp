// SPDX-License-Identifier: Apache-2.0
#include "standin/log_links.hpp"

#include "temp_folder.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

namespace fs = std::filesystem;

struct LogLinksTest : testing::Test {
  test::TempFolder scratch;
  const fs::path folder = scratch.path();
  LogLinks links{folder};
  LogOwner owner{"web-0", "shop", "checkout", "0123abcd"};
};

TEST_F(LogLinksTest, AreNamedAsKubeletNamesThem) {
  EXPECT_EQ(logLinkOf(owner), "web-0_shop_checkout-0123abcd.log");
  ASSERT_TRUE(links.make(owner, "/logs/0.log"));
  ASSERT_TRUE(links.make(owner, "/logs/0.log")) << "it is there";
  EXPECT_EQ(fs::read_symlink(folder / logLinkOf(owner)), "/logs/0.log");
  links.remove(owner);
  links.remove(owner);
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(LogLinksTest, ANameThatIsNotOneFilesIsNotUsed) {
  owner.pod = "../web-0";
  EXPECT_EQ(logLinkOf(owner), "");
  EXPECT_TRUE(links.make(owner, "/logs/0.log"));
  owner.pod = std::string(253, 'p');
  EXPECT_EQ(logLinkOf(owner), "") << "kubelet cuts it off: it could be another container's";
  EXPECT_TRUE(links.make(owner, "/logs/0.log"));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(LogLinksTest, OnlyALinkIsRemoved) {
  std::ofstream(folder / logLinkOf(owner)) << "a file";
  ASSERT_TRUE(links.make(owner, "/logs/0.log"));
  links.remove(owner);
  EXPECT_TRUE(fs::is_regular_file(folder / logLinkOf(owner)));
}

TEST_F(LogLinksTest, ANodeWithoutTheFolderHasNone) {
  const LogLinks none(folder / "missing");
  EXPECT_TRUE(none.make(owner, "/logs/0.log"));
  none.remove(owner);
  std::ofstream(folder / "file") << "not a folder";
  EXPECT_FALSE(LogLinks(folder / "file").make(owner, "/logs/0.log"));
}

}  // namespace
}  // namespace fallbackd::standin
