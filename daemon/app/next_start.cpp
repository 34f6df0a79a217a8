// SPDX-License-Identifier: Apache-2.0
#include "app/next_start.hpp"

#include <optional>

namespace fallbackd::app {

namespace {

bool same(const std::optional<config::Tls>& one, const std::optional<config::Tls>& other) {
  if (!one || !other) return one.has_value() == other.has_value();
  return one->certificate == other->certificate && one->key == other->key;
}

/// The mirror's memory and the annotations of namespaces stay in the folder in which they were found.
bool keepsMoreInState(const config::Config& config) {
  return config.mirror.listen.has_value() || config.kubernetes.namespacePause;
}

}  // namespace

std::vector<std::string> changesForNextStart(const config::Config& atStart, const config::Config& read) {
  std::vector<std::string> keys;
  const auto add = [&](bool differs, const char* key) {
    if (differs) keys.emplace_back(key);
  };
  add(read.containerd.socket != atStart.containerd.socket, "containerd.socket");
  add(read.containerd.namespaceName != atStart.containerd.namespaceName, "containerd.namespace");
  add(read.cache.state != atStart.cache.state && keepsMoreInState(atStart),
      "cache.state for mirror and kubernetes");
  add(read.launcher.runDir != atStart.launcher.runDir, "launcher.runDir");
  add(read.launcher.seccompProfiles != atStart.launcher.seccompProfiles, "launcher.seccompProfiles");
  add(read.launcher.logLinks != atStart.launcher.logLinks, "launcher.logLinks");
  add(read.telemetry.listen != atStart.telemetry.listen, "telemetry.listen");
  add(!same(read.telemetry.tls, atStart.telemetry.tls), "telemetry.tls");
  add(read.telemetry.tokenFile != atStart.telemetry.tokenFile, "telemetry.tokenFile");
  add(read.telemetry.profiling != atStart.telemetry.profiling, "telemetry.profiling");
  add(read.telemetry.socket != atStart.telemetry.socket, "telemetry.socket");
  add(read.kubernetes != atStart.kubernetes, "kubernetes");
  add(read.mirror != atStart.mirror, "mirror");
  return keys;
}

}  // namespace fallbackd::app
