// SPDX-License-Identifier: Apache-2.0
// Tests each rule alone; likeness_test.cpp has whole pods.
#include "kube/inherit.hpp"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using Weight = NotInherited::Weight;

struct PodCase {
  PodCase() {
    configured.binary = {"checkout", "1.8.3"};
    pod.name = "web-0";
    pod.namespaceName = "shop";
    pod.enableServiceLinks = false;
    auto& container = pod.containers.emplace_back();
    container.path = "spec.containers[0]";
    container.name = "web";
    container.image = "r.example.com/shop/checkout:1.8.3";
    container.securityContext.readOnlyRootFilesystem = true;
    image = ImageConfig{"1000:1000", {}, {"/app"}, {}, ""};
  }
  Container& web() { return pod.containers[0]; }
  Result<Inherited> outcome() { return inherit({pod, wanted, configured, launcher, facts, image}); }
  config::Workload workload() { return outcome().value().workload; }
  /// What is not inherited, one a line.
  std::string rest() {
    std::string text;
    const auto made = outcome().value();
    for (const auto& one : made.notInherited) {
      text += std::string(toString(one.weight)) + " " + one.path + ": " + one.why + "\n";
    }
    return text;
  }
  bool refused() { return !mayStart(outcome().value().notInherited, config::MissingEnv::start); }

  Pod pod;
  std::string wanted = "web";
  config::Workload configured;
  config::LauncherSettings launcher;
  Facts facts;
  std::optional<ImageConfig> image;
};
struct Inherit : testing::Test, PodCase {};

TEST_F(Inherit, NothingIsMissingWhereThePodAsksForNothingSpecial) {
  EXPECT_EQ(rest(), "");
  EXPECT_EQ(workload().image, web().image);
  EXPECT_EQ(workload().imageFrom, Provenance::pod_specification);
  EXPECT_EQ(workload().argv0, "/app");
}

TEST_F(Inherit, OnlyContainersThatRunHaveFallbacks) {
  wanted = "none";
  EXPECT_EQ(outcome().error().reason, Reason::not_found);
  auto& init = pod.initContainers.emplace_back();
  init.name = "none";
  EXPECT_EQ(outcome().error().reason, Reason::invalid);
  init.restartPolicy = "Always";
  EXPECT_TRUE(outcome());
}

TEST_F(Inherit, InitContainersComeInTheirOrder) {
  for (const auto* name : {"copy", "mesh", "migrate"}) pod.initContainers.emplace_back().name = name;
  pod.initContainers[1].restartPolicy = "Always";
  EXPECT_THAT(workload().startAfter, ElementsAre("copy", "migrate"));
  EXPECT_THAT(outcome()->sidecarsBefore, ElementsAre("mesh"));
  wanted = "mesh";
  EXPECT_THAT(workload().startAfter, ElementsAre("copy"));
  EXPECT_THAT(outcome()->sidecarsBefore, IsEmpty());
}

TEST_F(Inherit, CommandAndArgumentsAsTheRuntimePutsThemTogether) {
  const std::vector<std::string> entrypoint{"/app", "--fixed"};
  image->entrypoint = entrypoint;
  image->cmd = {"serve"};
  struct Words {
    std::vector<std::string> command, args, argv;
  };
  for (const auto& one : std::vector<Words>{{{}, {}, {"/app", "--fixed", "serve"}},
                                            {{}, {"x"}, {"/app", "--fixed", "x"}},
                                            {{"/other"}, {}, {"/other"}},
                                            {{"/other", "a"}, {"b"}, {"/other", "a", "b"}}}) {
    web().command = one.command;
    web().args = one.args;
    const auto made = workload();
    std::vector<std::string> argv{made.argv0};
    argv.insert(argv.end(), made.args.begin(), made.args.end());
    EXPECT_EQ(argv, one.argv);
  }
}

TEST_F(Inherit, TheImagesOwnArgumentsAreNotExpanded) {
  web().env = {{"A", "1", {}}};
  image->cmd = {"$(A)"};
  EXPECT_THAT(workload().args, ElementsAre("$(A)"));
  web().args = {"$(A)", "$$(A)", "$(B)"};
  EXPECT_THAT(workload().args, ElementsAre("1", "$(A)", "$(B)"));
}

