// SPDX-License-Identifier: Apache-2.0
// The tools of the end-to-end tests, tested with the real containerd, runc, CNI and docker-registry.
#include "containerd_node.hpp"
#include "content_of.hpp"
#include "daemon.hpp"
#include "e2e_gtest.hpp"
#include "http.hpp"
#include "kubelet/kubelet.hpp"
#include "read_only_expectations.hpp"
#include "registry.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using test::contentOf;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

PodSpec shopPod(const std::string& name) {
  PodSpec spec;
  spec.name = name;
  spec.namespaceName = "shop";
  spec.labels = {{"app", "checkout"}};
  spec.annotations = {{"example.com/owner", "team"}};
  spec.volumes = {{PodVolume::Kind::config_map, "config", {{"config.yaml", "greeting: hello\n"}}},
                  {PodVolume::Kind::secret, "credentials", {{"password", "s3cret"}}},
                  {PodVolume::Kind::empty_dir, "scratch", {}}};
  return spec;
}

std::string namespaceOf(pid_t pid, const std::string& kind) {
  return fs::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind);
}

/// A node with a kubelet, created for each test.
class Support : public testing::Test {
 protected:
  void SetUp() override {
    const Stopwatch watch;
    E2E_TRY(node_, ContainerdNode::start());
    std::printf("node ready after %.0f ms (containerd %s)\n", watch.millis(), node_->version().c_str());
    kubelet_ = std::make_unique<Kubelet>(*node_);
  }
  void TearDown() override {
    kubelet_.reset();
    node_.reset();
  }

  std::unique_ptr<ContainerdNode> node_;
  std::unique_ptr<Kubelet> kubelet_;
};

TEST_F(Support, PodHasNamespacesAddressVolumesAndCgroup) {
  const Stopwatch watch;
  E2E_TRY(const auto pod, kubelet_->startPod(shopPod("web-0")));
  std::printf("pod ready after %.0f ms\n", watch.millis());
  EXPECT_THAT(pod.ip, StartsWith("10.85."));
  for (const char* kind : {"net", "ipc", "uts", "mnt", "pid"}) {
    EXPECT_NE(namespaceOf(pod.pausePid, kind), namespaceOf(::getpid(), kind)) << kind;
  }
  const fs::path volumes = pod.folder / "volumes";
  EXPECT_EQ(contentOf(volumes / "kubernetes.io~configmap/config/config.yaml"), "greeting: hello\n");
  EXPECT_EQ(fs::read_symlink(volumes / "kubernetes.io~configmap/config/config.yaml"), "..data/config.yaml");
  EXPECT_EQ(contentOf(volumes / "kubernetes.io~secret/credentials/password"), "s3cret");
  EXPECT_TRUE(fs::is_directory(volumes / "kubernetes.io~empty-dir/scratch"));
  EXPECT_FALSE(fs::exists(pod.folder / "etc-hosts"));  // only when a container is created
  EXPECT_THAT(contentOf("/proc/" + std::to_string(pod.pausePid) + "/cgroup"),
              HasSubstr(podCgroup(pod.spec.uid) + "/"));
  E2E_TRY(const auto hostname,
          runOk({.argv = {"nsenter", "--uts", "--target", std::to_string(pod.pausePid), "hostname"},
                 .env = {},
                 .output = {}}));
  EXPECT_EQ(hostname, "web-0\n");

  E2E_CHECK(kubelet_->updateVolume(
      pod, {PodVolume::Kind::config_map, "config", {{"config.yaml", "greeting: again\n"}}}));
  EXPECT_EQ(contentOf(volumes / "kubernetes.io~configmap/config/config.yaml"), "greeting: again\n");

  E2E_CHECK(kubelet_->removePod(pod));
  EXPECT_FALSE(fs::exists("/proc/" + std::to_string(pod.pausePid)));
  EXPECT_FALSE(fs::exists(pod.folder));
  for (const auto& cgroup : pod.cgroups) EXPECT_FALSE(fs::exists(cgroup)) << cgroup;
}

