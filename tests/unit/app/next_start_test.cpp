// SPDX-License-Identifier: Apache-2.0
#include "app/next_start.hpp"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::app {
namespace {

using Keys = std::vector<std::string>;
using Change = std::function<void(config::Config&)>;

Keys changesBy(const Change& change, const config::Config& atStart = {}) {
  auto read = atStart;
  change(read);
  return changesForNextStart(atStart, read);
}

TEST(NextStart, ReportsEveryKeyThatAReloadCannotApply) {
  struct Row {
    std::string key;
    Change change;
  };
  const std::vector<Row> rows{
      {"containerd.socket", [](auto& c) { c.containerd.socket = "/run/other.sock"; }},
      {"containerd.namespace", [](auto& c) { c.containerd.namespaceName = "other"; }},
      {"launcher.runDir", [](auto& c) { c.launcher.runDir = "/run/other"; }},
      {"launcher.seccompProfiles", [](auto& c) { c.launcher.seccompProfiles = "/other"; }},
      {"launcher.logLinks", [](auto& c) { c.launcher.logLinks = "/other"; }},
      {"telemetry.listen", [](auto& c) { c.telemetry.listen.reset(); }},
      {"telemetry.tls",
       [](auto& c) {
         c.telemetry.tls = config::Tls{"/crt", "/key"};
       }},
      {"telemetry.tokenFile", [](auto& c) { c.telemetry.tokenFile = "/token"; }},
      {"telemetry.profiling", [](auto& c) { c.telemetry.profiling = true; }},
      {"telemetry.socket", [](auto& c) { c.telemetry.socket = "/run/other.sock"; }},
      {"kubernetes", [](auto& c) { c.kubernetes.events = true; }},
      {"mirror", [](auto& c) { c.mirror.maxAge = std::chrono::hours(1); }},
  };
  for (const auto& row : rows) EXPECT_EQ(changesBy(row.change), Keys{row.key});
}

TEST(NextStart, ReportsOtherTlsFiles) {
  config::Config atStart;
  atStart.telemetry.tls = config::Tls{"/crt", "/key"};
  EXPECT_EQ(changesBy([](auto& c) { c.telemetry.tls->key = "/other"; }, atStart), Keys{"telemetry.tls"});
  EXPECT_EQ(changesBy([](auto&) {}, atStart), Keys{});
}

TEST(NextStart, ReportsTheStateFolderIfMirrorOrKubernetesUseIt) {
  const Change change = [](auto& c) { c.cache.state = "/other"; };
  EXPECT_EQ(changesBy(change), Keys{});
  config::Config atStart;
  atStart.kubernetes.namespacePause = true;
  EXPECT_EQ(changesBy(change, atStart), Keys{"cache.state for mirror and kubernetes"});
  atStart = {};
  atStart.mirror.listen = "127.0.0.1:478";
  EXPECT_EQ(changesBy(change, atStart), Keys{"cache.state for mirror and kubernetes"});
}

TEST(NextStart, OmitsKeysThatAReloadApplies) {
  EXPECT_EQ(changesBy([](auto& c) {
              c.cache.threshold = 2;
              c.cache.revoked = "/revoked";
              c.cache.keys = "/keys";
              c.launcher.allowHostNetwork = true;
              c.launcher.maxConcurrentLaunches = 1;
              c.telemetry.logLevel = config::LogLevel::debug;
              c.containerd.resyncInterval = std::chrono::seconds(1);
              c.mode = config::Mode::observe;
            }),
            Keys{});
}

}  // namespace
}  // namespace fallbackd::app
