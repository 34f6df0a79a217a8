// SPDX-License-Identifier: Apache-2.0
// What scripts/report settle passes to its programs by their environment, and the parts of its result that
// they leave behind.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

#include <boost/json.hpp>

namespace fallbackd::e2e {

/// Empty: the report did not set it, or there is no report.
inline std::string given(const char* name) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing sets it
  return text == nullptr ? "" : text;
}

template <class Number>
Number numberOr(const char* name, Number otherwise) {
  const auto text = given(name);
  return text.empty() ? otherwise : static_cast<Number>(std::strtoul(text.c_str(), nullptr, 10));
}

/// Writes one file for each part and version of containerd. Does nothing without a report.
inline void writePart(const std::string& name, boost::json::object part) {
  const auto folder = given("SETTLE_JSON");
  if (folder.empty()) return;
  const auto version = given("SETTLE_VERSION");
  part["containerd"] = version;
  std::ofstream(folder + "/" + name + "-" + version + ".json") << part << "\n";
}

}  // namespace fallbackd::e2e
