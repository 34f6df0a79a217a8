// SPDX-License-Identifier: Apache-2.0
#include "app/pod_sources.hpp"

#include <utility>

namespace fallbackd::app {

namespace {

constexpr const char* kKubeletPort = "10250";

/// ADDRESS:PORT, an IPv6 address in brackets.
std::string kubeletAddress(const std::string& nodeIp) {
  const auto host = nodeIp.empty() ? std::string("127.0.0.1") : nodeIp;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + kKubeletPort;
}

kube::SourceSettings settingsOf(const config::KubernetesSettings& from, const Options& options) {
  kube::SourceSettings settings;
  for (const auto source : from.sources) {
    settings.kinds.push_back(source == config::PodSource::kubelet ? kube::SourceKind::kubelet
                                                                  : kube::SourceKind::apiserver);
  }
  settings.nodeName = options.nodeName;
  settings.kubeconfig = from.kubeconfig;
  settings.kubeletAddress =
      from.kubeletAddress.empty() ? kubeletAddress(options.nodeIp) : from.kubeletAddress;
  settings.kubeletCertificate = from.kubeletCertificate;
  settings.viewFile = from.viewFile;
  return settings;
}

}  // namespace

PodSources::PodSources(telemetry::Log& log) : log_(log) {
  pods_.onState([this](const kube::SourceState& state) { tell(state); });
}

void PodSources::start(const boost::asio::any_io_executor& loop, const config::KubernetesSettings& settings,
                       const Options& options) {
  if (settings.sources.empty()) return;
  sources_.emplace(loop, settingsOf(settings, options), pods_, [this](const std::string& what) {
    log_.warn("the pods that an earlier daemon knew are not kept", {{"error", what}});
  });
  sources_->start();
}

void PodSources::tell(const kube::SourceState& state) {
  const std::string source(toString(state.kind));
  if (state.health == kube::Health::failing) {
    log_.warn("a source of pods fails; recoveries go on without it",
              {{"source", source}, {"error", state.error}});
  } else if (state.health == kube::Health::up) {
    log_.info("a source of pods answers", {{"source", source}, {"pods", pods_.size()}});
  }
}

}  // namespace fallbackd::app
