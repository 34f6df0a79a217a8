// SPDX-License-Identifier: Apache-2.0
// Kubernetes manifests as people and tools write them: YAML of one or several documents, or JSON; Lists are
// split into their elements. Scalars get the types that Kubernetes' own reader gives them. Accepts any bytes;
// safe to fuzz.
#pragma once

#include "config/problems.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::coverage {

inline constexpr std::size_t kMaxManifestBytes = 256UL << 20;

struct Manifest {
  boost::json::object object;
  config::Position where;  // of its document; for an element of a List, that of the List
};

/// Adds to `out` what can be read. A problem costs its document; malformed YAML costs the whole file.
void readManifests(const std::string& file, std::string_view text, std::vector<Manifest>& out,
                   config::Problems& problems);

}  // namespace fallbackd::coverage