TEST_F(Inherit, AnInitInFrontIsNotTheProgram) {
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"/sbin/tini", "--", "/app", "-v"},
                                             {"tini", "-g", "-e", "143", "/app", "-v"},
                                             {"/usr/bin/dumb-init", "--rewrite", "15:3", "/app", "-v"},
                                             {"/app", "-v"}}) {
    web().command = words;
    EXPECT_EQ(workload().argv0, "/app");
    EXPECT_THAT(workload().args, ElementsAre("-v"));
  }
  web().command = {"tini", "--"};
  EXPECT_EQ(workload().argv0, "tini") << "no program follows it";
}

TEST_F(Inherit, AShellIsNotTheBinary) {
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"/bin/sh", "-c", "exec /app"}, {"bash", "run"}, {"tini", "--", "sh", "-c", "x"}}) {
    web().command = words;
    EXPECT_TRUE(refused());
    EXPECT_THAT(rest(), HasSubstr("refuses spec.containers[0].command: the container starts the shell"));
  }
  web().command.clear();
  image->entrypoint = {"/bin/sh", "-c", "/app"};
  EXPECT_THAT(rest(), HasSubstr("refuses spec.containers[0].image: the container starts the shell"));
  configured.given = {"args"};
  configured.args = {"--port=80"};
  EXPECT_FALSE(refused());
  EXPECT_THAT(workload().args, ElementsAre("--port=80"));
  EXPECT_EQ(workload().argv0, "");
}

TEST_F(Inherit, ArgumentsWithASecretThatIsNotKnownAreNotGuessed) {
  web().env = {{"KEY", "", KeyRef{KeyRef::Kind::secret, "s", "k", false}}};
  web().args = {"--key=$(KEY)"};
  EXPECT_THAT(rest(), HasSubstr("variable spec.containers[0].args[0]: it refers to $(KEY)"));
  EXPECT_FALSE(mayStart(outcome()->notInherited, config::MissingEnv::refuse));
}

TEST_F(Inherit, VariablesOfTheImageGiveWay) {
  image->env = {{"PATH", "/bin"}, {"MODE", "image"}, {"SECRET", "image"}};
  web().env = {{"MODE", "pod", {}}, {"SECRET", "", KeyRef{KeyRef::Kind::secret, "s", "k", false}}};
  const auto env = workload().env;
  EXPECT_EQ(env.at("PATH"), "/bin");
  EXPECT_EQ(env.at("MODE"), "pod");
  EXPECT_FALSE(env.contains("SECRET"))
      << "the pod's variable replaces the image's, even if its value is unknown";
}

TEST_F(Inherit, UsersAreMergedFieldByField) {
  EXPECT_EQ(workload().user.uid, 1000U);
  EXPECT_EQ(workload().user.gid, 1000U);
  pod.securityContext.runAsUser = 2000;
  EXPECT_EQ(workload().user.uid, 2000U);
  EXPECT_EQ(workload().user.gid, 0U) << "the image's group belongs to the image's user";
  EXPECT_THAT(rest(), HasSubstr("the group that the image's /etc/passwd gives"));
  pod.securityContext.runAsGroup = 2001;
  web().securityContext.runAsUser = 3000;
  EXPECT_EQ(workload().user.uid, 3000U);
  EXPECT_EQ(workload().user.gid, 2001U);
  pod.securityContext.fsGroup = 5000;
  pod.securityContext.supplementalGroups = {4000, 5000};
  EXPECT_THAT(workload().user.groups, ElementsAre(4000, 5000));
}

TEST_F(Inherit, RootIsAskedForByTheOperator) {
  for (const auto* user : {"", "0", "root", "0:0", "root:root"}) {
    image->user = user;
    EXPECT_EQ(workload().user.uid, 65532U) << user;
    EXPECT_THAT(rest(), HasSubstr("root only if its workload sets user.allowRoot")) << user;
  }
  configured.user.allowRoot = true;
  EXPECT_EQ(workload().user.uid, 0U);
  EXPECT_EQ(workload().user.gid, 0U);
  configured.given = {"user", "user.uid"};
  configured.user.uid = 7;
  EXPECT_EQ(workload().user.uid, 7U);
}

