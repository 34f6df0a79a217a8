// SPDX-License-Identifier: Apache-2.0
#include "coverage/report.hpp"

#include <boost/json.hpp>

namespace fallbackd::coverage {

namespace json = boost::json;

namespace {

json::object toJson(const ContainerCoverage& one) {
  return {{"container", one.container},
          {"kind", toString(one.kind)},
          {"verdict", toString(one.verdict)},
          {"problem", isProblem(one.verdict)},
          {"image", one.image},
          {"workload", one.workload},
          {"binary", one.binary},
          {"chosenBy", one.binary.empty() ? ""
                       : one.byAnnotation ? "annotation"
                                          : "configuration"},
          {"why", one.why},
          {"next", one.next},
          {"differs", json::array(one.differs.begin(), one.differs.end())}};
}

}  // namespace

json::object countsJson(const Counts& counts) {
  json::object object;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts.at(i) > 0) object[toString(static_cast<Verdict>(i))] = counts.at(i);
  }
  return object;
}

json::object reportOf(const std::vector<PodCoverage>& pods) {
  json::array all;
  for (const auto& pod : pods) {
    json::array containers;
    for (const auto& one : pod.containers) containers.push_back(toJson(one));
    all.push_back(json::object{{"namespace", pod.podNamespace},
                               {"pod", pod.pod},
                               {"owner", pod.owner},
                               {"specified", pod.specified},
                               {"containers", std::move(containers)}});
  }
  const auto counts = count(pods);
  std::size_t problems = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (isProblem(static_cast<Verdict>(i))) problems += counts.at(i);
  }
  return {{"pods", std::move(all)}, {"verdicts", countsJson(counts)}, {"problems", problems}};
}

}  // namespace fallbackd::coverage
