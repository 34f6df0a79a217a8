// SPDX-License-Identifier: Apache-2.0
// Pods like those in clusters (tests/unit/kube/pods, tests/e2e/pods). Each pod is started twice. Its
// container is made from its specification by the tests' own rules of kubelet
// (tests/support/kubelet/rules.hpp), and runc runs it from an image with that configuration. Its fallback is
// started by the daemon from the API server's description; only the annotation and an attestation made with
// `sign --image-config` are configured. Each difference has its reason in pod_likeness_reasons.hpp, and so
// has each refusal. KNOWS_JSON names a folder for the tables of scripts/report knows.
#include "base/base64.hpp"
#include "base/strings.hpp"
#include "cgroups.hpp"
#include "cri_log_lines.hpp"
#include "image.hpp"
#include "kube_node.hpp"
#include "kubelet/rules.hpp"
#include "pod_json.hpp"
#include "pod_likeness_reasons.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <cstdlib>
#include <fnmatch.h>
#include <set>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using Rows = std::map<std::string, std::string>;

constexpr const char* kHelper = "localhost/shop/helper:1";

/// What is compared; likeness_test compares the rest, which no specification changes.
constexpr const char* kCompared[] = {
    "arg *",        "environment *", "mount *", "content *",  "writable *",      "Uid",
    "Gid",          "Groups",        "Cap*",    "NoNewPrivs", "Seccomp",         "cwd",
    "rlimit *",     "limit *",       "Umask",   "hostname",   "file /etc/hosts", "file /etc/resolv.conf",
    "oom_score_adj"};

bool matches(const char* pattern, const std::string& text) {
  return ::fnmatch(pattern, text.c_str(), 0) == 0;
}

