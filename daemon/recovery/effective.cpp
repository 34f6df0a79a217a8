// SPDX-License-Identifier: Apache-2.0
#include "recovery/effective.hpp"

#include "base/strings.hpp"
#include "watcher/specified.hpp"

#include <memory>
#include <utility>

namespace fallbackd::recovery {

namespace {

constexpr std::size_t kMaxNamed = 4;

/// Why it must not be started, and what to do about it.
Error refusal(const kube::NotInheritedList& list, config::MissingEnv missingEnv) {
  kube::NotInheritedList reasons;
  for (const auto& one : list) {
    if (!kube::mayStart({one}, missingEnv)) reasons.push_back(one);
  }
  auto named = texts(reasons);
  const auto all = named.size();
  if (all > kMaxNamed) named.resize(kMaxNamed);
  auto text = join(named, "; ");
  if (all > kMaxNamed) text += "; and " + std::to_string(all - kMaxNamed) + " more";
  return {Stage::config, Reason::not_permitted, 0, "the pod needs what its fallback cannot have: " + text};
}

}  // namespace

std::vector<std::string> texts(const kube::NotInheritedList& list) {
  std::vector<std::string> all;
  for (const auto& one : list) all.push_back(one.path + ": " + one.why);
  return all;
}

Result<kube::Inherited> inheritedBy(const config::Workload& selected, const kube::Pod* spec,
                                    const config::Config& config, const Setting& setting) {
  if (spec == nullptr) return fail(Stage::config, Reason::not_found, "the pod's specification is not known");
  auto facts = setting.facts;
  if (setting.sandbox != nullptr) facts.podIps = setting.sandbox->ips;
  return kube::inherit({*spec, selected.match.container, selected, config.launcher, facts, setting.image});
}

Result<Effective> effectiveWorkload(const watcher::WorkloadPtr& selected, const kube::Pod* spec,
                                    const config::Config& config, const Setting& setting) {
  const auto& rules = selected->inheritance;
  if (!rules.on) return Effective{selected, {}};
  FB_TRY(auto inherited, inheritedBy(*selected, spec, config, setting));
  const auto version = watcher::versionVerdict(inherited.workload, *spec);
  if (version.kind != kube::VersionVerdict::Kind::match)
    return fail(Stage::config, Reason::version_mismatch, version.text);
  if (!kube::mayStart(inherited.notInherited, rules.missingEnv))
    return tl::unexpected<Error>(refusal(inherited.notInherited, rules.missingEnv));
  return Effective{std::make_shared<const config::Workload>(std::move(inherited.workload)),
                   texts(inherited.notInherited)};
}

}  // namespace fallbackd::recovery