TEST_F(Inherit, NonRootIsCheckedAsKubeletDoes) {
  pod.securityContext.runAsNonRoot = true;
  EXPECT_FALSE(refused());
  image->user = "nobody";
  EXPECT_TRUE(refused()) << "kubelet cannot tell";
  EXPECT_THAT(rest(), HasSubstr("spec.securityContext.runAsNonRoot"));
  web().securityContext.runAsNonRoot = false;
  EXPECT_FALSE(refused()) << "the container's setting takes precedence";
  image->user = "0";
  web().securityContext.runAsNonRoot = true;
  EXPECT_TRUE(refused());
  web().securityContext.runAsUser = 1000;
  EXPECT_FALSE(refused());
}

TEST_F(Inherit, CapabilitiesAreThoseOfTheUser) {
  EXPECT_EQ(workload().security.capabilities, 0U) << "a process that is not root cannot use any";
  web().securityContext.capabilities = Capabilities{{"NET_BIND_SERVICE"}, {"ALL"}};
  EXPECT_EQ(workload().security.capabilities, 1ULL << 10U);
  web().securityContext.capabilities = Capabilities{{"NET_ADMIN", "CHOWN", "NONSENSE"}, {"CHOWN"}};
  EXPECT_EQ(workload().security.capabilities, 0U);
  EXPECT_THAT(rest(), HasSubstr("NET_ADMIN may not be requested on this node"));
  EXPECT_THAT(rest(), HasSubstr("\"NONSENSE\" is not a capability"));
  image->user = "0";
  configured.user.allowRoot = true;
  web().securityContext.capabilities = Capabilities{{}, {"CHOWN"}};
  EXPECT_EQ(workload().security.capabilities, config::kDefaultCapabilities & ~1ULL);
  web().securityContext.capabilities = Capabilities{{"ALL"}, {}};
  EXPECT_EQ(workload().security.capabilities, config::kDefaultCapabilities) << "the launcher's limit applies";
}

TEST_F(Inherit, AnUnsupportedFieldRefusesTheFallback) {
  const auto refuses = [&](const char* what, const std::function<void(PodCase&)>& change) {
    PodCase fresh;
    change(fresh);
    EXPECT_TRUE(fresh.refused()) << what;
    EXPECT_THAT(fresh.rest(), HasSubstr(what));
  };
  refuses("securityContext.privileged", [](auto& one) { one.web().securityContext.privileged = true; });
  refuses("securityContext.procMount", [](auto& one) { one.web().securityContext.procMount = "Unmasked"; });
  refuses("spec.runtimeClassName", [](auto& one) { one.pod.runtimeClassName = "kata"; });
  refuses("spec.hostNetwork", [](auto& one) { one.pod.hostNetwork = true; });
  refuses("spec.hostPID", [](auto& one) { one.pod.hostPid = true; });
  refuses("spec.os", [](auto& one) { one.pod.osName = "windows"; });
  refuses("volumeDevices", [](auto& one) { one.web().volumeDevices = {"disk"}; });
  refuses("nvidia.com/gpu", [](auto& one) { one.web().resources.limits = {{"nvidia.com/gpu", "1"}}; });
  refuses("resources.claims", [](auto& one) { one.web().resources.claims = {"gpu"}; });
  refuses("metadata.ownerReferences", [](auto& one) { one.pod.ownerKind = "Job"; });
  refuses("spec.containers[0].image", [](auto& one) { one.web().image = "NOT AN IMAGE"; });
}

TEST_F(Inherit, ProfilesAreAtLeastTheRuntimesDefault) {
  using Type = config::SecurityProfile::Type;
  web().securityContext.seccompProfile = Profile{"Unconfined", ""};
  EXPECT_EQ(workload().security.seccomp.type, Type::runtime_default);
  EXPECT_THAT(rest(), HasSubstr("securityContext.seccompProfile: Unconfined is not allowed"));
  launcher.allowUnconfined = true;
  EXPECT_EQ(workload().security.seccomp.type, Type::unconfined);
  pod.securityContext.seccompProfile = Profile{"Localhost", "a/b.json"};
  web().securityContext.seccompProfile.reset();
  EXPECT_EQ(workload().security.seccomp.localhost, "a/b.json");
  for (const auto* const profile : {"unconfined", "a//&b", ":ns:a"}) {
    pod.securityContext.appArmorProfile = Profile{"Localhost", profile};
    EXPECT_TRUE(refused()) << profile;
  }
  pod.securityContext.appArmorProfile.reset();
  pod.securityContext.seccompProfile = Profile{"Localhost", "../b.json"};
  EXPECT_TRUE(refused());
  pod.securityContext.seccompProfile.reset();
  pod.annotations["container.apparmor.security.beta.kubernetes.io/web"] = "localhost/k8s-web";
  EXPECT_EQ(workload().security.appArmor.localhost, "k8s-web");
  web().securityContext.appArmorProfile = Profile{"RuntimeDefault", ""};
  EXPECT_EQ(workload().security.appArmor.type, Type::runtime_default)
      << "the field takes precedence over the annotation";
}

