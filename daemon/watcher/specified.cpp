// SPDX-License-Identifier: Apache-2.0
#include "watcher/specified.hpp"

#include "kube/inherit.hpp"
#include "watcher/pod_specs.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace fallbackd::watcher {

namespace {

class Nobody final : public PodSpecs {
 public:
  [[nodiscard]] kube::Facts facts(const std::string& /*podUid*/) const override { return {}; }
  void podWaits(const std::string& /*podUid*/) override {}
  void podGone(const std::string& /*podUid*/) override {}

 protected:
  [[nodiscard]] SpecPtr described(const std::string& /*podUid*/) const override { return nullptr; }
};

bool isMatch(const config::Workload& workload, const kube::Pod& spec) {
  return versionVerdict(workload, spec).kind == kube::VersionVerdict::Kind::match;
}

}  // namespace

PodSpecs& PodSpecs::none() {
  static Nobody nobody;
  return nobody;
}

Result<WorkloadPtr> specified(const config::Config& config, const config::Workload& workload,
                              const kube::Pod& spec) {
  const kube::Facts facts;
  FB_TRY(const auto inherited,
         kube::inheritForDetection({spec, workload.match.container, workload, config.launcher, facts}));
  const auto& whole = inherited.workload;
  // Without a valid image there is nothing to pull: the list says why.
  for (const auto& one : inherited.notInherited) {
    if (whole.image.empty() && one.weight == kube::NotInherited::Weight::refuses &&
        one.path.ends_with(".image"))
      return fail(Stage::config, Reason::invalid, one.path + ": " + one.why);
  }
  auto seen = std::make_shared<config::Workload>(workload);
  seen->image = whole.image;
  seen->imageFrom = whole.imageFrom;
  seen->detection.pullPolicy = whole.detection.pullPolicy;
  seen->restart.policy = whole.restart.policy;
  seen->startAfter = whole.startAfter;
  return seen;
}

kube::VersionVerdict versionVerdict(const config::Workload& workload, const kube::Pod& spec) {
  const auto& rule = workload.inheritance.version;
  return kube::judgeVersion(kube::wantedVersion(spec, workload.image, rule), workload.binary, rule.match);
}

WorkloadPtr askedFor(std::span<const WorkloadPtr> candidates, const kube::Pod& spec) {
  std::vector<BinaryRef> matching;
  for (const auto& one : candidates) {
    if (isMatch(*one, spec)) matching.push_back(one->binary);
  }
  if (matching.empty()) return candidates.front();
  const auto& first = *candidates.front();
  const auto& rule = first.inheritance.version;
  const auto choice = kube::chooseVersion(kube::wantedVersion(spec, first.image, rule), first.binary.name,
                                          matching, rule.match);
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const auto& one) {
    return choice.binary && one->binary == *choice.binary;
  });
  return found == candidates.end() ? candidates.front() : *found;
}

}  // namespace fallbackd::watcher
