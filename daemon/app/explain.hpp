// SPDX-License-Identifier: Apache-2.0
// Why a pod did or did not get its fallback: the questions that a recovery depends on, in order.
#pragma once

#include "app/snapshot.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::app {

struct ExplainStep {
  enum class Verdict : std::uint8_t {
    yes,      // continue with the next question
    no,       // it ends here
    pending,  // unknown yet, or in progress
    notice,   // continue, but worth a look
  };
  std::string
      question;  // "match", "container", "specification", "version", "rollout", "inherits", "image", "cause",
                 // "kubelet", "trigger", "circuit", "binary", "launch", "readiness", "stand-in", "hand-back"
  Verdict verdict = Verdict::yes;
  std::string text;
};

struct Explanation {
  std::string podNamespace;
  std::string pod;
  std::string container;
  std::string workload;
  std::string recovery;  // its id; empty if there is none
  std::vector<ExplainStep> steps;
  std::string verdict;  // one sentence: did it get its fallback?
  std::string next;     // what a person should do now; empty: nothing
};

/// One for each container that a workload could cover; one without a container if none does. `pod` is NAME or
/// NAMESPACE/NAME.
std::vector<Explanation> explain(const Snapshot& snapshot, const std::string& pod);

/// [{"namespace", "pod", "container", "workload", "recovery", "verdict", "next", "steps": [{"question",
/// "verdict", "text"}]}]
std::string explainJson(const std::vector<Explanation>& explanations);

}  // namespace fallbackd::app
