// The query of a URL.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace fallbackd {

/// "pod=a%2Fb&seconds=5" -> {pod: "a/b", seconds: "5"}; the last of two counts, a broken escape stands for
/// itself.
std::map<std::string, std::string> parseQuery(std::string_view query);

/// Text as it may stand in a query.
std::string queryEscaped(std::string_view text);

}  // namespace fallbackd
