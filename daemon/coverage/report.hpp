// SPDX-License-Identifier: Apache-2.0
// Coverage as programs read it: the daemon's answer, and what fallbackctl prints with --output json.
#pragma once

#include "coverage/judge.hpp"

#include <string>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::coverage {

/// {"pods": [{"namespace", "pod", "owner", "specified", "containers": [{"container", "kind", "verdict",
/// "problem", "image", "workload", "binary", "chosenBy", "why", "next", "differs": []}]}],
/// "verdicts": {VERDICT: NUMBER}, "problems": NUMBER}
boost::json::object reportOf(const std::vector<PodCoverage>& pods);

/// {VERDICT: NUMBER}, without verdicts that do not occur.
boost::json::object countsJson(const Counts& counts);

}  // namespace fallbackd::coverage