TEST_F(Inherit, SeLinuxLabelsThatAreComplete) {
  web().securityContext.seLinuxOptions = SeLinuxOptions{"", "", "spc_t", "s0:c1,c2"};
  EXPECT_EQ(workload().security.seLinuxLabel, "system_u:system_r:spc_t:s0:c1,c2");
  web().securityContext.seLinuxOptions->level.clear();
  EXPECT_EQ(workload().security.seLinuxLabel, "");
  EXPECT_THAT(rest(), HasSubstr("seLinuxOptions"));
}

TEST_F(Inherit, VolumesStayInTheirPlaces) {
  launcher.allowedHostPaths = {"/var/log"};
  const auto mount = [&](PodVolume volume, VolumeMount at) {
    volume.name = at.name = "v";
    volume.path = "spec.volumes[0]";
    pod.volumes = {std::move(volume)};
    web().volumeMounts = {std::move(at)};
    const auto made = outcome().value();
    if (made.workload.volumes.empty())
      return made.notInherited.empty() ? std::string("lost") : made.notInherited.back().why;
    const auto& one = made.workload.volumes[0];
    return one.path + "|" + one.name + "|" + one.subPath + "|" + one.mountPath +
           (one.readOnly ? "|ro" : "|rw");
  };
  PodVolume scratch;
  PodVolume host;
  host.kind = PodVolume::Kind::host_path;
  host.hostPath = "/var/log/app/";
  EXPECT_EQ(mount(scratch, {"", "/tmp/x/", "", "", "", false}), "|v||/tmp/x|rw");
  EXPECT_EQ(mount(scratch, {"", "data", "a/./b", "", "", true}), "|v|a/b|/data|ro");
  EXPECT_EQ(mount(host, {"", "/logs", "", "", "", false}), "/var/log/app|v||/logs|rw");
  host.hostPath = "/var/logs";
  EXPECT_THAT(mount(host, {"", "/logs", "", "", "", false}), HasSubstr("allowedHostPaths"));
  host.hostPath = "/var/log/../../etc";
  EXPECT_THAT(mount(host, {"", "/logs", "", "", "", false}), HasSubstr("allowedHostPaths"));
  for (const auto* path : {"/", "/proc", "/proc/x", "/sys/fs", "/dev", "/a/../proc"}) {
    EXPECT_THAT(mount(scratch, {"", path, "", "", "", false}), HasSubstr("nothing can be mounted")) << path;
  }
  EXPECT_THAT(mount(scratch, {"", "/dev/shm", "", "", "", false}), HasSubstr("/dev/shm"));
  for (const auto* path : {"..", "a/../b", "/etc"}) {
    EXPECT_THAT(mount(scratch, {"", "/x", path, "", "", false}), HasSubstr("must be relative")) << path;
  }
  web().env = {{"P", "../..", {}}};
  EXPECT_THAT(mount(scratch, {"", "/x", "", "a/$(P)", "", false}), HasSubstr("must be relative"));
}

TEST_F(Inherit, SeveralClaimsNeedTheNamesOfTheirVolumes) {
  for (const auto* name : {"a", "b"}) {
    auto& volume = pod.volumes.emplace_back();
    volume.name = name;
    volume.kind = PodVolume::Kind::persistent_volume_claim;
    volume.claimName = std::string("claim-") + name;
    web().volumeMounts.push_back({name, std::string("/") + name, "", "", "", false});
  }
  EXPECT_TRUE(refused());
  EXPECT_THAT(rest(), HasSubstr("which persistent volume is behind the claim \"claim-a\" is not known"));
  facts.persistentVolumes = {{"claim-a", "pv-1"}, {"claim-b", "pv-2"}};
  EXPECT_FALSE(refused());
  EXPECT_EQ(workload().volumes.at(1).name, "pv-2");
  pod.volumes[1].kind = PodVolume::Kind::ephemeral;
  facts.persistentVolumes = {{"claim-a", "pv-1"}, {"web-0-b", "pv-3"}};
  EXPECT_EQ(workload().volumes.at(1).name, "pv-3");
}

