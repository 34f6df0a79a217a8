// SPDX-License-Identifier: Apache-2.0
#include "app/explain.hpp"

#include "app/explain_walk.hpp"
#include "base/strings.hpp"

#include <boost/json.hpp>

namespace fallbackd::app {

namespace {

namespace json = boost::json;
using Verdict = ExplainStep::Verdict;

struct PodName {
  std::string podNamespace;  // empty: any
  std::string name;
};

PodName parsePodName(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == std::string::npos) return {"", text};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

bool isOf(const PodName& wanted, const std::string& podNamespace, const std::string& name) {
  return wanted.name == name && (wanted.podNamespace.empty() || wanted.podNamespace == podNamespace);
}

Explanation unknownPod(const Snapshot& snapshot, const PodName& wanted) {
  Explanation result;
  result.podNamespace = wanted.podNamespace;
  result.pod = wanted.name;
  std::vector<std::string_view> names;
  for (const auto& pod : snapshot.pods) names.emplace_back(pod.sandbox.podName);
  const auto near = closest(wanted.name, names);
  result.steps.push_back({"match", Verdict::no,
                          "no pod of that name has a ready sandbox on " + snapshot.nodeName +
                              (near ? " (did you mean " + std::string(*near) + "?)" : "")});
  result.verdict = "this pod is not known here";
  result.next = snapshot.containerdConnected
                    ? std::string(
                          "kubectl get pod -o wide shows its node; without a sandbox "
                          "(pause image, CNI) no fallback can help")
                    : "containerd " + snapshot.containerdTrouble();
  return result;
}

constexpr std::string_view word(Verdict verdict) {
  switch (verdict) {
    case Verdict::yes:
      return "yes";
    case Verdict::no:
      return "no";
    case Verdict::pending:
      return "pending";
    case Verdict::notice:
      return "notice";
  }
  return "";
}

}  // namespace

std::vector<Explanation> explain(const Snapshot& snapshot, const std::string& pod) {
  const auto wanted = parsePodName(pod);
  std::vector<Explanation> all;
  for (const auto& one : snapshot.pods) {
    const auto& sandbox = one.sandbox;
    if (!isOf(wanted, sandbox.podNamespace, sandbox.podName)) continue;
    const auto* spec = specOf(snapshot, sandbox.podUid);
    const auto covering = watcher::workloadsFor(snapshot.config, sandbox, one.choices, one.made(), spec);
    if (!covering.troubles.empty() || one.overLimit > 0) {
      all.push_back(Walk(snapshot, sandbox.podNamespace, sandbox.podName).annotations(one, covering));
    } else if (covering.workloads.empty() && covering.withoutSpec.empty()) {
      all.push_back(Walk(snapshot, sandbox.podNamespace, sandbox.podName).unmatched(sandbox));
    }
    for (const auto* list : {&covering.workloads, &covering.withoutSpec}) {
      for (const auto& workload : *list) {
        all.push_back(Walk(snapshot, sandbox.podNamespace, sandbox.podName).container(one, *workload));
      }
    }
  }
  if (!all.empty()) return all;
  for (const auto& incident : snapshot.incidents) {
    const auto& target = incident.target;
    if (isOf(wanted, target.podNamespace, target.podName)) {
      all.push_back(Walk(snapshot, target.podNamespace, target.podName).past(incident));
    }
  }
  if (all.empty()) all.push_back(unknownPod(snapshot, wanted));
  return all;
}

std::string explainJson(const std::vector<Explanation>& explanations) {
  json::array all;
  for (const auto& one : explanations) {
    json::array steps;
    for (const auto& step : one.steps) {
      steps.push_back(
          json::object{{"question", step.question}, {"verdict", word(step.verdict)}, {"text", step.text}});
    }
    all.push_back(json::object{{"namespace", one.podNamespace},
                               {"pod", one.pod},
                               {"container", one.container},
                               {"workload", one.workload},
                               {"recovery", one.recovery},
                               {"verdict", one.verdict},
                               {"next", one.next},
                               {"steps", std::move(steps)}});
  }
  return asUtf8(json::serialize(all));
}

}  // namespace fallbackd::app
