// SPDX-License-Identifier: Apache-2.0
// containerd's hosts.toml: how it is read, and how the mirror is added and removed.
#include "mirror/hosts_edit.hpp"
#include "mirror/hosts_file.hpp"
#include "mirror/token.hpp"
#include "temp_folder.hpp"

#include <filesystem>
#include <sys/stat.h>

#include <gmock/gmock.h>

namespace fallbackd::mirror {
namespace {

using testing::HasSubstr;

const HostsBlock kBlock{"127.0.0.1:9478", "0123456789abcdef", 0644};

const std::string kPeers = R"(# written by hand
server = "https://registry.example.com"
ca = "/etc/ca.pem"

[host."https://cache.example.com:5000"]
  capabilities = ["pull", "resolve"]
  ca = ["ca.pem", "/b.pem"]
  skip_verify = true
  [host."https://cache.example.com:5000".header]
    x-team = "shop"

# spegel
[host."http://127.0.0.1:30020"]
  capabilities = ["pull"]
  client = [["/c.pem", "/k.pem"]]

[host."https://push.example.com"]
  capabilities = ["push"]
)";

TEST(HostsFile, HostsComeInTheirOrderAndTheRegistryLast) {
  const auto all = parseHosts(kPeers, "/certs.d/registry.example.com", "registry.example.com");
  ASSERT_TRUE(all) << all.error().message();
  ASSERT_EQ(all->size(), 3U);
  const auto& cache = (*all)[0];
  EXPECT_EQ(cache.authority(), "cache.example.com:5000");
  EXPECT_TRUE(cache.tls);
  EXPECT_TRUE(cache.skipVerify);
  EXPECT_EQ(cache.ca, (std::vector<std::string>{"/certs.d/registry.example.com/ca.pem", "/b.pem"}));
  EXPECT_EQ((*all)[1].authority(), "127.0.0.1:30020");
  EXPECT_EQ((*all)[1].certificate, "/c.pem");
  EXPECT_EQ((*all)[1].key, "/k.pem");
  EXPECT_EQ((*all)[2].authority(), "registry.example.com");
  EXPECT_EQ((*all)[2].ca, std::vector<std::string>{"/etc/ca.pem"});
}

TEST(HostsFile, WithoutAServerItIsTheRegistryItself) {
  const auto all = parseHosts("", "/f", "docker.io");
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 1U);
  EXPECT_EQ(all->front().authority(), "registry-1.docker.io");
  EXPECT_EQ(defaultUpstream("127.0.0.1:5000").tls, false);
  EXPECT_EQ(defaultUpstream("127.0.0.1:5000").port, 5000);
  EXPECT_EQ(defaultUpstream("r.x:5000").tls, true);
}

TEST(HostsFile, PathsAreThoseOfContainerd) {
  EXPECT_EQ(upstreamOf("https://h")->path, "/v2");
  EXPECT_EQ(upstreamOf("https://h/")->path, "/v2");
  EXPECT_EQ(upstreamOf("https://h/proxy")->path, "/proxy/v2");
  EXPECT_EQ(upstreamOf("https://h/proxy/v2/")->path, "/proxy/v2");
  EXPECT_EQ(upstreamOf("https://h/proxy", true)->path, "/proxy");
  EXPECT_EQ(upstreamOf("https://[::1]:5000")->host, "::1");
  EXPECT_EQ(upstreamOf("https://[::1]:5000")->authority(), "[::1]:5000");
  for (const auto* url : {"ftp://h", "https://", "https://h:x", "https://u@h", "https://h/a b"}) {
    EXPECT_FALSE(upstreamOf(url)) << url;
  }
}

TEST(HostsFile, TheFirstFolderThatExistsCounts) {
  const test::TempFolder root;
  const auto write = [&](const std::string& folder, const std::string& server) {
    std::filesystem::create_directories(root.path() + "/" + folder);
    root.write(folder + "/hosts.toml", "server = \"" + server + "\"\n");
  };
  const auto last = [&] {
    const auto all = upstreamsFor(root.path(), "r.x:5000");
    return all ? all->back().authority() : all.error().message();
  };
  EXPECT_EQ(last(), "r.x:5000");
  write("_default", "https://d");
  EXPECT_EQ(last(), "d");
  write("r.x:5000", "https://named");
  EXPECT_EQ(last(), "named");
  write("r.x_5000_", "https://underscores");
  EXPECT_EQ(last(), "underscores");
}

