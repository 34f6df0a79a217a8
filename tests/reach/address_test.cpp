// SPDX-License-Identifier: Apache-2.0
// Where a fallback's address is shown while Kubernetes does not know it.
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(ReachAddress, IsShownInEveryInterface) {
  RecordProperty("item", "12");
  RecordProperty("attack",
                 "kubelet hangs in a pull, so the pod's status.podIP is empty: no client finds the fallback");
  E2E_TRY(const auto shop, Shop::open());
  E2E_TRY(const auto pod, shop->kubelet->startPod(checkoutPod("web-0")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop->daemon, "web-0") == "ready"; }))
      << shop->daemon->logText();
  const std::string address = pod.ip + ":" + std::to_string(Shop::kPort);
  E2E_TRY(const auto status, httpGet("127.0.0.1", shop->daemon->telemetryPort(), "/status"));
  EXPECT_THAT(status.body, HasSubstr("\"address\":\"" + address + "\"")) << "/status lacks the address";
  EXPECT_THAT(shop->daemon->logText(), HasSubstr("address=" + address)) << "the log lacks the address";
  E2E_TRY(const auto table,
          runOk({.argv = {binary("fallbackctl"), "status", "--socket", shop->daemon->controlSocket()},
                 .env = {},
                 .output = {}}));
  EXPECT_THAT(table, HasSubstr(address)) << "fallbackctl status lacks the address";
  E2E_TRY(const auto page, httpGet("127.0.0.1", shop->daemon->telemetryPort(), "/"));
  EXPECT_THAT(page.body, HasSubstr("r.address")) << "the page lacks the address";
}

}  // namespace
}  // namespace fallbackd::e2e
