// SPDX-License-Identifier: Apache-2.0
// A launcher with a reloaded configuration.
#include "launcher/launcher_parts.hpp"

#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

struct ReconfiguredLauncher : testing::Test {
  /// The outcome of a launch in the host's network; this program is the pause process.
  std::string launchOnHost() {
    cri::SandboxStatus status;
    status.sandbox.id = "s1";
    status.pausePid = ::getpid();
    status.network = cri::NamespaceMode::node;
    status.ipc = cri::NamespaceMode::node;
    status.pid = cri::NamespaceMode::container;
    const auto host = HostNamespaces::read();
    if (!host) return host.error().message();
    const auto opened = openSandbox(status, parts.options, *host);
    return opened ? "joined" : std::string(toString(opened.error().reason));
  }
  static LauncherOptions allowing() {
    LauncherOptions options;
    options.allowHostNetwork = true;
    options.allowHostIpc = true;
    options.runDir = "/run/first";
    return options;
  }
  boost::asio::io_context loop;
  LauncherParts parts{loop.get_executor(), allowing(), {}};
};

TEST_F(ReconfiguredLauncher, RefusesTheNextLaunchThatIsNotAllowedAnyMore) {
  ASSERT_EQ(launchOnHost(), "joined");
  config::LauncherSettings read = allowing();
  read.allowHostNetwork = false;
  parts.reconfigure(read);
  EXPECT_EQ(launchOnHost(), "host_namespace");
  read.allowHostNetwork = true;
  parts.reconfigure(read);
  EXPECT_EQ(launchOnHost(), "joined");
}

TEST_F(ReconfiguredLauncher, KeepsTheFoldersOfWhatRuns) {
  config::LauncherSettings read;
  read.allowedHostPaths = {"/srv"};
  read.logs.maxFiles = 2;
  read.runDir = read.seccompProfiles = read.logLinks = "/other";
  parts.reconfigure(read);
  EXPECT_EQ(parts.options.allowedHostPaths, std::vector<std::string>{"/srv"});
  EXPECT_EQ(parts.options.logs.maxFiles, 2U);
  EXPECT_EQ(parts.options.runDir, "/run/first");
  EXPECT_EQ(parts.options.seccompProfiles, config::LauncherSettings().seccompProfiles);
  EXPECT_EQ(parts.options.logLinks, config::LauncherSettings().logLinks);
}

}  // namespace
}  // namespace fallbackd::launcher
