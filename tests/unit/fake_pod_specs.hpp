// SPDX-License-Identifier: Apache-2.0
// Pod specifications under the test's control.
#pragma once

#include "watcher/pod_specs.hpp"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::test {

class FakePodSpecs final : public watcher::PodSpecs {
 public:
  [[nodiscard]] kube::Facts facts(const std::string& /*podUid*/) const override { return {}; }
  void podWaits(const std::string& podUid) override { asked.push_back(podUid); }
  void podGone(const std::string& podUid) override { gone.push_back(podUid); }

  [[nodiscard]] watcher::SpecPtr described(const std::string& podUid) const override {
    const auto found = specs.find(podUid);
    return found == specs.end() ? nullptr : found->second;
  }

  std::map<std::string, watcher::SpecPtr> specs;  // by pod uid
  std::vector<std::string> asked;
  std::vector<std::string> gone;
};

/// The pod of sandbox s1, with one container, "main", of this image.
inline kube::Pod podOf(const std::string& image) {
  kube::Pod pod;
  pod.name = "pod-s1";  // FakeRuntime's name for the pod of sandbox s1
  pod.namespaceName = "shop";
  pod.enableServiceLinks = false;
  auto& container = pod.containers.emplace_back();
  container.path = "spec.containers[0]";
  container.name = "main";
  container.image = image;
  container.securityContext.readOnlyRootFilesystem = true;
  container.securityContext.runAsUser = 1000;
  return pod;
}

inline watcher::SpecPtr specOf(const std::string& image) {
  return std::make_shared<const kube::Pod>(podOf(image));
}

}  // namespace fallbackd::test
