// SPDX-License-Identifier: Apache-2.0
// fallbackctl init as a person runs it: it turns kubectl's output into a configuration.
#include "config/load.hpp"
#include "shell.hpp"
#include "temp_folder.hpp"

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd {
namespace {

using test::Output;
using test::shell;
using testing::HasSubstr;
using testing::Not;

struct InitTest : testing::Test {
  Output init(const std::string& input) {
    return shell(std::string(FALLBACKCTL) + " init < " + input + " > " + out() + " && cat " + out());
  }
  [[nodiscard]] std::string out() const { return folder.path() + "/fallbackd.yaml"; }
  std::string write(const std::string& text) {
    const auto file = folder.path() + "/input.yaml";
    std::ofstream(file) << text;
    return file;
  }
  test::TempFolder folder;
};

TEST_F(InitTest, TakesOverWhatItCanAndListsTheRest) {
  const auto output = init(FIXTURES "/deployment.yaml");
  ASSERT_EQ(output.code, 0) << output.text;
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << loaded.diagnostics[0].toString();
  ASSERT_EQ(loaded.config->workloads.size(), 4U);
  // A native sidecar can also have a fallback.
  EXPECT_EQ(loaded.config->workloads[0].name, "checkout-mesh");
  const auto& checkout = loaded.config->workloads[1];
  EXPECT_EQ(checkout.name, "checkout-checkout");
  EXPECT_EQ(checkout.match.namespaceName, "shop");
  EXPECT_EQ(checkout.match.labels, (std::map<std::string, std::string>{{"app", "checkout"}}));
  EXPECT_EQ(checkout.image, "registry.example.com:5000/shop/checkout:v1.8.3");
  EXPECT_EQ(checkout.binary.toString(), "checkout@1.8.3");
  EXPECT_EQ(checkout.args,
            (std::vector<std::string>{"serve", "--port=8080", "--greeting=a \"quoted\" word"}));
  EXPECT_EQ(checkout.workingDir, "/srv");
  EXPECT_EQ(checkout.user.uid, 1000U);
  EXPECT_EQ(checkout.user.gid, 1001U);
  EXPECT_EQ(checkout.user.groups, (std::vector<gid_t>{2000}));
  ASSERT_EQ(checkout.volumes.size(), 3U);
  EXPECT_EQ(checkout.volumes[0].mountPath, "/etc/app");
  EXPECT_EQ(checkout.volumes[1].kind, config::Volume::Kind::csi) << "the claim is the pod's only one";
  EXPECT_FALSE(checkout.volumes[2].readOnly);
  EXPECT_EQ(checkout.env, (std::map<std::string, std::string>{{"ROLE", "front"}, {"EMPTY", ""}}));
  EXPECT_EQ(checkout.security.capabilities, 1ULL << 10U);
  ASSERT_TRUE(checkout.liveness);
  EXPECT_EQ(std::get<config::ReadyWhenHttp>(checkout.liveness->when).path, "/live");
  EXPECT_EQ(std::get<config::ReadyWhenHttp>(checkout.readiness.when).port, 8080);
  EXPECT_EQ(std::get<config::ReadyWhenHttp>(checkout.readiness.when).path, "/ready");
  EXPECT_EQ(checkout.resources.memoryBytes, 64U << 20);
  EXPECT_EQ(checkout.terminationGrace, std::chrono::seconds(20));
  EXPECT_EQ(checkout.detection.pullPolicy, config::PullPolicy::always);
  EXPECT_EQ(checkout.startAfter, (std::vector<std::string>{"migrate"}));
  for (const char* named : {"variable \"PASSWORD\": key \"password\" of Secret \"db\" is not known",
                            "the variables of ConfigMap \"more\" are not known",
                            "the container starts \"/app/checkout\"", "the sidecar \"mesh\" starts before"}) {
    EXPECT_THAT(output.text, HasSubstr(named));
  }
  EXPECT_THAT(output.text, Not(HasSubstr("last-applied")));
  // Two containers of one pod are two workloads; a digest is not a version.
  EXPECT_EQ(loaded.config->workloads[2].name, "queue-queue");
  EXPECT_EQ(loaded.config->workloads[3].name, "queue-sidecar");
  EXPECT_EQ(loaded.config->workloads[3].binary.toString(), "sidecar@2.0.0");
  EXPECT_THAT(output.text, HasSubstr("the image's tag is not a version"));
}

TEST_F(InitTest, RefusesObjectsThatDoNotCreatePods) {
  for (const auto& [text, says] :
       {std::pair{"kind: Service\nmetadata: {name: s}\n", "Service has no pod template"},
        std::pair{"hello: world\n", "is not a Kubernetes object"}, std::pair{"", "is empty"},
        std::pair{"a: [", "malformed"}}) {
    const auto output = init(write(text));
    EXPECT_EQ(output.code, 2) << text;
    EXPECT_THAT(output.text, HasSubstr(says));
  }
}

/// A name from a pod must not become YAML syntax.
TEST_F(InitTest, NothingEscapesFromItsQuotes) {
  const auto output =
      init(write("kind: Pod\nmetadata: {name: \"x\\nworkloads: []\", labels: {a: \"b\\\", c: d\"}}\n"
                 "spec: {containers: [{name: \"y\\n# z\", image: \"i:1\\n  - name: evil\"}]}\n"));
  const auto loaded = config::load(out(), {});
  EXPECT_EQ(loaded.config, nullptr) << "the names are refused as invalid";
  for (const auto& one : loaded.diagnostics) EXPECT_THAT(one.toString(), Not(HasSubstr("malformed")));
  EXPECT_THAT(output.text, Not(HasSubstr("\n  - name: evil")));
}

/// Manifests reduced from real ones, with the expected output for each.
TEST_F(InitTest, CommandsOfTheProgramAreOnlyInherited) {
  const auto output = init(write(
      "{apiVersion: v1, kind: Pod, metadata: {name: w, namespace: mail}, spec: {containers: [{name: worker, "
      "image: 'r.example.com/mail/worker:3.2.1', command: [/worker], securityContext: {runAsUser: 1000, "
      "readOnlyRootFilesystem: true}, readinessProbe: {exec: {command: [/worker, ready]}}, "
      "livenessProbe: {exec: {command: [/worker, alive]}}}]}}"));
  ASSERT_EQ(output.code, 0) << output.text;
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << loaded.diagnostics[0].toString() << output.text;
  const auto& worker = loaded.config->workloads.at(0);
  EXPECT_TRUE(std::holds_alternative<config::ReadyWhenExec>(worker.readiness.when));
  EXPECT_FALSE(worker.liveness) << "a check that always succeeds would be useless";
  EXPECT_THAT(output.text, HasSubstr("the probe that runs a command"));
}

struct InitCaseTest : InitTest {
  /// The workloads of the output, which check-config must accept.
  std::vector<config::Workload> workloadsOf(const std::string& name, const std::string& options = "") {
    text = shell(std::string(FALLBACKCTL) + " init " + options + " < " FIXTURES "/init/" + name + ".yaml > " +
                 out() + " && cat " + out())
               .text;
    auto loaded = config::load(out(), {});
    EXPECT_NE(loaded.config, nullptr) << text << loaded.diagnostics.at(0).toString();
    return loaded.config == nullptr ? std::vector<config::Workload>() : loaded.config->workloads;
  }
  config::Workload one(const std::string& name) {
    auto all = workloadsOf(name);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? config::Workload{} : all.front();
  }
  [[nodiscard]] bool isOpen(const std::string& words) const {
    for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
      const auto begin = text.rfind('\n', at) + 1;
      if (text.substr(begin, at - begin).find("# TODO: ") != std::string::npos) return true;
    }
    return false;
  }
  std::string text;
};

TEST_F(InitCaseTest, ReferencesInVariablesAreExpanded) {
  EXPECT_EQ(one("envexp").env.at("DB_URL"), "postgres://db:5432/x");
}

TEST_F(InitCaseTest, ProfilesAreTakenOverAndHostAliasesNamed) {
  const auto workload = one("hostaliases-seccomp");
  EXPECT_EQ(workload.security.seccomp.localhost, "profiles/audit.json");
  EXPECT_EQ(workload.security.appArmor.localhost, "k8s-strict");
  EXPECT_EQ(workload.resources.memoryBytes, 64U << 20);
  EXPECT_TRUE(isOpen("hostAliases 10.1.2.3 db.internal")) << text;
  EXPECT_THAT(text, HasSubstr("spec.securityContext.seLinuxOptions"));
}

TEST_F(InitCaseTest, LatestIsAlwaysPulledAndANamespaceIsAskedFor) {
  const auto workload = one("latest-nopolicy");
  EXPECT_EQ(workload.detection.pullPolicy, config::PullPolicy::always);
  EXPECT_TRUE(workload.match.namespaceName) << "it must not match every namespace";
  EXPECT_TRUE(isOpen("the object names no namespace")) << text;
  EXPECT_TRUE(isOpen("the image's tag is not a version")) << text;
  EXPECT_EQ(workloadsOf("latest-nopolicy", "--namespace shop").at(0).match.namespaceName, "shop");
  EXPECT_FALSE(isOpen("the object names no namespace")) << text;
}

TEST_F(InitCaseTest, AnInitContainerIsAwaitedAndNamedAndASidecarIsNot) {
  const auto all = workloadsOf("init-same-registry");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1].startAfter, (std::vector<std::string>{"migrate"}));
  EXPECT_THAT(text, HasSubstr("init container \"migrate\" comes from the same registry, r.example.com"));
  EXPECT_THAT(text, HasSubstr("the sidecar \"mesh\" starts before"));
}

