// SPDX-License-Identifier: Apache-2.0
// Kubernetes manifests, from their bytes to the verdicts about their pods.
#include "coverage/judge.hpp"
#include "coverage/templates.hpp"
#include "fuzz.hpp"

#include <memory>
#include <utility>
#include <vector>

using namespace fallbackd;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  config::Problems problems;
  std::vector<coverage::Manifest> manifests;
  coverage::readManifests("fuzz", fuzz::text(data, size), manifests, problems);
  const auto templates = coverage::templatesOf(manifests, "default", problems);
  config::Config config;
  config.inheritance.on = true;
  config.podAnnotations.namespaces = {"default"};
  coverage::Node node;
  node.config = std::make_shared<const config::Config>(std::move(config));
  for (const auto& one : templates.all) {
    fuzz::demand(!one.name.empty() && !one.pod.namespaceName.empty(),
                 "a template has a name and a namespace");
    const auto pod = coverage::judge(node, one.pod);
    fuzz::demand(pod.containers.size() == one.pod.containers.size() + one.pod.initContainers.size(),
                 "each container is judged");
    for (const auto& container : pod.containers) fuzz::demand(!container.why.empty(), "a verdict has a text");
  }
  return 0;
}
