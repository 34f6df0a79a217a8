// SPDX-License-Identifier: Apache-2.0
// Pods want versions, and the cache holds some of them: exactly the right pods are rescued, by exactly the
// right binary. One daemon for all of them; one pod for each way to choose and each version that it wants.
// KNOWS_JSON names a folder for the table of scripts/report knows.
#include "kube_node.hpp"
#include "pod_json.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr const char* kDigest = "@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// One way to choose the binary; each has its own container name.
struct Way {
  const char* container;                // also the name of the binary
  std::vector<std::string> cached;      // versions
  const char* annotated;                // the version that the annotation names; nullptr: there is none
  std::vector<std::string> configured;  // versions of workloads side by side
  const char* rules;                    // of each of these workloads
};

/// Expected versions for kWants, in that order; "-": not rescued.
struct Expected {
  Way way;
  std::vector<std::string> by;
};

struct Want {
  const char* name;
  std::string image;  // after the repository
  const char* label = nullptr;
};

const std::vector<Want>& wants() {
  static const std::vector<Want> all{{"1.8.3", ":1.8.3"},
                                     {"1.8.4", ":1.8.4"},
                                     {"1.9.0", ":1.9.0"},
                                     {"latest", ":latest"},
                                     {"a digest", kDigest},
                                     {"no tag", ""},
                                     {"1.8.3 and a digest", std::string(":1.8.3") + kDigest},
                                     {"latest, labelled 1.8.4", ":latest", "1.8.4"}};
  return all;
}

std::vector<Expected> table() {
  const std::vector<std::string> both{"1.8.3", "1.8.4"};
  const std::string no = "-";
  return {
      {{"noted", both, "1.8.3", {}, ""}, {"1.8.3", no, no, no, no, no, "1.8.3", no}},
      {{"noted-absent", {"1.8.4"}, "1.8.3", {}, ""}, {no, no, no, no, no, no, no, no}},
      {{"side-by-side", both, nullptr, both, ""}, {"1.8.3", "1.8.4", no, no, no, no, "1.8.3", no}},
      {{"one-is-absent", {"1.8.4"}, nullptr, both, ""}, {no, "1.8.4", no, no, no, no, no, no}},
      {{"only-new", both, nullptr, {"1.8.4"}, ""}, {no, "1.8.4", no, no, no, no, no, no}},
      {{"patch", both, nullptr, {"1.8.4"}, "versionMatch: semver-patch"},
       {"1.8.4", "1.8.4", no, no, no, no, "1.8.4", no}},
      {{"any", both, nullptr, {"1.8.4"}, "versionMatch: none"},
       {"1.8.4", "1.8.4", "1.8.4", "1.8.4", "1.8.4", "1.8.4", "1.8.4", "1.8.4"}},
      {{"labelled", both, nullptr, both, "versionFrom: {label: app.kubernetes.io/version}"},
       {no, no, no, no, no, no, no, "1.8.4"}},
  };
}

class VersionSkew : public KubeNodeTest {
 protected:
  void configure() {
    std::string workloads;
    for (const auto& [way, by] : table()) {
      for (const auto& version : way.cached) {
        E2E_CHECK(shop_->signer.install(testProgram("shop-httpd-" + version), way.container, version));
      }
      for (const auto& version : way.configured) {
        const auto suffix = std::string("-") + version.back();
        workloads += "- {name: " + std::string(way.container) + suffix +
                     ", match: {namespace: shop, labels: {way: " + way.container +
                     "}, container: " + way.container + "}, binary: " + way.container + "@" + version +
                     (*way.rules == '\0' ? "" : std::string(", ") + way.rules) + "}\n";
      }
    }
    runDaemon("[apiserver]", [&](DaemonOptions& options) {
      options.workloads = workloads;
      options.extra += "podAnnotations: {namespaces: [shop]}\n";
    });
  }

  PodSpec start(const Way& way, const Want& want, std::size_t number) {
    PodSpec spec;
    spec.name = std::string(way.container) + "-" + std::to_string(number);
    spec.namespaceName = "shop";
    spec.uid = makeUid();
    spec.labels["way"] = way.container;
    if (want.label != nullptr) spec.labels["app.kubernetes.io/version"] = want.label;
    if (way.annotated != nullptr) {
      spec.annotations["fallbackd.io/binary." + std::string(way.container)] =
          std::string(way.container) + "@" + way.annotated;
    }
    json::object labels;
    json::object annotations;
    for (const auto& [key, value] : spec.labels) labels[key] = value;
    for (const auto& [key, value] : spec.annotations) annotations[key] = value;
    const auto image = shop_->registry.address() + "/shop/" + way.container + want.image;
    api_.put(json::serialize(json::object{
        {"apiVersion", "v1"},
        {"kind", "Pod"},
        {"metadata", json::object{{"name", spec.name},
                                  {"namespace", "shop"},
                                  {"uid", spec.uid},
                                  {"labels", labels},
                                  {"annotations", annotations}}},
        {"spec",
         json::object{{"nodeName", nodeName()},
                      {"enableServiceLinks", false},
                      {"containers", json::array{json::object{{"name", way.container},
                                                              {"image", image},
                                                              {"args", json::array{"--port=8080"}}}}}}},
        {"status", json::object{{"phase", "Pending"}}}}));
    return spec;
  }

