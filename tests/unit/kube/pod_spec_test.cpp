// SPDX-License-Identifier: Apache-2.0
#include "kube/pod_spec.hpp"

#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A pod with these additions to its specification and to its only container.
std::string podWith(const std::string& spec, const std::string& container) {
  return R"({"metadata":{"name":"p","namespace":"n"},"spec":{)" + spec + (spec.empty() ? "" : ",") +
         R"("containers":[{"name":"c")" + (container.empty() ? "" : ",") + container + "}]}}";
}

std::string problemOf(const std::string& text) {
  const auto pod = parsePod(text);
  return pod ? "none" : pod.error().context;
}

TEST(PodSpec, UnknownFieldsAndNullAreIgnored) {
  const auto pod =
      parsePod(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","labels":null,
    "managedFields":[{"fieldsV1":{"f:spec":{}}}]},"spec":{"somethingNew":{"a":[1]},"volumes":null,
    "containers":[{"name":"c","image":null,"env":[{"name":"A","value":null}],"newer":7}]},"status":null})");
  ASSERT_TRUE(pod) << pod.error().context;
  EXPECT_EQ(pod->name, "p");
  ASSERT_EQ(pod->containers.size(), 1U);
  EXPECT_EQ(pod->containers[0].env[0].name, "A");
  EXPECT_TRUE(pod->enableServiceLinks);
}

TEST(PodSpec, WhatRunsIsReadFromTheStatus) {
  const auto pod = parsePod(
      R"({"metadata":{"name":"p","namespace":"n"},"spec":{"containers":[{"name":"a"}]},"status":{"conditions":[{"type":"Ready","status":"True"},
    {"type":"Other","status":"False"}],"containerStatuses":[
    {"name":"a","containerID":"containerd://4711","state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}},
    {"name":"b","containerID":"containerd://4712","state":{"terminated":{"exitCode":1}}}]}})");
  ASSERT_TRUE(pod) << pod.error().context;
  EXPECT_TRUE(pod->ready);
  EXPECT_THAT(pod->running, ElementsAre(testing::Pair("a", "4711")));
}

TEST(PodSpec, AWrongTypeIsReportedWithItsPath) {
  EXPECT_THAT(problemOf(podWith(R"("hostNetwork":"yes")", "")),
              HasSubstr("spec.hostNetwork is a text, not true or false"));
  EXPECT_THAT(problemOf(podWith("", R"("env":[{"name":"A"},{"name":"B","value":7}])")),
              HasSubstr("spec.containers[0].env[1].value is a number, not a text"));
  EXPECT_THAT(problemOf(podWith("", R"("ports":[{"containerPort":70000}])")),
              HasSubstr("spec.containers[0].ports[0].containerPort is not between 0 and 65535"));
  EXPECT_THAT(problemOf(podWith("", R"("ports":[{"containerPort":80.5}])")), HasSubstr("not a whole number"));
  EXPECT_THAT(problemOf(podWith("", R"("command":"run")")),
              HasSubstr("spec.containers[0].command is a text, not a list"));
  EXPECT_THAT(problemOf(podWith("", R"("args":["a",1])")),
              HasSubstr("spec.containers[0].args[1] is a number"));
  EXPECT_THAT(problemOf(podWith("", R"("securityContext":{"runAsUser":-1})")),
              HasSubstr("runAsUser is not between"));
  EXPECT_THAT(problemOf(podWith("", R"("securityContext":{"runAsUser":18446744073709551615})")),
              HasSubstr("runAsUser is not between"));
  EXPECT_THAT(problemOf(podWith("", R"("readinessProbe":{"httpGet":{"port":"99999"}})")),
              HasSubstr("httpGet.port is not a port"));
  EXPECT_THAT(problemOf(podWith("", R"("args":["a\u0000b"])")),
              HasSubstr("spec.containers[0].args[0] contains a NUL byte"));
  EXPECT_THAT(problemOf(podWith(R"("volumes":[7])", "")),
              HasSubstr("spec.volumes[0] is a number, not an object"));
}

TEST(PodSpec, SeveralProblemsAreReportedTogetherAndBounded) {
  std::string env;
  for (int i = 0; i < 100; ++i) env += R"({"name":"A","value":1},)";
  env.pop_back();
  const auto text = problemOf(podWith(R"("nodeName":1)", R"("env":[)" + env + "]"));
  EXPECT_THAT(text, HasSubstr("spec.containers[0].env[0].value"));
  EXPECT_THAT(text, HasSubstr("93 more"));
  EXPECT_LT(text.size(), 1000U);
}

TEST(PodSpec, AKeyOfAPodIsQuotedInTheMessage) {
  const auto text =
      problemOf(R"({"metadata":{"name":"p","namespace":"n","labels":{"a\nb":1}},"spec":{"containers":[]}})");
  EXPECT_THAT(text, HasSubstr("metadata.labels.a\\x0ab is a number"));
}

