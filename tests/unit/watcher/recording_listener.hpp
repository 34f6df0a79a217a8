// SPDX-License-Identifier: Apache-2.0
// Records what a Watcher reports.
#pragma once

#include "watcher/listener.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::test {

struct RecordingListener final : watcher::Listener {
  void detected(watcher::Detection detection) override { detections.push_back(std::move(detection)); }
  void noLongerHeldUp(const std::string& id, const std::string& container) override {
    released.push_back(id + "/" + container);
  }
  void containerCreated(const std::string& podUid, const cri::Container& container) override {
    created.push_back(podUid + "/" + container.name);
  }
  void containerStarted(const std::string& id, Stamp) override { started.push_back(id); }
  void sandboxStarted(const std::string& id, Stamp) override { startedSandboxes.push_back(id); }
  void sandboxGone(const std::string& id) override { gone.push_back(id); }
  void imageArrived(const std::string& reference) override { images.push_back(reference); }
  void probed(const config::Workload&, const watcher::Verdict&) override { ++probes; }
  void unstuck(const watcher::Unstuck& one) override { unstucks.push_back(one); }
  void sandboxImage(const std::string& reference, bool present) override {
    pauseImages.push_back(reference + (present ? " present" : " missing"));
  }
  void trouble(const std::string& what) override { troubles.push_back(what); }
  void connection(bool isUp, const std::string&) override {
    up = isUp;
    if (isUp) ++connections;
  }

  /// The first detection in the sandbox, or null.
  [[nodiscard]] const watcher::Detection* firstOf(const std::string& sandbox) const {
    const auto found = std::find_if(detections.begin(), detections.end(),
                                    [&](const auto& one) { return one.sandbox.id == sandbox; });
    return found == detections.end() ? nullptr : &*found;
  }

  std::vector<watcher::Detection> detections;
  std::vector<watcher::Unstuck> unstucks;
  std::vector<std::string> created, started, startedSandboxes, released, gone, images, pauseImages, troubles;
  int probes = 0;
  int connections = 0;
  bool up = false;
};

}  // namespace fallbackd::test
