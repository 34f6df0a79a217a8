// SPDX-License-Identifier: Apache-2.0
// Texts that explain and coverage share, so that both use the same words for the same thing.
#pragma once

#include "config/model.hpp"
#include "cri/types.hpp"
#include "domain/binary_ref.hpp"
#include "kube/version_match.hpp"

#include <string>

namespace fallbackd::coverage {

struct Ending {
  std::string verdict;  // one sentence
  std::string next;     // what a person should do; empty: nothing
};

Ending specificationUnknown();
Ending cannotReplace();
/// For a pod that does not request the binary's version.
Ending otherVersion(kube::VersionVerdict::Kind kind);
Ending needsMore();
Ending observeOnly();
Ending pausedBy(const std::string& reason, std::string wayOut);

/// What an operator should do about a binary that is missing or refused.
std::string installAdvice(const BinaryRef& ref);
std::string verifyAdvice(const BinaryRef& ref);

/// The conditions of a workload that the pod does not meet; empty if it meets all.
std::string missedBy(const config::Workload& workload, const cri::Sandbox& sandbox);

}  // namespace fallbackd::coverage
