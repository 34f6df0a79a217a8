// SPDX-License-Identifier: Apache-2.0
// The query part of a URL.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace fallbackd {

/// "pod=a%2Fb&seconds=5" -> {pod: "a/b", seconds: "5"}. The last of two equal keys counts; an invalid escape
/// stays as it is.
std::map<std::string, std::string> parseQuery(std::string_view query);

/// Percent-encodes text for a query.
std::string queryEscaped(std::string_view text);

}  // namespace fallbackd
