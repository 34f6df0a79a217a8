// SPDX-License-Identifier: Apache-2.0
// Hostile pods: what annotations can do to a daemon that reads them.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace fallbackd::bench {

/// The registries of such a pod have these suffixes, which select the fake registry's behaviour.
inline constexpr const char* kSilentDomain = ".silent.example";
inline constexpr const char* kRefusingDomain = ".refused.example";
/// Their namespace; the configuration lets its pods choose a binary by annotation.
inline constexpr const char* kHostileNamespace = "hostile";

/// The pod's number selects the kind, so that every kind recurs: 1,500 containers behind silent registries,
/// one value as long as the API server accepts, containerd's error texts as image names, binary names that
/// climb out of the cache, many containers that may have a fallback, labels that look like a different pod's.
std::map<std::string, std::string> hostileAnnotations(std::size_t number);
inline constexpr std::size_t kHostileKinds = 6;

}  // namespace fallbackd::bench