TEST(PodSpec, WhatIsNotAPodIsRefused) {
  for (const auto* text :
       {"", "{", "[]", "7", "null", "{}", R"({"kind":"Deployment","metadata":{},"spec":{}})",
        R"({"metadata":{"name":"p"},"spec":{"containers":[]}})",
        R"({"metadata":{"name":"p","namespace":"n"}})",
        R"({"metadata":{"name":"p","namespace":"n"},"spec":{"containers":[{}]}})"}) {
    EXPECT_NE(problemOf(text), "none") << text;
  }
  EXPECT_EQ(parsePod(std::string(kMaxPodBytes + 1, ' ')).error().reason, Reason::too_large);
  EXPECT_NE(problemOf(std::string(100000, '[')), "none");
  std::string many;
  for (int i = 0; i < 9000; ++i) many += R"("a",)";
  many.pop_back();
  EXPECT_THAT(problemOf(podWith("", R"("args":[)" + many + "]")),
              HasSubstr("args has more than 8192 elements"));
}

TEST(PodSpec, VolumesKeepTheirKind) {
  const auto pod = parsePod(podWith(
      R"("volumes":[{"name":"a","configMap":{"name":"x","items":[{"key":"k","path":"f/k"}]}},{"name":"b","secret":{"secretName":"y"}},
      {"name":"c"},{"name":"d","nfs":{"server":"s"}},{"name":"e","projected":{"sources":[{"serviceAccountToken":{}},{"configMap":{"name":"z"}}]}},
      {"name":"f","persistentVolumeClaim":{"claimName":"data","readOnly":true}},{"name":"g","hostPath":{"path":"/var/log"}}])",
      ""));
  ASSERT_TRUE(pod) << pod.error().context;
  using Kind = PodVolume::Kind;
  std::vector<Kind> kinds;
  for (const auto& volume : pod->volumes) kinds.push_back(volume.kind);
  EXPECT_THAT(kinds, ElementsAre(Kind::config_map, Kind::secret, Kind::empty_dir, Kind::other,
                                 Kind::projected, Kind::persistent_volume_claim, Kind::host_path));
  EXPECT_EQ(pod->volumes[0].data[0].items[0].second, "f/k");
  EXPECT_EQ(pod->volumes[1].data[0].name, "y");
  EXPECT_EQ(pod->volumes[3].source, "nfs");
  EXPECT_EQ(pod->volumes[4].data[1].name, "z");
  EXPECT_TRUE(pod->volumes[5].readOnly);
  EXPECT_EQ(pod->volumes[6].path, "spec.volumes[6]");
}

TEST(PodSpec, NumbersStandForQuantitiesAndPorts) {
  const auto pod = parsePod(podWith("", R"("resources":{"limits":{"cpu":2,"memory":"64Mi"}},
    "readinessProbe":{"tcpSocket":{"port":"8080"}},"livenessProbe":{"httpGet":{"port":"web"},"timeoutSeconds":0,"successThreshold":0})"));
  ASSERT_TRUE(pod) << pod.error().context;
  const auto& container = pod->containers[0];
  EXPECT_EQ(container.resources.limits.at("cpu"), "2");
  EXPECT_EQ(std::get<std::uint16_t>(std::get<TcpSocket>(container.readinessProbe->handler).port), 8080);
  EXPECT_EQ(std::get<std::string>(std::get<HttpGet>(container.livenessProbe->handler).port), "web");
  EXPECT_EQ(container.livenessProbe->timeoutSeconds, 1);
  EXPECT_EQ(container.livenessProbe->failureThreshold, 3);
  EXPECT_EQ(container.livenessProbe->successThreshold, 1);
}

/// Replaces every value of a real pod by values of every type: the result is a pod or an error.
TEST(PodSpec, NoValueOfAnyTypeCrashesIt) {
  const std::string text = podWith(
      R"("initContainers":[{"name":"i"}],"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"s"}}]}}],"hostAliases":[{"ip":"1.2.3.4","hostnames":["h"]}])",
      R"("env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}],"envFrom":[{"configMapRef":{"name":"m"}}],"readinessProbe":{"httpGet":{"port":80,"httpHeaders":[{"name":"H","value":"v"}]}},"securityContext":{"capabilities":{"add":["X"]}})");
  ASSERT_EQ(problemOf(text), "none");
  std::mt19937 random(20);  // NOLINT(cert-msc32-c,cert-msc51-cpp): repeatable
  const std::vector<std::string> others{"null", "true", "7",  "-1",        "1.5",  "\"t\"",
                                        "[]",   "[1]",  "{}", "{\"a\":1}", "1e400"};
  std::size_t pods = 0;
  for (int round = 0; round < 3000; ++round) {
    auto changed = text;
    for (unsigned i = 0; i <= random() % 3; ++i) {
      const auto colon = changed.find(':', random() % changed.size());
      if (colon == std::string::npos) continue;
      const auto end = changed.find_first_of(",}]", colon);
      changed.replace(colon + 1, end - colon - 1, others[random() % others.size()]);
    }
    if (round % 3 == 0) changed.erase(random() % changed.size(), random() % 8);
    const auto pod = parsePod(changed);
    if (pod) {
      ++pods;
    } else {
      EXPECT_EQ(pod.error().stage, Stage::config);
      EXPECT_FALSE(pod.error().context.empty());
    }
  }
  EXPECT_GT(pods, 10U) << "some are only unusual";
}

}  // namespace
}  // namespace fallbackd::kube