TEST_F(InitCaseTest, VolumesAreTakenOverWhereTheConfigurationCan) {
  const auto workload = one("volumes");
  std::map<std::string, config::Volume::Kind> kinds;
  for (const auto& volume : workload.volumes) kinds[volume.mountPath] = volume.kind;
  using Kind = config::Volume::Kind;
  EXPECT_EQ(kinds, (std::map<std::string, Kind>{{"/inline", Kind::csi},
                                                {"/etc/db/db.conf", Kind::config_map},
                                                {"/var/run/tok", Kind::projected}}));
  EXPECT_TRUE(isOpen("behind the claim \"data-db-0\" is not known")) << text;
  EXPECT_TRUE(isOpen("behind the claim \"db-scratch\" is not known")) << text;
  EXPECT_TRUE(isOpen("\"/var/log/db\" is not below any folder in launcher.allowedHostPaths")) << text;
  EXPECT_EQ(workload.security.capabilities, 1ULL << 10U);
}

TEST_F(InitCaseTest, OneNameInTwoNamespacesAndTwoProgramsInContainersOfOneName) {
  const auto all = workloadsOf("sametwice");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_NE(all[0].name, all[1].name);
  EXPECT_EQ(all[0].match.namespaceName, "a");
  EXPECT_EQ(all[1].match.namespaceName, "b");
  EXPECT_EQ(all[0].binary.name, "web");
  EXPECT_EQ(all[1].binary.name, "pay");
}

