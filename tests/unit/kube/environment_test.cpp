// SPDX-License-Identifier: Apache-2.0
#include "kube/environment.hpp"

#include "base/paths.hpp"
#include "kube/mounted_data.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using ::testing::HasSubstr;
using Map = std::map<std::string, std::string>;
using Weight = NotInherited::Weight;

EnvVar plain(std::string name, std::string value) {
  return {std::move(name), std::move(value), {}};
}

struct Environment : testing::Test {
  Environment() {
    pod.name = "web-0";
    pod.namespaceName = "shop";
    pod.uid = "u1";
    pod.nodeName = "node-1";
    pod.serviceAccountName = "web";
    pod.labels = {{"app", "web"}};
    pod.annotations = {{"a[b]", "odd"}};
    pod.enableServiceLinks = false;
    container.path = "spec.containers[0]";
    container.name = "web";
  }
  ContainerEnvironment made() { return {pod, container, facts, configured}; }
  Map values() { return made().values(); }
  /// The missing variables, one a line.
  std::string missing() {
    std::string text;
    const auto environment = made();
    for (const auto& one : environment.missing()) {
      text += one.path + " " + std::string(toString(one.weight)) + ": " + one.why + "\n";
    }
    return text;
  }
  void field(const std::string& name, const std::string& path) {
    container.env.push_back({name, "", FieldRef{path}});
  }
  void key(const std::string& name, KeyRef ref) { container.env.push_back({name, "", std::move(ref)}); }

  Pod pod;
  Container container;
  Facts facts;
  ConfiguredVariables configured;
};

TEST_F(Environment, VariablesThatDoubleEachOtherAreRefused) {
  container.env = {plain("V0", std::string(1024, 'x'))};
  for (int i = 1; i < 60; ++i) {
    const auto before = "$(V" + std::to_string(i - 1) + ")";
    container.env.push_back(plain("V" + std::to_string(i), before + before));
  }
  const auto environment = made();
  std::size_t bytes = 0;
  for (const auto& [name, value] : environment.values()) bytes += value.size();
  EXPECT_LE(bytes, 2 * ContainerEnvironment::kMaxExpanded);
  EXPECT_FALSE(mayStart(environment.missing(), config::MissingEnv::start));
  EXPECT_THAT(missing(), HasSubstr("is larger than 2 MiB together"));
}

