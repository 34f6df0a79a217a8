// SPDX-License-Identifier: Apache-2.0
#include "kube/version_match.hpp"

#include "base/strings.hpp"
#include "domain/image_reference.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace fallbackd::kube {

namespace {

using Verdict = VersionVerdict::Kind;

constexpr std::array<std::string_view, 3> kMatches{"exact", "semver-patch", "none"};

/// A version from a label or tag, which may begin with v; empty if the text is not a version.
std::optional<std::string> versionIn(std::string_view text) {
  const auto version = versionOfTag(text);
  if (version.empty()) return std::nullopt;
  return std::string(version);
}

WantedVersion fromMap(const std::map<std::string, std::string>& map, const std::string& key,
                      const char* what) {
  const auto found = map.find(key);
  if (found == map.end()) return {{}, std::string("the pod has no ") + what + " " + quoted(key)};
  if (auto version = versionIn(found->second)) return {std::move(version), {}};
  return {
      {},
      std::string(what) + " " + quoted(key) + " is " + quoted(found->second) + ", which is not a version"};
}

/// Tags cannot have a +, so tools write _ in its place.
bool sameText(std::string_view wanted, std::string_view version) {
  if (wanted == version) return true;
  std::string written(version);
  std::replace(written.begin(), written.end(), '+', '_');
  return wanted == written;
}

/// "1.8" of "1.8.3"; empty for pre-releases, builds and versions without three numbers.
std::string_view minorOf(std::string_view version) {
  const auto parts = split(version, '.');
  const auto isNumber = [](std::string_view part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), isDigit);
  };
  if (parts.size() != 3 || !std::all_of(parts.begin(), parts.end(), isNumber)) return {};
  return version.substr(0, version.rfind('.'));
}

bool samePatchLine(std::string_view wanted, std::string_view version) {
  const auto minor = minorOf(wanted);
  return !minor.empty() && minor == minorOf(version);
}

bool agrees(const std::string& wanted, const std::string& version, VersionMatch match) {
  return match == VersionMatch::none || sameText(wanted, version) ||
         (match == VersionMatch::semver_patch && samePatchLine(wanted, version));
}

VersionVerdict matched(const WantedVersion& wanted, const BinaryRef& binary, VersionMatch match) {
  if (wanted.version && sameText(*wanted.version, binary.version)) return {Verdict::match, {}};
  const std::string rule = "versionMatch: " + std::string(kMatches.at(static_cast<std::size_t>(match)));
  if (!wanted.version) return {Verdict::match, binary.toString() + " (" + rule + "; " + wanted.why + ")"};
  return {Verdict::match, binary.toString() + " for " + *wanted.version + " (" + rule + ")"};
}

VersionVerdict noBinary(const std::string& wanted, std::string_view name, const std::string& have) {
  return {Verdict::no_binary, "no binary for " + std::string(name) + " " + wanted + "; there is " + have};
}

/// Whether `one` is a better choice than `other` for the wanted version.
bool isBetter(const std::string& wanted, const std::string& one, const std::string& other) {
  const bool oneIs = sameText(wanted, one);
  if (oneIs != sameText(wanted, other)) return oneIs;
  const bool oneLater = compareVersions(one, wanted) >= 0;
  if (oneLater != (compareVersions(other, wanted) >= 0)) return oneLater;
  return oneLater ? compareVersions(one, other) < 0 : compareVersions(one, other) > 0;
}

}  // namespace

WantedVersion wantedVersion(const Pod& pod, std::string_view image, const VersionRule& rule) {
  if (!rule.annotation.empty()) return fromMap(pod.annotations, rule.annotation, "annotation");
  if (!rule.label.empty()) return fromMap(pod.labels, rule.label, "label");
  const auto reference = ImageReference::parse(image);
  if (!reference) return {{}, reference.error().context};
  // People read the tag beside a digest, and tools keep both in step; the digest alone shows no version.
  if (reference->tag().empty()) return {{}, "the image is named by its digest alone"};
  if (auto version = versionIn(reference->tag())) return {std::move(version), {}};
  if (reference->tag() == "latest") return {{}, "the image has the tag latest, or none"};
  return {{}, "the image's tag " + quoted(reference->tag()) + " is not a version"};
}

VersionVerdict judgeVersion(const WantedVersion& wanted, const BinaryRef& binary, VersionMatch match) {
  if (match == VersionMatch::none) return matched(wanted, binary, match);
  if (!wanted.version) {
    return {Verdict::cannot_tell,
            "cannot tell which version of " + binary.name + " the pod wants: " + wanted.why};
  }
  if (agrees(*wanted.version, binary.version, match)) return matched(wanted, binary, match);
  return noBinary(*wanted.version, binary.name, binary.version);
}

VersionChoice chooseVersion(const WantedVersion& wanted, std::string_view name,
                            std::span<const BinaryRef> available, VersionMatch match) {
  if (match != VersionMatch::none && !wanted.version) {
    return {{Verdict::cannot_tell,
             "cannot tell which version of " + std::string(name) + " the pod wants: " + wanted.why},
            {}};
  }
  const BinaryRef* best = nullptr;
  std::string have;
  for (const auto& one : available) {
    if (one.name != name) continue;
    have += (have.empty() ? "" : ", ") + one.version;
    if (wanted.version && !agrees(*wanted.version, one.version, match)) continue;
    const bool patchLine = wanted.version && match == VersionMatch::semver_patch;
    const bool better = best == nullptr || (wanted.version && sameText(*wanted.version, one.version)) ||
                        (patchLine ? isBetter(*wanted.version, one.version, best->version)
                                   : !(wanted.version && sameText(*wanted.version, best->version)) &&
                                         compareVersions(one.version, best->version) > 0);
    if (better) best = &one;
  }
  if (best != nullptr) return {matched(wanted, *best, match), *best};
  return {noBinary(wanted.version.value_or("any version"), name, have.empty() ? "none" : have), {}};
}

}  // namespace fallbackd::kube
