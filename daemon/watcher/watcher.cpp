// SPDX-License-Identifier: Apache-2.0
#include "watcher/watcher.hpp"

namespace fallbackd::watcher {

Watcher::Watcher(boost::asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
                 Traffic& traffic, Listener& listener, config::ConfigPtr config, PodSpecs& specs)
    : pods_(*config),
      versions_(runtime, config, specs),
      attendance_(executor, runtime, traffic, pods_, listener, config, specs),
      tracker_(executor, runtime, pods_, attendance_, versions_, listener, config),
      subscription_(executor, runtime, events, tracker_, config->containerd.resyncInterval) {}

void Watcher::reconfigure(const config::ConfigPtr& config) {
  pods_.reconfigure(*config);
  versions_.reconfigure(config);
  tracker_.reconfigure(config);
  subscription_.resyncEvery(config->containerd.resyncInterval);
  attendance_.reconfigure(config);  // last: it looks at the pods at once
}

void Watcher::specChanged(const std::string& podUid) {
  std::vector<std::string> changed;
  for (const auto& [id, pod] : pods_.pods()) {
    if (podUid.empty() || pod.sandbox.podUid == podUid) changed.push_back(id);
  }
  for (const auto& id : changed) attendance_.specChanged(id);
}

std::vector<PodSummary> Watcher::pods() const {
  auto all = pods_.summaries();
  for (auto& one : all) one.overLimit = attendance_.overLimit(one.sandbox.id);
  return all;
}

}  // namespace fallbackd::watcher
