// SPDX-License-Identifier: Apache-2.0
#include "app/pod_events.hpp"

#include <utility>

namespace fallbackd::app {

void PodEventWriter::tell(const recovery::Target& target, recovery::PodEvent event) {
  kube::EventNote note;
  note.namespaceName = target.podNamespace;
  note.pod = target.podName;
  note.podUid = target.podUid;
  note.container = target.container;
  note.type =
      recovery::isWarning(event.reason) ? kube::EventNote::Type::warning : kube::EventNote::Type::normal;
  note.reason = toString(event.reason);
  note.series = std::move(event.series);
  note.message = std::move(event.message);
  note.at = Clock::system().wall();
  sources_.tell(std::move(note));
}

}  // namespace fallbackd::app