  /// By pod: the version of its recovery's binary, or "-" with the recovery's state.
  [[nodiscard]] std::map<std::string, std::string> rescued() const {
    std::map<std::string, std::string> by;
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/status");
    if (!answer || answer->status != 200) return by;
    const auto status = json::parse(answer->body);
    for (const auto& item : status.at("recoveries").as_array()) {
      const auto& one = item.as_object();
      const auto binary = textOf(one, "binary");
      by[textOf(one, "pod")] = textOf(one, "state") == "ready" ? binary.substr(binary.find('@') + 1)
                                                               : "- (" + textOf(one, "state") + ")";
    }
    return by;
  }
  /// The log's line about a failed recovery of this pod; empty: there is none.
  [[nodiscard]] std::string failedLine(const std::string& pod) const {
    std::istringstream log(shop_->daemon->logText());
    for (std::string line; std::getline(log, line);) {
      if (line.find("recovery failed") != std::string::npos &&
          line.find("  pod=" + pod + " ") != std::string::npos) {
        return line;
      }
    }
    return {};
  }
  [[nodiscard]] std::string explain(const std::string& pod) const {
    const auto ran = runOk({.argv = {binary("fallbackctl"), "explain", "shop/" + pod, "--socket",
                                     shop_->daemon->controlSocket().string()}});
    return ran ? *ran : ran.error().message();
  }
};

TEST_F(VersionSkew, ExactlyTheRightPodsAreRescuedByTheRightBinary) {
  ASSERT_NO_FATAL_FAILURE(configure());
  std::map<std::string, std::string> expected;
  std::vector<PodSpec> specs;
  for (const auto& [way, by] : table()) {
    ASSERT_EQ(by.size(), wants().size()) << way.container;
    for (std::size_t i = 0; i < by.size(); ++i) {
      specs.push_back(start(way, wants()[i], i));
      expected[specs.back().name] = by[i];
    }
  }
  ASSERT_TRUE(shows("apiserver=up " + std::to_string(specs.size()) + " pods")) << shown();
  for (const auto& spec : specs) E2E_CHECK(shop_->kubelet->startPod(spec));
  const auto isRight = [&](const std::map<std::string, std::string>& got, const std::string& pod) {
    const auto found = got.find(pod);
    return found != got.end() && found->second == expected.at(pod);
  };
  // Those that must be rescued are; then the others have been judged, and get no fallback.
  std::map<std::string, std::string> got;
  ASSERT_TRUE(waitUntil(kCeiling * 2, [&] {
    got = rescued();
    return std::all_of(expected.begin(), expected.end(),
                       [&](const auto& one) { return one.second == "-" || isRight(got, one.first); });
  })) << shop_->daemon->logText();
  json::array rows;
  for (const auto& [way, by] : table()) {
    json::array row;
    for (std::size_t i = 0; i < by.size(); ++i) {
      const auto pod = std::string(way.container) + "-" + std::to_string(i);
      if (by[i] == "-") {
        // It was judged, with a reason.
        ASSERT_TRUE(waitUntil(kCeiling, [&] { return !failedLine(pod).empty(); })) << explain(pod);
        EXPECT_THAT(failedLine(pod), testing::AnyOf(testing::HasSubstr("reason=version_mismatch"),
                                                    testing::HasSubstr("reason=not_found")));
        EXPECT_EQ(fallbackPid(*shop_->daemon, pod), 0) << pod;
      }
      const auto found = rescued();
      const auto now = found.contains(pod) ? found.at(pod) : "-";
      EXPECT_TRUE(by[i] == "-" ? now.starts_with("-") : now == by[i])
          << pod << " wants " << wants()[i].name << ": " << now << ", not " << by[i] << "\n"
          << explain(pod);
      row.push_back(json::string(now.substr(0, now.find(' '))));
    }
    rows.push_back(json::object{{"way", way.container}, {"got", row}});
  }
  if (const char* const folder = std::getenv("KNOWS_JSON"); folder != nullptr) {
    json::array names;
    for (const auto& want : wants()) names.emplace_back(want.name);
    json::array ways;
    for (const auto& [way, by] : table()) {
      json::object one{{"name", way.container}, {"rules", way.rules}};
      one["cached"] = json::array(way.cached.begin(), way.cached.end());
      one["configured"] = json::array(way.configured.begin(), way.configured.end());
      one["annotated"] = way.annotated == nullptr ? "" : way.annotated;
      one["expected"] = json::array(by.begin(), by.end());
      ways.push_back(std::move(one));
    }
    std::ofstream(fs::path(folder) / "skew.json") << json::serialize(json::object{
        {"kind", "skew"}, {"failed", HasFailure()}, {"wants", names}, {"ways", ways}, {"got", rows}});
  }
}

}  // namespace
}  // namespace fallbackd::e2e
