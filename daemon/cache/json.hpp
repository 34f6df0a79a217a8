// Strict JSON for what strangers wrote: limited size and depth, no doubled keys, nothing behind the end.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::cache {

/// How large a text may be; the defaults are for what strangers wrote.
struct JsonLimits {
  std::size_t bytes = 1 << 20;
  std::size_t entries = 4096;  // of one object
};

/// Stage admission, reason attestation_malformed, or too_large where a limit is passed; `what` names the text
/// in the message.
Result<boost::json::value> parseStrict(std::string_view text, const std::string& what,
                                       const JsonLimits& limits = {});

/// The string at `key`; empty where it is absent or of another type.
std::string stringAt(const boost::json::object& object, std::string_view key);

/// The decoded bytes of base64 in the standard or the URL alphabet, padded or not; nothing else may be in it.
Result<std::string> decodeBase64(std::string_view text, const std::string& what);
std::string encodeBase64(std::string_view bytes);

}  // namespace fallbackd::cache
