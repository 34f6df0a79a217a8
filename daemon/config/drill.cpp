// SPDX-License-Identifier: Apache-2.0
#include "config/drill.hpp"

#include "base/strings.hpp"
#include "config/order_file.hpp"
#include "config/problems.hpp"
#include "config/raw_parts.hpp"
#include "config/reader.hpp"
#include "sys/file.hpp"
#include "sys/folder_lock.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <unistd.h>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::size_t kMaxDrillBytes = 64 << 10;

Drill readDrillOrder(const Place& place) {
  Drill drill;
  const MapReader map(place, {"apiVersion", "workload", "namespace", "pod", "since", "until", "reason"});
  if (!map.valid()) return drill;
  checkOrderVersion(map);
  static_cast<void>(map.require("workload", "checkout"));
  map.read("workload", drill.workload);
  static_cast<void>(map.require("namespace", "shop"));
  readDnsLabel(map, "namespace", drill.podNamespace);
  static_cast<void>(map.require("pod", "checkout-drill"));
  readDnsLabel(map, "pod", drill.pod);
  drill.since = readOrderTime(map, "since");
  drill.until = readOrderTime(map, "until");
  drill.reason = readOrderReason(map);
  return drill;
}

std::string drillText(const Drill& drill) {
  return "# Written by fallbackctl drill.\napiVersion: " + std::string(kOrderVersion) +
         "\nworkload: " + orderScalar(drill.workload) + "\nnamespace: " + orderScalar(drill.podNamespace) +
         "\npod: " + orderScalar(drill.pod) + "\nsince: " + orderScalar(rfc3339(drill.since)) +
         "\nuntil: " + orderScalar(rfc3339(drill.until)) +
         (drill.reason.empty() ? std::string() : "\nreason: " + orderScalar(drill.reason)) + "\n";
}

}  // namespace

bool Drill::holdsAt(Wall::time_point now) const {
  return now < until && until <= later(now, kMaxDrill);
}

Result<std::optional<Drill>> readDrill(const std::string& stateFolder) {
  const auto path = stateFolder + "/" + std::string(kDrillFile);
  const auto text = sys::readFile(Stage::config, path, kMaxDrillBytes);
  if (!text && text.error().reason == Reason::not_found) return std::nullopt;
  if (!text) return tl::unexpected<Error>(text.error());
  Problems problems;
  Drill drill;
  if (const auto document = parseDocument(path, *text, problems)) {
    drill = readDrillOrder({&*document, path, "", &problems});
  }
  const auto found = problems.take();
  if (!found.empty()) return fail(Stage::config, Reason::invalid, found.front().toString());
  return drill;
}

Result<> writeDrill(const std::string& stateFolder, const std::optional<Drill>& drill) {
  FB_CHECK(sys::makeDirs(Stage::config, stateFolder, 0755));
  FB_TRY(const auto folder, sys::openDir(Stage::config, stateFolder));
  FB_CHECK(sys::lockFolder(Stage::config, folder, stateFolder));
  const std::string name(kDrillFile);
  if (drill) return sys::replaceFile(Stage::config, folder, name, drillText(*drill), 0644);
  if (::unlinkat(folder.get(), name.c_str(), 0) != 0 && errno != ENOENT)
    return failErrno(Stage::config, "remove " + stateFolder + "/" + name);
  return {};
}

std::string drillImage(const ImageReference& image) {
  return std::string(kDrillRegistry) + "/" + image.path() + (image.tag().empty() ? "" : ":" + image.tag()) +
         (image.digest().empty() ? "" : "@" + image.digest());
}

Result<ConfigPtr> withDrill(const ConfigPtr& config, const Drill& drill) {
  const auto found = std::find_if(config->workloads.begin(), config->workloads.end(),
                                  [&](const auto& one) { return one.name == drill.workload; });
  if (found == config->workloads.end()) {
    return fail(Stage::config, Reason::not_found,
                "no workload of the configuration has the name " + fallbackd::quoted(drill.workload));
  }
  auto rehearsed = *found;
  rehearsed.name = kDrillWorkload;
  rehearsed.match = {drill.podNamespace, {{std::string(kDrillLabel), drill.pod}}, found->match.container};
  // As in the pod. The real image may be on the node, or arrive for other pods: that does not end the drill.
  rehearsed.imageFrom = Provenance::pod_specification;
  if (const auto image = ImageReference::parse(rehearsed.image)) rehearsed.image = drillImage(*image);
  rehearsed.startAfter.clear();  // its pod has no init containers
  rehearsed.definedAt = "fallbackctl drill";
  auto all = std::make_shared<Config>(*config);
  all->workloads.push_back(std::move(rehearsed));
  return all;
}

}  // namespace fallbackd::config
