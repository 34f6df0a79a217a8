// SPDX-License-Identifier: Apache-2.0
// The API server's answers to list and watch, for any kind of object. Errors: stage kube; reason protocol or
// invalid.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace fallbackd::kube {

Result<boost::json::value> parsedJson(const std::string& text);

/// A list, or a page of one.
struct ListPage {
  boost::json::array items;
  std::string resourceVersion;
  std::string more;  // the continue token; empty: this was the last page
};
/// `kind` is what the list must be, "PodList".
Result<ListPage> parseList(const std::string& json, const std::string& kind);

/// One line of a watch.
struct WatchEvent {
  enum class Kind : std::uint8_t { changed, gone, bookmark, error };
  Kind kind = Kind::error;
  boost::json::object object;   // of changed and gone
  std::string resourceVersion;  // to continue from
  unsigned code = 0;            // of an error
  std::string message;
};
Result<WatchEvent> parseWatchEvent(const std::string& line);

/// The message of a Status object; for anything else the beginning of the text. For people.
std::string messageOf(const std::string& body);

}  // namespace fallbackd::kube
