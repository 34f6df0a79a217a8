// SPDX-License-Identifier: Apache-2.0
// The mirror as a part of the daemon.
#include "app/daemon_parts.hpp"
#include "base/async/backoff.hpp"
#include "base/strings.hpp"
#include "mirror/hosts_edit.hpp"

#include <chrono>
#include <set>
#include <utility>
#include <vector>

namespace fallbackd::app {

using namespace std::chrono_literals;

namespace {

constexpr Backoff::Limits kMirrorPauses{1s, 1min};  // its address may be in use for a while

}  // namespace

/// Without the mirror the daemon works as before: the problem is logged and shown in the status, and the
/// start is tried again.
void Daemon::Parts::startMirror() {
  nameMirrors();
  if (!config->mirror.listen) return;
  if (!openMirror(config)) tasks.spawn(retryMirror(config));
}

/// With the configuration of the daemon's start: a changed one takes effect at the next start.
cri::Awaitable<void> Daemon::Parts::retryMirror(config::ConfigPtr first) {
  Backoff pause(kMirrorPauses);
  do {
    co_await pause.wait();
  } while (!openMirror(first));
}

bool Daemon::Parts::openMirror(const config::ConfigPtr& first) {
  const auto recentFailure = [this](const ImageReference& image) -> std::optional<mirror::Failing> {
    auto failure = watcher->recentFailure(image);
    if (!failure) return std::nullopt;
    return mirror::Failing{failure->cause, std::move(failure->text)};
  };
  auto made = std::make_unique<mirror::Mirror>(
      first, mirror::Mirror::Daemon{executor(), *containerd.images, recentFailure,
                                    [this](const mirror::ServedImage& image) { tellServed(image); },
                                    [this](const std::string& what) { recoveries->trouble(what); }});
  const auto opened = made->open();
  if (!opened) {
    const auto before = std::exchange(mirrorProblem, opened.error().message());
    if (before != mirrorProblem) log.error("the mirror cannot start", {{"error", mirrorProblem}});
    return false;
  }
  mirrorProblem.clear();
  mirror = std::move(made);
  watcher->useNodeImages(*mirror);
  log.info("the mirror listens", {{"address", *first->mirror.listen}});
  return true;
}

/// Finds blocks that an earlier configuration left behind: containerd asks there before each registry.
void Daemon::Parts::nameMirrors() {
  auto addresses = mirror::addressesInBlocks(config->mirror.hostsDir);
  std::vector<std::string> others;
  for (const auto& address : addresses) {
    if (address != config->mirror.listen) others.push_back(address);
  }
  if (!others.empty()) {
    log.warn(
        "containerd is configured to ask a mirror where nothing listens: fallbackctl mirror disable --write, "
        "or "
        "set mirror.listen and enable it again",
        {{"addresses", join(others, ", ")}, {"hostsDir", config->mirror.hostsDir}});
  }
  if (config->mirror.listen) addresses.insert(*config->mirror.listen);
  // In case the folder cannot be seen.
  addresses.emplace(mirror::kUsualAddress);
  watcher->nameMirrors(std::move(addresses));
}

void Daemon::Parts::tellServed(const mirror::ServedImage& image) {
  const auto seen = image.byDigest   ? std::string("requested by its digest")
                    : image.lastSeen ? rfc3339(std::chrono::floor<std::chrono::seconds>(*image.lastSeen))
                                     : std::string("not known");
  log.warn("image from the node: its registry is down", {{"image", image.name},
                                                         {"digest", image.digest},
                                                         {"cause", toString(image.cause)},
                                                         {"text", image.text},
                                                         {"lastSeen", seen}});
}

}  // namespace fallbackd::app
