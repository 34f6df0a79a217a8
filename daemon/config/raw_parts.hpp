// SPDX-License-Identifier: Apache-2.0
// The larger parts of a workload, one per file. See raw.hpp.
#pragma once

#include "config/model.hpp"
#include "config/reader.hpp"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

/// A name that Kubernetes accepts. Otherwise reports it and leaves `out` alone.
bool readDnsLabel(const MapReader& map, std::string_view key, std::string& out);

/// An image reference that containerd accepts. Otherwise reports what to write.
void readImageReference(const MapReader& map, std::string_view key, std::string& out);

/// `mode`: recover or observe; nothing if the key is absent. `otherwise`: what applies then.
std::optional<Mode> readMode(const MapReader& map, std::optional<Mode> otherwise = {});

/// `settle`: auto, always or never; likewise.
std::optional<Settle> readSettle(const MapReader& map, std::optional<Settle> otherwise = {});

/// Returns the keys that are there.
std::set<std::string, std::less<>> readUser(const Place& place, User& out);

/// Capabilities as a list of names.
void readCapabilities(const Place& list, std::uint64_t& out);

/// `capabilities`, `seccompProfile`, `appArmorProfile`, `seLinuxLabel` and `rlimits` of a workload. Reports
/// what the node's settings do not allow.
void readSecurity(const MapReader& map, const LauncherSettings& settings, Security& out);

/// Appends one entry of `volumes` to `out`.
void readVolume(const Place& place, const LauncherSettings& settings, std::vector<Volume>& out);

/// Appends names of namespaces.
void readNamespaceNames(const Place& list, std::vector<std::string>& out);

/// Where the daemon learns the specifications of pods, and what workloads take from them by default.
/// "kubelet" or "apiserver".
std::optional<PodSource> podSourceOf(std::string_view word);
void readKubernetes(const Place& place, KubernetesSettings& out, Inheritance& defaults);

/// The mirror: where it listens, and what it serves.
void readMirror(const Place& place, MirrorSettings& out);

/// Whether a workload takes from its pod's specification what it does not set, and by which rules. Reports a
/// missing `image` if it does not.
void readInheritance(const MapReader& map, const Config& config, Inheritance& out);

}  // namespace fallbackd::config