TEST_F(Inherit, TheConfigurationsVolumeTakesThePlaceOfThePods) {
  auto& volume = pod.volumes.emplace_back();
  volume.name = "settings";
  web().volumeMounts = {{"settings", "/etc/app", "", "", "", false},
                        {"settings", "/tmp/app", "", "", "", false}};
  configured.volumes = {{config::Volume::Kind::config_map, "mine", "/etc/app", "", true}};
  const auto made = workload().volumes;
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[0].name, "mine");
  EXPECT_EQ(made[1].mountPath, "/tmp/app");
}

TEST_F(Inherit, ProbesThatCanBeAsked) {
  web().ports = {{"dns", 53, "UDP"}, {"web", 8080, ""}};
  web().readinessProbe.emplace().handler =
      HttpGet{std::string("web"),
              "",
              "ready?full=1",
              "HTTP",
              {{"Host", "shop"}, {"X-A", "b"}, {"Bad Name", "x"}, {"X", "a\r\nY: z"}}};
  const auto ready = std::get<config::ReadyWhenHttp>(workload().readiness.when);
  EXPECT_EQ(ready.port, 8080);
  EXPECT_EQ(ready.path, "/ready?full=1");
  EXPECT_THAT(ready.headers, ElementsAre(Pair("Host", "shop"), Pair("X-A", "b")));
  EXPECT_THAT(rest(), HasSubstr("\"Bad Name\" is not a header"));
  EXPECT_THAT(rest(), HasSubstr("\"X\" is not a header"));

  web().livenessProbe = Probe{TcpSocket{std::uint16_t{9000}, ""}, 0, 5, 20, 4};
  const auto live = workload().liveness.value();
  EXPECT_EQ(std::get<config::ReadyWhenTcp>(live.when).port, 9000);
  EXPECT_EQ(live.timeout, 5s);
  EXPECT_EQ(live.interval, 20s);
  EXPECT_EQ(live.failures, 4U);

  web().startupProbe = Probe{TcpSocket{std::uint16_t{9000}, ""}, 5, 1, 10, 6};
  EXPECT_EQ(workload().readiness.timeout, 65s);
  web().readinessProbe.reset();
  EXPECT_EQ(std::get<config::ReadyWhenTcp>(workload().readiness.when).port, 9000);
}

TEST_F(Inherit, ProbesThatCannotBeAskedAreNamed) {
  const auto ready = [&](decltype(Probe::handler) handler) {
    web().readinessProbe.emplace().handler = std::move(handler);
    const auto made = workload().readiness.when;
    if (const auto* const tcp = std::get_if<config::ReadyWhenTcp>(&made))
      return "tcp " + std::to_string(tcp->port);
    if (const auto* const grpc = std::get_if<config::ReadyWhenGrpc>(&made))
      return "grpc " + std::to_string(grpc->port) + " " + grpc->service.substr(0, 10);
    return std::string(std::holds_alternative<config::ReadyWhenExec>(made) ? "runs" : "other");
  };
  web().ports = {{"web", 8080, ""}};
  EXPECT_EQ(ready(GrpcCheck{5050, ""}), "grpc 5050 ") << "it must not be a different port";
  EXPECT_EQ(ready(GrpcCheck{5050, "shop.Web"}), "grpc 5050 shop.Web");
  EXPECT_THAT(rest(), Not(HasSubstr("grpc")));
  EXPECT_EQ(ready(GrpcCheck{5050, std::string(1025, 'x')}), "tcp 5050");
  EXPECT_THAT(rest(), HasSubstr("readinessProbe.grpc.service: it is too long"));
  EXPECT_EQ(ready(HttpGet{std::uint16_t{8443}, "", "/", "HTTPS", {}}), "tcp 8443");
  EXPECT_THAT(rest(), HasSubstr("readinessProbe.httpGet.scheme: \"HTTPS\" is not supported"));
  for (const auto& command : std::vector<std::vector<std::string>>{
           {"cat", "/tmp/ok"}, {"app", "check"}, {"/bin/app"}, {"$(NONE)/app"}, {""}, {}}) {
    EXPECT_EQ(ready(ExecCommand{command}), "runs");
    EXPECT_THAT(rest(), HasSubstr("readinessProbe.exec: the command is not in the fallback's root"));
  }
  EXPECT_EQ(ready(TcpSocket{std::string("none"), ""}), "runs");
  EXPECT_THAT(rest(), HasSubstr("tcpSocket.port: is not a port of the container"));
  EXPECT_EQ(ready(HttpGet{std::uint16_t{80}, "10.0.0.1", "/", "", {}}), "runs");
  EXPECT_THAT(rest(), HasSubstr("httpGet.host: only the pod's own address is probed"));
  EXPECT_EQ(ready(HttpGet{std::uint16_t{80}, "", "/a b", "", {}}), "runs");
  EXPECT_EQ(ready(std::monostate{}), "runs");
}

