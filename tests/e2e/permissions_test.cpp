// SPDX-License-Identifier: Apache-2.0
// The shipped roles, verb by verb: the API server and kubelet allow what the roles grant except for one verb,
// and exactly the feature that needs the verb degrades. Every granted verb is used, and nothing else is ever
// requested. KNOWS_JSON names a folder for the table of scripts/report knows.
#include "base/task_group.hpp"
#include "fake_clock.hpp"
#include "kube/event_recorder.hpp"
#include "kube/kubeconfig.hpp"
#include "kube/sources.hpp"
#include "kube_node.hpp"
#include "run_until.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using kube_test::Permission;
using kube_test::podJson;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// The permissions for everything that can be switched on.
std::vector<Permission> shipped() {
  const fs::path deploy = FALLBACKD_DEPLOY;
  auto all = kube_test::permissionsInTemplate(deploy / "helm/fallbackd/templates/kubernetes.yaml",
                                              "fallbackd-variables");
  for (const char* const part :
       {"base", "components/kubernetes", "components/events", "components/namespace-pause"}) {
    const auto some = kube_test::permissionsIn(deploy / "kustomize" / part / "clusterrole.yaml");
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

/// What fails without the verb, and where that is visible.
struct Need {
  const char* permission;
  const char* feature;
  const char* seen;
};
constexpr Need kNeeds[] = {
    {"list pods", "the API server describes no pod", "status: apiserver failing, log: list pods"},
    {"watch pods", "changes are not followed", "status: apiserver failing, log: watch pods"},
    {"get nodes/pods", "kubelet is not a source", "status: kubelet failing, log: nodes/pods"},
    {"get replicasets.apps", "rollouts of Deployments are unknown", "the rollout's reason: get replicasets"},
    {"get deployments.apps", "rollouts of Deployments are unknown", "the rollout's reason: get deployments"},
    {"get statefulsets.apps", "rollouts of StatefulSets are unknown",
     "the rollout's reason: get statefulsets"},
    {"get configmaps", "variables from ConfigMaps are not known", "log: allows to get configmaps"},
    {"get secrets", "variables from Secrets are not known", "log: allows to get secrets"},
    {"create events", "Events are not written", "status: events failing, log: no Events are written"},
    {"patch events", "repetitions are not counted", "metric fallbackd_events_total: dropped_repeat"},
    {"list namespaces", "namespaces' annotations pause nothing new",
     "status: namespaces failing, log: list namespaces"},
    {"watch namespaces", "changes of namespaces' annotations are not followed",
     "status: namespaces failing, log: watch namespaces"},
    {"get daemonsets.apps", "rollouts of DaemonSets are unknown", "the rollout's reason: get daemonsets"},
};
const Need* needOf(const std::string& permission) {
  for (const auto& one : kNeeds) {
    if (permission == one.permission) return &one;
  }
  return nullptr;
}

constexpr const char* kOwners = "/apis/apps/v1/namespaces/shop/";

class Permissions : public KubeNodeTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    auto allowed = shipped();
    std::erase_if(allowed, [&](const auto& one) { return one.text() == GetParam(); });
    api_.grant(allowed);
    kubelet_.grant(allowed);
    api_.put(withVariables(podJson("known-1", "uid-1", nodeName())));
    api_.putNamespace("shop");
    kubelet_.setPods({podJson("static-1", "uid-2", nodeName())});
    putOwners();
    runDaemon("[kubelet, apiserver]", [](DaemonOptions& options) {
      options.extra +=
          "  readVariablesIn: [shop]\n  events: true\n  namespacePause: true\n"
          "podAnnotations: {namespaces: [shop]}\n";
    });
  }

  /// Its container takes one variable from a ConfigMap and one from a Secret.
  static std::string withVariables(const std::string& pod) {
    const auto from = [](const char* name, const char* kind, const char* object) {
      return json::object{
          {"name", name},
          {"valueFrom", json::object{{kind, json::object{{"name", object}, {"key", "key"}}}}}};
    };
    auto object = json::parse(pod).as_object();
    object.at("spec").at("containers").at(0).as_object()["env"] =
        json::array{from("A", "configMapKeyRef", "settings"), from("B", "secretKeyRef", "keys")};
    return json::serialize(object);
  }

  static std::string owner(const std::string& kind, const std::string& name, json::object more) {
    more["apiVersion"] = "apps/v1";
    more["kind"] = kind;
    auto& metadata = more["metadata"];
    if (!metadata.is_object()) metadata = json::object();
    metadata.as_object()["name"] = name;
    metadata.as_object()["namespace"] = "shop";
    metadata.as_object()["generation"] = 1;
    return json::serialize(more);
  }
  void putOwners() {
    const json::object reference{{"apiVersion", "apps/v1"},
                                 {"kind", "Deployment"},
                                 {"name", "checkout"},
                                 {"uid", "d-1"},
                                 {"controller", true}};
    api_.putOwner(std::string(kOwners) + "replicasets/checkout-5d4f",
                  owner("ReplicaSet", "checkout-5d4f",
                        {{"metadata", json::object{{"ownerReferences", json::array{reference}}}},
                         {"status", json::object{{"replicas", 1}, {"observedGeneration", 1}}}}));
    api_.putOwner(std::string(kOwners) + "deployments/checkout", owner("Deployment", "checkout", {}));
    api_.putOwner(std::string(kOwners) + "statefulsets/store", owner("StatefulSet", "store", {}));
    api_.putOwner(std::string(kOwners) + "daemonsets/agent", owner("DaemonSet", "agent", {}));
    for (const auto& [resource, kind, name] :
         {std::tuple{"configmaps", "ConfigMap", "settings"}, std::tuple{"secrets", "Secret", "keys"}}) {
      api_.putOwner("/api/v1/namespaces/shop/" + std::string(resource) + "/" + name,
                    json::serialize(json::object{
                        {"kind", kind},
                        {"apiVersion", "v1"},
                        {"metadata", json::object{{"name", name}, {"namespace", "shop"}, {"uid", name}}},
                        {"data", json::object{{"key", "dmFsdWU="}}}}));
    }
  }

  /// What the daemon's sources report about the rollout of a pod with this owner.
  std::string rolloutOf(const std::string& kind, const std::string& name) {
    boost::asio::io_context loop(1);
    const auto work = boost::asio::make_work_guard(loop);
    kube::Pods pods;
    kube::Sources sources(loop.get_executor(),
                          {.kinds = {kube::SourceKind::apiserver},
                           .nodeName = "another-node",
                           .kubeconfig = (folder_ / "kubeconfig").string(),
                           .kubeletAddress = {},
                           .kubeletCertificate = {},
                           .viewFile = {}},
                          pods, [](const std::string&) {});
    sources.start();
    auto pod = std::make_shared<kube::PodObject>();
    pod->namespaceName = "shop";
    pod->name = name + "-0";
    pod->owner = kube::Owner{"apps/v1", kind, name, "o-1"};
    std::optional<std::string> why;
    sources.rollout(pod, std::chrono::nanoseconds(0), [&](const kube::RolloutView& view) {
      why = view.why;
      loop.stop();
    });
    loop.run_for(kCeiling);
    sources.stop();
    return why.value_or("no answer");
  }

  /// What the daemon's recorder does with an Event that happens again, on a clock that skips the pause before
  /// it.
  std::string repeated() {
    boost::asio::io_context loop(1);
    auto& clock = test::FakeClock::install(loop);
    kube::EventState told;
    TaskGroup tasks(loop.get_executor());
    kube::EventRecorder recorder(
        loop.get_executor(), [this] { return kube::readKubeconfig(folder_ / "kubeconfig"); }, "another-node",
        [&](const kube::EventState& now) { told = now; });
    const auto results = [&](kube::EventResult one) {
      return told.results.at(static_cast<std::size_t>(one));
    };
    const auto happens = [&] {
      kube::EventNote note;
      note.namespaceName = "shop";
      note.pod = "known-1";
      note.podUid = "uid-1";
      note.container = "app";
      note.reason = "FallbackRefused";
      note.message = "m";
      note.at = clock.wall();
      recorder.add(std::move(note));
    };
    // Time passes slowly while a request is pending.
    const auto eventually = [&](const std::function<bool()>& done) {
      constexpr int kSteps = 60;
      constexpr int kLooks = 20;
      for (int step = 0; step < kSteps && !done(); ++step) {
        int looks = 0;
        test::runWhileTimeStands(loop, [&] { return done() || ++looks > kLooks; });
        if (!done()) clock.advance(loop, std::chrono::milliseconds(500));
      }
      return done();
    };
    tasks.spawn(recorder.run());
    happens();
    if (!eventually([&] { return results(kube::EventResult::created) == 1; })) return "not created";
    clock.advance(loop, std::chrono::minutes(1));
    happens();
    const auto counted = [&] { return results(kube::EventResult::counted) == 1; };
    const auto dropped = [&] { return results(kube::EventResult::dropped_repeat) == 1; };
    const bool ended = eventually([&] { return counted() || dropped(); });
    tasks.cancelAll();
    test::runWhileTimeStands(loop, [&] { return tasks.empty(); });
    return !ended ? "neither" : counted() ? "counted" : "dropped";
  }

  /// "up", "failing", ...; for Events also "failing" if they may not be created in the namespace.
  [[nodiscard]] std::string partOf(const char* part) const {
    const auto object = known();
    if (!object.contains(part)) return "";
    const auto& state = object.at(part).as_object();
    return state.contains("forbiddenIn") ? "failing" : std::string(state.at("state").as_string());
  }
  [[nodiscard]] bool partBecomes(const char* part, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return partOf(part) == state; });
  }
  [[nodiscard]] bool logs(const std::string& words) const {
    return waitUntil(kCeiling, [&] { return shop_->daemon->logText().find(words) != std::string::npos; });
  }
  /// Whether the resource's objects were requested.
  [[nodiscard]] bool asksFor(const std::string& permission) {
    return waitUntil(kCeiling, [&] { return api_.asked().contains(permission); });
  }

  [[nodiscard]] std::string stateOf(const std::string& source) const {
    const auto all = shown();
    const auto at = all.find(source + "=");
    return at == std::string::npos
               ? ""
               : all.substr(at + source.size() + 1, all.find(' ', at) - at - source.size() - 1);
  }
  [[nodiscard]] bool becomes(const std::string& source, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return stateOf(source) == state; });
  }
  /// A recovery proceeds whatever is refused; kubelet is queried because a pod waits.
  void rescue() {
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("checkout-2")));
    ASSERT_TRUE(reaches("checkout-2", "ready")) << shop_->daemon->logText();
  }
  [[nodiscard]] std::set<std::string> allAsked() {
    auto all = api_.asked();
    all.merge(kubelet_.asked());
    return all;
  }
  [[nodiscard]] std::map<std::string, std::string> rollouts() {
    return {{"replicasets", rolloutOf("ReplicaSet", "checkout-5d4f")},
            {"statefulsets", rolloutOf("StatefulSet", "store")},
            {"daemonsets", rolloutOf("DaemonSet", "agent")}};
  }
  static void tell(const json::object& row) {
    if (const char* const folder = std::getenv("KNOWS_JSON"); folder != nullptr) {
      std::ofstream(fs::path(folder) / ("permission-" + makeUid() + ".json")) << json::serialize(row);
    }
  }
};

