// SPDX-License-Identifier: Apache-2.0
// The way from README.md to a rescued pod: its code blocks are typed as they are, with the tests' API server
// and a real containerd. A change in README.md that breaks them fails here.
#include "e2e_gtest.hpp"
#include "http.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

fs::path sources() {
  return FALLBACKD_SOURCES;
}
fs::path tools() {
  return sources() / "build/tools";
}

std::string contentOf(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

/// Types the blocks of `what`; all their output is below `out`. `socket`: the daemon's, for the block "look".
Result<std::string> type(const std::string& what, const fs::path& out, const std::string& socket = "") {
  return runOk({.argv = {"node", sources() / "tests/readme/typed.mjs", what, sources(),
                         binary("fallbackctl").parent_path(), out, tools(), socket},
                .env = {},
                .output = {}},
               100s);
}

TEST(Readme, TheTourDoesWhatItSays) {
  const auto out = makeRunDir("tour");
  E2E_CHECK(type("tour", out));
  const auto said = contentOf(out / "said");
  EXPECT_THAT(said, HasSubstr("hello  1.0.0"));
  EXPECT_THAT(said, HasSubstr("\nhello\n")) << "the program's answer";
  EXPECT_THAT(said, HasSubstr("digest")) << "the reason why the changed bytes are refused";
  EXPECT_THAT(said, HasSubstr("refused, as it should be\n"));
}

TEST(Readme, LeadsToARescuedPod) {
  if (!fs::exists(tools() / "fetched")) {
    GTEST_SKIP() << "scripts/check-deploy has not fetched helm and kubectl";
  }
  const auto out = makeRunDir("cluster");
  E2E_CHECK(type("tour", out));
  E2E_CHECK(type("cluster", out));
  const auto given = out / "node";
  E2E_CHECK(runOk({.argv = {binary("fallbackctl"), "check-config", "--config",
                            given / "config/fallbackd.yaml", "--drop-ins", given / "conf.d"},
                   .env = {},
                   .output = {}}));

  // A node with what the installation puts there: the workloads, the key, the pack.
  E2E_TRY(const auto node, ContainerdNode::start());
  Kubelet kubelet(*node);
  const auto cache = makeRunDir("cache");
  // The pack installs itself, with its own program and from its own folder.
  const auto pack = out / "pack-image";
  E2E_CHECK(runOk({.argv = {"umoci", "unpack", "--image", (given / "layout").string() + ":1.8.3", pack},
                   .env = {},
                   .output = {}}));
  E2E_CHECK(runOk({.argv = {pack / "rootfs/fallbackctl", "install", "--cache", cache, "--keys",
                            given / "keys", "--state", out / "state", "--from", pack / "rootfs/pack"},
                   .env = {},
                   .output = {}}));
  DaemonOptions options;
  options.containerdSocket = node->socket();
  options.cacheDir = cache;
  options.keysDir = given / "keys";
  options.kubeletPods = kubelet.podsDir();
  E2E_TRY(const auto daemon, Daemon::start(options));
  fs::copy(given / "conf.d", daemon->configFile().parent_path() / "conf.d");
  const auto admitted = [&] {
    const auto metrics = daemon->metrics();
    return metrics && sumOf(*metrics, "fallbackd_workload_binary_admitted{", "checkout") == 1;
  };
  ASSERT_TRUE(waitUntil(kCeiling, admitted)) << daemon->logText();

  // The registry at registry.example.com has ended.
  E2E_TRY(const auto pod, kubelet.startPod(checkoutPod("web-0")));
  ASSERT_FALSE(kubelet.pullImage("registry.example.com/shop/checkout:1.8.3").ok());
  E2E_TRY(const auto answer, httpGetOk(pod.ip, Shop::kPort, "/", kCeiling));
  EXPECT_EQ(answer.body, "hello\n");
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*daemon, "web-0") == "ready"; }))
      << daemon->logText();
  E2E_TRY(const auto seen, type("look", out, daemon->controlSocket()));
  EXPECT_THAT(seen, HasSubstr("checkout@1.8.3"));
}

}  // namespace
}  // namespace fallbackd::e2e
