// SPDX-License-Identifier: Apache-2.0
// When Kubernetes shows what the stand-in is for, as far as a source describes the pods.
#include "recovery/recovery.hpp"
#include "recovery/settling.hpp"

namespace fallbackd::recovery {

using telemetry::StandInPhase;

void Settling::podDescribed() {
  auto& stamps = incident_.stamps;
  if (standIn_ == nullptr || !startedAt_ || stamps.podReady) return;
  const auto& target = incident_.target;
  const auto pod = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  if (pod == nullptr) return;
  const auto shown = pod->running.find(target.container);
  if (shown == pod->running.end() || shown->second != standIn_->containerId()) return;
  const auto now = clock_.now();
  auto& metrics = *services_.standInMetrics;
  if (!stamps.adopted) {
    stamps.adopted = now;
    metrics.took(incident_.workload, StandInPhase::adopted, now - *startedAt_);
  }
  if (!pod->ready) return;
  stamps.podReady = now;
  metrics.took(incident_.workload, StandInPhase::pod_ready, now - *startedAt_);
}

}  // namespace fallbackd::recovery
