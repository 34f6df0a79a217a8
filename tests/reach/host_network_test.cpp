// SPDX-License-Identifier: Apache-2.0
// A pod on the node's network, and a daemon with its own network, as in the DaemonSet.
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

class ReachHostNetwork : public testing::Test {
 protected:
  void SetUp() override {
    RecordProperty("item", "11");
    E2E_TRY(shop_, Shop::open());
    shop_->daemon->kill();
    // Two settings that tests/support does not offer.
    E2E_TRY(auto yaml, sys::readFile(Stage::cli, shop_->daemon->configFile(), 1 << 20));
    const auto replace = [&](const std::string& what, const std::string& by) {
      const auto at = yaml.find(what);
      ASSERT_NE(at, std::string::npos) << what;
      yaml.replace(at, what.size(), by);
    };
    replace("launcher:\n", "launcher:\n  allowHostNetwork: true\n");
    replace("readiness: {tcp: {port: 8080}}", "readiness: {tcp: {port: 8080}, timeout: 2s}");
    std::ofstream(shop_->daemon->configFile()) << yaml;
    E2E_TRY(daemon_, ChildProcess::start({.argv = {"unshare", "--net", "sh", "-c",
                                                   "ip link set lo up && exec \"$0\" --config \"$1\"",
                                                   binary("fallbackd"), shop_->daemon->configFile()},
                                          .env = {},
                                          .output = logFile("fallbackd-elsewhere")}));
  }

  /// The pod's recovery, as shown by fallbackctl: the daemon's TCP port is in its own network.
  [[nodiscard]] std::optional<json::object> recovery() const {
    const auto said = run({.argv = {binary("fallbackctl"), "status", "--socket",
                                    shop_->daemon->controlSocket(), "--output", "json"},
                           .env = {},
                           .output = {}});
    json::error_code error;
    const auto root = said ? json::parse(said->text, error) : json::value();
    if (!said || said->code != 0 || error || !root.is_object()) return std::nullopt;
    const auto& all = root.at("recoveries").as_array();
    if (all.empty()) return std::nullopt;
    return all.front().as_object();
  }
  [[nodiscard]] std::string state() const {
    const auto one = recovery();
    return one ? std::string(one->at("state").as_string()) : "";
  }
  static std::string environmentOf(pid_t pid) {
    auto text = sys::readFile(Stage::cli, "/proc/" + std::to_string(pid) + "/environ", 1 << 16).value_or("");
    std::replace(text.begin(), text.end(), '\0', '\n');
    return "\n" + text;
  }

  std::unique_ptr<Shop> shop_;
  std::optional<ChildProcess> daemon_;
};

TEST_F(ReachHostNetwork, AServingFallbackIsNotKilledForAnAddressTheDaemonCannotReach) {
  RecordProperty("attack",
                 "A pod uses the node's network, and the daemon, as in a DaemonSet, a different one");
  auto spec = checkoutPod("web-0");
  spec.hostNetwork = true;
  E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return accepts("127.0.0.1", Shop::kPort); }))
      << "no fallback was started";
  const bool killed = waitUntil(6s, [&] { return state() == "failed"; });
  EXPECT_FALSE(killed) << "the serving fallback was killed: "
                       << json::serialize(recovery().value_or(json::object()));
  EXPECT_EQ(state(), "ready");
  EXPECT_TRUE(httpGet("127.0.0.1", Shop::kPort, "/")) << "the pod does not serve";
  const auto seen = recovery();
  ASSERT_TRUE(seen);
  const auto environment = environmentOf(seen->at("pid").to_number<pid_t>());
  EXPECT_NE(environment.find("\nHOSTNAME=e2e-node\n"), std::string::npos) << environment;
}

}  // namespace
}  // namespace fallbackd::e2e
