// SPDX-License-Identifier: Apache-2.0
// One container's walk through the questions of explain(). For its sources: explain_workload.cpp (which
// workload covers it), explain_waiting.cpp (why it waits), explain_incident.cpp (what its recovery does).
#pragma once

#include "app/explain.hpp"
#include "coverage/words.hpp"
#include "watcher/match.hpp"

#include <optional>
#include <string>
#include <utility>

namespace fallbackd::app {

/// Walks through one container; the first question whose answer is not yes decides.
class Walk {
 public:
  Walk(const Snapshot& snapshot, std::string podNamespace, std::string pod) : snapshot_(snapshot) {
    result_.podNamespace = std::move(podNamespace);
    result_.pod = std::move(pod);
  }

  Explanation unmatched(const cri::Sandbox& sandbox);
  Explanation annotations(const watcher::PodSummary& pod, const watcher::Covering& covering);
  Explanation container(const watcher::PodSummary& pod, const config::Workload& workload);
  /// A recovery whose pod is not known any more.
  Explanation past(const recovery::Incident& incident);

 private:
  using Incident = recovery::Incident;
  using Verdict = ExplainStep::Verdict;

  void say(const char* question, Verdict verdict, std::string text) {
    result_.steps.push_back({question, verdict, std::move(text)});
  }
  Explanation end(std::string verdict, std::string next = {}) {
    result_.verdict = std::move(verdict);
    result_.next = std::move(next);
    return std::move(result_);
  }
  using Ending = coverage::Ending;
  /// What the pod's specification means for its fallback; nothing if the fallback may start.
  std::optional<Ending> specification(const watcher::PodSummary& pod, const config::Workload& workload);
  Ending notSpecified();
  Explanation waiting(const watcher::Waiting& waiting);
  Explanation incident(const Incident& incident);
  Explanation failure(const Incident& incident);
  void cause(Cause cause, const std::string& text) {
    say("cause", Verdict::yes, std::string(toString(cause)) + (text.empty() ? "" : ": " + text));
  }
  Explanation notStarted(const watcher::Waiting& waiting);
  Explanation due(const watcher::Waiting& waiting);
  [[nodiscard]] std::string describe(const watcher::HeldUp& heldUp) const;
  void heldUpNow(const Incident& incident);
  void standIn(const recovery::Settlement& settlement);
  void circuit(const std::string& image);
  void fromMirror(const std::string& image);
  bool binary(const BinaryRef& ref);
  std::string binaryAdvice(const BinaryRef& ref) const;

  const Snapshot& snapshot_;
  Explanation result_;
};

}  // namespace fallbackd::app