void replaceIn(std::string& text, const std::string& what, const std::string& with) {
  for (auto at = text.find(what); !what.empty() && at != std::string::npos;
       at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
}

/// The objects of the cluster besides the pods, invented for all of them together.
Surroundings cluster() {
  Surroundings around;
  around.configMaps = {{"gateway", {{"gateway.yaml", "listen: 8443"}}},
                       {"issuer", {{"client-id", "shop"}, {"config.yaml", "issuer: shop"}}},
                       {"mesh-ca", {{"root-cert.pem", "a certificate"}}},
                       {"build-template", {{"template", "{}"}}},
                       {"kube-root-ca.crt", {{"ca.crt", "another certificate"}}}};
  around.secrets = {{"gateway-keys", {{"api", "k-123"}}}, {"issuer", {{"client-secret", "s-456"}}}};
  around.kubernetes = {{"KUBERNETES_SERVICE_HOST", "10.96.0.1"},
                       {"KUBERNETES_SERVICE_PORT", "443"},
                       {"KUBERNETES_SERVICE_PORT_HTTPS", "443"},
                       {"KUBERNETES_PORT", "tcp://10.96.0.1:443"},
                       {"KUBERNETES_PORT_443_TCP", "tcp://10.96.0.1:443"},
                       {"KUBERNETES_PORT_443_TCP_PROTO", "tcp"},
                       {"KUBERNETES_PORT_443_TCP_PORT", "443"},
                       {"KUBERNETES_PORT_443_TCP_ADDR", "10.96.0.1"}};
  around.services = {{"CART_SERVICE_HOST", "10.96.7.7"}, {"CART_SERVICE_PORT", "8080"}};
  around.allocatable = {{"cpu", "3920m"}, {"memory", "15Gi"}};
  around.nodeName = nodeName();
  return around;
}

Texts textsOf(const json::object& object) {
  Texts texts;
  for (const auto& entry : object) texts[entry.key()] = std::string(entry.value().as_string());
  return texts;
}

/// What the fixture states about the cluster.
void addFacts(const json::object& fixture, Surroundings& around) {
  const auto* const facts = childOf(fixture, "facts");
  if (facts == nullptr) return;
  for (const auto& [key, all] : {std::pair{"configMaps", &around.configMaps}, {"secrets", &around.secrets}}) {
    const auto* const objects = childOf(*facts, key);
    if (objects == nullptr) continue;
    for (const auto& entry : *objects) {
      if (entry.value().is_object()) (*all)[entry.key()] = textsOf(entry.value().as_object());
    }
  }
  for (const auto& [key, map] :
       {std::pair{"serviceVariables", &around.services}, {"persistentVolumes", &around.volumeOfClaim}}) {
    if (const auto* const found = childOf(*facts, key)) *map = textsOf(*found);
  }
}

class PodLikeness : public KubeNodeTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    std::error_code none;
    const fs::path folder = fs::exists(fs::path(PODS) / GetParam(), none) ? PODS : MORE_PODS;
    fixture_ = json::parse(sys::readFile(Stage::cli, folder / GetParam(), 1 << 20).value()).as_object();
    container_ = textOf(fixture_, "container");
    pod_ = fixture_.at("pod").as_object();
    addFacts(fixture_, around_);
    adapt();
    ASSERT_NO_FATAL_FAILURE(makeImage());
  }

  json::object& specified() {
    // containerNamed() is for readers.
    return const_cast<json::object&>(*containerNamed(pod_, container_));
  }

  /// Moves the pod to this node and its registry, which is down; removes what this machine's kernel does not
  /// have.
  void adapt() {
    auto& spec = pod_.at("spec").as_object();
    spec["nodeName"] = nodeName();
    pod_.at("metadata").as_object()["resourceVersion"] = "1";
    const auto image = textOf(specified(), "image");
    const auto colon = image.rfind(':');
    const bool digest = image.find('@') != std::string::npos;
    version_ = digest ? "1.0.0" : image.substr(colon + 1);
    if (digest) left_ = "the digest (a tag instead); ";
    image_ = shop_->registry.reference("shop/" + container_ + ":" + version_);
    specified()["image"] = image_;
    if (auto* const security = specified().if_contains("securityContext")) {
      for (const char* key : {"seLinuxOptions", "appArmorProfile"}) {
        if (security->as_object().erase(key) != 0) left_ += std::string(key) + " (not in this kernel); ";
      }
    }
    if (auto* const security = spec.if_contains("securityContext")) {
      const auto* const seccomp = childOf(security->as_object(), "seccompProfile");
      if (seccomp != nullptr && textOf(*seccomp, "type") == "Localhost") {
        security->as_object()["seccompProfile"] = json::object{{"type", "RuntimeDefault"}};
        left_ += "its own seccomp profile (the default instead); ";
      }
    }
    // A host path never names a folder of the machine.
    if (auto* const volumes = spec.if_contains("volumes")) {
      for (auto& volume : volumes->as_array()) {
        auto* const host = volume.as_object().if_contains("hostPath");
        if (host == nullptr || textOf(host->as_object(), "path") != "/srv/metrics") continue;
        hostFolder_ = makeRunDir("host-path");
        std::ofstream(hostFolder_ / "load") << "0.1\n";
        host->as_object()["path"] = hostFolder_.string();
      }
    }
    auto& annotations = pod_.at("metadata").as_object()["annotations"];
    if (!annotations.is_object()) annotations = json::object();
    annotations.as_object()["fallbackd.io/binary." + container_] = container_ + "@" + version_;
  }

  /// Creates the image, and an attestation of its configuration.
  void makeImage() {
    const auto config = fixture_.contains("image") ? fixture_.at("image").as_object() : json::object();
    const auto list = [&](const char* key) {
      std::vector<std::string> all;
      if (const auto* const found = config.if_contains(key)) {
        for (const auto& one : found->as_array()) all.emplace_back(one.as_string());
      }
      return all;
    };
    made_.reference = image_;
    made_.entrypoint = list("entrypoint");
    made_.cmd = list("cmd");
    made_.env = list("env");
    made_.user = textOf(config, "user");
    made_.workingDir = textOf(config, "workingDir");
    auto program = made_.entrypoint.empty() ? std::string("/program") : made_.entrypoint.front();
    if (const auto* const command = specified().if_contains("command")) {
      program = std::string(command->as_array().at(0).as_string());
    }
    if (!program.starts_with('/')) program = "/usr/local/bin/" + program;
    made_.files = {{program.substr(1), testProgram("pod-probe")}};
    // A user with a group is in the image's /etc/passwd, as in images without a distribution.
    if (made_.user.find(':') != std::string::npos && !fixture_.contains("noPasswd")) {
      const auto file = folder_ / "passwd";
      std::ofstream(file) << "root:x:0:0:root:/root:/sbin/nologin\nshop:x:" << made_.user
                          << ":shop:/:/sbin/nologin\n";
      made_.files["etc/passwd"] = file;
    }
    E2E_TRY(const auto blobs, makeBlobs(made_));
    write("config.json", blobs.config);
    E2E_CHECK(shop_->signer.install(testProgram("pod-probe"), container_, version_, "30d",
                                    folder_ / "config.json"));
  }

  void import(Image image, const std::string& reference) {
    image.reference = reference;
    const auto archive = makeRunDir("image") / "image.tar";
    E2E_CHECK(writeOciArchive(image, archive));
    E2E_CHECK(shop_->node->importImage(archive, reference));
  }

  /// Puts objects as the API server stores them; values of Secrets in base64.
  void putObjects(const std::string& space, const std::string& resource,
                  const std::map<std::string, Texts>& all) {
    const bool secret = resource == "secrets";
    for (const auto& [name, texts] : all) {
      json::object data;
      for (const auto& [key, value] : texts) {
        data[key] = secret ? encodeBase64(value) : value;
      }
      api_.putOwner(
          "/api/v1/namespaces/" + space + "/" + resource + "/" + name,
          json::serialize(json::object{
              {"kind", secret ? "Secret" : "ConfigMap"},
              {"apiVersion", "v1"},
              {"metadata", json::object{{"name", name}, {"namespace", space}, {"uid", "u-" + name}}},
              {"data", std::move(data)}}));
    }
  }

  /// Configures only what the fixture itself needs beyond the annotation.
  void configure() {
    const auto* const configured = childOf(fixture_, "configured");
    const auto space = textOf(pod_.at("metadata").as_object(), "namespace");
    const bool reads = std::find(std::begin(kReadVariables), std::end(kReadVariables), GetParam()) !=
                       std::end(kReadVariables);
    if (reads) {
      putObjects(space, "configmaps", around_.configMaps);
      putObjects(space, "secrets", around_.secrets);
      configured_ += "readVariablesIn: [" + space + "] ";
    }
    runDaemon("[apiserver]", [&](DaemonOptions& options) {
      options.workloads.clear();
      if (reads) options.extra += "  readVariablesIn: [" + space + "]\n";
      options.extra += "podAnnotations: {namespaces: [" + space + "]}\n";
      if (configured != nullptr) {
        options.workloads = "- match: {namespace: " + space + ", container: " + container_ +
                            "}\n  binary: " + container_ + "@" + version_ + "\n";
        if (configured->contains("allowRoot")) options.workloads += "  user: {allowRoot: true}\n";
        if (configured->contains("restart")) options.workloads += "  restart: {policy: Never}\n";
      }
      if (fixture_.contains("launcher")) {
        options.launcher = "  allowHostNetwork: true\n  allowedHostPaths: [" + hostFolder_.string() + "]\n";
      }
    });
    for (const char* key : {"configured", "launcher"}) {
      if (const auto* const said = fixture_.if_contains(key)) configured_ += json::serialize(*said);
    }
  }

  /// containerd repeats the primary group among the others, which grants nothing.
  static void dropPrimaryGroup(Rows& rows) {
    const auto primary = rows["Gid"].substr(0, rows["Gid"].find(' '));
    std::set<std::string> groups;
    for (const auto part : split(rows["Groups"], ' ')) {
      if (!part.empty() && part != primary) groups.emplace(part);
    }
    rows["Groups"] = join(std::vector(groups.begin(), groups.end()), " ");
  }

  /// Puts the program where an init container would have left it, if it lies in an emptyDir.
  void copyProgram(const fs::path& podFolder) {
    const auto* const command = specified().if_contains("command");
    const auto* const mounts = specified().if_contains("volumeMounts");
    const auto* const volumes = pod_.at("spec").as_object().if_contains("volumes");
    if (command == nullptr || mounts == nullptr || volumes == nullptr) return;
    const std::string program(command->as_array().at(0).as_string());
    for (const auto& mount : mounts->as_array()) {
      const auto path = textOf(mount.as_object(), "mountPath") + "/";
      const auto name = textOf(mount.as_object(), "name");
      const bool scratch =
          std::any_of(volumes->as_array().begin(), volumes->as_array().end(), [&](const auto& one) {
            return textOf(one.as_object(), "name") == name && one.as_object().contains("emptyDir");
          });
      if (!scratch || !program.starts_with(path)) continue;
      const auto file = podFolder / "volumes/kubernetes.io~empty-dir" / name / program.substr(path.size());
      fs::create_directories(file.parent_path());
      fs::copy_file(testProgram("pod-probe"), file);
    }
  }

  /// Before the container's turn comes, init containers have ended and native sidecars run.
  void startInitContainers() {
    const auto* const list = pod_.at("spec").as_object().if_contains("initContainers");
    if (list == nullptr) return;
    ASSERT_NO_FATAL_FAILURE(import(
        {.reference = {}, .files = {{"probe", testProgram("probe")}}, .entrypoint = {"/probe"}, .env = {}},
        kHelper));
    for (const auto& item : list->as_array()) {
      const auto name = textOf(item.as_object(), "name");
      if (name == container_) return;
      ContainerSpec spec;
      spec.name = name;
      spec.image = kHelper;
      const bool sidecar = item.as_object().contains("restartPolicy");
      spec.args = {sidecar ? "term" : "--health-check"};
      E2E_TRY(const auto id, shop_->kubelet->createContainer(running_, spec));
      E2E_CHECK(shop_->kubelet->startContainer(id));
      if (sidecar) continue;
      E2E_TRY(const auto code, shop_->kubelet->waitForContainer(id, kCeiling));
      ASSERT_EQ(code, 0);
    }
  }

  [[nodiscard]] std::string explained() const {
    const auto ran = runOk(
        {.argv = {binary("fallbackctl"), "explain", running_.spec.namespaceName + "/" + running_.spec.name,
                  "--socket", shop_->daemon->controlSocket().string()}});
    return ran ? *ran : ran.error().message();
  }

  void readRows(const fs::path& file, Rows& rows) {
    std::string log;
    const bool whole = waitUntil(kCeiling, [&] {
      log = sys::readFile(Stage::cli, file, 1 << 20).value_or("");
      return log.find(" F end\n") != std::string::npos;
    });
    ASSERT_TRUE(whole) << file << "\n" << log << explained() << shop_->daemon->logText();
    for (const auto& line : test::criLogLines(log)) {
      const auto tab = line.find('\t');
      if (tab != std::string::npos) rows[line.substr(0, tab)] = line.substr(tab + 1);
    }
  }

  static void addLimits(Rows& rows, pid_t pid) {
    const auto hierarchies = cgroupHierarchies();
    ASSERT_TRUE(hierarchies);
    for (const auto& hierarchy : *hierarchies) {
      const auto folder = cgroupFolderOf(hierarchy, pid);
      if (!folder) continue;
      for (const char* file : {"memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares",
                               "memory.max", "cpu.max", "cpu.weight"}) {
        if (const auto text = sys::readFile(Stage::cli, *folder / file, 1 << 16))
          rows[std::string("limit ") + file] = trim(*text);
      }
    }
  }

  void compare(Rows container, Rows fallback) {
    for (auto* const side : {&container, &fallback}) dropPrimaryGroup(*side);
    std::set<std::string> names;
    for (const auto* side : {&container, &fallback}) {
      for (const auto& [name, value] : *side) names.insert(name);
    }
    const auto valueOf = [](const Rows& side, const std::string& name) {
      const auto found = side.find(name);
      return found == side.end() ? std::string("-") : found->second;
    };
    for (const auto& name : names) {
      if (std::none_of(std::begin(kCompared), std::end(kCompared),
                       [&](const char* one) { return matches(one, name); }))
        continue;
      auto left = valueOf(container, name);
      auto right = valueOf(fallback, name);
      for (auto* const side : {&left, &right}) replaceIn(*side, hostFolder_.string(), "HOST-PATH");
      std::string why;
      if (left != right) {
        const auto* const reason = reasonFor(GetParam(), name, left, right);
        EXPECT_NE(reason, nullptr) << "a difference without a reason: " << name << "\n  container: " << left
                                   << "\n  fallback:  " << right;
        why = reason == nullptr ? "NO REASON" : reason->why;
      }
      table_.push_back(json::object{{"row", name}, {"container", left}, {"fallback", right}, {"why", why}});
    }
  }

  void TearDown() override {
    const char* const folder = std::getenv("KNOWS_JSON");
    if (folder == nullptr) return;
    std::ofstream(fs::path(folder) / ("likeness-" + GetParam()))
        << json::serialize(json::object{{"kind", "likeness"},
                                        {"pod", GetParam().substr(0, GetParam().find('.'))},
                                        {"what", fixture_.at("what")},
                                        {"leftOut", left_},
                                        {"configured", configured_},
                                        {"refused", refused_},
                                        {"failed", HasFailure()},
                                        {"rows", table_}});
  }

  Surroundings around_ = cluster();
  json::object fixture_;
  json::object pod_;
  std::string container_;
  std::string version_;
  std::string image_;
  Image made_;
  Pod running_;
  fs::path hostFolder_;
  std::string left_;        // left out, because this machine cannot have it
  std::string configured_;  // beyond the annotation
  std::string refused_;
  json::array table_;
};