TEST(HostsFile, AMistakeIsNamedWithItsLine) {
  const auto all = parseHosts("server = \"https://r\"\n[host\n", "/f", "r.x");
  ASSERT_FALSE(all);
  EXPECT_THAT(all.error().message(), HasSubstr("/f/hosts.toml:2:"));
}

std::vector<std::string> orderOf(const std::string& text) {
  std::vector<std::string> names;
  const auto all = parseHosts(text, "/f", "registry.example.com");
  if (!all) return {all.error().message()};
  for (const auto& one : *all) names.push_back(one.authority());
  return names;
}

TEST(HostsEdit, TheBlockStandsFirstOrLastAndNothingElseChanges) {
  const auto first = withBlock(kPeers, kBlock, Order::first, "f");
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(orderOf(*first), (std::vector<std::string>{"127.0.0.1:9478", "cache.example.com:5000",
                                                       "127.0.0.1:30020", "registry.example.com"}));
  const auto last = withBlock(kPeers, kBlock, Order::last, "f");
  ASSERT_TRUE(last);
  EXPECT_EQ(orderOf(*last), (std::vector<std::string>{"cache.example.com:5000", "127.0.0.1:30020",
                                                      "127.0.0.1:9478", "registry.example.com"}));
  for (const auto& text : {*first, *last}) {
    EXPECT_THAT(text, HasSubstr("authorization = \"Bearer 0123456789abcdef\""));
    EXPECT_EQ(withoutBlock(text, "f").value(), kPeers);
  }
}

TEST(HostsEdit, AddingTheBlockTwiceAddsItOnce) {
  const auto once = withBlock(kPeers, kBlock, Order::first, "f").value();
  EXPECT_EQ(withBlock(once, kBlock, Order::first, "f").value(), once);
  const auto moved = withBlock(once, kBlock, Order::last, "f").value();
  EXPECT_EQ(withoutBlock(moved, "f").value(), kPeers);
  EXPECT_EQ(withoutBlock(kPeers, "f").value(), kPeers);
}

TEST(HostsEdit, FilesOfEveryShapeAreRestoredByteByByte) {
  for (const std::string text :
       {"", "\n", "server = \"https://r\"", "server = \"https://r\"\n", "# a comment", "\n\n# x\n\n",
        "server = \"https://r\"\r\n[host.\"https://a\"]\r\n", "[host]\n[host.\"https://a\"]\n",
        "[host.\"https://a\".header]\nx = \"[host]\"\n",
        "ca = '''\n[host.\"https://not\"]\n'''\n[host.\"https://a\"]\n"}) {
    for (const auto order : {Order::first, Order::last}) {
      const auto changed = withBlock(text, kBlock, order, "f");
      ASSERT_TRUE(changed) << text << changed.error().message();
      EXPECT_EQ(withoutBlock(*changed, "f").value(), text);
      EXPECT_THAT(orderOf(*changed), testing::Contains("127.0.0.1:9478")) << text;
    }
  }
}

TEST(HostsEdit, AFileWithoutAPlaceForTheBlockIsRefused) {
  const auto why = [](const std::string& text, Order order = Order::first) {
    const auto changed = withBlock(text, kBlock, order, "f");
    return changed ? "changed to\n" + *changed : changed.error().context;
  };
  EXPECT_THAT(why("host = { \"https://a\" = { skip_verify = true } }\n"), HasSubstr("leaves no place"));
  EXPECT_THAT(why("host.\"https://a\".skip_verify = true\nserver = \"https://r\"\n"),
              HasSubstr("leaves no place"));
  EXPECT_THAT(why("[host\n"), HasSubstr("f:1:"));
  EXPECT_THAT(why("[host.\"http://127.0.0.1:9478\"]\n"), HasSubstr("which fallbackctl did not add"));
  EXPECT_THAT(why("# fallbackd mirror: begin\n"), HasSubstr("one of the two comments"));
  EXPECT_FALSE(withoutBlock("# fallbackd mirror: end\n", "f"));
}

