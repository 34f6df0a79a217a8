// SPDX-License-Identifier: Apache-2.0
// Compares a container that runc runs through CRI with a fallback in an equal pod: what the same program sees
// in each, row by row. Every difference has its reason in likeness_reasons.hpp. A difference without a reason
// fails the test, and so does an unused reason. LIKENESS_JSON names a folder for the table of scripts/report
// isolation.
#include "base/strings.hpp"
#include "cgroups.hpp"
#include "cri_log_lines.hpp"
#include "e2e_gtest.hpp"
#include "image.hpp"
#include "likeness_reasons.hpp"
#include "process.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <cstdlib>
#include <filesystem>
#include <fnmatch.h>
#include <fstream>
#include <map>
#include <set>
#include <unistd.h>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

constexpr const char* kImage = "localhost/shop/probe:1";
using Rows = std::map<std::string, std::string>;

void replaceAll(std::string& text, const std::string& what, const std::string& with) {
  for (auto at = text.find(what); !what.empty() && at != std::string::npos;
       at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

/// The lines of a CRI log, without time, stream and tag.
Rows rowsOf(const std::string& log) {
  Rows rows;
  for (const auto& line : test::criLogLines(log)) {
    const auto tab = line.find('\t');
    if (tab == std::string::npos) continue;
    std::string key = line.substr(0, tab);
    // A second mount at the same path gets its own row.
    while (rows.contains(key)) key += " again";
    rows.emplace(std::move(key), line.substr(tab + 1));
  }
  return rows;
}

class Likeness : public testing::Test {
 protected:
  void SetUp() override {
    ShopOptions options;
    options.installBinary = false;
    E2E_TRY(shop_, Shop::open(options));
    E2E_CHECK(shop_->signer.install(testProgram("probe"), "checkout", "1.8.3"));
    const Image image{.reference = kImage,
                      .files = {{"bin/probe", testProgram("probe")}},
                      .entrypoint = {"/bin/probe"},
                      .env = {}};
    const auto archive = makeRunDir("image") / "image.tar";
    E2E_CHECK(writeOciArchive(image, archive));
    E2E_CHECK(shop_->node->importImage(archive, kImage));
    auto daemon = shop_->daemonOptions(shop_->image());
    daemon.workloads =
        "- name: checkout\n"
        "  match: {namespace: shop, container: checkout}\n"
        "  image: " +
        shop_->image() +
        "\n"
        "  binary: checkout@1.8.3\n"
        "  args: [world]\n"
        "  env: {ROLE: probe}\n"
        "  user: {uid: 65532, gid: 65533}\n"
        "  volumes:\n"
        "    - {name: settings, type: configMap, mountPath: /etc/app}\n"
        "    - {name: scratch, type: emptyDir, mountPath: /scratch, readOnly: false}\n"
        "  resources: {memory: 64Mi, cpu: 500m}\n"
        "  readiness: {exec: {}}\n";
    E2E_CHECK(shop_->daemon->rewriteConfig(daemon));
    E2E_CHECK(shop_->daemon->stop());
    E2E_CHECK(shop_->daemon->restart());
  }

  /// The pods are equal except for the namespace, so that only one of them is covered.
  void startPod(const std::string& namespaceName, Pod& pod) {
    auto spec = checkoutPod("web-0");
    spec.namespaceName = namespaceName;
    spec.volumes.push_back({PodVolume::Kind::empty_dir, "scratch", {}});
    E2E_TRY(pod, shop_->kubelet->startPod(spec));
  }

  /// Waits for the program's last line.
  void readLog(const fs::path& file, Rows& rows) {
    std::string log;
    const bool whole = waitUntil(kCeiling, [&] {
      log = sys::readFile(Stage::cli, file, 1 << 20).value_or("");
      return log.find(" F end\n") != std::string::npos;
    });
    ASSERT_TRUE(whole) << file << "\n" << log << shop_->daemon->logText();
    rows = rowsOf(log);
  }

  /// Gives values that always differ between pods the same name on both sides.
  static void generalize(Rows& rows, const Pod& pod) {
    for (auto& [key, value] : rows) {
      if (key.starts_with("namespace ")) {
        const auto kind = key.substr(10);
        const auto pause = namespaceLink(pod.pausePid, kind);
        const auto host = namespaceLink(::getpid(), kind);
        value = value == host && value == pause ? "the host's, as the sandbox's is"
                : value == pause                ? "the sandbox's"
                : value == host                 ? "the host's"
                                                : "its own";
        continue;
      }
      replaceAll(value, pod.ip, "POD-IP");
      replaceAll(value, pod.spec.namespaceName + ".svc", "NAMESPACE.svc");
      if (value == pod.spec.namespaceName) value = "NAMESPACE";
    }
  }

  /// Limits and cgroup, read from outside: a fallback cannot see the cgroup file system.
  static void addCgroups(Rows& rows, const Pod& pod, const std::string& leaf, pid_t pid) {
    const auto hierarchies = cgroupHierarchies();
    ASSERT_TRUE(hierarchies);
    for (const auto& hierarchy : *hierarchies) {
      const auto folder = cgroupFolderOf(hierarchy, pid);
      const std::string name = hierarchy.unified ? "v2" : hierarchy.controllers;
      std::string path = folder ? folder->string().substr(hierarchy.mountPoint.string().size()) : "none";
      replaceAll(path, pod.spec.uid, "UID");
      replaceAll(path, leaf, "LEAF");
      rows["cgroup, " + name] = path;
      if (!folder) continue;
      for (const char* file : {"memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares",
                               "pids.max", "cpuset.cpus", "memory.max", "cpu.max", "cpu.weight"}) {
        const auto text = sys::readFile(Stage::cli, *folder / file, 1 << 16);
        if (text) rows[std::string("limit ") + file] = trim(*text);
      }
    }
  }

  std::unique_ptr<Shop> shop_;
};

TEST_F(Likeness, AFallbackRunsLikeAContainer) {
  Pod containers;
  ASSERT_NO_FATAL_FAILURE(startPod("other", containers));
  ContainerSpec spec;
  spec.name = "checkout";
  spec.image = kImage;
  spec.args = {"world"};
  spec.env = {{"ROLE", "probe"}};
  spec.mounts = {{"settings", "/etc/app", true}, {"scratch", "/scratch", false}};
  spec.runAsUser = 65532;
  // The Pod Security Standard "restricted", plus a read-only root.
  SecurityContext restricted;
  restricted.dropCapabilities = {"ALL"};
  restricted.noNewPrivileges = true;
  restricted.readOnlyRoot = true;
  restricted.runAsGroup = 65533;
  spec.security = restricted;
  spec.memoryBytes = 64 << 20;
  spec.cpuMillis = 500;
  spec.oomScoreAdj = 999;
  E2E_TRY(const auto id, shop_->kubelet->createContainer(containers, spec));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  Rows container;
  ASSERT_NO_FATAL_FAILURE(readLog(containers.logDirectory / "checkout" / "0.log", container));

  Pod fallbacks;
  ASSERT_NO_FATAL_FAILURE(startPod("shop", fallbacks));
  Rows fallback;
  ASSERT_NO_FATAL_FAILURE(readLog(fallbacks.logDirectory / "checkout-fallback" / "0.log", fallback));

  const auto inLeaf = cgroupProcesses(containers.cgroups.front() / id);
  ASSERT_EQ(inLeaf.size(), 1U);
  ASSERT_NO_FATAL_FAILURE(addCgroups(container, containers, id, inLeaf.front()));
  const pid_t pid = fallbackPid(*shop_->daemon, "web-0");
  ASSERT_NO_FATAL_FAILURE(addCgroups(fallback, fallbacks, "fallback-checkout", pid));
  generalize(container, containers);
  generalize(fallback, fallbacks);

  std::set<std::string> names;
  for (const auto* side : {&container, &fallback}) {
    for (const auto& [name, value] : *side) names.insert(name);
  }
  std::set<const Reason*> needed;
  json::array table;
  const auto valueOf = [](const Rows& side, const std::string& name) {
    const auto found = side.find(name);
    return found == side.end() ? std::string("-") : found->second;
  };
  const auto matches = [](const char* pattern, const std::string& text) {
    return ::fnmatch(pattern, text.c_str(), 0) == 0;
  };
  for (const auto& name : names) {
    const auto left = valueOf(container, name);
    const auto right = valueOf(fallback, name);
    std::string why;
    if (left != right) {
      for (const auto& reason : kReasons) {
        if (!matches(reason.row, name) || !matches(reason.container, left) ||
            !matches(reason.fallback, right))
          continue;
        needed.insert(&reason);
        why = reason.why;
        break;
      }
      EXPECT_FALSE(why.empty()) << "a difference without a reason: " << name << "\n  container: " << left
                                << "\n  fallback:  " << right;
    }
    table.push_back(json::object{{"row", name},
                                 {"container", left},
                                 {"fallback", right},
                                 {"why", left == right ? ""
                                         : why.empty() ? "NO REASON"
                                                       : why}});
  }
  for (const auto& reason : kReasons) {
    const bool elsewhere = reason.onlyWhere != nullptr && ::access(reason.onlyWhere, F_OK) != 0;
    EXPECT_TRUE(needed.contains(&reason) || elsewhere || reason.notAlways)
        << "no difference needs this reason any more: " << reason.row << ": " << reason.why;
  }
  if (const char* const folder = std::getenv("LIKENESS_JSON"); folder != nullptr) {
    std::ofstream(fs::path(folder) / "likeness.json")
        << json::serialize(json::object{{"containerd", shop_->node->version()}, {"rows", table}});
  }
}

}  // namespace
}  // namespace fallbackd::e2e