TEST_P(PodLikeness, TheFallbackIsTheContainerThatKubeletWouldRun) {
  ASSERT_NO_FATAL_FAILURE(configure());
  api_.put(json::serialize(pod_));
  ASSERT_TRUE(shows("apiserver=up 1 pods")) << shown();
  const auto spec = sandboxOf(pod_, around_);
  E2E_CHECK(makeClaims(pod_, shop_->kubelet->podsDir() / spec.uid, around_));
  copyProgram(shop_->kubelet->podsDir() / spec.uid);
  E2E_TRY(running_, shop_->kubelet->startPod(spec));
  ASSERT_NO_FATAL_FAILURE(startInitContainers());

  pid_t pid = 0;
  const auto* const expected = refusalOf(GetParam());
  const bool decided = waitUntil(kCeiling, [&] {
    pid = fallbackPid(*shop_->daemon, spec.name);
    return pid > 0 || (expected != nullptr && explained().find(expected->says) != std::string::npos);
  });
  ASSERT_TRUE(decided) << explained() << shop_->daemon->logText();
  if (expected != nullptr) {
    EXPECT_EQ(pid, 0) << "it had to be refused: " << expected->says;
    refused_ = std::string(expected->says) + ": " + expected->why;
    return;
  }
  Rows fallback;
  ASSERT_NO_FATAL_FAILURE(readRows(running_.logDirectory / (container_ + "-fallback") / "0.log", fallback));
  pid = fallbackPid(*shop_->daemon, spec.name);
  ASSERT_GT(pid, 0) << explained();
  ASSERT_NO_FATAL_FAILURE(addLimits(fallback, pid));

  // The registry is back, and kubelet can start the container.
  ASSERT_NO_FATAL_FAILURE(import(made_, image_));
  E2E_TRY(auto wanted, containerOf(pod_, container_, made_.user, running_, around_));
  // The mounts of an isolated test are private.
  for (auto& mount : wanted.hostMounts) {
    if (std::exchange(mount.hostToContainer, false))
      left_ += "mountPropagation (the test's mounts are private); ";
  }
  E2E_TRY(const auto id, shop_->kubelet->createContainer(running_, wanted));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  Rows container;
  ASSERT_NO_FATAL_FAILURE(readRows(running_.logDirectory / container_ / "0.log", container));
  const auto inLeaf = cgroupProcesses(running_.cgroups.front() / id);
  ASSERT_EQ(inLeaf.size(), 1U);
  ASSERT_NO_FATAL_FAILURE(addLimits(container, inLeaf.front()));
  compare(container, fallback);
  EXPECT_THAT(api_.violations(), testing::IsEmpty());
}

std::vector<std::string> podFiles() {
  std::vector<std::string> names;
  for (const char* const folder : {PODS, MORE_PODS}) {
    for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Pods, PodLikeness, testing::ValuesIn(podFiles()), [](const auto& one) {
  std::string name = one.param.substr(0, one.param.find('.'));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace fallbackd::e2e
