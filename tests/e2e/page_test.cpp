// SPDX-License-Identifier: Apache-2.0
// The status page in a real browser, fallbackctl and the log, during a real outage.
#include "base/strings.hpp"
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "times_in.hpp"
#include "wait.hpp"

#include <cstdlib>
#include <fstream>
#include <set>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using test::contentOf;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class PageTest : public testing::Test {
 protected:
  void recover(const std::string& name, Pod& pod) {
    E2E_TRY(pod, shop_->kubelet->startPod(checkoutPod(name)));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, name) == "ready"; }));
  }
  /// fallbackctl's output, using the daemon's socket.
  std::string ctl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), binary("fallbackctl"));
    arguments.insert(arguments.end(), {"--socket", shop_->daemon->controlSocket()});
    const auto output = runOk({.argv = arguments, .env = {}, .output = {}});
    EXPECT_TRUE(output) << output.error().message();
    return output.value_or("");
  }
  std::unique_ptr<Shop> shop_;
};

TEST_F(PageTest, ShowsAnOutageLiveInABrowser) {
  E2E_TRY(shop_, Shop::open());
  Pod stays;
  Pod pod;
  recover("web-0", stays);
  recover("web-1", pod);
  const auto output = logFile("browser");
  const auto url = "http://127.0.0.1:" + std::to_string(shop_->daemon->telemetryPort()) + "/";
  std::vector<std::string> argv{"node", PAGE_FOLDER "/look.mjs", url, "shop/web-1"};
  if (const char* folder = std::getenv("PAGE_SCREENSHOTS")) argv.emplace_back(folder);
  E2E_TRY(auto browser, ChildProcess::start({.argv = argv, .env = {}, .output = output}));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return contentOf(output).find("watching") != std::string::npos || !browser.running();
  }));
  ASSERT_TRUE(browser.running()) << contentOf(output);
  E2E_CHECK(shop_->kubelet->removePod(pod));
  E2E_TRY(const auto code, browser.wait(kCeiling));
  EXPECT_EQ(code, 0) << contentOf(output);
}

TEST_F(PageTest, CtlShowsTheSameToPeopleAndPrograms) {
  E2E_TRY(shop_, Shop::open());
  const auto watched = logFile("watch");
  E2E_TRY(auto watch, ChildProcess::start({.argv = {binary("fallbackctl"), "watch", "--socket",
                                                    shop_->daemon->controlSocket()},
                                           .env = {},
                                           .output = watched}));
  Pod pod;
  recover("web-0", pod);
  EXPECT_THAT(ctl({"status"}), HasSubstr("1 of 1 workloads covered"));
  EXPECT_THAT(ctl({"status"}), HasSubstr("shop/web-0"));
  EXPECT_THAT(ctl({"status"}), Not(HasSubstr("mirror"))) << "it is switched off";
  EXPECT_THAT(ctl({"completion", "pods"}), HasSubstr("shop/web-0\n"));
  const auto explained = ctl({"explain", "web-0"});
  for (const char* part :
       {"the fallback is serving", "match ", "cause ", "unreachable", "binary ", "launch ", "readiness "}) {
    EXPECT_THAT(explained, HasSubstr(part));
  }
  const auto walk = boost::json::parse(ctl({"explain", "shop/web-0", "-o", "json"}));
  EXPECT_EQ(walk.at(0).at("verdict").as_string(), "the fallback is serving");
  auto other = checkoutPod("other");
  other.labels = {{"app", "basket"}};
  E2E_TRY(const auto unmatched, shop_->kubelet->startPod(other));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return ctl({"explain", "other"}).find("no workload covers this pod") != std::string::npos;
  }));
  EXPECT_THAT(ctl({"explain", "other"}), HasSubstr("label app is basket, not checkout"));

  E2E_CHECK(shop_->kubelet->removePod(pod));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "pod_gone"; }));
  const auto ended = boost::json::parse(ctl({"recoveries", "-o", "json", "--state", "pod_gone"}));
  EXPECT_EQ(ended.as_array().size(), 1U);
  EXPECT_THAT(ctl({"recoveries", "--state", "failed"}), HasSubstr("no recoveries"));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return contentOf(watched).find("pod_gone") != std::string::npos; }))
      << contentOf(watched);
  EXPECT_THAT(contentOf(watched), HasSubstr("ready, unreachable, ready after "));
}