class WithoutOne : public Permissions {};

TEST_P(WithoutOne, OnlyItsFeatureDegrades) {
  const auto removed = GetParam();
  const auto* const need = needOf(removed);
  ASSERT_NE(need, nullptr) << removed << " is granted, but no test needs it";
  const bool pods = removed == "list pods" || removed == "watch pods";
  const bool ofKubelet = removed == "get nodes/pods";
  EXPECT_TRUE(becomes("apiserver", pods ? "failing" : "up")) << shown();
  ASSERT_NO_FATAL_FAILURE(rescue());
  EXPECT_TRUE(becomes("kubelet", ofKubelet ? "failing" : "up")) << shown();
  for (const auto& [resource, why] : rollouts()) {
    const bool hit = removed == "get " + resource + ".apps" ||
                     (resource == "replicasets" && removed == "get deployments.apps");
    if (hit) {
      EXPECT_THAT(why, HasSubstr(removed.substr(0, removed.find('.')))) << resource;
    } else {
      EXPECT_THAT(why, Not(HasSubstr("answered 403"))) << resource;
    }
  }
  EXPECT_TRUE(partBecomes("events", removed == "create events" ? "failing" : "up"))
      << shop_->daemon->logText();
  if (removed == "create events") {
    EXPECT_TRUE(logs("no Events are written about the pods of this namespace"));
  } else {
    EXPECT_EQ(repeated(), removed == "patch events" ? "dropped" : "counted");
  }
  const bool namespaces = removed == "list namespaces" || removed == "watch namespaces";
  EXPECT_TRUE(partBecomes("namespaces", namespaces ? "failing" : "up")) << shop_->daemon->logText();
  for (const std::string resource : {"configmaps", "secrets"}) {
    // Without "list pods" no source knows the pod that names them.
    if (removed == "list pods") break;
    EXPECT_TRUE(asksFor("get " + resource)) << resource;
    if (removed == "get " + resource) {
      EXPECT_TRUE(logs("allows to get " + resource)) << shop_->daemon->logText();
    }
  }
  const auto log = shop_->daemon->logText();
  for (const std::string resource : {"configmaps", "secrets"}) {
    if (removed != "get " + resource) {
      EXPECT_THAT(log, Not(HasSubstr("allows to get " + resource)));
    }
  }
  if (namespaces) {
    EXPECT_THAT(log, HasSubstr(removed));
  }
  if (pods) {
    EXPECT_THAT(log, HasSubstr(removed));
  }
  if (ofKubelet) {
    EXPECT_THAT(log, HasSubstr("nodes/pods"));
  }
  // The daemon recovers by itself when the verb is granted.
  api_.grant(shipped());
  kubelet_.grant(shipped());
  EXPECT_TRUE(becomes("apiserver", "up")) << shown();
  EXPECT_TRUE(partBecomes("namespaces", "up")) << shop_->daemon->logText();
  EXPECT_THAT(api_.violations(), IsEmpty());
  EXPECT_THAT(kubelet_.violations(), IsEmpty());
  tell({{"kind", "permission"},
        {"permission", removed},
        {"feature", need->feature},
        {"seen", need->seen},
        {"failed", HasFailure()}});
}