TEST_F(Inherit, ACommandOfItsOwnProgramIsAProbe) {
  web().env = {
      {"DIR", "/var/a", {}}, {"DIR", "/var/b", {}}, {"SECRET", "", KeyRef{}}, {"PROGRAM", "/app", {}}};
  web().readinessProbe = Probe{
      ExecCommand{{"$(PROGRAM)", "ready", "$(DIR)/x", "[$(SECRET)]", "$(NONE)", "$$(DIR)"}}, 0, 3, 7, 2};
  const auto ready = std::get<config::ReadyWhenCommand>(workload().readiness.when);
  EXPECT_THAT(ready.argv, ElementsAre("/app", "ready", "/var/b/x", "[]", "$(NONE)", "$(DIR)"))
      << "kubelet sees only what the container itself writes";
  EXPECT_EQ(ready.timeout, 3s);
  EXPECT_EQ(ready.period, 7s);
  EXPECT_THAT(rest(),
              HasSubstr("differs spec.containers[0].readinessProbe.exec: it runs beside the fallback"));

  web().readinessProbe.reset();
  web().startupProbe = Probe{ExecCommand{{"/app", "up"}}, 5, 1, 10, 6};
  EXPECT_THAT(std::get<config::ReadyWhenCommand>(workload().readiness.when).argv, ElementsAre("/app", "up"));
  EXPECT_EQ(workload().readiness.timeout, 65s);

  web().livenessProbe = Probe{ExecCommand{{"/app", "alive"}}, 0, 2, 20, 4};
  const auto live = workload().liveness.value();
  EXPECT_THAT(std::get<config::ReadyWhenCommand>(live.when).argv, ElementsAre("/app", "alive"));
  EXPECT_EQ(live.timeout, 2s);
  EXPECT_EQ(live.interval, 20s);
  EXPECT_EQ(live.failures, 4U);

  // An init in front is not the program; the program that it starts is.
  web().command = {"/sbin/tini", "--", "/shop", "serve"};
  EXPECT_FALSE(workload().liveness);
  web().livenessProbe->handler = ExecCommand{{"/shop", "alive"}};
  EXPECT_TRUE(workload().liveness);
  // If the configuration sets the arguments, it is unknown which program of the pod the binary is.
  configured.given = {"args"};
  EXPECT_FALSE(workload().liveness);
}

TEST_F(Inherit, AScriptIsNotTheBinarysOwnCommand) {
  for (const auto* program : {"python3.11", "/usr/bin/java", "/usr/bin/env", "/app/run.sh"}) {
    web().command = {program, "server"};
    web().livenessProbe = Probe{ExecCommand{{program, "health"}}, 0, 2, 20, 4};
    EXPECT_FALSE(workload().liveness) << program;
    EXPECT_THAT(rest(), HasSubstr("livenessProbe.exec")) << program;
    EXPECT_THAT(rest(), HasSubstr("runs scripts")) << program;
  }
}