TEST_F(Support, RemovingAPodEndsStrangersInItsCgroup) {
  E2E_TRY(const auto pod, kubelet_->startPod(shopPod("web-0")));
  E2E_TRY(auto stranger, ChildProcess::start({.argv = {"sleep", "1000"}, .env = {}, .output = {}}));
  E2E_TRY(const auto hierarchies, cgroupHierarchies());
  for (std::size_t index = 0; index < hierarchies.size(); ++index) {
    const fs::path leaf = pod.cgroups.at(index) / "fallback-web";
    E2E_CHECK(makeCgroup(hierarchies[index], leaf));
    E2E_CHECK(writeCgroupFile(leaf / "cgroup.procs", std::to_string(stranger.pid())));
  }
  E2E_CHECK(kubelet_->removePod(pod));
  E2E_TRY(const auto code, stranger.wait(10s));
  EXPECT_EQ(code, 128 + SIGKILL);
}

/// Code that runs here as root may remove and mount anything.
TEST(SupportParts, TheMachineIsReadOnly) {
  test::expectReadOnlyMachine(runDir().parent_path());
  EXPECT_TRUE(fs::create_directory(runDir() / "may-be-written"));
}

TEST_F(Support, DeadPortRefuses) {
  E2E_TRY(const auto dead, DeadPort::make());
  const auto outcome = kubelet_->pullImage(dead.address() + "/shop/checkout:1.8.3");
  EXPECT_EQ(outcome.code, grpc::StatusCode::UNKNOWN);
  EXPECT_THAT(outcome.text, HasSubstr("connect: connection refused"));
  std::printf("refused after %.1f ms\n", toMillis(outcome.took));
}

