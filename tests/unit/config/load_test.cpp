// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"

#include "config/files.hpp"
#include "config/settle.hpp"
#include "temp_folder.hpp"

#include <sys/stat.h>

#include <gtest/gtest.h>

namespace fallbackd::config {
namespace {

using namespace std::chrono_literals;
using test::TempFolder;

const std::string kApiVersion = "apiVersion: fallbackd.io/v1\n";

std::string workload(const std::string& name, const std::string& match, const std::string& more = "") {
  return "- name: " + name + "\n  match: " + match + "\n  image: r/a:1\n  binary: a@1\n" + more;
}

TEST(Load, EveryKeyArrives) {
  const TempFolder folder;
  const auto file = folder.write("fallbackd.yaml", kApiVersion + R"(
containerd: {socket: /run/c.sock, namespace: moby, resyncInterval: 5s}
cache: {path: /c, keys: /k, threshold: 2, state: /s, revoked: /r, expiryGrace: 7d, requirePie: true, memoryBudget: 64Mi, rollbacks: [{binary: checkout@1.9.0, rollbackTo: 1.8.2}]}
launcher: {runDir: /run/f, kubeletPods: /pods, allowHostNetwork: true}
telemetry: {listen: "[::1]:9000", tls: {certificate: /t/c, key: /t/k}, tokenFile: /t/t, profiling: true, socket: /run/f.sock, logFormat: json, logLevel: debug}
mode: observe
namespaces: [{name: shop, mode: recover}]
settle: auto
kubernetes: {sources: [apiserver]}
detection: {reprobeInterval: 3s, maxConcurrentProbes: 9, unstick: false, triggers: [dns], stallTimeout: 2s}
workloads:
- name: checkout
  match: {namespace: shop, labels: {app: checkout}, container: main}
  image: r.example.com/shop/checkout:1.8.3
  binary: checkout@1.8.3
  args: [--port=8080, "7"]
  env: {ROLE: fallback, N: 5}
  workingDir: /tmp
  user: {uid: 1000, gid: 1001, groups: [2000, 2001]}
  volumes:
  - {name: settings, type: configMap, mountPath: /etc/app, subPath: a/b}
  - {name: scratch, type: emptyDir, mountPath: /data}
  healthCheck: {args: [check], timeout: 3s}
  readiness: {http: {port: 8080, path: /healthz}, timeout: 9s}
  detection: {triggers: [tls, disk, not_started], stallTimeout: 4s, startTimeout: 7s, imagePullPolicy: Always}
  handBack: {on: image, when: now, grace: 0}
  resources: {memory: 64Mi, cpu: 500m, pids: 100}
  restart: {initialDelay: 1s, maxDelay: 2s, resetAfter: 3s}
  mode: observe
  settle: always
  standIn: {path: /app/server}
  terminationGrace: 4s
- name: defaults
  match: {container: other}
  image: a
  binary: b@2
)");
  const auto loaded = load(file);
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const auto& config = *loaded.config;
  EXPECT_EQ(config.containerd.socket, "/run/c.sock");
  EXPECT_EQ(config.containerd.resyncInterval, 5s);
  EXPECT_EQ(config.cache.threshold, 2U);
  EXPECT_EQ(config.cache.expiryGrace, 168h);
  EXPECT_EQ(config.cache.memoryBudgetBytes, 64U << 20);
  EXPECT_EQ(config.cache.rollbacks, (std::vector<Rollback>{{{"checkout", "1.9.0"}, "1.8.2"}}));
  EXPECT_EQ(config.cache.revoked, "/r");
  EXPECT_TRUE(config.launcher.allowHostNetwork);
  EXPECT_EQ(config.telemetry.listen, "[::1]:9000");
  EXPECT_EQ(config.telemetry.tls->certificate, "/t/c");
  EXPECT_EQ(config.telemetry.tls->key, "/t/k");
  EXPECT_EQ(config.telemetry.tokenFile, "/t/t");
  EXPECT_TRUE(config.telemetry.profiling);
  EXPECT_EQ(config.telemetry.logFormat, LogFormat::json);
  EXPECT_EQ(config.detection.maxConcurrentProbes, 9U);
  EXPECT_FALSE(config.detection.unstick);
  EXPECT_EQ(config.mode, Mode::observe);
  ASSERT_EQ(config.workloads.size(), 2U);
  EXPECT_EQ(modeOf(config, config.workloads[0], "shop"), Mode::observe) << "the workload sets it";
  EXPECT_EQ(modeOf(config, config.workloads[1], "shop"), Mode::recover) << "its namespace sets it";
  EXPECT_EQ(modeOf(config, config.workloads[1], "bank"), Mode::observe) << "the node sets it";
  EXPECT_EQ(settleOf(config, config.workloads[0]), Settle::always) << "the workload sets it";
  EXPECT_EQ(config.workloads[0].standIn.path, "/app/server");
  EXPECT_EQ(config.workloads[1].standIn.path, "");
  EXPECT_EQ(settleOf(config, config.workloads[1]), Settle::automatic) << "the node sets it";
  EXPECT_EQ(Config().settle, Settle::never) << "off by default";
  const auto& one = config.workloads[0];
  EXPECT_EQ(one.match.namespaceName, "shop");
  EXPECT_EQ(one.match.labels.at("app"), "checkout");
  EXPECT_EQ(one.binary.toString(), "checkout@1.8.3");
  EXPECT_EQ(one.args, (std::vector<std::string>{"--port=8080", "7"}));
  EXPECT_EQ(one.env.at("N"), "5");
  EXPECT_EQ(one.user.groups, (std::vector<gid_t>{2000, 2001}));
  EXPECT_TRUE(one.volumes[0].readOnly);
  EXPECT_FALSE(one.volumes[1].readOnly);
  EXPECT_EQ(std::get<ReadyWhenHttp>(one.readiness.when).path, "/healthz");
  EXPECT_EQ(one.detection.triggers, (CauseSet{Cause::tls, Cause::disk, Cause::not_started}));
  EXPECT_EQ(one.detection.pullPolicy, PullPolicy::always);
  EXPECT_EQ(one.detection.startTimeout, 7s);
  EXPECT_EQ(one.handBack.on, HandBackOn::image);
  EXPECT_EQ(one.handBack.when, HandBackWhen::now);
  EXPECT_EQ(one.handBack.grace, 0s);
  EXPECT_EQ(one.resources.cpus, 0.5);
  EXPECT_EQ(one.restart.maxDelay, 2s);
  const auto& two = config.workloads[1];
  EXPECT_EQ(two.handBack.when, HandBackWhen::spread);
  EXPECT_EQ(two.detection.triggers, CauseSet{Cause::dns}) << "the file's defaults apply";
  EXPECT_EQ(two.detection.stallTimeout, 2s);
  EXPECT_EQ(two.detection.responseTimeout, 3s);
  EXPECT_EQ(two.detection.startTimeout, 3s);
  EXPECT_EQ(two.user.uid, 65532U);
  EXPECT_TRUE(std::holds_alternative<ReadyWhenExec>(two.readiness.when));
}

TEST(Load, SourcesOfPodsAreOffUnlessTheyAreNamed) {
  const TempFolder folder;
  const auto off = load(folder.write("off.yaml", kApiVersion));
  ASSERT_NE(off.config, nullptr);
  EXPECT_TRUE(off.config->kubernetes.sources.empty());
  EXPECT_EQ(off.config->kubernetes.kubeletCertificate, "/var/lib/kubelet/pki/kubelet.crt");
  EXPECT_EQ(off.config->kubernetes.viewFile, "/var/lib/fallbackd/pods.view");
  EXPECT_FALSE(off.config->kubernetes.events);
  EXPECT_FALSE(off.config->kubernetes.namespacePause);
  const auto loaded = load(folder.write("f.yaml", kApiVersion + R"(
kubernetes:
  sources: [apiserver, kubelet]
  kubeconfig: /k
  kubeletAddress: "[::1]:10250"
  kubeletCertificate: /c
  viewFile: /v
  events: true
  namespacePause: true
)"));
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const auto& kubernetes = loaded.config->kubernetes;
  EXPECT_EQ(kubernetes.sources, (std::vector{PodSource::apiserver, PodSource::kubelet}));
  EXPECT_EQ(kubernetes.kubeconfig, "/k");
  EXPECT_EQ(kubernetes.kubeletAddress, "[::1]:10250");
  EXPECT_EQ(kubernetes.kubeletCertificate, "/c");
  EXPECT_EQ(kubernetes.viewFile, "/v");
  EXPECT_TRUE(kubernetes.events);
  EXPECT_TRUE(kubernetes.namespacePause);
}

TEST(Load, TheMirrorIsOffUnlessItHasAnAddress) {
  const TempFolder folder;
  const auto off = load(folder.write("off.yaml", kApiVersion));
  ASSERT_NE(off.config, nullptr);
  EXPECT_FALSE(off.config->mirror.listen);
  EXPECT_EQ(off.config->mirror.hostsDir, "/etc/containerd/certs.d");
  EXPECT_EQ(off.config->mirror.tokenFile, "/var/lib/fallbackd/mirror.token");
  const auto loaded = load(folder.write("f.yaml", kApiVersion + R"(
mirror:
  listen: "[::1]:9478"
  tokenFile: /t
  hostsDir: /h
  cached: 72h
  images: [registry.example.com, "r.x:5000/shop"]
)"));
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const MirrorSettings expected{"[::1]:9478",           "/t", "/h",
                                ServeCached::up_to_age, 72h,  {"registry.example.com", "r.x:5000/shop"}};
  EXPECT_EQ(loaded.config->mirror, expected);
}

TEST(Load, BinariesMayBeListedForNamespaces) {
  const TempFolder folder;
  const auto loaded = load(folder.write("f.yaml", kApiVersion + R"(
podAnnotations:
  namespaces: [shop]
  binaries:
  - {name: checkout, namespaces: [bank]}
)"));
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const auto& rules = loaded.config->podAnnotations;
  EXPECT_TRUE(rules.allows("web", "shop"));
  EXPECT_FALSE(rules.allows("checkout", "shop"));
  EXPECT_TRUE(rules.allows("checkout", "bank"));
  EXPECT_TRUE(rules.countIn("bank"));
  EXPECT_FALSE(rules.countIn("other"));
}

TEST(Load, AWorkloadWithoutAnImageInheritsByTheNodesRulesOrItsOwn) {
  const TempFolder folder;
  const auto loaded = load(folder.write("f.yaml", kApiVersion + R"(
kubernetes:
  sources: [kubelet]
  versionMatch: semver-patch
  versionFrom: {label: app.kubernetes.io/version}
  missingEnv: start
workloads:
- match: {container: main}
  binary: checkout@1.8.3
- name: newer
  match: {container: main}
  binary: checkout@1.9.0
- match: {container: own}
  binary: own@1
  versionMatch: none
  versionFrom: {annotation: shop/version}
  missingEnv: refuse
- match: {container: whole}
  binary: whole@1
  image: r.x/whole:1
- match: {container: both}
  binary: both@1
  image: r.x/both:1
  inherit: true
)"));
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const auto& all = loaded.config->workloads;
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0].name, "checkout");
  EXPECT_EQ(all[0].inheritance, loaded.config->inheritance);
  EXPECT_EQ(
      all[0].inheritance,
      (Inheritance{true, {VersionMatch::semver_patch, "app.kubernetes.io/version", ""}, MissingEnv::start}));
  EXPECT_EQ(all[2].inheritance,
            (Inheritance{true, {VersionMatch::none, "", "shop/version"}, MissingEnv::refuse}));
  EXPECT_FALSE(all[3].inheritance.on);
  EXPECT_TRUE(all[4].inheritance.on);
}

TEST(Load, VersionsOfOneBinaryStandSideBySideOnlyIfThePodDecides) {
  const TempFolder folder;
  const auto problems = [&](const std::string& rest) {
    return load(folder.write("f.yaml", kApiVersion + "kubernetes: {sources: [kubelet]}\nworkloads:\n" + rest))
        .diagnostics.size();
  };
  const std::string one = "- {name: a, match: {container: c}, binary: x@1}\n";
  EXPECT_EQ(problems(one + "- {name: b, match: {container: c}, binary: x@2}\n"), 0U);
  EXPECT_EQ(problems(one + "- {name: b, match: {container: c}, binary: x@1}\n"), 1U);
  EXPECT_EQ(problems(one + "- {name: b, match: {container: c}, binary: y@2}\n"), 1U);
  EXPECT_EQ(problems(one + "- {name: b, match: {container: c}, binary: x@2, versionMatch: none}\n"), 1U);
  EXPECT_EQ(problems(one + "- {name: b, match: {container: c}, binary: x@2, image: r/x:2}\n"), 1U);
}

TEST(Load, WhatAWorkloadMayRequestAndWhatTheNodeAllows) {
  const TempFolder folder;
  const auto file = folder.write("f.yaml", kApiVersion + R"(
launcher:
  allowHostPid: true
  allowHostIpc: true
  allowedCapabilities: [NET_BIND_SERVICE, SYS_PTRACE]
  allowUnconfined: true
  allowedHostPaths: [/var/lib/shared]
  seccompProfiles: /profiles
  caCertificates: /ca.pem
  zoneInfo: /zones
  logs: {maxSize: 2Mi, maxFiles: 3, bytesPerSecond: 4Mi, linesPerSecond: 500}
workloads:
- name: a
  match: {container: c}
  image: r/a:1
  binary: a@1
  capabilities: [SYS_PTRACE, CAP_NET_BIND_SERVICE]
  seccompProfile: {type: Localhost, localhostProfile: shop/a.json}
  appArmorProfile: {type: Unconfined}
  seLinuxLabel: system_u:system_r:container_t:s0
  rlimits: {nofile: 1024, core: unlimited}
  serviceVariables: true
  caCertificates: true
  timeZoneData: true
  volumes:
  - {name: key, type: secret, mountPath: /key}
  - {type: csi, mountPath: /data, readOnly: false}
  - {name: host, type: hostPath, path: /var/lib/shared/x, mountPath: /host}
  envFiles: {TOKEN: /key/token}
  liveness: {http: {port: 80, path: /live}, interval: 5s, timeout: 2s, failures: 4}
)");
  const auto loaded = load(file);
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  const auto& launcher = loaded.config->launcher;
  EXPECT_TRUE(launcher.allowHostPid && launcher.allowHostIpc && launcher.allowUnconfined);
  EXPECT_EQ(launcher.allowedCapabilities, 1ULL << 10 | 1ULL << 19);
  EXPECT_EQ(launcher.allowedHostPaths, std::vector<std::string>{"/var/lib/shared"});
  EXPECT_EQ(launcher.seccompProfiles, "/profiles");
  EXPECT_EQ(launcher.logs.maxBytes, 2U << 20);
  EXPECT_EQ(launcher.logs.maxFiles, 3U);
  EXPECT_EQ(launcher.logs.bytesPerSecond, 4U << 20);
  EXPECT_EQ(launcher.logs.linesPerSecond, 500U);
  const auto& one = loaded.config->workloads[0];
  EXPECT_EQ(one.security.capabilities, 1ULL << 10 | 1ULL << 19);
  EXPECT_EQ(one.security.seccomp.type, SecurityProfile::Type::localhost);
  EXPECT_EQ(one.security.seccomp.localhost, "shop/a.json");
  EXPECT_EQ(one.security.appArmor.type, SecurityProfile::Type::unconfined);
  EXPECT_EQ(one.security.seLinuxLabel, "system_u:system_r:container_t:s0");
  ASSERT_EQ(one.security.rlimits.size(), 2U);
  EXPECT_EQ(one.security.rlimits[0].value, 1024U);
  EXPECT_EQ(one.security.rlimits[1].value, std::nullopt);
  EXPECT_TRUE(one.serviceVariables && one.caCertificates && one.timeZoneData);
  EXPECT_EQ(one.volumes[1].kind, Volume::Kind::csi);
  EXPECT_FALSE(one.volumes[1].readOnly);
  EXPECT_EQ(one.volumes[2].path, "/var/lib/shared/x");
  EXPECT_TRUE(one.volumes[2].readOnly);
  EXPECT_EQ(one.envFiles.at("TOKEN"), "/key/token");
  ASSERT_TRUE(one.liveness);
  EXPECT_EQ(std::get<ReadyWhenHttp>(one.liveness->when).path, "/live");
  EXPECT_EQ(one.liveness->interval, 5s);
  EXPECT_EQ(one.liveness->timeout, 2s);
  EXPECT_EQ(one.liveness->failures, 4U);
}

TEST(Load, EverythingIsReportedInOneRun) {
  const TempFolder folder;
  const auto file =
      folder.write("fallbackd.yaml", kApiVersion + "cahce: {}\ncache: {threshold: many}\nworkloads:\n" +
                                         workload("a", "{namespace: n, container: c}") +
                                         workload("b", "{labels: {x: y}, container: c}"));
  folder.write("conf.d/10.yaml", "apiVersion: [\n");
  folder.write("conf.d/20.yaml",
               kApiVersion + "workloads:\n" + workload("a", "{namespace: n, container: d}"));
  folder.write("conf.d/ignored.txt", "{");
  const auto loaded = load(file);
  std::vector<std::string> texts;
  for (const auto& diagnostic : loaded.diagnostics)
    texts.push_back(diagnostic.toString().substr(folder.path().size()));
  ASSERT_EQ(texts.size(), 5U);
  EXPECT_TRUE(texts[0].starts_with("/fallbackd.yaml:2:1: unknown key")) << texts[0];
  EXPECT_TRUE(texts[1].starts_with("/fallbackd.yaml:3:20: cache.threshold:")) << texts[1];
  EXPECT_TRUE(texts[2].starts_with("/fallbackd.yaml:10:10: workload \"b\" can cover the same container"))
      << texts[2];
  EXPECT_TRUE(texts[3].starts_with("/conf.d/10.yaml:2:1: malformed YAML")) << texts[3];
  EXPECT_TRUE(texts[4].starts_with("/conf.d/20.yaml:3:3: workload \"a\" is already defined at")) << texts[4];
}

TEST(Load, OverlapNeedsAPodThatBothWouldCover) {
  const auto problems = [](const std::string& left, const std::string& right) {
    const TempFolder folder;
    const auto file =
        folder.write("f.yaml", kApiVersion + "workloads:\n" + workload("a", left) + workload("b", right));
    return load(file).diagnostics.size();
  };
  EXPECT_EQ(problems("{namespace: n, container: c}", "{namespace: m, container: c}"), 0U);
  EXPECT_EQ(problems("{namespace: n, container: c}", "{namespace: n, container: d}"), 0U);
  EXPECT_EQ(problems("{labels: {app: x}, container: c}", "{labels: {app: y}, container: c}"), 0U);
  EXPECT_EQ(problems("{labels: {app: x}, container: c}", "{labels: {tier: y}, container: c}"), 1U);
  EXPECT_EQ(problems("{namespace: n, container: c}", "{container: c}"), 1U);
}

TEST(Load, PathsThatAreNotRegularFiles) {
  const TempFolder folder;
  const auto first = [](const std::string& file) { return load(file).diagnostics.at(0).toString(); };
  EXPECT_EQ(first(folder.path() + "/none.yaml"),
            folder.path() + "/none.yaml: cannot be read: No such file or directory");
  EXPECT_NE(first(folder.path()).find("is a folder"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder.path() + "/fifo.yaml").c_str(), 0600), 0);
  EXPECT_NE(first(folder.path() + "/fifo.yaml").find("not a regular file"), std::string::npos);
  const auto huge = folder.write("huge.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_NE(first(huge).find("larger than 1 MiB"), std::string::npos);
}

/// A watch that begins later needs the files' earlier state.
TEST(Load, ReturnsTheMetadataOfTheFilesBeforeTheyWereRead) {
  const TempFolder folder;
  const auto file = folder.write("fallbackd.yaml", kApiVersion);
  const auto before = load(file).metadata;
  EXPECT_EQ(before, load(file).metadata);
  EXPECT_EQ(before, metadataOf(file, defaultDropInDir(file)));
  folder.write("conf.d/a.yaml", kApiVersion);
  EXPECT_NE(before, load(file).metadata);
}

TEST(Load, ANamedDropInFolderMustExist) {
  const TempFolder folder;
  const auto file = folder.write("fallbackd.yaml", kApiVersion);
  EXPECT_NE(load(file).config, nullptr);
  EXPECT_NE(load(file, folder.path() + "/nowhere").diagnostics.at(0).toString().find("nowhere"),
            std::string::npos);
}

TEST(Load, TheCommandLineChoosesTheAddressThatTheFileDoesNotName) {
  const TempFolder folder;
  const auto silent = folder.write("silent.yaml", kApiVersion);
  const auto named = folder.write("named.yaml", kApiVersion + "telemetry: {listen: 127.0.0.1:1234}\n");
  const auto off = folder.write("off.yaml", kApiVersion + "telemetry: {listen: \"off\"}\n");
  EXPECT_EQ(load(silent).config->telemetry.listen, "127.0.0.1:9477");
  EXPECT_EQ(load(silent, {}, "0.0.0.0:9477").config->telemetry.listen, "0.0.0.0:9477");
  EXPECT_EQ(load(named, {}, "0.0.0.0:9477").config->telemetry.listen, "127.0.0.1:1234");
  EXPECT_EQ(load(off, {}, "0.0.0.0:9477").config->telemetry.listen, std::nullopt);
  EXPECT_EQ(load(silent, {}, "9477").diagnostics.at(0).toString(),
            "--listen: \"9477\" is not ADDRESS:PORT (for example 0.0.0.0:9477)");
}

TEST(Load, TheCommandLineChoosesTheSourcesThatTheFileDoesNotName) {
  const TempFolder folder;
  const auto silent = folder.write("silent.yaml", kApiVersion + "kubernetes: {events: true}\n");
  const auto named = folder.write("named.yaml", kApiVersion + "kubernetes: {sources: [kubelet]}\n");
  using Sources = std::vector<PodSource>;
  EXPECT_EQ(load(silent).config->kubernetes.sources, Sources());
  EXPECT_EQ(load(silent, {}, {}, "kubelet,apiserver").config->kubernetes.sources,
            (Sources{PodSource::kubelet, PodSource::apiserver}));
  EXPECT_EQ(load(named, {}, {}, "apiserver").config->kubernetes.sources, Sources{PodSource::kubelet});
  EXPECT_FALSE(load(silent, {}, {}, "apiserver").config->inheritance.on);
  EXPECT_EQ(load(silent, {}, {}, "apiserver,x").diagnostics.at(0).toString(),
            "--sources: \"x\" is not a source of pods (kubelet or apiserver)");
}

TEST(Load, AutoNeedsAnApiServer) {
  const TempFolder folder;
  const auto file = folder.write("fallbackd.yaml", kApiVersion);
  const auto blind = load(file).config;
  EXPECT_EQ(blind->settle, Settle::automatic);
  EXPECT_EQ(settleOf(*blind, Workload()), Settle::never);
  EXPECT_NE(problemOfSettle(*blind), "");
  const auto knowing = load(file, {}, {}, "apiserver").config;
  EXPECT_EQ(settleOf(*knowing, Workload()), Settle::automatic);
  EXPECT_EQ(problemOfSettle(*knowing), "");
  Workload always;
  always.settle = Settle::always;
  EXPECT_EQ(settleOf(*blind, always), Settle::always);
}

TEST(Load, DropInsContainOnlyWorkloadsAndAreReadByName) {
  const TempFolder folder;
  const auto file = folder.write("fallbackd.yaml", kApiVersion + "detection: {stallTimeout: 3s}\n");
  folder.write("conf.d/20.yml",
               kApiVersion + "workloads:\n" + workload("second", "{container: b}", "  user: {gid: 7}\n"));
  folder.write("conf.d/10.yaml", kApiVersion + "workloads:\n" + workload("first", "{container: a}"));
  folder.write("conf.d/.hidden.yaml", "{");
  const auto good = load(file);
  ASSERT_NE(good.config, nullptr);
  ASSERT_EQ(good.config->workloads.size(), 2U);
  EXPECT_EQ(good.config->workloads[0].name, "first");
  EXPECT_EQ(good.config->workloads[0].definedAt, folder.path() + "/conf.d/10.yaml:3");
  EXPECT_EQ(good.config->workloads[0].given,
            (std::set<std::string, std::less<>>{"name", "match", "image", "binary"}))
      << "the pods may set what the workload leaves out";
  EXPECT_EQ(good.config->workloads[1].given,
            (std::set<std::string, std::less<>>{"name", "match", "image", "binary", "user", "user.gid"}));
  EXPECT_EQ(good.config->workloads[0].detection.stallTimeout, 3s) << "the main file's defaults apply";
  EXPECT_EQ(good.files.size(), 3U);

  folder.write("conf.d/30.yaml", kApiVersion + "cache: {path: /x}\n");
  const auto bad = load(file);
  ASSERT_EQ(bad.diagnostics.size(), 1U);
  EXPECT_EQ(bad.diagnostics[0].line, 2);
  EXPECT_NE(bad.diagnostics[0].message.find("main file only"), std::string::npos);
}

TEST(Load, HostileFilesAreCheap) {
  const TempFolder folder;
  std::string many = kApiVersion + "workloads:\n";
  for (int i = 0; many.size() < 900'000; ++i)
    many += "- {name: w" + std::to_string(i % 9) + ", match: {container: c}}\n";
  std::string keys = "{";
  while (keys.size() < 900'000) keys += "k,";
  for (const auto& text : {std::string(100'000, '['), std::string(900'000, '{'), many, keys + "}"}) {
    const auto loaded = load(folder.write("f.yaml", text));
    EXPECT_EQ(loaded.config, nullptr);
    EXPECT_FALSE(loaded.diagnostics.empty());
    EXPECT_LE(loaded.diagnostics.size(), 1001U);
  }
}

TEST(Load, TheShippedExampleIsValid) {
  const auto loaded = load(EXAMPLE_CONFIG);
  for (const auto& diagnostic : loaded.diagnostics) ADD_FAILURE() << diagnostic.toString();
  ASSERT_NE(loaded.config, nullptr);
  ASSERT_EQ(loaded.config->workloads.size(), 2U) << "one in the file, one in its drop-in";
  EXPECT_EQ(loaded.config->workloads[0].match.namespaceName, "shop");
}

}  // namespace
}  // namespace fallbackd::config
