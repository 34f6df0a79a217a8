// SPDX-License-Identifier: Apache-2.0
// The mirror as a part of the daemon.
#include "app/daemon_parts.hpp"
#include "base/strings.hpp"
#include "mirror/hosts_edit.hpp"

#include <set>
#include <utility>
#include <vector>

namespace fallbackd::app {

/// Without it the daemon works as before: what is missing is told, and shown in the status.
void Daemon::Parts::startMirror() {
  nameMirrors();
  if (!config->mirror.listen) return;
  const auto recentFailure = [this](const ImageReference& image) -> std::optional<mirror::Failing> {
    auto failure = watcher->recentFailure(image);
    if (!failure) return std::nullopt;
    return mirror::Failing{failure->cause, std::move(failure->text)};
  };
  auto made = std::make_unique<mirror::Mirror>(
      config, mirror::Mirror::Daemon{executor(), *containerd.images, recentFailure,
                                     [this](const mirror::ServedImage& image) { tellServed(image); },
                                     [this](const std::string& what) { recoveries->trouble(what); }});
  const auto opened = made->open();
  if (!opened) {
    mirrorProblem = opened.error().message();
    log.error("the mirror cannot start", {{"error", mirrorProblem}});
    return;
  }
  mirror = std::move(made);
  watcher->useNodeImages(*mirror);
  log.info("the mirror listens", {{"address", *config->mirror.listen}});
}

/// Blocks that an earlier configuration left behind: containerd asks there before each registry.
void Daemon::Parts::nameMirrors() {
  auto addresses = mirror::addressesInBlocks(config->mirror.hostsDir);
  std::vector<std::string> others;
  for (const auto& address : addresses) {
    if (address != config->mirror.listen) others.push_back(address);
  }
  if (!others.empty()) {
    log.warn(
        "containerd is told to ask the mirror where nobody listens: fallbackctl mirror disable --write, or "
        "set mirror.listen and enable it again",
        {{"addresses", join(others, ", ")}, {"hostsDir", config->mirror.hostsDir}});
  }
  if (config->mirror.listen) addresses.insert(*config->mirror.listen);
  // Where the folder cannot be seen.
  addresses.emplace(mirror::kUsualAddress);
  watcher->nameMirrors(std::move(addresses));
}

void Daemon::Parts::tellServed(const mirror::ServedImage& image) {
  const auto seen = image.byDigest   ? std::string("asked by its digest")
                    : image.lastSeen ? rfc3339(std::chrono::floor<std::chrono::seconds>(*image.lastSeen))
                                     : std::string("not known");
  log.warn("image from the node: its registry is down", {{"image", image.name},
                                                         {"digest", image.digest},
                                                         {"cause", toString(image.cause)},
                                                         {"text", image.text},
                                                         {"lastSeen", seen}});
}

}  // namespace fallbackd::app