TEST_F(Support, MissingImageIsNotFound) {
  E2E_TRY(auto registry, Registry::make());
  E2E_CHECK(registry.start());
  const auto outcome = kubelet_->pullImage(registry.reference("shop/checkout:9.9.9"));
  EXPECT_EQ(outcome.code, grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(outcome.text, testing::EndsWith(": not found"));
}

TEST_F(Support, ARegistryCanRequireAPassword) {
  E2E_TRY(auto registry, Registry::make({.port = 0, .user = "robot", .password = "beep"}));
  E2E_CHECK(registry.start());
  E2E_TRY(const auto reference, registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  // Real basic authentication: wrong and missing passwords both lead to a 401.
  for (const char* auth : {"", "robot:wrong"}) {
    const auto outcome = kubelet_->pullImage(reference, auth);
    EXPECT_EQ(outcome.code, grpc::StatusCode::UNKNOWN) << auth;
    EXPECT_THAT(outcome.text, AnyOf(HasSubstr("401 Unauthorized"), HasSubstr("authorization failed")))
        << auth;
    std::printf("auth \"%s\": %s\n", auth, outcome.text.c_str());
  }
  const auto allowed = kubelet_->pullImage(reference, "robot:beep");
  EXPECT_TRUE(allowed.ok()) << allowed.text;
}

TEST_F(Support, StatusServerAnswersWithItsStatus) {
  E2E_TRY(const auto server, StatusServer::start(502));
  E2E_CHECK(node_->speak("http", server->address()));  // containerd 1.7 tries TLS first
  const std::string reference = server->address() + "/shop/checkout:1.8.3";
  for (const unsigned status : {502U, 503U, 429U}) {
    server->setStatus(status);
    const auto outcome = kubelet_->pullImage(reference);
    EXPECT_EQ(outcome.code, grpc::StatusCode::UNKNOWN) << status;
    EXPECT_THAT(outcome.text, HasSubstr(": " + std::to_string(status) + " "));
  }
  EXPECT_GE(server->requests(), 3U);
}

TEST_F(Support, RegistryComesBackAndTheContainerServes) {
  E2E_TRY(auto registry, Registry::make());
  E2E_CHECK(registry.start());
  E2E_TRY(const auto reference, registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  E2E_CHECK(registry.stop());
  EXPECT_THAT(kubelet_->pullImage(reference).text, HasSubstr("connection refused"));
  E2E_CHECK(registry.start());
  const auto pulled = kubelet_->pullImage(reference);
  ASSERT_TRUE(pulled.ok()) << pulled.text;
  EXPECT_THAT(pulled.imageRef, StartsWith("sha256:"));

  E2E_TRY(const auto pod, kubelet_->startPod(shopPod("web-0")));
  ContainerSpec spec;
  spec.name = "web";
  spec.image = reference;
  spec.args = {"--config=/etc/app/config.yaml"};
  spec.env = {{"ROLE", "container"}};
  spec.mounts = {{"config", "/etc/app", true}};
  spec.runAsUser = 65532;
  const Stopwatch watch;
  E2E_TRY(const auto id, kubelet_->createContainer(pod, spec));
  E2E_CHECK(kubelet_->startContainer(id));
  E2E_TRY(const auto answer, httpGetOk(pod.ip, 8080, "/"));
  std::printf("container serves %.0f ms after CreateContainer: %s", watch.millis(), answer.body.c_str());
  EXPECT_EQ(answer.body, "shop-httpd 1.8.3 role=container pid=1 host=web-0 config=greeting: hello\n");
  E2E_TRY(const auto health, httpGet(pod.ip, 8080, "/healthz"));
  EXPECT_EQ(health.status, 200U);
  EXPECT_THAT(contentOf(pod.logDirectory / "web" / "0.log"), HasSubstr("stdout F "));

  const Stopwatch stopping;
  E2E_CHECK(kubelet_->stopContainer(id, 30s));
  EXPECT_LT(stopping.elapsed(), 20s);  // it ends at SIGTERM, even as pid 1
  E2E_CHECK(kubelet_->removeContainer(id));
}

TEST_F(Support, AKilledNodeReturnsWithItsPods) {
  E2E_TRY(const auto pod, kubelet_->startPod(shopPod("web-0")));
  const pid_t before = node_->pid();
  node_->kill();
  EXPECT_TRUE(fs::exists("/proc/" + std::to_string(pod.pausePid)));
  const Stopwatch watch;
  E2E_CHECK(node_->restart());
  std::printf("node back after %.0f ms\n", watch.millis());
  EXPECT_NE(node_->pid(), before);
  E2E_TRY(const auto sandbox, kubelet_->restartSandbox(pod));
  EXPECT_EQ(sandbox.spec.uid, pod.spec.uid);
  EXPECT_NE(sandbox.sandboxId, pod.sandboxId);
}

TEST(SupportParts, TheRegistryCanTakeOverTheDeadPort) {
  E2E_TRY(auto dead, DeadPort::make());
  E2E_TRY(auto registry, Registry::make({.port = dead.release(), .user = {}, .password = {}}));
  E2E_CHECK(registry.start());
  EXPECT_TRUE(httpGet("127.0.0.1", dead.port(), "/v2/"));
  E2E_CHECK(registry.stop());
  EXPECT_FALSE(httpGet("127.0.0.1", dead.port(), "/v2/"));
}

TEST(SupportParts, ProcessesAreAwaitedAndKilled) {
  E2E_TRY(const auto output,
          run({.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}, .env = {}, .output = {}}));
  EXPECT_EQ(output.code, 3);
  EXPECT_EQ(output.text, "out\nerr\n");
  E2E_TRY(auto sleeper, ChildProcess::start({.argv = {"sleep", "1000"}, .env = {}, .output = {}}));
  EXPECT_FALSE(sleeper.wait(1ms));
  EXPECT_TRUE(sleeper.running());
  E2E_TRY(const auto code, sleeper.stop());
  EXPECT_EQ(code, 128 + SIGTERM);
  EXPECT_FALSE(run({.argv = {"no-such-program-here"}, .env = {}, .output = {}}));
}

TEST(SupportParts, MetricsAreRead) {
  const auto metrics = parseMetrics(
      "# HELP x y\n# TYPE x counter\nx_total{cause=\"a b\",n=\"1\"} 3\nrto_seconds_sum 0.25\n\n");
  EXPECT_EQ(metrics.size(), 2U);
  EXPECT_EQ(metrics.at("x_total{cause=\"a b\",n=\"1\"}"), 3);
  EXPECT_EQ(metrics.at("rto_seconds_sum"), 0.25);
}

}  // namespace
}  // namespace fallbackd::e2e
