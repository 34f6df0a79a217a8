// SPDX-License-Identifier: Apache-2.0
// Whole pods as found in clusters (tests/unit/kube/pods). Each file also has the process as kubelet and the
// runtime would start it, and the differences, with reasons, of a fallback with only its binary configured.
#include "cache/image_config.hpp"
#include "config/security_names.hpp"
#include "kube/inherit.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace fallbackd::kube {
namespace {

namespace json = boost::json;

json::array listOf(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

json::object mapOf(const std::map<std::string, std::string>& texts) {
  json::object object;
  for (const auto& [key, value] : texts) object[key] = value;
  return object;
}

std::string secondsOf(std::chrono::nanoseconds time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(time).count()) + "s";
}

template <class How>
std::string questionOf(const How& how) {
  if (const auto* const tcp = std::get_if<config::ReadyWhenTcp>(&how))
    return "tcp " + std::to_string(tcp->port);
  if (const auto* const grpc = std::get_if<config::ReadyWhenGrpc>(&how))
    return "grpc " + std::to_string(grpc->port) + " " + grpc->service;
  if (const auto* const command = std::get_if<config::ReadyWhenCommand>(&how)) {
    std::string text = "exit code 0 of";
    for (const auto& word : command->argv) text += " " + word;
    return text;
  }
  const auto* const http = std::get_if<config::ReadyWhenHttp>(&how);
  if (http == nullptr) return "runs";
  std::string text = "http " + std::to_string(http->port) + " " + http->path;
  for (const auto& [name, value] : http->headers) text += " " + name + ": " + value;
  return text;
}

std::string profileOf(const config::SecurityProfile& profile) {
  using Type = config::SecurityProfile::Type;
  if (profile.type == Type::localhost) return profile.localhost;
  return profile.type == Type::unconfined ? "Unconfined" : "RuntimeDefault";
}

std::string mountOf(const config::Volume& volume) {
  constexpr std::array kKinds{"configMap",   "secret", "projected", "emptyDir",
                              "downwardAPI", "csi",    "hostPath"};
  std::string text = kKinds.at(static_cast<std::size_t>(volume.kind));
  text += " " + (volume.path.empty() ? volume.name : volume.path);
  if (!volume.subPath.empty()) text += " / " + volume.subPath;
  return text + " at " + volume.mountPath + (volume.readOnly ? " ro" : " rw");
}

/// The process. Properties with their usual value are left out.
json::object processOf(const Inherited& inherited) {
  const auto& workload = inherited.workload;
  json::object process;
  json::array argv{workload.argv0.empty() ? workload.binary.name : workload.argv0};
  for (const auto& arg : workload.args) argv.emplace_back(arg);
  process["argv"] = std::move(argv);
  process["env"] = mapOf(workload.env);
  if (!workload.envFiles.empty()) process["envFiles"] = mapOf(workload.envFiles);
  process["cwd"] = workload.workingDir;
  process["user"] = std::to_string(workload.user.uid) + ":" + std::to_string(workload.user.gid);
  json::array groups;
  for (const auto group : workload.user.groups) groups.emplace_back(group);
  process["groups"] = std::move(groups);
  process["capabilities"] = config::capabilityList(workload.security.capabilities);
  process["seccomp"] = profileOf(workload.security.seccomp);
  process["appArmor"] = profileOf(workload.security.appArmor);
  if (!workload.security.seLinuxLabel.empty()) process["seLinux"] = workload.security.seLinuxLabel;
  json::array mounts;
  for (const auto& volume : workload.volumes) mounts.emplace_back(mountOf(volume));
  process["mounts"] = std::move(mounts);
  json::object limits;
  if (workload.resources.memoryBytes) limits["memory"] = *workload.resources.memoryBytes;
  if (workload.resources.cpus) limits["cpu"] = *workload.resources.cpus;
  process["limits"] = std::move(limits);
  process["ready"] = questionOf(workload.readiness.when) + " within " + secondsOf(workload.readiness.timeout);
  if (const auto& live = workload.liveness) {
    process["alive"] = questionOf(live->when) + " every " + secondsOf(live->interval) + " within " +
                       secondsOf(live->timeout) + " x" + std::to_string(live->failures);
  }
  process["grace"] = secondsOf(workload.terminationGrace);
  constexpr std::array kRestarts{"Always", "OnFailure", "Never"};
  process["restart"] =
      workload.restart.policy ? kRestarts.at(static_cast<std::size_t>(*workload.restart.policy)) : "";
  constexpr std::array kPulls{"IfNotPresent", "Always", "Never"};
  process["pull"] = workload.detection.pullPolicy
                        ? kPulls.at(static_cast<std::size_t>(*workload.detection.pullPolicy))
                        : "";
  process["image"] = workload.image;
  if (!workload.startAfter.empty()) process["after"] = listOf(workload.startAfter);
  if (!inherited.sidecarsBefore.empty()) process["sidecars"] = listOf(inherited.sidecarsBefore);
  json::array hosts;
  for (const auto& alias : workload.hostAliases) {
    for (const auto& name : alias.names) hosts.emplace_back(alias.ip + " " + name);
  }
  if (!hosts.empty()) process["hosts"] = std::move(hosts);
  return process;
}

json::array restOf(const Inherited& inherited) {
  json::array rest;
  for (const auto& one : inherited.notInherited) {
    rest.emplace_back(std::string(toString(one.weight)) + " " + one.path + ": " + one.why);
  }
  return rest;
}

std::vector<std::string> textsAt(const json::object& object, std::string_view key) {
  std::vector<std::string> texts;
  if (const auto* const list = object.if_contains(key)) {
    for (const auto& item : list->as_array()) texts.emplace_back(item.as_string());
  }
  return texts;
}

std::map<std::string, std::string> mapAt(const json::object& object, std::string_view key) {
  std::map<std::string, std::string> texts;
  if (const auto* const map = object.if_contains(key)) {
    for (const auto& entry : map->as_object()) texts.emplace(entry.key(), entry.value().as_string());
  }
  return texts;
}

ObjectContents contentsAt(const json::object& object, std::string_view key) {
  ObjectContents contents;
  if (const auto* const all = object.if_contains(key)) {
    for (const auto& entry : all->as_object()) {
      auto& content = contents[std::string(entry.key())];
      if (!entry.value().is_null()) content = mapAt(all->as_object(), entry.key());
    }
  }
  return contents;
}

Facts factsOf(const json::object& fixture) {
  Facts facts;
  const auto* const given = fixture.if_contains("facts");
  if (given == nullptr) return facts;
  const auto& object = given->as_object();
  facts.podIps = textsAt(object, "podIps");
  facts.allocatable = mapAt(object, "allocatable");
  facts.configMaps = contentsAt(object, "configMaps");
  facts.secrets = contentsAt(object, "secrets");
  facts.persistentVolumes = mapAt(object, "persistentVolumes");
  if (object.contains("serviceVariables")) facts.serviceVariables = mapAt(object, "serviceVariables");
  return facts;
}

config::LauncherSettings launcherOf(const json::object& fixture) {
  config::LauncherSettings launcher;
  const auto* const given = fixture.if_contains("launcher");
  if (given == nullptr) return launcher;
  const auto& object = given->as_object();
  launcher.allowedHostPaths = textsAt(object, "allowedHostPaths");
  if (const auto* const allowed = object.if_contains("allowHostNetwork"))
    launcher.allowHostNetwork = allowed->as_bool();
  return launcher;
}

config::Workload configuredOf(const json::object& fixture) {
  config::Workload workload;
  workload.binary = {"fallback", "1.0.0"};
  const auto* const given = fixture.if_contains("configured");
  if (given == nullptr) return workload;
  const auto& object = given->as_object();
  if (object.contains("allowRoot")) {
    workload.given = {"user", "user.allowRoot"};
    workload.user.allowRoot = true;
  }
  if (object.contains("restart")) {
    workload.given.insert("restart");
    workload.restart.policy = config::RestartPolicy::never;
  }
  return workload;
}

class Likeness : public testing::TestWithParam<std::string> {};

TEST_P(Likeness, TheFallbackIsTheProcessOfThePod) {
  std::ifstream file(std::string(PODS) + "/" + GetParam());
  std::stringstream text;
  text << file.rdbuf();
  const auto fixture = json::parse(text.str()).as_object();
  const auto pod = parsePod(json::serialize(fixture.at("pod")));
  ASSERT_TRUE(pod) << pod.error().context;
  std::optional<ImageConfig> image;
  if (const auto* const recorded = fixture.if_contains("image")) {
    image = cache::readImageConfig(*recorded, "the fixture").value();
  }
  const auto facts = factsOf(fixture);
  const auto launcher = launcherOf(fixture);
  const auto configured = configuredOf(fixture);
  const std::string container(fixture.at("container").as_string());
  const auto inherited = inherit({*pod, container, configured, launcher, facts, image});
  ASSERT_TRUE(inherited) << inherited.error().context;
  const auto process = processOf(*inherited);
  const auto& expected = fixture.at("process").as_object();
  for (const auto& entry : expected) {
    const auto* const actual = process.if_contains(entry.key());
    EXPECT_TRUE(actual != nullptr && *actual == entry.value())
        << entry.key() << ": " << (actual == nullptr ? "nothing" : json::serialize(*actual)) << ", not "
        << json::serialize(entry.value());
  }
  for (const auto& entry : process)
    EXPECT_TRUE(expected.contains(entry.key())) << entry.key() << " is not expected";
  const auto& rest = fixture.at("notInherited").as_array();
  EXPECT_EQ(restOf(*inherited), rest) << json::serialize(restOf(*inherited));
  EXPECT_EQ(mayStart(inherited->notInherited, config::MissingEnv::refuse), fixture.at("starts").as_bool());
}

std::vector<std::string> podFiles() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(PODS))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Pods, Likeness, testing::ValuesIn(podFiles()), [](const auto& one) {
  std::string name = one.param.substr(0, one.param.find('.'));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(LikenessTable, HasTwentyPods) {
  EXPECT_GE(podFiles().size(), 20U);
}

}  // namespace
}  // namespace fallbackd::kube
