// SPDX-License-Identifier: Apache-2.0
#include "base/strings.hpp"
#include "config/names.hpp"
#include "config/raw_parts.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::config {

namespace {

constexpr std::array<std::string_view, 2> kPodSources{"kubelet", "apiserver"};

void readPodSources(const Place& list, std::vector<PodSource>& out) {
  eachItem(list, [&](const Place& item) {
    item.oneOf(kPodSources);
    const auto word = scalar(item, "kubelet or apiserver");
    if (!word) return;
    const auto source = podSourceOf(*word);
    if (!source) {
      item.problem(quoted(*word) + " is not a source of pods", suggestFor(*word, kPodSources));
      return;
    }
    if (std::find(out.begin(), out.end(), *source) != out.end()) {
      item.problem(quoted(*word) + " is named twice", "keep one of them");
      return;
    }
    out.push_back(*source);
  });
}

void readVersionFrom(const Place& place, VersionRule& out) {
  const MapReader map(place, {"label", "annotation"});
  out.label.clear();
  out.annotation.clear();
  for (auto* const key : {&out.label, &out.annotation}) {
    const auto* const name = key == &out.label ? "label" : "annotation";
    if (map.read(name, *key) && !isLabelKey(*key)) {
      map.problem(name, quoted(*key) + " is not a key that Kubernetes accepts",
                  "[PREFIX/]NAME, for example app.kubernetes.io/version");
    }
  }
  if (map.valid() && out.label.empty() == out.annotation.empty())
    place.problem("must have one of label and annotation", "keep or add one of them");
}

void readRules(const MapReader& map, Inheritance& out) {
  auto& match = out.version.match;
  if (const auto i =
          map.choice("versionMatch", {"exact", "semver-patch", "none"}, static_cast<std::size_t>(match))) {
    match = static_cast<VersionMatch>(*i);
  }
  if (const auto section = map.find("versionFrom")) readVersionFrom(*section, out.version);
  if (const auto i =
          map.choice("missingEnv", {"refuse", "start"}, static_cast<std::size_t>(out.missingEnv))) {
    out.missingEnv = static_cast<MissingEnv>(*i);
  }
}

}  // namespace

std::optional<PodSource> podSourceOf(std::string_view word) {
  const auto found = std::find(kPodSources.begin(), kPodSources.end(), word);
  if (found == kPodSources.end()) return std::nullopt;
  return found == kPodSources.begin() ? PodSource::kubelet : PodSource::apiserver;
}

void readInheritance(const MapReader& map, const Config& config, Inheritance& out) {
  out = config.inheritance;
  const bool sources = !config.kubernetes.sources.empty();
  out.on = sources && !map.has("image");
  map.read("inherit", out.on);
  readRules(map, out);
  if (out.on && !sources) {
    map.problem("inherit", "the pod's specification is not known here",
                "name its sources in kubernetes.sources of the main file");
  } else if (!out.on && !map.has("image")) {
    map.problem("image", "key \"image\" is missing",
                "add image: registry.example.com/shop/checkout:1.8.3, or name kubernetes.sources in the main "
                "file: then the pod's specification says it");
  }
  for (const std::string_view key : {"versionMatch", "versionFrom", "missingEnv"}) {
    if (!out.on && map.has(key)) {
      map.problem(key, "does not apply: the workload takes nothing from its pod's specification",
                  "remove it, or add inherit: true");
    }
  }
}

void readKubernetes(const Place& place, KubernetesSettings& out, Inheritance& defaults) {
  const MapReader map(
      place, {"sources", "kubeconfig", "kubeletAddress", "kubeletCertificate", "viewFile", "readVariablesIn",
              "events", "namespacePause", "versionMatch", "versionFrom", "missingEnv"});
  if (const auto list = map.find("sources")) readPodSources(*list, out.sources);
  map.absolutePath("kubeconfig", out.kubeconfig);
  if (map.read("kubeletAddress", out.kubeletAddress) && !isSocketAddress(out.kubeletAddress)) {
    map.problem("kubeletAddress", quoted(out.kubeletAddress) + " is not ADDRESS:PORT",
                "write 127.0.0.1:10250 or [::1]:10250");
  }
  map.absolutePath("kubeletCertificate", out.kubeletCertificate);
  map.absolutePath("viewFile", out.viewFile);
  if (const auto list = map.find("readVariablesIn")) readNamespaceNames(*list, out.readVariablesIn);
  readRules(map, defaults);
  defaults.on = !out.sources.empty();
  map.read("events", out.events);
  map.read("namespacePause", out.namespacePause);
}

}  // namespace fallbackd::config
