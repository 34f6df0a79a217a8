// SPDX-License-Identifier: Apache-2.0
// A container of a pod that shares its process namespace attacks every fallback that is launched in the pod,
// before the process becomes the fallback: tests/programs/attacker. On the real containerd; tests/kernel does
// it more often, with only the kernel.
#include "base/strings.hpp"
#include "e2e_gtest.hpp"
#include "image.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kContainers = 16;
constexpr int kRounds = 3;  // this many sandboxes, one after the other
constexpr const char* kImage = "localhost/shop/attacker:1";
constexpr const char* kServer = "localhost/shop/server:1";
constexpr const char* kSecret = "of-another-namespace-4711";

std::string containerName(int number) {
  return "c" + std::to_string(number);
}

class ReachSeize : public testing::Test {
 public:
  [[nodiscard]] static std::string reportOf(const Pod& pod) {
    const fs::path file = pod.folder / "volumes/kubernetes.io~empty-dir/loot/report";
    return sys::readFile(Stage::cli, file, 16 << 20).value_or("");
  }

 protected:
  void SetUp() override {
    E2E_TRY(shop_, Shop::open({}));
    import(kImage, "attacker");
    auto options = shop_->daemonOptions(shop_->image());
    // A different pod's workload: its data must not be in the memory of a new process of this pod.
    options.workloads =
        workload("other", "other", "other", "readiness: {exec: {}}") + "  env: {PASSWORD: " + kSecret + "}\n";
    for (int i = 0; i < kContainers; ++i) {
      options.workloads += workload(containerName(i), "shop", containerName(i), "readiness: {exec: {}}");
    }
    E2E_CHECK(shop_->daemon->rewriteConfig(options));
    E2E_CHECK(shop_->daemon->stop());
    E2E_CHECK(shop_->daemon->restart());
  }

  void import(const std::string& reference, const std::string& program) const {
    const Image image{.reference = reference,
                      .files = {{"bin/program", testProgram(program)}},
                      .entrypoint = {"/bin/program"},
                      .env = {}};
    const auto archive = makeRunDir("image") / "image.tar";
    E2E_CHECK(writeOciArchive(image, archive));
    E2E_CHECK(shop_->node->importImage(archive, reference));
  }

  [[nodiscard]] std::string workload(const std::string& name, const std::string& namespaceName,
                                     const std::string& container, const std::string& readiness) const {
    const auto number = std::to_string(9000 + ports_++);
    return "- name: " + name + "\n  match: {namespace: " + namespaceName + ", container: " + container +
           "}\n  image: " + shop_->image() + "\n  binary: checkout@1.8.3\n  args: [--port=" + number +
           "]\n  user: {uid: 65532, gid: 65533}\n  " + readiness + "\n";
  }

  /// Starts a pod with the attacker in it, which runs before the daemon learns of the pod's other containers.
  void startPod(const std::string& name, int victims, Pod& pod) const {
    auto spec = checkoutPod(name);
    spec.sharePid = true;
    spec.volumes = {{PodVolume::Kind::empty_dir, "loot", {}}};
    shop_->daemon->kill();
    E2E_TRY(pod, shop_->kubelet->startPod(spec));
    ContainerSpec container;
    container.name = "attacker";
    container.image = kImage;
    container.args = {"--token=--port=9",
                      "--report=/loot/report",
                      "--patience=500",
                      "--seconds=60",
                      "--victims=" + std::to_string(victims),
                      std::string("--secret=") + kSecret};
    container.mounts = {{"loot", "/loot", false}};
    container.runAsUser = 0;
    container.security = SecurityContext{.addCapabilities = {"SYS_PTRACE"}};
    E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, container));
    E2E_CHECK(shop_->kubelet->startContainer(id));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return reportOf(pod).find("ready\n") != std::string::npos; }));
    E2E_CHECK(shop_->daemon->restart());
  }

  /// Waits until the attacker has finished with all of them.
  void readReport(const Pod& pod, std::string& report) const {
    const auto ended = [&] {
      report = reportOf(pod);
      return report.find("\nend ") != std::string::npos;
    };
    ASSERT_TRUE(waitUntil(kCeiling, ended)) << report << shop_->daemon->logText();
  }

  std::unique_ptr<Shop> shop_;
  mutable int ports_ = 0;
};