TEST_F(InitCaseTest, ImagesOfEveryForm) {
  const auto all = workloadsOf("image-forms");
  std::vector<std::string> binaries;
  for (const auto& workload : all) binaries.push_back(workload.binary.toString());
  EXPECT_EQ(binaries, (std::vector<std::string>{"a@1.25.3-alpine", "b@0.0.0", "c@2", "d@2024.01.15+hotfix",
                                                "e@0123abc", "f@1.0-SNAPSHOT"}));
  EXPECT_TRUE(isOpen("the image's tag is not a version")) << text;
}

TEST_F(InitCaseTest, TheServiceAccountsTokenAndVariables) {
  EXPECT_TRUE(one("satoken").serviceVariables);
  EXPECT_TRUE(isOpen("the service account's token")) << text;
}

TEST_F(InitCaseTest, GrpcAndExecProbesNeverProbeAnotherPort) {
  const auto all = workloadsOf("grpc-exec");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(std::get<config::ReadyWhenTcp>(all[0].readiness.when).port, 5050);
  EXPECT_TRUE(std::holds_alternative<config::ReadyWhenExec>(all[1].readiness.when));
  EXPECT_EQ(all[0].user.groups, (std::vector<gid_t>{5}));
  for (const char* words : {"the variables of ConfigMap \"c\" are not known", "variable \"M\"",
                            "variable \"MY_IP\": status.hostIP", "the user is not known"}) {
    EXPECT_TRUE(isOpen(words)) << words << text;
  }
  EXPECT_THAT(text, HasSubstr("lifecycle.preStop: hooks are not run"));
  EXPECT_THAT(text, HasSubstr("readinessProbe.exec"));
}

TEST_F(InitCaseTest, UdpAndSctpAreNotTcp) {
  const auto all = workloadsOf("grpc-unnamed");
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(std::get<config::ReadyWhenTcp>(all[0].readiness.when).port, 6000);
  EXPECT_EQ(std::get<config::ReadyWhenTcp>(all[1].readiness.when).port, 6000);
  EXPECT_TRUE(std::holds_alternative<config::ReadyWhenExec>(all[2].readiness.when));
  EXPECT_TRUE(std::holds_alternative<config::ReadyWhenExec>(all[3].readiness.when));
}

TEST_F(InitCaseTest, ATrailingSlashIsAccepted) {
  EXPECT_EQ(one("slash").volumes.at(0).mountPath, "/etc/c");
}

TEST_F(InitCaseTest, ListsAndLabelsOfOneRevision) {
  const auto workload = one("list");
  EXPECT_EQ(workload.match.labels, (std::map<std::string, std::string>{{"app", "g"}}));
  EXPECT_TRUE(workload.user.allowRoot);
  EXPECT_TRUE(isOpen("the fallback is root")) << text;
  EXPECT_THAT(text, Not(HasSubstr("7d4f\"}")));
}

