// SPDX-License-Identifier: Apache-2.0
// The larger parts of a workload, each read in a file of its own: see raw.hpp.
#pragma once

#include "config/model.hpp"
#include "config/reader.hpp"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::config {

/// A name that Kubernetes would accept; reported and `out` left alone otherwise.
bool readDnsLabel(const MapReader& map, std::string_view key, std::string& out);

/// The reference of an image as containerd takes it; what it would refuse is reported, with what to write.
void readImageReference(const MapReader& map, std::string_view key, std::string& out);

/// Returns the keys that are there.
std::set<std::string, std::less<>> readUser(const Place& place, User& out);

/// Capabilities as a list of names.
void readCapabilities(const Place& list, std::uint64_t& out);

/// `capabilities`, `seccompProfile`, `appArmorProfile`, `seLinuxLabel` and `rlimits` of a workload; what the
/// node's settings do not allow is reported.
void readSecurity(const MapReader& map, const LauncherSettings& settings, Security& out);

/// One of `volumes`, appended to the earlier ones.
void readVolume(const Place& place, const LauncherSettings& settings, std::vector<Volume>& out);

}  // namespace fallbackd::config