TEST_F(Inherit, LimitsGracePolicyAndNames) {
  web().resources.limits = {{"memory", "64Mi"}, {"cpu", "250m"}};
  pod.terminationGracePeriodSeconds = 45;
  pod.restartPolicy = "OnFailure";
  web().imagePullPolicy = "Always";
  pod.hostAliases = {{"10.0.0.9", {"db", "db.shop"}}, {"10.0.0.9\n1.1.1.1", {"evil"}}, {"10.0.0.8", {"a b"}}};
  const auto made = workload();
  EXPECT_EQ(made.resources.memoryBytes, 64U << 20);
  EXPECT_EQ(made.resources.cpus, 0.25);
  EXPECT_EQ(made.terminationGrace, 45s);
  EXPECT_EQ(made.restart.policy, config::RestartPolicy::on_failure);
  EXPECT_EQ(made.detection.pullPolicy, config::PullPolicy::always);
  EXPECT_THAT(made.hostAliases, ElementsAre(config::HostAlias{"10.0.0.9", {"db", "db.shop"}}));
  EXPECT_THAT(rest(), HasSubstr("spec.hostAliases"));
  pod.terminationGracePeriodSeconds = -3;
  EXPECT_EQ(workload().terminationGrace, 1s);
}

TEST_F(Inherit, WhatTheConfigurationWritesOutranksThePod) {
  configured.given = {"image",     "workingDir", "capabilities",     "readiness",
                      "resources", "startAfter", "terminationGrace", "restart"};
  configured.image = "r.example.com/shop/checkout:1.8.2";
  configured.workingDir = "/mine";
  configured.security.capabilities = 4;
  configured.readiness.when = config::ReadyWhenTcp{1};
  configured.resources.memoryBytes = 5;
  configured.startAfter = {"x"};
  configured.terminationGrace = 3s;
  configured.restart.policy = config::RestartPolicy::never;
  configured.detection.pullPolicy = config::PullPolicy::never;
  web().workingDir = "/pod";
  web().imagePullPolicy = "Always";
  web().securityContext.privileged = true;
  web().readinessProbe.emplace().handler = TcpSocket{std::uint16_t{80}, ""};
  web().resources.limits = {{"memory", "1Gi"}};
  pod.terminationGracePeriodSeconds = 60;
  pod.ownerKind = "Job";
  const auto made = workload();
  EXPECT_EQ(made.image, configured.image);
  EXPECT_EQ(made.imageFrom, Provenance::configuration);
  EXPECT_EQ(made.workingDir, "/mine");
  EXPECT_EQ(made.security.capabilities, 4U);
  EXPECT_EQ(std::get<config::ReadyWhenTcp>(made.readiness.when).port, 1);
  EXPECT_EQ(made.resources.memoryBytes, 5U);
  EXPECT_THAT(made.startAfter, ElementsAre("x"));
  EXPECT_EQ(made.terminationGrace, 3s);
  EXPECT_EQ(made.restart.policy, config::RestartPolicy::never);
  EXPECT_EQ(made.detection.pullPolicy, config::PullPolicy::never);
  EXPECT_FALSE(refused());
  EXPECT_THAT(rest(), HasSubstr("the configuration names \"r.example.com/shop/checkout:1.8.2\", the pod"));
}

TEST_F(Inherit, AMissingImageConfigurationIsReported) {
  image.reset();
  web().args = {"--port=80"};
  EXPECT_THAT(workload().args, ElementsAre("--port=80"));
  EXPECT_EQ(workload().argv0, "");
  EXPECT_EQ(workload().user.uid, 65532U);
  EXPECT_THAT(rest(), HasSubstr("fallbackctl sign --image-config"));
  EXPECT_THAT(rest(), HasSubstr("the user is not known; it is 65532"));
  EXPECT_FALSE(refused());
}

TEST_F(Inherit, OtherDifferencesAreReported) {
  web().lifecycle = {"postStart", "preStop"};
  web().stdin = true;
  web().securityContext.readOnlyRootFilesystem.reset();
  pod.imagePullSecrets = 1;
  pod.enableServiceLinks = true;
  pod.subdomain = "web";
  const auto text = rest();
  for (const auto* what : {"lifecycle.postStart", "lifecycle.preStop", "stdin", "readOnlyRootFilesystem",
                           "imagePullSecrets", "enableServiceLinks", "subdomain"}) {
    EXPECT_THAT(text, HasSubstr(what));
  }
  EXPECT_THAT(text, Not(HasSubstr("refuses")));
}

}  // namespace
}  // namespace fallbackd::kube