TEST_F(Environment, AnArgumentThatRepeatsAVariableIsRefused) {
  container.env = {plain("A", std::string(300'000, 'x'))};
  std::string argument;
  for (int i = 0; i < 60'000; ++i) argument += "$(A)";
  NotInheritedList told;
  EXPECT_LE(made().expandArgument(argument, "spec.containers[0].args[0]", told).size(),
            ContainerEnvironment::kMaxExpanded);
  EXPECT_FALSE(mayStart(told, config::MissingEnv::start));
}

TEST_F(Environment, ValuesAreExpandedWithEarlierVariables) {
  container.env = {plain("LATER", "$(HOST)"), plain("HOST", "db"), plain("URL", "pg://$(HOST):5432/$$(X)"),
                   plain("URL2", "$(URL)!"),  plain("EMPTY", ""),  plain("HOST", "$(HOST)2")};
  EXPECT_EQ(values(), (Map{{"LATER", "$(HOST)"},
                           {"HOST", "db2"},
                           {"URL", "pg://db:5432/$(X)"},
                           {"URL2", "pg://db:5432/$(X)!"},
                           {"EMPTY", ""}}));
  EXPECT_EQ(missing(), "");
}

TEST_F(Environment, EnvFromComesFirstAndGivesWay) {
  facts.configMaps["first"] = Map{{"A", "1"}, {"B", "1"}};
  facts.secrets["second"] = Map{{"B", "2"}, {"C", "$(A)"}};
  facts.configMaps["absent"] = std::nullopt;
  container.envFrom = {{KeyRef::Kind::config_map, "first", "", false},
                       {KeyRef::Kind::secret, "second", "", false},
                       {KeyRef::Kind::config_map, "first", "P_", false},
                       {KeyRef::Kind::config_map, "absent", "", true}};
  container.env = {plain("C", "mine-$(B)-$(P_A)")};
  EXPECT_EQ(values(), (Map{{"A", "1"}, {"B", "2"}, {"C", "mine-2-1"}, {"P_A", "1"}, {"P_B", "1"}}));
  EXPECT_EQ(missing(), "");
}

TEST_F(Environment, AValueOutranksItsSource) {
  container.env = {{"A", "said", FieldRef{"metadata.name"}}};
  EXPECT_EQ(values(), (Map{{"A", "said"}}));
}

TEST_F(Environment, FieldsOfThePod) {
  facts.podIps = {"10.0.0.5", "fd00::5"};
  pod.hostIps = {"192.0.2.1", "2001:db8::1"};
  const std::vector<std::pair<const char*, const char*>> fields{
      {"metadata.name", "web-0"},      {"metadata.namespace", "shop"},
      {"metadata.uid", "u1"},          {"metadata.labels['app']", "web"},
      {"metadata.labels['none']", ""}, {"metadata.annotations['a[b]']", "odd"},
      {"spec.nodeName", "node-1"},     {"spec.serviceAccountName", "web"},
      {"status.podIP", "10.0.0.5"},    {"status.podIPs", "10.0.0.5,fd00::5"},
      {"status.hostIP", "192.0.2.1"},  {"status.hostIPs", "192.0.2.1,2001:db8::1"}};
  for (const auto& [path, value] : fields) {
    container.env.clear();
    field("V", path);
    EXPECT_EQ(values(), (Map{{"V", value}})) << path;
  }
  for (const auto* path :
       {"metadata.labels", "spec.schedulerName", "status.phase", "", "metadata.labels['app'"}) {
    container.env.clear();
    field("V", path);
    EXPECT_THAT(missing(), HasSubstr("is not a field that a variable can have")) << path;
    EXPECT_EQ(values(), Map{}) << path;
  }
}

TEST_F(Environment, AddressesThatAreNotKnownYetAreNamed) {
  field("IP", "status.podIP");
  EXPECT_EQ(missing(),
            "spec.containers[0].env[0] variable: variable \"IP\": the address of the pod is not known\n");
  pod.hostNetwork = true;
  pod.hostIps = {"192.0.2.1"};
  EXPECT_EQ(values(), (Map{{"IP", "192.0.2.1"}})) << "the node's address";
}

TEST_F(Environment, ResourcesInUnitsOfTheDivisor) {
  container.resources.limits = {{"cpu", "1500m"}, {"memory", "100Mi"}, {"hugepages-2Mi", "4Mi"}};
  container.resources.requests = {{"cpu", "100m"}};
  facts.allocatable = {{"ephemeral-storage", "10Gi"}};
  pod.containers.push_back(container);
  Container other;
  other.name = "other";
  other.resources.limits = {{"memory", "1Gi"}};
  pod.containers.push_back(other);
  struct Case {
    const char *container, *resource, *divisor, *value;
  };
  for (const auto& one : std::vector<Case>{{"", "limits.cpu", "", "2"},
                                           {"", "limits.cpu", "0", "2"},
                                           {"", "limits.cpu", "1m", "1500"},
                                           {"", "requests.cpu", "1m", "100"},
                                           {"", "requests.memory", "", "0"},
                                           {"", "limits.memory", "", "104857600"},
                                           {"", "limits.memory", "1Mi", "100"},
                                           {"", "limits.memory", "30Mi", "4"},
                                           {"", "limits.hugepages-2Mi", "1Mi", "4"},
                                           {"", "limits.ephemeral-storage", "1Gi", "10"},
                                           {"other", "limits.memory", "1Mi", "1024"}}) {
    container.env = {{"V", "", ResourceFieldRef{one.container, one.resource, one.divisor}}};
    EXPECT_EQ(values(), (Map{{"V", one.value}})) << one.resource << " " << one.divisor;
  }
  for (const auto& [name, resource] :
       std::vector<std::pair<std::string, std::string>>{{"other", "limits.cpu"},
                                                        {"third", "limits.cpu"},
                                                        {"", "limits.gpu"},
                                                        {"", "cpu"},
                                                        {"", "limits."}}) {
    container.env = {{"V", "", ResourceFieldRef{name, resource, ""}}};
    EXPECT_NE(missing(), "") << name << " " << resource;
  }
  pod.resources.limits = {{"cpu", "3"}};
  facts.allocatable["cpu"] = "8";
  container.env = {{"V", "", ResourceFieldRef{"other", "limits.cpu", ""}}};
  EXPECT_EQ(values(), (Map{{"V", "3"}})) << "the whole pod has less than the node";
}

TEST_F(Environment, KeysThatAreKnown) {
  facts.configMaps["m"] = Map{{"k", "v"}};
  facts.secrets["s"] = std::nullopt;
  key("A", {KeyRef::Kind::config_map, "m", "k", false});
  key("B", {KeyRef::Kind::config_map, "m", "none", true});
  key("C", {KeyRef::Kind::secret, "s", "k", true});
  EXPECT_EQ(values(), (Map{{"A", "v"}}));
  EXPECT_EQ(missing(), "");
  key("D", {KeyRef::Kind::config_map, "m", "none", false});
  key("E", {KeyRef::Kind::secret, "s", "k", false});
  EXPECT_EQ(missing(),
            "spec.containers[0].env[3] variable: variable \"D\": ConfigMap \"m\" has no key \"none\"\n"
            "spec.containers[0].env[4] variable: variable \"E\": Secret \"s\" does not exist\n");
}

TEST_F(Environment, KeysOfMountedVolumesAreReadAtTheLaunch) {
  PodVolume volume;
  volume.name = "creds";
  volume.kind = PodVolume::Kind::secret;
  volume.data = {{VolumeData::Kind::secret, "db", {{"password", "db/pw"}}}};
  pod.volumes.push_back(volume);
  container.volumeMounts = {{"creds", "/etc/creds/", "", "", "", true}};
  key("PASSWORD", {KeyRef::Kind::secret, "db", "password", false});
  EXPECT_EQ(made().files(), (Map{{"PASSWORD", "/etc/creds/db/pw"}}));
  EXPECT_EQ(missing(), "");
  container.volumeMounts[0].subPath = "db";
  EXPECT_EQ(made().files(), (Map{{"PASSWORD", "/etc/creds/pw"}}));
  container.volumeMounts[0] = {"creds", "/etc/pw", "db/pw", "", "", true};
  EXPECT_EQ(made().files(), (Map{{"PASSWORD", "/etc/pw"}}));
  // A value that refers to it cannot be expanded here.
  container.env.push_back(plain("URL", "pg://$(PASSWORD)@db"));
  EXPECT_THAT(missing(), HasSubstr("variable \"URL\": it refers to $(PASSWORD), whose value is not known"));
  container.env.pop_back();
  container.volumeMounts.clear();
  EXPECT_THAT(missing(), HasSubstr("volume \"creds\" shows it, but this container does not mount it"));
  EXPECT_EQ(made().files(), Map{});
}

TEST_F(Environment, AnOptionalKeyThatIsNotKnownDoesNotDecide) {
  key("A", {KeyRef::Kind::secret, "s", "k", true});
  container.envFrom = {{KeyRef::Kind::config_map, "m", "", true}};
  const auto environment = made();
  for (const auto& one : environment.missing()) EXPECT_EQ(one.weight, Weight::differs) << one.why;
  EXPECT_EQ(environment.missing().size(), 2U);
  EXPECT_TRUE(mayStart(made().missing(), config::MissingEnv::refuse));
}

TEST_F(Environment, UnknownEnvFromMakesOtherReferencesUnknown) {
  container.envFrom = {{KeyRef::Kind::config_map, "m", "", false}};
  container.env = {plain("A", "$(B)"), plain("C", "c"), plain("D", "$(C)")};
  EXPECT_THAT(missing(), HasSubstr("envFrom[0] variable: the variables of ConfigMap \"m\" are not known"));
  EXPECT_THAT(missing(), HasSubstr("env[0] variable: variable \"A\": it refers to $(B)"));
  EXPECT_EQ(values(), (Map{{"C", "c"}, {"D", "c"}}));
  EXPECT_FALSE(mayStart(made().missing(), config::MissingEnv::refuse));
  EXPECT_TRUE(mayStart(made().missing(), config::MissingEnv::start));
}

TEST_F(Environment, VariablesOfServices) {
  container.env = {plain("A", "$(DB_SERVICE_HOST)"), plain("DB_PORT", "mine")};
  EXPECT_EQ(values().at("A"), "$(DB_SERVICE_HOST)") << "the pod has no variables of Services";
  pod.enableServiceLinks = true;
  EXPECT_THAT(missing(), HasSubstr("it refers to $(DB_SERVICE_HOST)"));
  facts.serviceVariables = Map{{"DB_SERVICE_HOST", "10.96.0.9"}, {"DB_PORT", "tcp://10.96.0.9:5432"}};
  EXPECT_EQ(values(), (Map{{"A", "10.96.0.9"}, {"DB_PORT", "mine"}, {"DB_SERVICE_HOST", "10.96.0.9"}}));
  EXPECT_EQ(missing(), "");
}

TEST_F(Environment, TheConfigurationOutranksThePod) {
  configured.values = {{"HOST", "fallback-db"}, {"EXTRA", "x"}};
  configured.files = {{"PASSWORD", "/etc/creds/pw"}};
  key("PASSWORD", {KeyRef::Kind::secret, "db", "password", false});
  container.env.push_back(plain("HOST", "db"));
  container.env.push_back(plain("URL", "pg://$(HOST)"));
  EXPECT_EQ(values(), (Map{{"HOST", "fallback-db"}, {"EXTRA", "x"}, {"URL", "pg://fallback-db"}}));
  EXPECT_EQ(made().files(), configured.files);
  EXPECT_EQ(missing(), "") << "the secret is no longer needed";
}

TEST_F(Environment, NamesAndValuesThatNoProcessCanHave) {
  facts.secrets["s"] = Map{{"A=B", "x"}, {"BIN", std::string("a\0b", 3)}, {"GOOD", "g"}};
  container.envFrom = {{KeyRef::Kind::secret, "s", "", false}};
  container.env = {plain("", "x"), plain("C=D", "x")};
  EXPECT_EQ(values(), (Map{{"GOOD", "g"}}));
  EXPECT_THAT(missing(), HasSubstr("\"A=B\" cannot be the name of a variable"));
  EXPECT_THAT(missing(), HasSubstr("variable \"BIN\": its value contains a NUL byte"));
}

TEST_F(Environment, SourcesOfALaterVersionAreNamed) {
  container.env = {{"A", "", UnknownSource{"fileKeyRef"}}};
  container.envFrom = {{std::nullopt, "", "", false}};
  EXPECT_THAT(missing(), HasSubstr("its source \"fileKeyRef\" is of a kind that is not known"));
  EXPECT_THAT(missing(), HasSubstr("envFrom[0]"));
}

TEST_F(Environment, SubPathsNeedTheirVariables) {
  container.env = {plain("POD", "web-0"), plain("EMPTY", "")};
  NotInheritedList missing;
  EXPECT_EQ(made().expandSubPath("logs/$(POD)", "p", missing), "logs/web-0");
  EXPECT_TRUE(missing.empty());
  static_cast<void>(made().expandSubPath("$(EMPTY)/$(NONE)", "p", missing));
  ASSERT_EQ(missing.size(), 1U);
  EXPECT_EQ(missing[0].weight, Weight::refuses);
  EXPECT_THAT(missing[0].why, HasSubstr("$(EMPTY), $(NONE)"));
}

TEST(PathInside, IsAbsoluteAndClean) {
  EXPECT_EQ(normalizedPath("etc/app/"), "/etc/app");
  EXPECT_EQ(normalizedPath("/a/../../b/./c//"), "/b/c");
  EXPECT_EQ(normalizedPath(""), "/");
}

}  // namespace
}  // namespace fallbackd::kube
