// SPDX-License-Identifier: Apache-2.0
// fallbackd as installed by its Debian package: systemd starts, watches and restarts it.
#include "cgroups.hpp"
#include "contained_node.hpp"
#include "node/node_fixture.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using test::contentOf;
using testing::HasSubstr;

constexpr const char* kUnit = "fallbackd.service";
constexpr const char* kDropIn = "/etc/systemd/system/fallbackd.service.d";
constexpr const char* kSeLinuxDropIn = "/usr/share/fallbackd/selinux.conf";
constexpr std::uint16_t kTelemetry = 9477;

Result<std::string> dpkg(std::vector<std::string> arguments) {
  // The machine has the libraries, but not as packages.
  arguments.insert(arguments.begin(), {"dpkg", "--force-depends"});
  return runOk({.argv = std::move(arguments), .env = {}, .output = {}});
}

class Unit : public testing::Test {
 protected:
  void SetUp() override {
    if (!onANode()) GTEST_SKIP() << "only in a machine of scripts/node";
    ASSERT_TRUE(fs::exists(FALLBACKD_PACKAGE)) << "scripts/build-deb builds it";
    E2E_CHECK(dpkg({"--install", FALLBACKD_PACKAGE}));
    E2E_TRY(node_, ContainerdNode::start({.ofMachine = true}));
    kubelet_ = std::make_unique<Kubelet>(*node_, "/var/lib/kubelet/pods", "/var/log/pods");
    E2E_TRY(registry_, Registry::make());
    E2E_TRY(signer_, Signer::make());
    E2E_TRY(const auto attestation, signer_->sign(testProgram("shop-httpd-1.8.3"), "checkout", "1.8.3"));
    fs::copy_file(signer_->keysDir() / "signing.pub", "/etc/fallbackd/keys/signing.pub",
                  fs::copy_options::overwrite_existing);
    E2E_CHECK(runOk({.argv = {"/usr/bin/fallbackctl", "install", testProgram("shop-httpd-1.8.3"),
                              "--attestation", attestation},
                     .env = {},
                     .output = {}}));
    std::ofstream("/etc/fallbackd/fallbackd.yaml")
        << "apiVersion: fallbackd.io/v1\ntelemetry: {listen: \"127.0.0.1:" << kTelemetry
        << "\", logLevel: debug}\nworkloads:\n"
        << checkoutWorkload(image());
    if (fs::exists("/sys/fs/selinux/enforce")) {
      fs::create_directories(kDropIn);
      fs::copy_file(kSeLinuxDropIn, fs::path(kDropIn) / "selinux.conf", fs::copy_options::overwrite_existing);
      E2E_CHECK(systemctl({"daemon-reload"}));
    }
    E2E_CHECK(systemctl({"restart", kUnit}));
  }
  void TearDown() override {
    if (!onANode()) return;
    kubelet_.reset();
    E2E_CHECK(dpkg({"--purge", "fallbackd"}));
    EXPECT_FALSE(fs::exists("/usr/bin/fallbackd"));
    fs::remove_all(kDropIn);
  }
  [[nodiscard]] std::string image() const { return registry_->reference("shop/checkout:1.8.3"); }
  static RecoverySeen seen(const std::string& pod) { return recoveryOf("127.0.0.1", kTelemetry, pod); }
  static std::string journal() {
    return runOk({.argv = {"journalctl", "--no-pager", "--unit", kUnit}, .env = {}, .output = {}})
        .value_or("");
  }
  static pid_t mainPid() { return mainPidOf(kUnit); }
  static bool active() {
    const auto shown = systemctl({"is-active", kUnit});
    return shown && trim(*shown) == "active";
  }
  void rescue(const std::string& name, Pod& pod) const {
    auto spec = checkoutPod(name);
    spec.slice = systemdMakesCgroups();
    E2E_TRY(pod, kubelet_->startPod(spec));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return seen(name).state == "ready"; })) << journal();
  }
  /// Checks that the daemon shows it as ready, with this process.
  static void expectKept(const Pod& pod, pid_t pid, const std::string& when) {
    EXPECT_TRUE(waitUntil(kCeiling,
                          [&] {
                            const auto now = seen(pod.spec.name);
                            return now.state == "ready" && now.pid == pid;
                          }))
        << when << "\n"
        << journal();
    const auto answer = httpGetOk(pod.ip, Shop::kPort, "/", kCeiling);
    ASSERT_TRUE(answer) << when;
    EXPECT_THAT(answer->body, HasSubstr("role=fallback")) << when;
  }

  std::unique_ptr<ContainerdNode> node_;
  std::unique_ptr<Kubelet> kubelet_;
  std::optional<Registry> registry_;
  std::optional<Signer> signer_;
};