TEST_F(PageTest, TheLogHasOneLinePerTransitionWithOneIdAndNamedFields) {
  E2E_TRY(shop_, Shop::open());
  auto options = shop_->daemonOptions(shop_->image());
  options.logFormat = "json";
  E2E_CHECK(shop_->daemon->rewriteConfig(options));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    return shop_->daemon->logText().find("\"configuration read\"") != std::string::npos;
  }));
  Pod pod;
  recover("web-0", pod);
  E2E_CHECK(shop_->kubelet->removePod(pod));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "pod_gone"; }));

  const auto documented = contentOf(LOG_FIELDS);
  std::set<std::string> ids;
  std::vector<std::string> transitions;
  const auto text = shop_->daemon->logText();
  for (const auto one : split(text, '\n')) {
    if (!one.starts_with('{')) continue;
    const auto line = boost::json::parse(std::string(one)).as_object();
    for (const auto& field : line) {
      EXPECT_THAT(documented, HasSubstr("`" + std::string(field.key()) + "`")) << "in " << one;
    }
    if (!line.contains("recovery")) continue;
    ids.insert(std::string(line.at("recovery").as_string()));
    transitions.emplace_back(line.at("msg").as_string());
  }
  EXPECT_EQ(ids.size(), 1U);
  EXPECT_THAT(transitions,
              testing::ElementsAre("recovery detected", "recovery verified", "recovery health_checked",
                                   "recovery started", "recovery ready", "recovery pod_gone"));
}

TEST_F(PageTest, ProfilesArePprofsAndOnlyServedIfConfigured) {
  E2E_TRY(shop_, Shop::open());
  auto& daemon = *shop_->daemon;
  const auto get = [&](const std::string& path) {
    return httpGet("127.0.0.1", daemon.telemetryPort(), "/debug/pprof/" + path, kCeiling);
  };
  const auto mapped = [&] { return contentOf("/proc/" + std::to_string(daemon.pid()) + "/maps"); };
  E2E_TRY(const auto off, get("heap"));
  EXPECT_EQ(off.status, 404U);
  EXPECT_THAT(mapped(), Not(HasSubstr("tcmalloc")));

  auto options = shop_->daemonOptions(shop_->image());
  options.telemetry = "  profiling: true\n";
  E2E_CHECK(daemon.rewriteConfig(options));
  E2E_TRY(const auto stopped, daemon.stop());
  ASSERT_EQ(stopped, 0);
  E2E_CHECK(daemon.restart());
  EXPECT_THAT(mapped(), HasSubstr("tcmalloc"));
  for (const char* wrong : {"profile?seconds=0", "profile?seconds=61", "profile?seconds=x"}) {
    E2E_TRY(const auto refused, get(wrong));
    EXPECT_EQ(refused.status, 400U) << wrong;
  }
  const auto folder = makeRunDir("pprof");
  for (const auto* path : {"profile?seconds=1", "heap"}) {
    E2E_TRY(const auto answer, get(path));
    ASSERT_EQ(answer.status, 200U) << answer.body;
    const auto file = folder / "profile";
    std::ofstream(file, std::ios::binary) << answer.body;
    const auto raw = runOk({.argv = {"go", "tool", "pprof", "-raw", binary("fallbackd"), file},
                            .env = {{"HOME", folder}, {"GOCACHE", folder}},
                            .output = {}});
    ASSERT_TRUE(raw) << path << ": " << raw.error().message();
    EXPECT_THAT(*raw, HasSubstr(std::string_view(path) == "heap" ? "bytes:[" : "Samples:")) << path;
  }
  Pod pod;
  recover("web-0", pod);
  const auto fallback = fallbackPid(daemon, "web-0");
  EXPECT_THAT(contentOf("/proc/" + std::to_string(fallback) + "/environ"), Not(HasSubstr("LD_PRELOAD")));
}

TEST_F(PageTest, AReloadAppliesWhatItCanAndNamesWhatMustWait) {
  E2E_TRY(shop_, Shop::open());
  auto options = shop_->daemonOptions(shop_->image());
  options.containerdSocket += ".other";
  options.cache += "  threshold: 2\n";
  options.launcher += "  allowHostNetwork: true\n";
  E2E_CHECK(shop_->daemon->reload(options, kCeiling));
  EXPECT_TRUE(waitUntil(
      kCeiling, [&] { return shop_->daemon->logText().find("threshold_not_met") != std::string::npos; }));
  constexpr auto kWaits = "the change of containerd.socket takes effect at the next start";
  EXPECT_EQ(test::timesIn(shop_->daemon->logText(), kWaits), 1U) << shop_->daemon->logText();

  options.cache.clear();
  E2E_CHECK(shop_->daemon->reload(options, kCeiling));
  auto spec = checkoutPod("web-0");
  spec.hostNetwork = true;
  E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
      << "allowHostNetwork: true was not applied\n"
      << shop_->daemon->logText();
}

}  // namespace
}  // namespace fallbackd::e2e