std::vector<std::string> texts() {
  std::vector<std::string> all;
  for (const auto& one : shipped()) all.push_back(one.text());
  return all;
}

std::string nameOf(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return text;
}

INSTANTIATE_TEST_SUITE_P(Roles, WithoutOne, testing::ValuesIn(texts()),
                         [](const auto& one) { return nameOf(one.param); });

class WithAll : public Permissions {};

TEST_P(WithAll, EverythingGrantedIsRequestedAndNothingElse) {
  EXPECT_TRUE(becomes("apiserver", "up")) << shown();
  ASSERT_NO_FATAL_FAILURE(rescue());
  EXPECT_TRUE(becomes("kubelet", "up")) << shown();
  for (const auto& [resource, why] : rollouts()) EXPECT_THAT(why, Not(HasSubstr("answered 4"))) << resource;
  EXPECT_TRUE(partBecomes("events", "up")) << shop_->daemon->logText();
  EXPECT_TRUE(partBecomes("namespaces", "up")) << shop_->daemon->logText();
  EXPECT_TRUE(asksFor("get configmaps") && asksFor("get secrets"));
  EXPECT_EQ(repeated(), "counted");
  const auto granted = texts();
  EXPECT_EQ(allAsked(), std::set<std::string>(granted.begin(), granted.end()));
  tell({{"kind", "permission"},
        {"permission", "all of them"},
        {"feature", "nothing degrades, nothing else is requested, every grant is used"},
        {"seen", ""},
        {"failed", HasFailure()}});
}

INSTANTIATE_TEST_SUITE_P(Roles, WithAll, testing::Values("nothing"));

}  // namespace
}  // namespace fallbackd::e2e
