// SPDX-License-Identifier: Apache-2.0
#include "launcher/plan.hpp"

#include "launcher/volumes.hpp"
#include "temp_folder.hpp"

#include <algorithm>

#include <gmock/gmock.h>

namespace fallbackd::launcher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

LaunchRequest shopRequest() {
  LaunchRequest request;
  request.recoveryId = "r1";
  request.sandbox.sandbox.podName = "shop";
  request.sandbox.sandbox.podNamespace = "market";
  request.sandbox.ips = {"10.0.0.5", "fd00::5"};
  request.sandbox.hostname = "shop-1";
  request.sandbox.cgroupParent = "/kubepods/burstable/pod1";
  request.workload.binary = {"checkout", "1.8.3"};
  request.workload.args = {"--port=8080"};
  request.nodeName = "node-1";
  return request;
}

Result<LaunchOrder> planned(const LaunchRequest& request) {
  std::vector<std::string> notes;
  return planOrder(request, {}, notes);
}

std::string fileOf(const LaunchOrder& order, const std::string& path) {
  const auto found = std::find_if(order.files.begin(), order.files.end(),
                                  [&](const RootFile& file) { return file.path == path; });
  return found == order.files.end() ? "none" : found->content;
}

TEST(Plan, ArgumentsBeginWithTheBinarysName) {
  const auto order = planned(shopRequest());
  ASSERT_TRUE(order);
  EXPECT_THAT(order->argv, ElementsAre("checkout", "--port=8080"));
  EXPECT_THAT(order->healthArgv, ElementsAre("checkout", "--health-check"));
}

TEST(Plan, AnInheritedProgramNameStandsBeforeTheArguments) {
  auto request = shopRequest();
  request.workload.argv0 = "/usr/bin/shop";
  const auto order = planned(request);
  ASSERT_TRUE(order);
  EXPECT_THAT(order->argv, ElementsAre("/usr/bin/shop", "--port=8080"));
  EXPECT_THAT(order->healthArgv, ElementsAre("checkout", "--health-check"));
}

TEST(Plan, TheWorkloadsVariablesOverrideTheDownwardOnes) {
  auto request = shopRequest();
  request.workload.env = {{"POD_IP", "mine"}, {"X", "y"}};
  EXPECT_THAT(planned(request)->env,
              ElementsAre("HOME=/", "HOSTNAME=shop-1", "NODE_NAME=node-1",
                          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "POD_IP=mine",
                          "POD_NAME=shop", "POD_NAMESPACE=market", "X=y"));
}

TEST(Plan, HostsHasThePodWithAllItsAddresses) {
  const auto hosts = fileOf(*planned(shopRequest()), "/etc/hosts");
  EXPECT_THAT(hosts, HasSubstr("127.0.0.1\tlocalhost\n"));
  EXPECT_THAT(hosts, HasSubstr("10.0.0.5\tshop-1\nfd00::5\tshop-1\n"));
}

TEST(Plan, HostsNamesThePodsAliases) {
  auto request = shopRequest();
  request.workload.hostAliases = {{"10.9.9.9", {"db", "db.internal"}}, {"fd00::9", {"cache"}}};
  EXPECT_THAT(fileOf(*planned(request), "/etc/hosts"),
              HasSubstr("10.9.9.9\tdb\tdb.internal\nfd00::9\tcache\n"));
}

TEST(Plan, ResolvConfIsTheSandboxes) {
  const test::TempFolder folder;
  auto request = shopRequest();
  EXPECT_EQ(fileOf(*planned(request), "/etc/resolv.conf"), "none");
  request.sandbox.resolvConfPath = folder.write("resolv.conf", "nameserver 10.96.0.10\n");
  EXPECT_EQ(fileOf(*planned(request), "/etc/resolv.conf"), "nameserver 10.96.0.10\n");
  request.sandbox.resolvConfPath = folder.path() + "/missing";
  EXPECT_EQ(planned(request).error().stage, Stage::rootfs);
}

TEST(Plan, OomScoreFollowsTheQualityOfService) {
  EXPECT_EQ(oomScoreAdjOf("/kubepods/besteffort/pod1"), 1000);
  EXPECT_EQ(oomScoreAdjOf("kubepods-burstable-pod1.slice"), 999);
  EXPECT_EQ(oomScoreAdjOf("/kubepods/pod1"), -997);
}

TEST(MountPath, IsMadeNormal) {
  EXPECT_EQ(normalMountPath("/etc/app/").value(), "/etc/app");
  EXPECT_EQ(normalMountPath("/etc//a/./b/../c").value(), "/etc/a/c");
  EXPECT_EQ(normalMountPath("/dev/shm").value(), "/dev/shm");
  EXPECT_EQ(normalMountPath("/process").value(), "/process");
}

TEST(MountPath, ReservedPlacesAreRefused) {
  for (const char* path :
       {"", "etc", "/", "/..", "/proc", "/proc/self", "/etc/../proc", "/sys", "/sys/fs", "/dev"}) {
    EXPECT_FALSE(normalMountPath(path)) << path;
  }
}

TEST(Plan, AResolverOnTheNodesLoopbackIsNoted) {
  const test::TempFolder folder;
  auto request = shopRequest();
  request.sandbox.resolvConfPath =
      folder.write("resolv.conf", "nameserver 127.0.0.53\nnameserver 10.0.0.2\n");
  std::vector<std::string> notes;
  ASSERT_TRUE(planOrder(request, {}, notes));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("127.0.0.53")));
  notes.clear();
  request.sandbox.network = cri::NamespaceMode::node;  // in the node's network the server does listen
  ASSERT_TRUE(planOrder(request, {}, notes));
  EXPECT_THAT(notes, ElementsAre());
}

TEST(Plan, GroupsOfThePodAndOfTheWorkload) {
  auto request = shopRequest();
  request.workload.user.groups = {3000, 2000};
  request.sandbox.supplementalGroups = {2000, 1000};
  EXPECT_THAT(planned(request)->groups, ElementsAre(1000, 2000, 3000));
}

TEST(Plan, ServiceVariablesComeFromTheDaemon) {
  auto request = shopRequest();
  request.workload.serviceVariables = true;
  std::vector<std::string> notes;
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ASSERT_TRUE(planOrder(request, {}, notes));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("KUBERNETES_SERVICE_HOST")));
  ::setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
  ::setenv("KUBERNETES_OTHER", "x", 1);
  const auto order = planned(request);
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_OTHER");
  EXPECT_THAT(order->env, ::testing::Contains("KUBERNETES_SERVICE_HOST=10.96.0.1"));
  EXPECT_THAT(order->env, ::testing::Not(::testing::Contains("KUBERNETES_OTHER=x")));
}

}  // namespace
}  // namespace fallbackd::launcher
