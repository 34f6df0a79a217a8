// SPDX-License-Identifier: Apache-2.0
#include "sys/log_links.hpp"

#include "temp_folder.hpp"

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>

#include <gtest/gtest.h>

namespace fallbackd::sys {
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

// The expression of fluent-bit's kubernetes filter, which Fluentd uses, too. Filebeat takes the text between
// the last dash and .log as the id; Vector, Promtail and OpenTelemetry's collector read /var/log/pods.
TEST_F(LogLinksTest, TheLogOfNoContainerHasANameThatCollectorsTakeApart) {
  owner.containerId = idOfLog("/var/log/pods/shop_web-0_1/checkout-fallback/0.log");
  EXPECT_EQ(owner.containerId, idOfLog("/var/log/pods/shop_web-0_1/checkout-fallback/0.log"));
  EXPECT_NE(owner.containerId, idOfLog("/var/log/pods/shop_web-0_1/checkout-fallback/1.log"));
  const std::regex fluent(
      R"(([a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)_([^_]+)_(.+)-([a-z0-9]{64})\.log$)");
  std::smatch parts;
  const auto name = logLinkOf(owner);
  ASSERT_TRUE(std::regex_search(name, parts, fluent)) << name;
  EXPECT_EQ(parts[1], "web-0");
  EXPECT_EQ(parts[2], "shop");
  EXPECT_EQ(parts[3], "checkout");
  EXPECT_EQ(parts[4], owner.containerId);
}

TEST_F(LogLinksTest, AnInvalidFileNameIsNotUsed) {
  owner.pod = "../web-0";
  EXPECT_EQ(logLinkOf(owner), "");
  EXPECT_TRUE(links.make(owner, "/logs/0.log"));
  owner.pod = std::string(253, 'p');
  EXPECT_EQ(logLinkOf(owner), "") << "kubelet truncates such names: it could equal a different container's";
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
}  // namespace fallbackd::sys
