// SPDX-License-Identifier: Apache-2.0
// A machine of scripts/node with a fallbackd that the test starts. It uses the containerd that the machine's
// systemd runs.
#pragma once

#include "base/strings.hpp"
#include "content_of.hpp"
#include "e2e_gtest.hpp"
#include "image.hpp"
#include "node/machine.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {

inline Result<std::string> systemctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "systemctl");
  return runOk({.argv = std::move(arguments), .env = {}, .output = {}});
}

/// The main pid of a unit; 0 if it does not run.
inline pid_t mainPidOf(const std::string& unit) {
  const auto shown = systemctl({"show", "--property=MainPID", "--value", unit});
  return std::atoi(shown.value_or("0").c_str());  // NOLINT(cert-err34-c): digits
}

class Node : public testing::Test {
 protected:
  void SetUp() override {
    if (!onANode()) GTEST_SKIP() << "only in a machine of scripts/node";
    E2E_TRY(shop_, Shop::open({.workloadExtra = "  resources: {memory: 64Mi, cpu: 500m, pids: 64}\n",
                               .node = {.ofMachine = true}}));
  }
  static constexpr const char* kLeaf = "fallback-checkout";

  static PodSpec spec(const std::string& name) {
    auto spec = checkoutPod(name);
    spec.slice = systemdMakesCgroups();
    return spec;
  }
  [[nodiscard]] bool reaches(const std::string& pod, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod) == state; });
  }
  [[nodiscard]] bool serves(const Pod& pod) const {
    const auto answer = httpGetOk(pod.ip, Shop::kPort, "/", kCeiling);
    return answer && answer->body.find("role=fallback") != std::string::npos;
  }
  /// A pod with a serving fallback.
  void rescue(const std::string& name, Pod& pod) const {
    E2E_TRY(pod, shop_->kubelet->startPod(spec(name)));
    ASSERT_TRUE(reaches(name, "ready")) << shop_->daemon->logText();
    ASSERT_TRUE(serves(pod));
  }
  [[nodiscard]] pid_t fallbackOf(const Pod& pod) const { return fallbackPid(*shop_->daemon, pod.spec.name); }
  /// The leaf in each hierarchy that has one, as the file system shows it.
  static std::vector<std::filesystem::path> leavesOf(const Pod& pod) {
    std::vector<std::filesystem::path> found;
    for (const auto& cgroup : pod.cgroups) {
      if (std::filesystem::exists(cgroup / kLeaf)) found.push_back(cgroup / kLeaf);
    }
    return found;
  }
  /// Checks its leaf, its limits, and that it serves.
  void expectInItsLeaf(const Pod& pod, pid_t pid, const std::string& when) const {
    const auto leaves = leavesOf(pod);
    ASSERT_FALSE(leaves.empty()) << when;
    EXPECT_EQ(fallbackOf(pod), pid) << when;
    std::string limits;
    for (const auto& leaf : leaves) {
      EXPECT_EQ(test::contentOf(leaf / "cgroup.procs"), std::to_string(pid) + "\n") << leaf << " " << when;
      for (const char* name : {"memory.max", "memory.limit_in_bytes", "pids.max", "cpu.max"}) {
        const auto value = test::contentOf(leaf / name);
        if (!value.empty()) limits += std::string(name) + "=" + std::string(trim(value)) + " ";
      }
    }
    EXPECT_THAT(limits, testing::HasSubstr(std::to_string(64 << 20))) << when;
    EXPECT_THAT(limits, testing::HasSubstr("pids.max=64 ")) << when;
    EXPECT_TRUE(serves(pod)) << when;
  }
  /// Imports an image.
  void import(const std::string& reference) const {
    const auto archive = makeRunDir("import") / "image.tar";
    E2E_CHECK(writeOciArchive({.reference = reference,
                               .files = {{"bin/checkout", testProgram("shop-httpd-1.8.3")}},
                               .entrypoint = {"/bin/checkout"},
                               .env = {}},
                              archive));
    E2E_CHECK(shop_->node->importImage(archive, reference));
  }
  /// The process of a running container.
  [[nodiscard]] pid_t processOf(const std::string& container) const {
    const auto tasks = shop_->node->ctr({"tasks", "ls"});
    for (const auto line : split(tasks.value_or(""), '\n')) {
      if (!line.starts_with(container)) continue;
      return std::atoi(std::string(line.substr(container.size())).c_str());  // NOLINT(cert-err34-c): digits
    }
    return 0;
  }
  /// Runs a container with the runtime's default profile, which loads the profile. Returns its id.
  void runContainer(const Pod& pod, const std::string& reference, std::string& id) const {
    auto container = shop_->containerSpec();
    container.image = reference;
    E2E_TRY(id, shop_->kubelet->createContainer(pod, container));
    E2E_CHECK(shop_->kubelet->startContainer(id));
  }
  /// Runs a container in a pod that belongs to no workload.
  void runBystander() const {
    import("localhost/bystander:1");
    auto other = spec("bystander");
    other.labels = {{"app", "bystander"}};
    E2E_TRY(const auto pod, shop_->kubelet->startPod(other));
    std::string id;
    runContainer(pod, "localhost/bystander:1", id);
  }

  std::unique_ptr<Shop> shop_;
};

}  // namespace fallbackd::e2e