TEST_F(InitCaseTest, TheShortFormIsMatchAndBinary) {
  // It needs pod sources, which a drop-in cannot configure.
  const auto whole = "apiVersion: fallbackd.io/v1\nkubernetes: {sources: [apiserver]}\n";
  shell(std::string(FALLBACKCTL) + " init --short < " FIXTURES "/init/envexp.yaml > " + out());
  std::ifstream in(out());
  std::string made((std::istreambuf_iterator<char>(in)), {});
  EXPECT_THAT(made, HasSubstr("fallbackd.io/binary.web: web@1.0.0"));
  const std::string version = "apiVersion: fallbackd.io/v1\n";
  made.replace(made.find(version), version.size(), whole);
  std::ofstream(out()) << made;
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << loaded.diagnostics.at(0).toString() << made;
  const auto& workload = loaded.config->workloads.at(0);
  EXPECT_TRUE(workload.inheritance.on);
  EXPECT_EQ(workload.given, (std::set<std::string, std::less<>>{"name", "match", "binary"}));
}

TEST_F(InitTest, SeveralDocumentsAndWhatOthersOwn) {
  const std::string spec = "spec: {containers: [{name: c, image: 'r.example.com/a:1', command: [/a]}]}";
  const auto output =
      init(write("kind: ConfigMap\nmetadata: {name: x}\n---\nkind: Job\nmetadata: {name: j, namespace: n}\n"
                 "spec: {template: {metadata: {labels: {app: j}}, " +
                 spec +
                 "}}\n---\n"
                 "kind: Pod\nmetadata: {name: j-1, namespace: n, ownerReferences: [{kind: Job, name: j, "
                 "controller: true}]}\n" +
                 spec + "\n"));
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << output.text;
  ASSERT_EQ(loaded.config->workloads.size(), 1U);
  EXPECT_TRUE(loaded.config->workloads[0].restart.policy) << "otherwise pods of Jobs are not covered";
  EXPECT_THAT(output.text, HasSubstr("a pod of a Job"));
  EXPECT_THAT(output.text, HasSubstr("their owners are there, too"));
}

/// The output of kubectl get pod -o yaml, with the fields that the API server and the controllers added.
TEST_F(InitTest, ALivePodLosesWhatIsItsOwn) {
  const auto output = init(write(
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-7d4f-x2k\n  namespace: n\n  labels: {app: web, "
      "pod-template-hash: 7d4f}\n  ownerReferences: [{kind: ReplicaSet, name: web-7d4f, controller: true}]\n"
      "spec:\n  nodeName: node-7\n  containers:\n  - name: web\n    image: r.example.com/web:1.0.0\n"
      "    command: [/web, --ip=$(IP)]\n    env:\n    - {name: IP, valueFrom: {fieldRef: {fieldPath: "
      "status.podIP}}}\n    - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}\n"
      "    volumeMounts:\n    - {name: kube-api-access-x7k2p, mountPath: "
      "/var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}\n  volumes:\n  - name: "
      "kube-api-access-x7k2p\n    projected: {sources: [{serviceAccountToken: {path: token}}]}\n"
      "status: {podIP: 10.1.2.3, hostIP: 10.0.0.7}\n"));
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << output.text;
  const auto& workload = loaded.config->workloads.at(0);
  EXPECT_EQ(workload.match.labels, (std::map<std::string, std::string>{{"app", "web"}}));
  EXPECT_TRUE(workload.volumes.empty()) << "the volume's name is unique to that pod";
  EXPECT_TRUE(workload.env.empty()) << output.text;
  for (const char* own : {"10.1.2.3", "node-7", "7d4f\"}"}) EXPECT_THAT(output.text, Not(HasSubstr(own)));
  EXPECT_THAT(output.text, HasSubstr("TODO: the service account's token"));
  EXPECT_THAT(output.text, HasSubstr("TODO: variable \"IP\": every fallback has this value as POD_IP"));
  EXPECT_THAT(output.text, HasSubstr("command[1]: it refers to $(IP)"));
}

TEST_F(InitTest, TwoObjectsForTheSamePodsAreNotBothWritten) {
  const auto object = [](const std::string& name) {
    return "kind: Deployment\nmetadata: {name: " + name +
           ", namespace: n}\nspec: {template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, "
           "image: "
           "'r.example.com/a:1'}]}}}\n";
  };
  const auto output = init(write(object("one") + "---\n" + object("two")));
  const auto loaded = config::load(out(), {});
  ASSERT_NE(loaded.config, nullptr) << output.text;
  EXPECT_EQ(loaded.config->workloads.size(), 1U);
  EXPECT_THAT(output.text, HasSubstr("TODO: \"Deployment two\", container \"c\" is left out"));
}

}  // namespace
}  // namespace fallbackd