/// In KiB, for all its processes; each counts its share of shared memory. scripts/report nodes reads the
/// line.
TEST_F(Unit, NeedsLittleMemoryWhileNothingFails) {
  ASSERT_TRUE(active()) << journal();
  std::uint64_t sum = 0;
  E2E_TRY(const auto group, systemctl({"show", "--property=ControlGroup", "--value", kUnit}));
  E2E_TRY(const auto hierarchies, cgroupHierarchies());
  std::set<pid_t> processes;
  for (const auto& hierarchy : hierarchies) {
    for (const pid_t pid : cgroupProcesses(hierarchy.mountPoint.string() + std::string(trim(group)))) {
      processes.insert(pid);
    }
  }
  ASSERT_TRUE(processes.contains(mainPid()));
  for (const pid_t pid : processes) {
    const auto rollup = contentOf("/proc/" + std::to_string(pid) + "/smaps_rollup");
    const auto at = rollup.find("\nPss:");
    ASSERT_NE(at, std::string::npos) << pid;
    sum += std::strtoul(rollup.c_str() + at + 5, nullptr, 10);
  }
  std::printf("memory of the idle unit: %llu KiB in %zu processes\n", static_cast<unsigned long long>(sum),
              processes.size());
  EXPECT_GT(sum, 0U);
  EXPECT_LT(sum, 200U << 10);
}

TEST_F(Unit, FallbacksOutliveItsStopsRestartsCrashesAndHangs) {
  ASSERT_TRUE(active()) << journal();
  Pod pod;
  ASSERT_NO_FATAL_FAILURE(rescue("web-0", pod));
  const pid_t pid = seen("web-0").pid;
  expectKept(pod, pid, "at first");

  E2E_CHECK(systemctl({"restart", kUnit}));
  expectKept(pod, pid, "after a restart");

  pid_t before = mainPid();
  ASSERT_EQ(::kill(before, SIGKILL), 0);
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return active() && mainPid() != before; })) << journal();
  expectKept(pod, pid, "after a crash");

  E2E_CHECK(systemctl({"stop", kUnit}));
  EXPECT_TRUE(httpGetOk(pod.ip, Shop::kPort, "/", kCeiling)) << "without a daemon";
  E2E_CHECK(systemctl({"start", kUnit}));
  expectKept(pod, pid, "after a stop");

  // Shorter than the watchdog's usual 30 s.
  fs::create_directories(kDropIn);
  std::ofstream(fs::path(kDropIn) / "watchdog.conf") << "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n";
  E2E_CHECK(systemctl({"daemon-reload"}));
  E2E_CHECK(systemctl({"restart", kUnit}));
  before = mainPid();
  ASSERT_EQ(::kill(before, SIGSTOP), 0);
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return active() && mainPid() != before; })) << journal();
  expectKept(pod, pid, "after a hang");
  EXPECT_THAT(journal(), HasSubstr("Watchdog timeout"));
}

TEST_F(Unit, HandsThePodBackWhenItsImageIsThere) {
  Pod pod;
  ASSERT_NO_FATAL_FAILURE(rescue("web-0", pod));
  EXPECT_TRUE(fs::exists(pod.logDirectory / "checkout-fallback"));
  const auto archive = makeRunDir("import") / "image.tar";
  E2E_CHECK(writeOciArchive({.reference = image(),
                             .files = {{"bin/checkout", testProgram("shop-httpd-1.8.3")}},
                             .entrypoint = {"/bin/checkout"},
                             .env = {}},
                            archive));
  E2E_CHECK(node_->importImage(archive, image()));
  E2E_TRY(const auto id, kubelet_->createContainer(pod, checkoutContainer(image())));
  E2E_CHECK(kubelet_->startContainer(id));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return seen("web-0").state == "handed_back"; })) << journal();
  EXPECT_TRUE(waitUntil(kCeiling, [&] {
    const auto answer = httpGet(pod.ip, Shop::kPort, "/");
    return answer && answer->body.find("role=container") != std::string::npos;
  }));
}

}  // namespace
}  // namespace fallbackd::e2e