TEST(HostsEdit, TheModeBeforeIsRemembered) {
  auto block = kBlock;
  block.mode = 0640;
  EXPECT_EQ(modeBefore(withBlock(kPeers, block, Order::first, "f").value()), 0640U);
  EXPECT_EQ(modeBefore(kPeers), std::nullopt);
}

TEST(HostsEdit, WhereContainerdAsksIsReadFromTheBlocks) {
  EXPECT_EQ(addressInBlock(withBlock(kPeers, kBlock, Order::last, "f").value()), kBlock.address);
  EXPECT_EQ(addressInBlock(kPeers), "") << "these hosts are not ours";
  EXPECT_EQ(addressInBlock("# fallbackd mirror: begin\n# fallbackd mirror: end\n[host.\"http://a:1\"]\n"),
            "");
  const test::TempFolder folder;
  folder.write("a.test/hosts.toml", withBlock("", kBlock, Order::first, "f").value());
  folder.write("b.test/hosts.toml", withBlock(kPeers, {"[::1]:478", "t", 0644}, Order::first, "f").value());
  folder.write("c.test/hosts.toml", kPeers);
  folder.write("d.test/ca.crt", "x");
  EXPECT_EQ(addressesInBlocks(folder.path()), (std::set<std::string>{"127.0.0.1:9478", "[::1]:478"}));
  EXPECT_EQ(addressesInBlocks(folder.path() + "/none"), std::set<std::string>());
}

TEST(HostsEdit, ContainerdsConfigurationTellsWhereItLooks) {
  const auto two = parseContainerdConfig(
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"\n", "f");
  ASSERT_TRUE(two);
  EXPECT_EQ(two->version, 2);
  EXPECT_EQ(two->configPath, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_FALSE(two->hasMirrors);
  const auto three = parseContainerdConfig(
      "version = 3\nimports = [\"/c/*.toml\"]\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path "
      "= '/c'\n",
      "f");
  ASSERT_TRUE(three);
  EXPECT_EQ(three->configPath, std::vector<std::string>{"/c"});
  EXPECT_EQ(three->imports, std::vector<std::string>{"/c/*.toml"});
  const auto old = parseContainerdConfig(
      "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = "
      "[\"https://m\"]\n",
      "f");
  ASSERT_TRUE(old);
  EXPECT_TRUE(old->hasMirrors);
  EXPECT_TRUE(old->configPath.empty());
  EXPECT_FALSE(parseContainerdConfig("version = \n", "f"));
  for (const int version : {2, 3}) {
    const auto lines = "version = " + std::to_string(version) + "\n" + configPathLines(version, "/h");
    EXPECT_EQ(parseContainerdConfig(lines, "f")->configPath, std::vector<std::string>{"/h"});
  }
}

TEST(Token, IsMadeOnceAndForItsOwnerAlone) {
  const test::TempFolder folder;
  const auto file = folder.path() + "/state/token";
  const auto made = ensureToken(file);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->size(), 64U);
  struct stat facts {};
  ASSERT_EQ(::stat(file.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777U, 0600U);
  EXPECT_EQ(ensureToken(file).value(), *made);
  EXPECT_NE(ensureToken(file + "2").value(), *made);
}

TEST(Token, OneThatOthersCanReadIsRefused) {
  const test::TempFolder folder;
  const auto file = folder.write("token", "0123456789abcdef\n");
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  const auto readable = ensureToken(file);
  ASSERT_FALSE(readable);
  EXPECT_EQ(readable.error().reason, Reason::unsafe_owner);
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  EXPECT_EQ(ensureToken(file).value(), "0123456789abcdef");
  for (const std::string text : {"", "short", "0123456789abcdef\"\n[x]", "0123456789 abcdef"}) {
    folder.write("token", text);
    EXPECT_FALSE(ensureToken(file)) << text;
  }
}

}  // namespace
}  // namespace fallbackd::mirror
