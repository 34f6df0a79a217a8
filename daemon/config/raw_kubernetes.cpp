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
    const auto found = std::find(kPodSources.begin(), kPodSources.end(), *word);
    if (found == kPodSources.end()) {
      item.problem(quoted(*word) + " is not a source of pods", suggestFor(*word, kPodSources));
      return;
    }
    const auto source = found == kPodSources.begin() ? PodSource::kubelet : PodSource::apiserver;
    if (std::find(out.begin(), out.end(), source) != out.end()) {
      item.problem(quoted(*word) + " is named twice", "keep one of them");
      return;
    }
    out.push_back(source);
  });
}

}  // namespace

void readKubernetes(const Place& place, KubernetesSettings& out) {
  const MapReader map(place, {"sources", "kubeconfig", "kubeletAddress", "kubeletCertificate", "viewFile"});
  if (const auto list = map.find("sources")) readPodSources(*list, out.sources);
  map.absolutePath("kubeconfig", out.kubeconfig);
  if (map.read("kubeletAddress", out.kubeletAddress) && !isSocketAddress(out.kubeletAddress)) {
    map.problem("kubeletAddress", quoted(out.kubeletAddress) + " is not ADDRESS:PORT",
                "write 127.0.0.1:10250 or [::1]:10250");
  }
  map.absolutePath("kubeletCertificate", out.kubeletCertificate);
  map.absolutePath("viewFile", out.viewFile);
}

}  // namespace fallbackd::config
