// SPDX-License-Identifier: Apache-2.0
#include "standin/hash.hpp"

#include <charconv>
#include <cstdint>

#include <boost/json.hpp>

namespace fallbackd::standin {

namespace {

/// Go's JSON of a string: a superset of the escapes of Boost.JSON.
std::string goJson(std::string_view text) {
  std::string escaped;
  for (const char one : boost::json::serialize(boost::json::string(text))) {
    switch (one) {
      case '<':
        escaped += "\\u003c";
        break;
      case '>':
        escaped += "\\u003e";
        break;
      case '&':
        escaped += "\\u0026";
        break;
      default:
        escaped += one;
    }
  }
  return escaped;
}

}  // namespace

std::string kubeletsHash(std::string_view container, std::string_view image) {
  const std::string object = "{\"image\":" + goJson(image) + ",\"name\":" + goJson(container) + "}";
  std::string dump = "([]uint8)[";
  for (const char byte : object) {
    dump.append(std::to_string(static_cast<unsigned char>(byte))).push_back(' ');
  }
  dump.back() = ']';
  std::uint32_t hash = 0x811c9dc5;
  for (const char byte : dump) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x01000193;
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof digits, hash, 16).ptr;
  return {digits, end};
}

}  // namespace fallbackd::standin