TEST_F(ReachSeize, NothingOfTheHostIsReachedBeforeTheFallbackRuns) {
  RecordProperty("item", "1");
  RecordProperty(
      "attack",
      "A container with SYS_PTRACE seizes, reads and signals the new process of a pod that shares its "
      "process namespace");
  auto other = checkoutPod("other-0");
  other.namespaceName = "other";
  E2E_TRY(const auto pod, shop_->kubelet->startPod(other));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "other-0") == "ready"; }));
  int victims = 0;
  std::set<std::string> reached;  // process ids
  std::set<std::string> ways;
  std::string first;
  for (int round = 0; round < kRounds; ++round) {
    Pod attacked;
    startPod("web-" + std::to_string(round), kContainers, attacked);
    if (HasFatalFailure()) return;
    std::string report;
    readReport(attacked, report);
    if (HasFatalFailure()) return;
    E2E_CHECK(shop_->kubelet->removePod(attacked));
    for (const auto line : split(report, '\n')) {
      const auto words = split(line, ' ');
      if (words[0] == "victim") ++victims;
      if (words[0] == "found" && line.ends_with("secret in its memory"))
        ways.insert("a different pod's password");
      if (words[0] != "reached" || words.size() < 3) continue;
      if (first.empty()) first = line;
      ways.insert(std::string(words[1]));
      reached.insert(std::to_string(round) + "/" + std::string(words[2]));
    }
  }
  RecordProperty("launches", victims);
  RecordProperty("reached", static_cast<int>(reached.size()));
  EXPECT_GE(victims, kContainers * kRounds) << "not every launch was attacked";
  std::string all;
  for (const auto& way : ways) all += (all.empty() ? "" : ", ") + way;
  EXPECT_TRUE(reached.empty()) << reached.size() << " of " << victims << " new processes reached by " << all
                               << "; first: " << first;
  EXPECT_FALSE(ways.contains("a different pod's password")) << "found in the memory of a process of this pod";
}

/// The attacker's report about one process: way -> "open" or the error's name.
using Ways = std::map<std::string, std::string>;

/// By process, for those that executed the fallback.
std::map<std::string, Ways> openAfter(const std::string& report) {
  std::map<std::string, Ways> all;
  for (const auto line : split(report, '\n')) {
    const auto words = split(line, ' ');
    if (words[0] == "after" && words.size() == 4) {
      all[std::string(words[2])][std::string(words[1])] = words[3];
    }
  }
  return all;
}

/// Waits until every way was tried on this many processes.
bool wholly(const Pod& pod, int processes, std::map<std::string, Ways>& all) {
  return waitUntil(kCeiling, [&] {
    all = openAfter(ReachSeize::reportOf(pod));
    return std::ssize(all) == processes && std::all_of(all.begin(), all.end(), [](const auto& one) {
             return one.second.contains("pidfd_send_signal");  // the last way
           });
  });
}

TEST_F(ReachSeize, AfterwardsAFallbackIsAsOpenAsAContainer) {
  import(kServer, "shop-httpd-1.8.3");
  Pod pod;
  startPod("web-0", 2 * kContainers, pod);
  std::map<std::string, Ways> fallbacks;
  ASSERT_TRUE(wholly(pod, kContainers, fallbacks)) << reportOf(pod);
  // runc's own steps are also victims, until it executes the program.
  ContainerSpec container;
  container.name = "real";
  container.image = kServer;
  container.args = {"--port=9999"};
  container.runAsUser = 65532;
  container.security = SecurityContext{.noNewPrivileges = true};
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, container));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  std::map<std::string, Ways> all;
  ASSERT_TRUE(wholly(pod, kContainers + 1, all)) << reportOf(pod);
  Ways ofContainer;
  for (const auto& [pid, ways] : all) {
    if (!fallbacks.contains(pid)) ofContainer = ways;
  }
  ASSERT_FALSE(ofContainer.empty());
  for (const auto& [pid, ways] : fallbacks) EXPECT_EQ(ways, ofContainer) << "process " << pid;
}

}  // namespace
}  // namespace fallbackd::e2e
